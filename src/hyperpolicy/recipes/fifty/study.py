"""Fifty tasks from one demonstration: three questions, a table each.

    mt50-demonstration    all fifty tasks are trained on; tests are in other configurations
    ml45-demonstration    five folds of ten tasks that nobody trained on; each fold has a base,
                          experts, embedding and normalizer of its own
    goals-demonstration   MT10's tasks, a region of their configurations left out of all training

OUT/all, OUT/fold-0 …, OUT/goals    data, fits and cells of each, as AMT-Hyp's recipe keeps them
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.context import Grid
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.arm import Configurations
from hyperpolicy.evaluate import stats
from hyperpolicy.recipes.amt_hyp.bench import Bench, Played, plain, play
from hyperpolicy.recipes.amt_hyp.data import provide
from hyperpolicy.recipes.amt_hyp.presets import Preset
from hyperpolicy.recipes.fifty.presets import FOLDS
from hyperpolicy.recipes.fifty.rows import ROWS

Cells = dict[str, Played]
ALL, GOALS = "all", "goals"
"""Names of the benches that are no folds."""


@dataclass(frozen=True)
class Question:
    """Which tasks are trained on, and which are tested where."""

    name: str
    half: str
    """Of the tasks in each bench."""
    benches: tuple[str, ...]


QUESTIONS = {
    "mt50": Question("mt50-demonstration", "seen", (ALL,)),
    "ml45": Question("ml45-demonstration", "unseen", tuple(f"fold-{i}" for i in range(FOLDS))),
    "goals": Question("goals-demonstration", "seen", (GOALS,)),
}


def bench(preset: Preset, out: Path, name: str, family: MetaWorld | None = None) -> Bench:
    """One of the benches, its data made where they are missing."""
    family, place = family or MetaWorld(), out / name
    inner = family
    if name == GOALS:
        known = family.grid("mt10")
        ids = range(len(known.points))
        grid = Grid.of(family.name, "mt10", known.contexts, {ALL: (ids, ids)})
        split = grid.split(ALL)
        inner, family = (_drawing(family, which) for which in ("inner", "outer"))
    else:
        split = family.grid("mt50").split(name)
    data = provide(preset.data, place / "data", inner, place / "minutes.json", split, family)
    return Bench(preset, data, place, split, family)


def _drawing(family: MetaWorld, configurations: Configurations) -> MetaWorld:
    return replace(family, configurations=configurations)


# --- Cells --------------------------------------------------------------------------------
def cells(
    b: Bench,
    half: str,
    names: Sequence[str],
    progress: Callable[[str], None],
    until: float = float("inf"),
) -> tuple[Cells, list[str]]:
    """The cells of some rows that have a meaning on this half, and the names of those that were not
    begun in time, that is before the clock (`time.monotonic`) shows `until`."""
    found: Cells = {}
    left: list[str] = []
    for name in names:
        method = ROWS[name]
        if half not in method.cells:
            continue
        if time.monotonic() > until and not kept(b, name, half).exists():
            left.append(name)
        else:
            found[name] = play(b, method, half, progress)
    return found, left


def kept(b: Bench, name: str, half: str) -> Path:
    """The file of a cell."""
    return b.out / "cells" / f"{plain(name)}-{half}.json"


# --- Statistics ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Rate:
    """Success of a row over all benches of a question, in %."""

    mean: float
    interval: tuple[float, float]
    per_task: Float[np.ndarray, " k"]
    num_fits: int


def rate(cells: Sequence[Played]) -> Rate:
    """Of one bench the score's own interval; of several Student's t over their means: a fold has
    everything of its own, its tasks too."""
    scores = [cell.strict.successes for cell in cells]
    per_task = 100.0 * np.concatenate([score.task_means for score in scores])
    if len(scores) == 1:
        low, high = scores[0].interval
        return Rate(100.0 * scores[0].mean, (100.0 * low, 100.0 * high), per_task, _fits(cells[0]))
    means = np.array([100.0 * score.mean for score in scores])
    low, high = stats.student(means)
    clipped = max(0.0, low), min(100.0, high)
    return Rate(float(means.mean()), clipped, per_task, _fits(cells[0]))


def _fits(cell: Played) -> int:
    return cell.strict.returns.shape[0]


def lead(ours: Sequence[Played], theirs: Sequence[Played]) -> tuple[float, tuple[float, float]]:
    """By how many points a row is ahead of another, task by task: Student's t over tasks of one
    bench, over folds where there are several."""
    gaps = [
        100.0 * (one.strict.successes.task_means - two.strict.successes.task_means)
        for one, two in zip(ours, theirs, strict=True)
    ]
    values = gaps[0] if len(gaps) == 1 else np.array([gap.mean() for gap in gaps])
    return float(values.mean()), stats.student(values)


def joined(found: Mapping[str, Cells], benches: Sequence[str]) -> dict[str, list[Played]]:
    """row → its cells in all benches, for rows that every bench has."""
    names = [n for n in ROWS if all(n in found.get(bench, {}) for bench in benches)]
    return {name: [found[bench][name] for bench in benches] for name in names}
