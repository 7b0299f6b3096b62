"""What fine-tuning did: curves of returns over environment steps, when they reach a threshold, how
far they fall at first, and their picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperpolicy.evaluate.palette import INK, stroke
from hyperpolicy.evaluate.plots import figure_at, read_curve


class Curves(NamedTuple):
    """Deterministic returns along several runs of one kind."""

    steps: Float[np.ndarray, " k"]
    """Environment steps at each evaluation; the first is 0, before any."""
    returns: Float[np.ndarray, "s k"]


def read(path: str | Path, rows=slice(None)) -> Curves:
    """The curves of a fleet's `metrics.jsonl`; `rows` picks learners.

    Raises:
        BadFile: no such file, or no evaluations in it.
    """
    steps, returns = read_curve(path, "env_steps")
    return Curves(steps, returns.T[rows])


def steps_to(curves: Curves, threshold: float | int) -> Float[np.ndarray, " s"]:
    """Environment steps until each run's first evaluation at or above `threshold`; inf if never."""
    reached = curves.returns >= threshold
    first = curves.steps[reached.argmax(axis=1)]
    return np.where(reached.any(axis=1), first, np.inf)


def dip(curves: Curves, within_steps: float | int) -> Float[np.ndarray, " s"]:
    """How far each run falls below its start in its first steps; 0 for one that never does."""
    early = curves.returns[:, curves.steps <= within_steps]
    return curves.returns[:, 0] - early.min(axis=1)


def plot(
    panels: Mapping[str, Mapping[str, Curves]],
    path: str | Path,
    title: str = "",
    levels: Mapping[str, Mapping[str, float]] | None = None,
    until: float | int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a panel a task: mean return against environment steps, a band of one standard
    deviation over seeds, and dashed `levels`, for instance the task's own expert.

    `until` cuts the picture after so many steps.

    Raises:
        AlreadyExists: `path` exists and `overwrite` is false.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    with figure_at(path, overwrite, columns=len(panels)) as (figure, found):
        all_axes = list(np.atleast_1d(found))
        for axes, (task, kinds) in zip(all_axes, panels.items(), strict=True):
            for name, curves in kinds.items():
                shown = curves.steps <= (until or np.inf)
                x, look = curves.steps[shown] / 1000, stroke(names.index(name), int(shown.sum()))
                mean, std = curves.returns.mean(axis=0)[shown], curves.returns.std(axis=0)[shown]
                axes.plot(x, mean, label=name, **look)
                axes.fill_between(x, mean - std, mean + std, color=look["color"], alpha=0.15, lw=0)
            for name, level in (levels or {}).get(task, {}).items():
                axes.axhline(level, color=INK, ls=(0, (1, 3)), lw=1.3, label=name)
            axes.set_title(task)
            axes.set_xlabel("environment steps [thousands]")
        all_axes[0].set_ylabel("deterministic return")
        if title:
            figure.suptitle(title)
        drawn = [h for axes in all_axes for h in axes.get_legend_handles_labels()[0]]
        handles = {line.get_label(): line for line in drawn}
        figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=3)
    return Path(path)
