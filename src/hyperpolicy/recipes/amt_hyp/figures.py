"""AMT-Hyp's figures: the tables, success by the number of HypFormer's tokens, where latents lie.

success  strict and released evaluation, method by method, and each task's mean
tokens   L = 8 … 512, fitted anew for each L, and fitted with the preset's and given L
latents  two principal components of a task's own latents; what HypLatent and HypFormer write
         for its training demonstrations, and how far from the latents these show
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Float

from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.evaluate.plots import COLORS, INK, dots, figure_at, stroke
from hyperpolicy.evaluate.protocol import DEMONSTRATION
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.tables import markdown, number
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.writers.hypformer import HypFormer
from hyperpolicy.recipes.amt_hyp import tables
from hyperpolicy.recipes.amt_hyp.bench import HALVES, STRICT_SEED, Bench, Played, strictly
from hyperpolicy.recipes.amt_hyp.tables import Cells
from hyperpolicy.recipes.stage import record_once, timed

TOKENS = (8, 16, 32, 64, 128, 256, 512)
PUBLISHED = {
    "seen": (70.5, 64.4, 54.2, 49.1, 46.0, 45.0, 44.0),
    "unseen": (16.1, 19.3, 19.8, 19.4, 19.0, 18.9, 18.3),
}
"""AMT-Hyp, Figure 5; read off its bars, ± 0.4."""
POLICIES = 10
"""Of each task and number of tokens."""
SHOWN = ("button-press", "dial-turn", "door-open")
"""Figure 4's tasks."""


# --- The tables ---------------------------------------------------------------------------
def draw_success(found: Mapping[str, Cells], path: Path) -> Path:
    """A line a method, both halves side by side; published averages are crosses."""
    names = list(dict.fromkeys(name for half in HALVES for name in found[half]))[::-1]
    with figure_at(path, True, 2) as (figure, panels):
        figure.set_size_inches(12.0, 1.6 + 0.36 * len(names))
        for half, axes in zip(HALVES, panels, strict=True):
            printed = tables.printed(half)
            for y, name in enumerate(names):
                if name in printed:
                    axes.plot(printed[name][half], y, "x", color=INK, label="published")
                if name in found[half]:
                    _draw_cell(axes, y, found[half][name])
            axes.set_yticks(range(len(names)), names if half == HALVES[0] else [""] * len(names))
            axes.set_xlim(-2, 102)
            axes.set_ylim(-0.6, len(names) - 0.4)
            axes.set_title(f"{half} tasks")
            axes.set_xlabel("success [%]")
        labels = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
        figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=4)
    return path


def _draw_cell(axes, y: int, one: Played) -> None:
    rate = one.strict.successes
    tasks = 100 * rate.task_means
    axes.plot(tasks, np.full(len(tasks), y), "|", color=INK, alpha=0.4, label="each task")
    low, high = rate.interval
    axes.plot([100 * low, 100 * high], [y, y], "-", lw=2.5, color=COLORS[0], alpha=0.6)
    axes.plot(100 * rate.mean, y, "o", color=COLORS[0], label="strict, 95 % interval")
    if one.legacy:
        mean = np.mean([task["average"] for task in one.legacy.values()])
        axes.plot(100 * mean, y, "D", ms=4.5, mfc="none", color=COLORS[1], label="legacy")


# --- Tokens -------------------------------------------------------------------------------
Curves = dict[str, dict[str, list[float]]]
"""`fitted`, a HypFormer of its own for each L (`Preset.counted`), and `given`, the preset's
HypFormers, given L tokens; of each, seen and unseen: success in %, by number of tokens."""


def tokens(b: Bench, counts=TOKENS, progress: Callable[[str], None] = print) -> Curves:
    """Success under `strict` for each number of tokens: the first seed, `POLICIES` a task."""
    b = replace(b, preset=replace(b.preset, policies=min(b.preset.policies, POLICIES)))
    fits: dict[str, Callable[[int], list[Generator]]] = {
        "given": partial(given, b),
        "fitted": lambda count: b.hypformers(fits=1, tokens=count),
    }
    found: Curves = {name: {half: [] for half in HALVES} for name in ("fitted", "given")}
    for name, fit in fits.items():
        for count in counts:
            for half in HALVES:
                path = b.out / "tokens" / f"{name}-{count}-{half}.json"
                score = _played(b, path, partial(fit, count), half, progress)
                found[name][half].append(100 * score.successes.mean)
    return found


def _played(b: Bench, path: Path, fit: Callable[[], list[Generator]], half: str, progress) -> Score:
    """A point of the curve, kept in `path`."""
    makers: list[Generator] = []
    if not path.exists():
        progress(f"tokens: {path.stem}")
        makers = fit()
    how = half, STRICT_SEED, b.preset.configurations, DEMONSTRATION
    clock = timed(b.minutes, "cells of the curve over tokens")
    record = record_once(path, lambda: strictly(b, makers, *how).to_json(), clock)
    return Score.from_json(record)


