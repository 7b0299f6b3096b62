"""Which preset and which kind of generator ship: chosen on training contexts that are held out, so
that no test context has a say.

Every candidate preset trains a base and experts on the training contexts of `full` but some, and
every kind of generator is scored on those. What has the best mean is the choice; the file with all
scores is committed before the test contexts are played.

    OUT/<place>/<candidate>/seed-<s>/validation/zoo
    OUT/<place>/choice.json
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Suppress

from hyperpolicy import files
from hyperpolicy.bounds import Bounded, Count, Names, Place, Weight
from hyperpolicy.envs import Grid, family
from hyperpolicy.envs.context import Division
from hyperpolicy.errors import BadSetting, OutOfTime, UnknownFamily, unknown
from hyperpolicy.evaluate.scoring import Row, score
from hyperpolicy.evaluate.tables import markdown, number
from hyperpolicy.generate import fitting
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.writers import lookup, residual
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.recipes.stage import record_once
from hyperpolicy.recipes.zero_shot import presets, zoos
from hyperpolicy.recipes.zero_shot.methods import Source
from hyperpolicy.recipes.zero_shot.presets import SpecializedPreset
from hyperpolicy.recipes.zero_shot.zoos import Pipeline

VALIDATION = "validation"
EVERY = 7
"""Each seventh training context is held out, from the fourth on."""


def candidates() -> dict[str, dict[str, SpecializedPreset]]:
    """family → name → preset."""
    ant = {"ppo, 600 rounds": presets.ANT_DIR, "ppo, 360 rounds": presets.SHORTER["ant-dir"]}
    return {
        "cheetah-vel": {"sac": presets.CHEETAH_VEL, "ppo": presets.CHEETAH_PPO},
        "ant-dir": ant,
    }


KINDS: dict[str, Callable[[Source], Generator]] = {
    "interpolated neighbors": lambda source: lookup.linear(source.train),
    "regression of weights": lambda source: fitting.fit(RegressionConfig(), source.train),
    "base + interpolated change": lambda source: residual.around(
        source.conditioned(), source.train
    ),
    "base": lambda source: source.conditioned(),
    "HypLatent": lambda source: fitting.fit(HypLatentConfig(steps=5_000), source.train),
}


@dataclass(frozen=True)
class ChoosingConfig(Bounded):
    """What is compared on held-out training contexts."""

    families: Names = ("cheetah-vel", "ant-dir")
    """Task families."""
    out: Place = Path("runs/choosing")
    """Bases, experts and scores; the same command goes on from what is there."""
    pipelines: Count = 1
    """Trainings from nothing of each candidate."""
    minutes: Weight = 10_000.0
    """After which no new candidate is begun."""
    candidates: Suppress[dict[str, dict[str, SpecializedPreset]]] = field(
        default_factory=candidates
    )
    kinds: Suppress[dict[str, Callable[[Source], Generator]]] = field(
        default_factory=lambda: dict(KINDS)
    )
    episodes: Suppress[Count | None] = None

    def __post_init__(self):
        super().__post_init__()
        known = self.candidates
        for name in self.families:
            if name not in known:
                what = "family with candidates called"
                raise unknown(UnknownFamily, what, "Families", name, known)


def validation(grid: Grid) -> Grid:
    """The grid with a split that holds some training contexts of `full` out. Raises BadSetting:
    fewer than eight training contexts."""
    ids = grid.split("full").train_ids
    if len(ids) < 8:
        raise BadSetting(f"{len(ids)} training contexts; too few to hold some out")
    held = ids[3::EVERY]
    rest = np.setdiff1d(ids, held)
    split = Division(VALIDATION, tuple(rest.tolist()), tuple(held.tolist()))
    return replace(grid, divisions=(*grid.divisions, split))


def run(config: ChoosingConfig) -> tuple[dict[str, dict[str, dict[str, list[float]]]], list[str]]:
    """family → candidate → kind → mean return on held-out contexts, pipeline by pipeline; and the
    candidates that time did not suffice for."""
    until = time.monotonic() + 60.0 * config.minutes
    found: dict[str, Any] = {}
    late = []
    for name in config.families:
        grid = validation(family(name).grid("macaw"))
        for candidate, preset in config.candidates[name].items():
            scores: dict[str, list[float]] = {}
            for p in range(config.pipelines):
                place = config.out / zoos.place(grid) / _slug(candidate)
                path = place / f"scores-{p}.json"
                if not path.exists() and time.monotonic() >= until:
                    late.append(f"{name}, {candidate}, pipeline {p}")
                    continue
                own = record_once(path, partial(_measure, config, grid, preset, place, p))
                for kind, value in own.items():
                    scores.setdefault(kind, []).append(value)
            if scores:
                found.setdefault(name, {})[candidate] = scores
    if not found:
        raise OutOfTime("no candidate is trained yet; the same command goes on with more minutes")
    for name, own in found.items():
        path = config.out / zoos.place(family(name).grid("macaw")) / "choice.json"
        files.save_json(path, {"scores": own, "choice": choice(own)}, overwrite=True)
    return found, late


def _measure(config: ChoosingConfig, grid: Grid, preset, place: Path, p: int) -> dict[str, float]:
    """The mean return of each kind on the contexts held out."""
    pipeline = Pipeline(VALIDATION, p)
    zoo = zoos.specialized(place, grid, (pipeline,), preset)[pipeline]
    base = zoos.bases(place, grid, (pipeline,), preset)[pipeline]
    source = Source(place, zoo, base)
    held = grid.split(VALIDATION).test
    rows = {name: Row([make(source)]) for name, make in config.kinds.items()}
    fam = family(grid.family)
    return {name: score(row, fam, held, config.episodes, 30).mean for name, row in rows.items()}


def choice(scores: dict[str, dict[str, list[float]]]) -> dict[str, str]:
    """The preset and the kind with the best mean over pipelines."""
    means = {(c, k): float(np.mean(x)) for c, own in scores.items() for k, x in own.items()}
    best, kind = max(means, key=lambda key: means[key])
    return {"preset": best, "kind": kind}


def page(found: dict[str, dict[str, dict[str, list[float]]]], late: list[str]) -> str:
    """All scores as one Markdown page."""
    parts = []
    for name, own in found.items():
        kinds = list(dict.fromkeys(kind for scores in own.values() for kind in scores))
        lines = [
            [kind, *(number(float(np.mean(scores[kind]))) for scores in own.values())]
            for kind in kinds
        ]
        chosen = choice(own)
        parts.append(f"### {name}, training contexts held out\n")
        parts.append(markdown(["kind", *own], lines) + "\n")
        parts.append(f"Chosen: {chosen['kind']}, trained by {chosen['preset']}.\n")
    if late:
        parts.append("Not done: " + "; ".join(late) + "\n")
    return "\n".join(parts)


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")
