"""Pictures of HyperZero's tables: return against the context, training contexts marked."""

from pathlib import Path

from hyperpolicy.envs import family
from hyperpolicy.evaluate.compare import Comparison
from hyperpolicy.evaluate.plots import plot_each, plot_returns, plot_surface
from hyperpolicy.evaluate.protocol import BY_DIRECTION, CONDITIONED, FLIPPED, ORACLE
from hyperpolicy.recipes.hyperzero.methods import HYPERZERO, HYPOGEN, IN_HINDSIGHT, RESIDUAL
from hyperpolicy.recipes.hyperzero.signs import FOUND
from hyperpolicy.recipes.hyperzero.tables import Cell

SEEN = IN_HINDSIGHT[RESIDUAL]
SHOWN = (ORACLE, SEEN, HYPERZERO, CONDITIONED, RESIDUAL, HYPOGEN, BY_DIRECTION, FLIPPED, FOUND)
"""Rows that a line shows, where the table has them; a surface shows the first four."""


def draw(cell: Cell, found: Comparison, path: Path) -> Path:
    """Returns on a split's test contexts against the coordinates that vary there."""
    path.unlink(missing_ok=True)
    fam, train = family(cell.family), cell.tasks.split(cell.split).train
    rows = {name: found.rows[name] for name in SHOWN if name in found.rows}
    title = f"{cell.family}, {cell.split}"
    contexts = next(iter(rows.values())).contexts
    varying = (contexts != contexts[:1]).any(axis=0).sum()
    if varying > 2:
        return plot_each(rows, fam, path, title)
    if varying > 1:
        some = dict(list(rows.items())[:4])
        return plot_surface(some, fam, path, train, title)
    return plot_returns(rows, fam, path, train, title)
