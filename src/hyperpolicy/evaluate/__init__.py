"""Honest numbers: scores, comparisons, plots and videos. It does not know who made a policy."""

from hyperpolicy.evaluate.compare import Comparison, compare, standard_rows
from hyperpolicy.evaluate.protocol import Protocol, Published, published
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.scoring import Row, score

__all__ = [
    "Comparison",
    "Protocol",
    "Published",
    "Row",
    "Score",
    "compare",
    "published",
    "score",
    "standard_rows",
]
