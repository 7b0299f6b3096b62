"""Pictures of scores, velocities and audits, and how series look in every picture: colors that
color-blind readers tell apart, and for each a marker and a line of its own, so that no picture
needs color at all. matplotlib is imported when one is drawn.

The colors are Okabe & Ito's (2008, "Color Universal Design") without their yellow, which is too
light for lines; their black is for what is no series of ours: published numbers, levels, ticks. A
test simulates three kinds of color blindness and measures every pair.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile, BadSetting
from hyperpolicy.evaluate.memorization import Audit
from hyperpolicy.evaluate.score import Score
from hyperpolicy.rollout import Trace

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
STYLE: dict = {
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.handlelength": 3.4,
    "figure.dpi": 140,
    "figure.constrained_layout.use": True,
}


_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


def plot_returns(
    scores: dict[str, Score],
    family: Family,
    path: str | Path,
    train: Float[np.ndarray, "n c"] | None = None,
    title: str = "",
) -> Path:
    """Write return against context, a line for each score and a band over its training seeds.

    The ticks on the lower edge are the training contexts. Raises BadSetting: contexts that differ
    in several coordinates; AlreadyExists: `path` exists.
    """
    column = _varying(family, next(iter(scores.values())).contexts)
    with figure_at(path) as (figure, axes):
        for i, (name, score) in enumerate(scores.items()):
            order = np.argsort(score.contexts[:, column])
            x = score.contexts[order, column]
            runs = score.returns.mean(axis=(1, 3))[:, order]
            look = stroke(i, len(x))
            label = name if len(runs) == 1 else f"{name} ({len(runs)} seeds: mean, range)"
            axes.plot(x, runs.mean(axis=0), label=label, **look)
            if len(runs) > 1:
                low, high = runs.min(axis=0), runs.max(axis=0)
                axes.fill_between(x, low, high, color=look["color"], alpha=0.18, lw=0)
        if train is not None:
            tick = {"ms": 11, "mew": 1.1, "color": INK, "ls": "", "marker": "|"}
            tick |= {"transform": axes.get_xaxis_transform(), "label": "training contexts"}
            axes.plot(train[:, column], np.zeros(len(train)), **tick)
        axes.set_title(title or f"{family.name}: return by task")
        told = family.context.coordinates[column]
        target = "target " if told.role == "reward" else ""
        axes.set_xlabel(f"{target}{told.name} [{told.unit}]")
        axes.set_ylabel(f"return over {family.horizon_steps} steps")
        legend(figure, 2)
    return Path(path)


def plot_surface(
    scores: dict[str, Score],
    family: Family,
    path: str | Path,
    train: Float[np.ndarray, "n c"],
    title: str = "",
) -> Path:
    """Write return over the first two coordinates in which contexts differ: a panel for each score,
    test contexts as squares, training contexts as crosses. Raises BadSetting: contexts that differ
    in fewer; AlreadyExists: `path` exists."""
    contexts = next(iter(scores.values())).contexts
    columns = np.flatnonzero((contexts != contexts[:1]).any(axis=0))[:2]
    if len(columns) < 2:
        raise BadSetting(f"{family.name}: these contexts differ in one coordinate; draw a line")
    told = [family.context.coordinates[i] for i in columns]
    n = len(scores)
    with figure_at(path, columns=n) as (figure, panels):
        panels = [panels] if n == 1 else panels
        for axes, (name, score) in zip(panels, scores.items(), strict=True):
            x, y = (score.contexts[:, i] for i in columns)
            means = score.task_means
            look = {"cmap": "viridis", "vmin": 0, "vmax": 1000, "marker": "s", "s": 46}
            found = axes.scatter(x, y, c=means, **look)
            axes.plot(*(train[:, i] for i in columns), "x", color=INK, ms=5)
            axes.set_title(name, fontsize=9)
            axes.set_xlabel(f"{told[0].name} [{told[0].unit}]")
        panels[0].set_ylabel(f"{told[1].name} [{told[1].unit}]")
        figure.colorbar(found, ax=panels, label=f"return over {family.horizon_steps} steps")
        figure.suptitle(title or f"{family.name}: return by task, × training contexts")
    return Path(path)


def plot_each(scores: dict[str, Score], family: Family, path: str | Path, title: str = "") -> Path:
    """Write the return in every test context, for contexts that differ in many coordinates: points
    for each score, contexts in the order of the first score's returns. Raises AlreadyExists: `path`
    exists."""
    order = np.argsort(next(iter(scores.values())).task_means)
    with figure_at(path) as (figure, axes):
        for i, (name, score) in enumerate(scores.items()):
            axes.plot(score.task_means[order], ls="", ms=6, label=name, **dots(i))
        axes.set_title(title or f"{family.name}: return by task")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(f"test contexts, by the return of: {next(iter(scores))}")
        axes.set_ylabel(f"return over {family.horizon_steps} steps")
        legend(figure, 2)
    return Path(path)


class Shown(NamedTuple):
    """What a picture of rows shows of one."""

    mean: float
    interval: tuple[float, float] | None = None
    """NaN at both ends, or None, where it is not known."""
    tasks: Float[np.ndarray, " k"] | None = None
    """The mean of each task."""


def plot_rows(
    rows: Mapping[str, Shown],
    path: str | Path,
    what: str,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> Path:
    """Write a line for each row, the first one on top: a dot at its mean, a bar for its interval, a
    tick for each task. Rows that name no tasks are others' printed numbers: a hollow diamond. An
    existing picture is written over."""
    names = list(rows)[::-1]
    with figure_at(path, True, 1) as (figure, axes):
        figure.set_size_inches(9.0, 1.4 + 0.3 * len(names))
        for y, name in enumerate(names):
            mean, interval, tasks = rows[name]
            if tasks is None:
                axes.plot(mean, y, "D", mfc="none", color=INK)
                continue
            axes.plot(tasks, np.full(len(tasks), y), "|", color=INK, alpha=0.35)
            if interval is not None:
                axes.plot(interval, [y, y], "-", lw=2.5, color=COLORS[0], alpha=0.6)
            axes.plot(mean, y, "o", color=COLORS[0])
        axes.set_yticks(range(len(names)), names)
        if limits is not None:
            axes.set_xlim(*limits)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel(f"{what}; marks are tasks")
        axes.set_title(title)
    return Path(path)


def plot_velocities(
    trace: Trace,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    path: str | Path,
    title: str = "",
) -> Path:
    """Write velocity against time: a line for each policy, the mean over its episodes, a band for
    their range, and its target speed dashed, with the number at its end. Raises BadSetting: the
    family's outcome is not one speed; AlreadyExists: `path` exists."""
    _check_one_number(family)
    if family.outcome_size != 1:
        raise BadSetting(f"{family.name} has no single speed to draw against its target")
    import matplotlib

    colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.8, len(contexts)))
    speed = np.where(trace.alive, trace.outcome[..., 0], np.nan)
    time_s = (np.arange(speed.shape[-1]) + 1) * family.dt_s
    with figure_at(path) as (_, axes):
        for i, (target, color, runs) in enumerate(zip(contexts[:, 0], colors, speed, strict=True)):
            axes.axhline(target, color=color, ls=(0, (5, 3)), lw=1.1)
            look = stroke(i, len(time_s)) | {"color": color, "linestyle": "-"}
            axes.plot(time_s, runs.mean(axis=0), **look)
            low, high = runs.min(axis=0), runs.max(axis=0)
            axes.fill_between(time_s, low, high, color=color, alpha=0.16, lw=0)
            beside = axes.get_yaxis_transform()
            axes.text(1.01, target, f"{target:.4g}", color=color, va="center", transform=beside)
        axes.set_xlim(0.0, time_s[-1])
        axes.set_title(title or f"{family.name}: speed of each policy, its target dashed")
        axes.set_xlabel("time [s]")
        axes.set_ylabel(f"forward {family.context.names[0]} [{family.context.units[0]}]")
    return Path(path)


