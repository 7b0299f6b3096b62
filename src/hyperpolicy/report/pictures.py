"""Pictures of a report: what `evaluate` draws, as narrow as a phone, and those that only reports
have: rows of a table with their intervals, experts' returns, weights in two components."""

import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadContext, BadFile, BadSetting, NoRendering
from hyperpolicy.evaluate import learning, plots
from hyperpolicy.evaluate.compare import Comparison
from hyperpolicy.evaluate.plots import COLORS, INK, figure_at, legend
from hyperpolicy.evaluate.protocol import is_trivial
from hyperpolicy.evaluate.tables import number
from hyperpolicy.evaluate.video import Film, record
from hyperpolicy.generate.codecs import PcaConfig, fit_pca
from hyperpolicy.policies import Policies
from hyperpolicy.report import document
from hyperpolicy.zoo import Zoo

MOST_LINES = 6
"""Rows of a table that are drawn as lines."""
FILM = Film(steps=120, height=192, width=256)


def drawn(draw: Callable[[Path], object], about: str, wide: bool = False) -> str:
    """What `draw` writes into an SVG file it is given, as HTML; '' where there is nothing to draw
    (BadFile, BadSetting)."""
    with tempfile.TemporaryDirectory() as folder, plots.narrow():
        path = Path(folder) / "picture.svg"
        try:
            draw(path)
        except (BadFile, BadSetting):
            return ""
        return document.picture(path, about, wide)


# --- Runs ---------------------------------------------------------------------------------
def curves(metrics: Mapping[str, Path]) -> str:
    """Returns along the updates of runs, by name."""
    return drawn(
        lambda path: learning.plot_learning(metrics, path),
        "Deterministic return along training: the median over experts, a band from the worst to "
        "the best.",
    )


def measured(metrics: Path) -> str:
    """Losses, and what else the updates of a run measured."""
    about = "What updates measured: the median, and a band from the lowest to the highest."
    return drawn(lambda path: learning.plot_measured(metrics, path), about)


def experts(zoo: Zoo) -> str:
    """Return of every expert against its context, where contexts differ in one number."""

    def draw(path: Path) -> None:
        returns, family = zoo.returns[zoo.final_rows], zoo.family
        moved = np.flatnonzero((zoo.contexts != zoo.contexts[:1]).any(axis=0))
        if len(moved) > 1 or not np.isfinite(returns).any():
            raise BadSetting("several coordinates, or nothing measured")
        column = int(moved[0]) if len(moved) else 0
        with figure_at(path) as (_, axes):
            axes.plot(zoo.contexts[:, column], returns, "o", color=COLORS[0], ms=5)
            axes.set_xlabel(_axis(family, column))
            axes.set_ylabel(f"return over {family.horizon_steps} steps")
            axes.set_title("Experts")

    return drawn(draw, "Deterministic return of every expert in its own context.")


# --- Tables -------------------------------------------------------------------------------
def rows(comparison: Comparison) -> str:
    """A line a row of a table: its mean and its 95 % interval; hollow where it is trivial, crosses
    for published numbers. The picture is as wide as what trained rows of ours span; what lies
    beyond stands at its edge, with its number. Untrained rows are left out."""
    shown = {name: row for name, row in comparison.shown.items() if row.env_steps != 0}
    shown = shown or comparison.shown
    scale = 100.0 if next(iter(shown.values())).rates else 1.0
    lines: list[tuple[str, float, tuple[float, float] | None]] = [
        (name, scale * row.mean, (scale * row.interval[0], scale * row.interval[1]))
        for name, row in shown.items()
    ]
    lines += [(f"{row.method}, published", row.value, None) for row in comparison.here()]
    means = [mean for _, mean, ends in lines if ends is not None]
    low, high = min(means), max(means)
    room = 0.5 * (high - low) or 1.0
    ends = [end for *_, both in lines if both is not None for end in both if end == end]
    low, high = max(low - room, min(ends, default=low)), min(high + room, max(ends, default=high))
    room = 0.06 * (high - low)

    def draw(path: Path) -> None:
        with figure_at(path) as (figure, axes):
            figure.set_size_inches(4.6, 0.9 + 0.42 * len(lines))
            axes.set_xlim(low - room, high + room)
            axes.set_ylim(len(lines) - 0.4, -0.7)
            for y, (name, mean, ends) in enumerate(lines):
                _row(axes, y, name, mean, ends)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.set_xlabel("success [%]" if scale > 1 else "mean return")

    about = "Means with 95 % intervals; hollow: trivial rows"
    about += "; crosses: published numbers" if comparison.here() else ""
    return drawn(draw, f"{about}; a number at the edge: beyond it.")


