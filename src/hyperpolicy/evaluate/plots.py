"""Pictures of scores, velocities and learning. matplotlib is imported when one is drawn."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile, BadSetting
from hyperpolicy.evaluate.memorization import Audit
from hyperpolicy.evaluate.palette import INK, dots, stroke
from hyperpolicy.evaluate.score import Score
from hyperpolicy.rollout import Trace

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


def plot_returns(
    scores: dict[str, Score],
    family: Family,
    path: str | Path,
    train: Float[np.ndarray, "n c"] | None = None,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Write return against context, a line for each score and a band over its training seeds.

    The ticks on the lower edge are the training contexts. Contexts have one number.

    Raises:
        BadSetting: contexts of several numbers.
        AlreadyExists: `path` exists and `overwrite` is false.
    """
    _check_one_number(family)
    with figure_at(path, overwrite) as (figure, axes):
        for i, (name, score) in enumerate(scores.items()):
            order = np.argsort(score.contexts[:, 0])
            x = score.contexts[order, 0]
            runs = score.returns.mean(axis=(1, 3))[:, order]
            look = stroke(i, len(x))
            label = name if len(runs) == 1 else f"{name} ({len(runs)} seeds: mean, range)"
            axes.plot(x, runs.mean(axis=0), label=label, **look)
            if len(runs) > 1:
                low, high = runs.min(axis=0), runs.max(axis=0)
                axes.fill_between(x, low, high, color=look["color"], alpha=0.18, lw=0)
        if train is not None:
            ticks = axes.get_xaxis_transform()
            tick = {"ms": 11, "mew": 1.1, "color": INK, "ls": "", "marker": "|"}
            zero = np.zeros(len(train))
            axes.plot(train[:, 0], zero, transform=ticks, label="training contexts", **tick)
        axes.set_title(title or f"{family.name}: return by task")
        axes.set_xlabel(f"target {family.context.names[0]} [{family.context.units[0]}]")
        axes.set_ylabel(f"return over {family.horizon_steps} steps")
        figure.legend(loc="outside lower center", ncols=2)
    return Path(path)


def plot_velocities(
    trace: Trace,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    path: str | Path,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Write velocity against time: a line for each policy, the mean over its episodes, a band for
    their range, and its target speed dashed, with the number at its end.

    Raises:
        BadSetting: the family's outcome is not one speed.
        AlreadyExists: `path` exists and `overwrite` is false.
    """
    _check_one_number(family)
    if family.outcome_size != 1:
        raise BadSetting(f"{family.name} has no single speed to draw against its target")
    import matplotlib

    colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.8, len(contexts)))
    speed = np.where(trace.alive, trace.outcome[..., 0], np.nan)
    time_s = (np.arange(speed.shape[-1]) + 1) * family.dt_s
    unit = family.context.units[0]
    with figure_at(path, overwrite) as (_, axes):
        for i, (target, color, runs) in enumerate(zip(contexts[:, 0], colors, speed, strict=True)):
            axes.axhline(target, color=color, ls=(0, (5, 3)), lw=1.1)
            look = stroke(i, len(time_s)) | {"color": color, "linestyle": "-"}
            axes.plot(time_s, runs.mean(axis=0), **look)
            axes.fill_between(
                time_s, runs.min(axis=0), runs.max(axis=0), color=color, alpha=0.16, lw=0
            )
            beside = axes.get_yaxis_transform()
            axes.text(1.01, target, f"{target:.4g}", color=color, va="center", transform=beside)
        axes.set_xlim(0.0, time_s[-1])
        axes.set_title(title or f"{family.name}: speed of each policy, its target dashed")
        axes.set_xlabel("time [s]")
        axes.set_ylabel(f"forward {family.context.names[0]} [{unit}]")
    return Path(path)


Curve = tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t n"]]
"""Updates, and the returns of n experts at them."""
SHARED = 3.0
"""Curves share a panel where the longest is at most so many times as long as the shortest."""


def plot_learning(
    metrics: Mapping[str, str | Path | Curve],
    path: str | Path,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Write learning curves from fleets' metrics.jsonl files, or from curves read from them: the
    median return over experts, and a band from the worst expert to the best.

    Much longer curves get a panel, and axes, of their own.

    Raises:
        BadFile: a file is missing, or holds no evaluations.
        AlreadyExists: `path` exists and `overwrite` is false.
    """
    curves = {k: x if isinstance(x, tuple) else read_curve(x) for k, x in metrics.items()}
    panels = _by_length(curves)
    with figure_at(path, overwrite, len(panels)) as (figure, found):
        every = np.atleast_1d(found)
        for axes, names in zip(every, panels, strict=True):
            for name in names:
                _draw_curve(axes, list(curves).index(name), name, *curves[name])
            axes.set_xlabel("gradient updates [thousands]")
        every[0].set_ylabel("deterministic return")
        figure.suptitle(title or "Learning curves", x=0.01, ha="left", weight="bold")
        handles = [h for axes in every for h in axes.get_legend_handles_labels()[0]]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=1 if len(handles) < 4 else 2
        )
    return Path(path)


