"""Learning curves, of training and of fine-tuning: read, measured and drawn."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperpolicy.errors import BadFile
from hyperpolicy.evaluate.plots import INK, across, figure_at, legend, stroke

SHARED = 3.0
"""Curves share a panel where the longest is at most so many times as long as the shortest."""


class Curves(NamedTuple):
    """Deterministic returns along several runs of one kind."""

    steps: Float[np.ndarray, " k"]
    """Environment steps, or updates, at each evaluation; the first is 0, before any."""
    returns: Float[np.ndarray, "s k"]


def read(path: str | Path, rows=slice(None), along: str = "env_steps") -> Curves:
    """The curves of a fleet's `metrics.jsonl`, `along` environment steps or "updates"; `rows` picks
    learners. A last half line is dropped. Raises BadFile: no such file, or no evaluations in it."""
    found = [(r[along], r["return"]) for r in records(path) if along in r and "return" in r]
    if not found:
        raise BadFile(f"{path} holds no evaluations (lines with '{along}' and 'return')")
    steps, returns = zip(*found, strict=True)
    try:
        return Curves(np.array(steps, float), np.array(returns, float).T[rows])
    except (ValueError, TypeError, IndexError):
        raise BadFile(f"{path} holds evaluations that are no numbers") from None


def steps_to(curves: Curves, threshold: float | int) -> Float[np.ndarray, " s"]:
    """Environment steps until each run's first evaluation at or above `threshold`; inf if never."""
    reached = curves.returns >= threshold
    first = curves.steps[reached.argmax(axis=1)]
    return np.where(reached.any(axis=1), first, np.inf)


def dip(curves: Curves, within_steps: float | int) -> Float[np.ndarray, " s"]:
    """How far each run falls below its start in its first steps; 0 for one that never does."""
    early = curves.returns[:, curves.steps <= within_steps]
    return curves.returns[:, 0] - early.min(axis=1)


def plot_tasks(
    panels: Mapping[str, Mapping[str, Curves]],
    path: str | Path,
    title: str = "",
    levels: Mapping[str, Mapping[str, float]] | None = None,
    until: float | int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a panel a task: mean return against environment steps, a band of one standard
    deviation over seeds, and dashed `levels`, for instance the task's own expert.

    `until` cuts the picture after so many steps. Raises AlreadyExists: `path` exists and
    `overwrite` is false.
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
        legend(figure, 3, handles=list(handles.values()))
    return Path(path)


def plot_learning(
    metrics: Mapping[str, str | Path | Curves],
    path: str | Path,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Write learning curves along updates, from fleets' metrics.jsonl files or from what `read`
    gives: the median return over experts, and a band from the worst expert to the best.

    Much longer curves get a panel, and axes, of their own. Raises BadFile: a file is missing, or
    holds no evaluations; AlreadyExists: `path` exists and `overwrite` is false.
    """
    curves = {
        name: one if isinstance(one, Curves) else read(one, along="updates")
        for name, one in metrics.items()
    }
    panels = _by_length(curves)
    with figure_at(path, overwrite, len(panels)) as (figure, found):
        every = np.atleast_1d(found)
        for axes, names in zip(every, panels, strict=True):
            for name in names:
                _draw(axes, list(curves).index(name), name, curves[name])
            axes.set_xlabel("gradient updates [thousands]")
        every[0].set_ylabel("deterministic return")
        figure.suptitle(title or "Learning curves", x=0.01, ha="left", weight="bold")
        handles = [h for axes in every for h in axes.get_legend_handles_labels()[0]]
        legend(figure, 1 if len(handles) < 4 else 2, handles=handles)
    return Path(path)


def plot_measured(metrics: str | Path, path: str | Path, overwrite: bool = False) -> Path:
    """Write what a run's updates measured, losses first: a panel a name against the updates (the
    steps of a fit), the median over experts (seeds), and a band from the lowest to the highest.
    Raises BadFile: the file is missing, or holds no such records; AlreadyExists: `path` exists and
    `overwrite` is false."""
    lines = records(metrics) or [{}]
    along = next(iter(lines[0]), "updates")
    known = {along, "seconds", "env_steps"}
    if along == "updates":  # the first line is an evaluation before any
        known |= set(lines.pop(0))
    names = {name for line in lines for name in line} - known
    if not names:
        raise BadFile(f"{metrics} holds nothing that updates measured")
    ordered = sorted(names, key=lambda name: (not name.startswith("loss/"), name))
    try:
        x = np.array([line[along] for line in lines], float)
    except (ValueError, TypeError, KeyError):
        raise BadFile(f"{metrics} holds lines without numbers") from None
    columns = across()
    with figure_at(path, overwrite, columns, rows=-(-len(ordered) // columns)) as (figure, found):
        for axes in found[len(ordered) :]:
            axes.set_visible(False)
        for axes, name in zip(found, ordered, strict=False):
            values = np.atleast_2d(np.array([line.get(name, np.nan) for line in lines]).T)
            _draw(axes, 0, name, Curves(x, values.astype(float)))
            axes.set_title(name, fontsize=10)
        figure.supxlabel("gradient updates [thousands]", fontsize=10)
        n, what = len(values), "experts" if along == "updates" else "seeds"
        label = f"Median of {n} {what}, range" if n > 1 else "What updates measured"
        figure.suptitle(label, x=0.01, ha="left", weight="bold")
    return Path(path)


# --- Parts --------------------------------------------------------------------------------
def _by_length(curves: Mapping[str, Curves]) -> list[list[str]]:
    """Names whose curves end at similar updates, the short ones first."""
    last = {name: one.steps[-1] for name, one in curves.items()}
    panels: list[list[str]] = []
    for name in sorted(last, key=lambda name: last[name]):
        if not panels or last[name] > SHARED * last[panels[-1][0]]:
            panels.append([])
        panels[-1].append(name)
    return [[name for name in curves if name in panel] for panel in panels]


def _draw(axes, i: int, name: str, curves: Curves) -> None:
    """Series i: its median, and a band from the lowest to the highest."""
    n, x, returns = len(curves.returns), curves.steps / 1000, curves.returns
    look = stroke(i, len(x))
    label = f"{name}: median of {n} experts, range" if n > 1 else name
    axes.plot(x, np.nanmedian(returns, axis=0), label=label, **look)
    if n > 1:
        low, high = np.nanmin(returns, axis=0), np.nanmax(returns, axis=0)
        axes.fill_between(x, low, high, color=look["color"], alpha=0.16, lw=0)


def records(path: str | Path) -> list[dict]:
    """The records of a metrics.jsonl; a last half line is dropped."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise BadFile(f"cannot read metrics: {error}") from None
    found = []
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            found += [record] if isinstance(record, dict) else []
    return found