def _row(axes, y: int, name: str, mean: float, ends: tuple[float, float] | None) -> None:
    """A row with its name above it; `ends` are of its interval, None for a published one."""
    low, high = axes.get_xlim()
    left = axes.get_yaxis_transform()
    axes.text(0.0, y - 0.22, name, fontsize=9, va="bottom", transform=left)
    if ends is not None:
        axes.plot(np.clip(ends, low, high), [y, y], "-", lw=2.6, color=COLORS[5])
    if not low <= mean <= high:
        side, place = ("left", low) if mean < low else ("right", high)
        axes.text(place, y, number(mean), fontsize=9, ha=side, va="center")
    elif ends is None:
        axes.plot(mean, y, "x", color=INK, ms=6)
    else:
        fill = "white" if is_trivial(name) else COLORS[0]
        axes.plot(mean, y, "o", color=COLORS[0], mfc=fill, ms=6)


def by_context(comparison: Comparison, family: Family) -> str:
    """Return against the context of the test tasks, a line a row: the first rows that are neither
    untrained nor over the number that can be told apart."""
    trained = {name: row for name, row in comparison.rows.items() if row.env_steps != 0}
    some = dict(list((trained or comparison.rows).items())[-MOST_LINES:])
    about = "Return in every test task, against its context."
    return drawn(lambda path: plots.plot_returns(some, family, path), about)


# --- Weights ------------------------------------------------------------------------------
def weights(
    family: Family,
    trained: tuple[Float[np.ndarray, "x c"], Float[np.ndarray, "x p"]],
    written: tuple[Float[np.ndarray, "n c"], Float[np.ndarray, "n p"]] | None = None,
    label: str = "experts",
) -> str:
    """Flat weights in the two leading principal components of the trained ones, colored by the
    first number in which contexts differ; each is a pair of contexts and weights, `label` says
    what the trained ones are."""
    contexts, vectors = trained
    if len(vectors) < 3:
        return ""
    pca = fit_pca(PcaConfig(2), vectors)
    moved = np.flatnonzero((contexts != contexts[:1]).any(axis=0))
    column = int(moved[0]) if len(moved) else 0
    spread = ((vectors - vectors.mean(axis=0)) ** 2).sum()
    shares = [((vectors - pca.mean) @ axis) ** 2 for axis in pca.basis]

    def draw(path: Path) -> None:
        low, high = contexts[:, column].min(), contexts[:, column].max()
        look = {"cmap": "viridis", "vmin": low, "vmax": high}
        with figure_at(path) as (figure, axes):
            places = (vectors - pca.mean) @ pca.basis.T
            dots = axes.scatter(*places.T, c=contexts[:, column], s=34, lw=0, label=label, **look)
            if written is not None:
                at, made = written
                places = (made - pca.mean) @ pca.basis.T
                look |= {"marker": "x", "label": "written, between training contexts"}
                axes.scatter(*places.T, c=at[:, column], s=30, **look)
            axes.set_xlabel(f"first component [{100 * shares[0].sum() / spread:.0f} % of variance]")
            axes.set_ylabel(f"second [{100 * shares[1].sum() / spread:.0f} %]")
            axes.set_title("Weights")
            figure.colorbar(dots, label=_axis(family, column))
            legend(figure, 1)

    return drawn(draw, "Policies' weights in their two leading principal components.")


def between(family: Family, contexts: Float[np.ndarray, "x c"]) -> Float[np.ndarray, "n c"]:
    """Contexts in the middle of training contexts that are neighbors in their order; those that
    the family cannot have, such as a speed of 0, are left out."""
    order = contexts[np.lexsort(contexts.T[::-1])]
    found = []
    for middle in (order[1:] + order[:-1]) / 2:
        with suppress(BadContext):
            found.append(family.context.check(middle[None])[0])
    return np.array(found).reshape(-1, contexts.shape[1])


def _axis(family: Family, column: int) -> str:
    told = family.context.coordinates[column]
    return f"{told.name} [{told.unit}]" if told.unit else told.name


# --- Films --------------------------------------------------------------------------------
def film(policies: Policies, family: Family, contexts: Float[np.ndarray, "n c"]) -> str:
    """A video of policies side by side, or why there is none."""
    names = [family.task_name(context) for context in contexts]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "film.mp4"
        try:
            record(policies, family, contexts, path, names, FILM)
        except (NoRendering, BadContext) as error:
            return document.paragraph(f"No video: {error}.", note=True)
        return document.film(path, f"The first {FILM.steps} steps: {', '.join(names)}.")