def given(b: Bench, count: int) -> list[Generator]:
    """The first of the preset's HypFormers, which looks at `count` samples now."""
    generator = b.hypformers()[0]
    model = generator.model
    writer = replace(cast(HypFormer, model.writer), tokens=count)
    return [replace(generator, model=replace(model, writer=writer))]


def draw_tokens(found: Curves, path: Path, counts=TOKENS) -> Path:
    """The curve, with the published bars as crosses."""
    with figure_at(path, True, 2) as (figure, panels):
        for half, axes in zip(HALVES, panels, strict=True):
            axes.plot(counts, found["fitted"][half], label="fitted with L", **stroke(0))
            axes.plot(counts, found["given"][half], label="fitted with 8, given L", **stroke(1))
            axes.plot(TOKENS, PUBLISHED[half], "x", color=INK, label="published")
            axes.set_xscale("log", base=2)
            axes.set_xticks(TOKENS, [str(count) for count in TOKENS])
            axes.set_title(f"{half} tasks")
            axes.set_xlabel("tokens L")
            axes.set_ylabel("success [%]")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return path


# --- Latents ------------------------------------------------------------------------------
Panel = dict[str, Float[np.ndarray, "d z"]]
"""`shown`: latents of the rows that a task's training demonstrations show; by the name of a method,
what it writes for these demonstrations."""


def latents(b: Bench) -> dict[str, Panel]:
    """task → latents, with the encoder of the first HypLatent."""
    methods = {"HypLatent": b.hyplatents()[0], "HypFormer": b.hypformers()[0]}
    encode = jax.jit(jax.vmap(methods["HypLatent"].model.codec.encode))
    panels = {}
    for name in SHOWN:
        context = MetaWorld().contexts([name])[0]
        own = np.flatnonzero((b.data.train.contexts == context[None]).all(axis=1))
        if not len(own):
            continue
        demos, rows = b.data.train[own], b.data.rows[own]
        weights = {"shown": b.data.zoo.weights[rows]}
        weights |= {method: g.generate(demos).weights for method, g in methods.items()}
        panels[name] = {label: np.asarray(encode(w)) for label, w in weights.items()}
    return panels


def gap(
    written: Float[np.ndarray, "d z"], shown: Float[np.ndarray, "d z"]
) -> tuple[float, float, float]:
    """How far written latents lie from those their demonstrations show: the mean cosine of pairs,
    from the task's mean latent, their mean squared difference, and `frechet`."""
    a, b = written - shown.mean(axis=0), shown - shown.mean(axis=0)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = float(((a * b).sum(axis=1) / np.maximum(norms, 1e-12)).mean())
    return cosine, float(((a - b) ** 2).mean()), frechet(written, shown)


def frechet(a: Float[np.ndarray, "d z"], b: Float[np.ndarray, "e z"]) -> float:
    """The squared Fréchet distance ‖μ_a − μ_b‖² + tr(C_a + C_b − 2 (C_a C_b)^½) of two Gaussians,
    fitted to the latents."""
    c_a, c_b = (np.cov(x, rowvar=False, bias=True) for x in (a, b))
    root = scipy.linalg.sqrtm(c_a @ c_b)
    mean = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return float(mean + np.trace(c_a + c_b - 2.0 * np.real(root)))


def draw_latents(panels: dict[str, Panel], path: Path) -> Path:
    """The tasks side by side, each in the plane of its shown latents."""
    with figure_at(path, True, len(panels)) as (figure, axes):
        for (task, panel), here in zip(panels.items(), axes, strict=True):
            mean = panel["shown"].mean(axis=0)
            plane = np.linalg.svd(panel["shown"] - mean, full_matrices=False)[2][:2].T
            for i, (label, rows) in enumerate(panel.items()):
                x, y = ((rows - mean) @ plane).T
                here.plot(x, y, ls="", ms=4, alpha=0.6, label=label, **dots(i))
            here.set_title(task)
            here.locator_params(nbins=5)
            here.set_xlabel("first principal component")
        axes[0].set_ylabel("second principal component")
        labels = axes[0].get_legend_handles_labels()
        figure.legend(*labels, loc="outside lower center", ncols=3)
    return path


def table(panels: dict[str, Panel]) -> str:
    """The numbers behind the picture."""
    rows = []
    for task, panel in panels.items():
        for method in list(panel)[1:]:
            cosine, mse, distance = gap(panel[method], panel["shown"])
            numbers = cosine, 1e4 * mse, 1e3 * distance
            rows.append([task, method, *(number(x, 2) for x in numbers)])
    far = "paired squared error, 1e-4", "Fréchet distance, 1e-3"
    return markdown(["task", "method", "paired cosine", *far], rows)
