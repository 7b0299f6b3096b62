"""How series look in every picture: colors that color-blind readers tell apart, and for each series
a marker and a line of its own, so that no picture needs color at all.

The colors are Okabe & Ito's (2008, "Color Universal Design") without their yellow, which is too
light for lines; their black is for what is no series of ours: published numbers, levels, ticks. A
test simulates three kinds of color blindness and measures every pair.
"""

from typing import Any

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""One a series, over again after the sixth, then with other markers and lines."""
INK = "#000000"
"""Published numbers, levels and ticks."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (5, 2, 1, 2)),
    (0, (1.2, 1.2)),
    (0, (9, 3)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
    (0, (7, 2, 2, 2)),
)
MARKS = 9
"""Markers on a long line."""


def dots(i: int) -> dict[str, Any]:
    """Color and marker of series i, for points."""
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}


def stroke(i: int, points: int = 0) -> dict[str, Any]:
    """Color, marker and line of series i; of `points` on a line few carry a marker, and those of
    different series at different places."""
    every = max(1, -(-points // MARKS))
    return dots(i) | {
        "linestyle": LINES[i % len(LINES)],
        "lw": 1.7,
        "ms": 5.0,
        "mec": "white",
        "mew": 0.5,
        "markevery": (i % every, every),
    }