def plot_memorization(audit: Audit, path: str | Path) -> Path:
    """Write distance in actions against distance in weights, each to the nearest training row and
    relative to the median distance between two training experts; a marker for each group.

    A copy lies at the origin; a policy that acts like a training row with other weights lies low.
    Raises AlreadyExists: `path` exists.
    """
    with figure_at(path) as (figure, axes):
        for i, (name, found) in enumerate(audit.groups.items()):
            unit = np.array(audit.between_experts)[:, None]
            x, y = np.array([found.weights, found.actions]) / unit
            look = {"s": 44, "zorder": 4} if i == 0 else {"s": 24, "alpha": 0.65, "zorder": 3}
            axes.scatter(x, y, lw=0, label=name, clip_on=False, **look, **dots(i))
        axes.set_xlim(left=0.0)
        axes.set_ylim(bottom=0.0)
        axes.set_title("Distance to the nearest training row")
        axes.set_xlabel("in weights [distances between two training experts]")
        axes.set_ylabel("in actions [same unit]")
        legend(figure, 2)
    return Path(path)


# --- Parts --------------------------------------------------------------------------------
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


@contextmanager
def figure_at(
    path: str | Path, overwrite: bool = False, columns: int = 1, rows: int = 1
) -> Iterator:
    """A figure and its axes (a list where there are several columns, row by row), written to `path`
    in the format of its suffix when the block ends. Raises BadFile: another suffix than .png, .svg
    or .pdf; AlreadyExists: `path` exists and `overwrite` is false."""
    import matplotlib
    from matplotlib.figure import Figure

    kind = Path(path).suffix[1:]
    if kind not in ("png", "svg", "pdf"):
        raise BadFile(f"cannot draw into {path}; give a name that ends in .png, .svg or .pdf")
    panels = columns * rows
    with matplotlib.rc_context(STYLE):
        size = (7.6 if columns == 1 else 4.4 * columns, 4.6)
        if rows > 1:
            size = 3.2 * columns, 2.2 * rows + 0.6
        if _narrow.get() and rows > 1:
            size = 4.6, 1.8 * rows + 0.6
        elif _narrow.get():
            columns, rows = 1, panels
            size = 4.6, 3.8 * rows
        figure = Figure(figsize=size)
        found = figure.subplots(rows, columns)
        yield figure, found if panels == 1 else list(np.ravel(found))
        files.write(path, lambda p: figure.savefig(p, format=kind), overwrite)


def across() -> int:
    """How many small panels stand side by side."""
    return 2 if _narrow.get() else 3


def legend(figure, columns: int, **more) -> None:
    """The legend below all panels; in one column where the figure is narrow."""
    columns = 1 if _narrow.get() else columns
    figure.legend(loc="outside lower center", ncols=columns, **more)


@contextmanager
def narrow() -> Iterator[None]:
    """A block whose figures are as wide as a phone, panels below each other, as SVG with text."""
    import matplotlib

    token = _narrow.set(True)
    try:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hyperpolicy"}):
            yield
    finally:
        _narrow.reset(token)


def _varying(family: Family, contexts: Float[np.ndarray, "k c"]) -> int:
    """The coordinate in which contexts differ; the first where none does."""
    columns = np.flatnonzero((contexts != contexts[:1]).any(axis=0))
    if len(columns) > 1:
        names = ", ".join(family.context.names[i] for i in columns)
        raise BadSetting(
            f"these contexts of {family.name} differ in {names}; a line takes one number"
        )
    return int(columns[0]) if len(columns) else 0


def _check_one_number(family: Family) -> None:
    if family.context.size != 1:
        raise BadSetting(
            f"contexts of {family.name} have {family.context.size} numbers; this plot takes one"
        )