def plot_measured(metrics: str | Path, path: str | Path, overwrite: bool = False) -> Path:
    """Write what a run's updates measured, losses first: a panel a name against the updates, the
    median over experts, and a band from the lowest to the highest.

    Raises:
        BadFile: the file is missing, or holds no such records.
        AlreadyExists: `path` exists and `overwrite` is false.
    """
    first, *rest = _records(metrics) or [{}]
    names = sorted({k for record in rest for k in record} - set(first), key=_losses_first)
    if not names:
        raise BadFile(f"{metrics} holds nothing that updates measured")
    x = np.array([record["updates"] for record in rest], float) / 1000
    rows = -(-len(names) // 3)
    with figure_at(path, overwrite, 3, rows) as (figure, found):
        for i, axes in enumerate(np.ravel(found)):
            axes.set_visible(i < len(names))
            if i < len(names):
                values = np.array([record.get(names[i], np.nan) for record in rest], float)
                _draw_curve(axes, 0, names[i], 1000 * x, values)
                axes.set_title(names[i], fontsize=10)
        figure.supxlabel("gradient updates [thousands]", fontsize=10)
        label = f"What updates measured: median of {values.shape[1]} experts, range"
        figure.suptitle(label, x=0.01, ha="left", weight="bold")
    return Path(path)


def _losses_first(name: str) -> tuple[bool, str]:
    return not name.startswith("loss/"), name


def _by_length(curves: Mapping[str, Curve]) -> list[list[str]]:
    """Names whose curves end at similar updates, the short ones first."""
    last = {name: updates[-1] for name, (updates, _) in curves.items()}
    panels: list[list[str]] = []
    for name in sorted(last, key=lambda name: last[name]):
        if not panels or last[name] > SHARED * last[panels[-1][0]]:
            panels.append([])
        panels[-1].append(name)
    return [[name for name in curves if name in panel] for panel in panels]


def _draw_curve(axes, i: int, name: str, updates, returns) -> None:
    look, n = stroke(i, len(updates)), returns.shape[1]
    label = f"{name}: median of {n} experts, range" if n > 1 else name
    axes.plot(updates / 1000, np.nanmedian(returns, axis=1), label=label, **look)
    if n > 1:
        low, high = np.nanmin(returns, axis=1), np.nanmax(returns, axis=1)
        axes.fill_between(updates / 1000, low, high, color=look["color"], alpha=0.16, lw=0)


def plot_memorization(
    audit: Audit, path: str | Path, title: str = "", overwrite: bool = False
) -> Path:
    """Write distance in actions against distance in weights, each to the nearest training row and
    relative to the median distance between two training experts; a marker for each group.

    A copy lies at the origin; a policy that acts like a training row with other weights lies low.

    Raises:
        AlreadyExists: `path` exists and `overwrite` is false.
    """
    with figure_at(path, overwrite) as (figure, axes):
        for i, (name, found) in enumerate(audit.groups.items()):
            x, y = (
                np.array([found.weights, found.actions]) / np.array(audit.between_experts)[:, None]
            )
            look = {"s": 44, "zorder": 4} if i == 0 else {"s": 24, "alpha": 0.65, "zorder": 3}
            axes.scatter(x, y, lw=0, label=name, clip_on=False, **look, **dots(i))
        axes.set_xlim(left=0.0)
        axes.set_ylim(bottom=0.0)
        axes.set_title(title or "Distance to the nearest training row")
        axes.set_xlabel("in weights [distances between two training experts]")
        axes.set_ylabel("in actions [same unit]")
        figure.legend(loc="outside lower center", ncols=2)
    return Path(path)


# --- Parts --------------------------------------------------------------------------------
@contextmanager
def figure_at(path: str | Path, overwrite: bool, columns: int = 1, rows: int = 1) -> Iterator:
    """A figure and its axes (a list where there are several columns, row by row), written to `path`
    in the format of its suffix when the block ends."""
    import matplotlib
    from matplotlib.figure import Figure

    kind = Path(path).suffix[1:]
    if kind not in ("png", "svg", "pdf"):
        raise BadFile(f"cannot draw into {path}; give a name that ends in .png, .svg or .pdf")
    with matplotlib.rc_context(STYLE):
        width, height = (7.6, 4.6) if columns == 1 else (4.4 * columns, 4.6)
        size = (3.2 * columns, 2.2 * rows + 0.6) if rows > 1 else (width, height)
        figure = Figure(figsize=size)
        found = figure.subplots(rows, columns)
        yield figure, found if columns == 1 else list(np.ravel(found))
        files.write(path, lambda p: figure.savefig(p, format=kind), overwrite)


def read_curve(
    path: str | Path, along: str = "updates"
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t n"]]:
    """`along` and returns of every evaluation in a metrics.jsonl; a last half line is dropped.

    Raises:
        BadFile: no such file, or no evaluations in it.
    """
    found = [(r[along], r["return"]) for r in _records(path) if along in r and "return" in r]
    if not found:
        raise BadFile(f"{path} holds no evaluations (lines with '{along}' and 'return')")
    x, returns = zip(*found, strict=True)
    return np.array(x, float), np.array(returns, float)


def _records(path: str | Path) -> list[dict]:
    """The records of a metrics.jsonl; a last half line is dropped."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadFile(f"cannot read metrics: {error}") from None
    found = []
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            found += [record] if isinstance(record, dict) else []
    return found


def _check_one_number(family: Family) -> None:
    if family.context.size != 1:
        raise BadSetting(
            f"contexts of {family.name} have {family.context.size} numbers; this plot takes one"
        )
