"""The grids and splits of HyperZero (arXiv:2211.15457) and of HyPoGen (ICLR 2025), and ours of
speeds and lengths together.

Both shuffle the ids of a grid, sorted as strings, and take test contexts from the front:
`hyperzero-85-<k>` tests on 15 %, seeds 0 … 4; `hypogen-20-<k>` tests on 80 % and trains on what
int((1 − 0.8)·n) gives, which is 19.999… % and so one context less than a fifth of 40, seeds
HYPOGEN. `gap` and `beyond` are ours (`parted`).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.context import ContextSpace, Grid

HYPOGEN = (123, 233, 666, 999, 789)
"""Seeds of HyPoGen's splits."""
HYPERZERO = (0, 1, 2, 3, 4)

Rows = tuple[list[int], list[int]]


def signed(step: float, most: float) -> Float[np.ndarray, " k"]:
    """±step, ±2·step, … ±most, from the lowest on; no zero."""
    up = between(step, most, step)
    return np.concatenate([-up[::-1], up])


def between(low: float, high: float, step: float) -> Float[np.ndarray, " k"]:
    """low, low + step, … high, to four digits."""
    return np.round(low + step * np.arange(round((high - low) / step) + 1), 4)


def of(family: str, space: ContextSpace, name: str, **varied: Float[np.ndarray, " _"]) -> Grid:
    """A grid over some coordinates, by their names; the others have their usual values."""
    columns = np.meshgrid(*varied.values(), indexing="ij")
    points = np.tile(space.usual, (columns[0].size, 1))
    for coordinate, column in zip(varied, columns, strict=True):
        points[:, space.names.index(coordinate)] = column.ravel()
    ids = [
        "-".join(f"linear-{x}" for x in row)
        for row in zip(*(c.ravel().tolist() for c in columns), strict=True)
    ]
    first = points[:, space.names.index(next(iter(varied)))]
    return Grid.of(family, name, points, shuffled(ids) | parted(first))


def parted(x: Float[np.ndarray, " n"]) -> dict[str, Rows]:
    """Splits by how large one coordinate is, |x| or its place in its range: `gap` trains below
    30 % and above 70 % and tests between, `beyond` trains up to 60 % and tests above; both train on
    every third of those contexts."""
    size = np.abs(x) / np.abs(x).max() if x.min() < 0 else (x - x.min()) / np.ptp(x)
    size = np.round(size, 6)
    inside = (size > 0.3) & (size < 0.7), size > 0.6
    rows = [(np.flatnonzero(~test)[::3].tolist(), np.flatnonzero(test).tolist()) for test in inside]
    return dict(zip(("gap", "beyond"), rows, strict=True))


def shuffled(ids: Sequence[str]) -> dict[str, Rows]:
    """The published splits of contexts called `ids`."""
    found: dict[str, Rows] = {}
    rows = sorted(range(len(ids)), key=lambda i: ids[i])
    n = len(rows)
    for k, seed in enumerate(HYPOGEN):
        order = _shuffle(rows, seed)
        tests = int(0.8 * n)
        found[f"hypogen-20-{k}"] = _pair(order[tests : tests + int((1 - 0.8) * n)], order[:tests])
    for k, seed in enumerate(HYPERZERO):
        order = _shuffle(rows, seed)
        found[f"hyperzero-85-{k}"] = _pair(order[int(0.15 * n) :], order[: int(0.15 * n)])
    return found


def _shuffle(rows: list[int], seed: int) -> list[int]:
    order = list(rows)
    np.random.default_rng(seed).shuffle(order)
    return order


def _pair(train: list[int], test: list[int]) -> Rows:
    return sorted(train), sorted(test)
