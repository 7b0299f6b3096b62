"""Settings of the zero-shot tables, and their rows: trivial ones, generators, how each is fitted.

Where a cell has several zoos (replicas of the whole pipeline under other seeds, or the draws of a
random split), every method is fitted once on each; where it has one, methods that draw random
numbers are fitted with several seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
from tyro.conf import Suppress

from hyperpolicy.bounds import Bounded, Count, Names, Place, Seeds
from hyperpolicy.envs import family
from hyperpolicy.evaluate.rows import (
    CONDITIONED,
    DISTILLED,
    INTERPOLATED,
    NEAREST,
    REGRESSION,
    TURNED,
)
from hyperpolicy.evaluate.scoring import Maker, Row
from hyperpolicy.generate import codecs, fitting, symmetric
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.writers import lookup, residual
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.genhyper import GenHyperConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.method import Cell, Method
from hyperpolicy.recipes.stage import Stage
from hyperpolicy.recipes.zero_shot.sources import Source
from hyperpolicy.recipes.zero_shot.zoos import SPLITS
from hyperpolicy.zoo import Zoo

# --- Settings -----------------------------------------------------------------------------
KINDS = ("specialized", "independent")


@dataclass(frozen=True)
class Candidate(Bounded):
    """A generator to fit, and how it sees the contexts."""

    config: HypLatentConfig | GenHyperConfig
    family: str | None = None
    """Another view of the family, such as `ant-dir-radians`."""


HYPLATENT = {
    "HypLatent": Candidate(HypLatentConfig(steps=5_000)),
    "HypLatent, behavior loss": Candidate(HypLatentConfig(steps=5_000, behavior=1e3)),
}
"""λ_behavior was chosen on the `full` split with five of its training speeds held out."""
LEARNED = HYPLATENT | {"GenHyper": Candidate(GenHyperConfig())}
RADIANS = {
    "HypLatent, direction in radians": Candidate(LEARNED["HypLatent"].config, "ant-dir-radians")
}


@dataclass(frozen=True)
class TableConfig(Bounded):
    family: Suppress[str] = "cheetah-vel"
    grid: Suppress[str] = "macaw"
    zoos: tuple[Path, ...] = (Path("zoos/cheetah-vel"),)
    """Directories of the family's zoos, which `recipe zoos` makes and the repository ships; the
    first that has those of a kind and split serves."""
    out: Place = Path("runs/cheetah-vel-table")
    """Where fits and cells go; the same command goes on from what is there."""
    kinds: Names = KINDS
    """Zoos to use."""
    splits: Names = SPLITS
    """Splits to use."""
    seeds: Suppress[Seeds] = (0, 1, 2)
    """Fits of a method on one zoo."""
    episodes: Suppress[Count | None] = None
    """Episodes of each policy on each test task; 100 on Ant-Dir and 10 on Cheetah-Vel if not given
    (`evaluate.protocol.EPISODES`)."""
    draws: Suppress[Count] = 8
    """Noise draws of a HypLatent on each test task."""
    learned: Suppress[dict[str, Candidate]] = field(default_factory=lambda: dict(HYPLATENT))
    distill: Suppress[DistillConfig] = field(default_factory=DistillConfig)


# --- Rows ---------------------------------------------------------------------------------
RESIDUAL = "base + interpolated change"


@dataclass(frozen=True)
class Lent:
    """What the methods of a cell share."""

    config: TableConfig
    sources: Sequence[Source]
    out: Path
    """Where fits go."""

    @property
    def several(self) -> bool:
        """Whether every zoo is a pipeline of its own."""
        return len(self.sources) > 1

    @property
    def drawn(self) -> list[tuple[int, Source]]:
        """Seeds and zoos of the fits of a method that draws random numbers."""
        if self.several:
            return list(enumerate(self.sources))
        return [(seed, self.sources[0]) for seed in self.config.seeds]


def each(make: Callable[[Source], Maker]) -> Callable[[Lent], list[Maker]]:
    """One maker a zoo, of a method that draws nothing."""
    return lambda lent: [make(source) for source in lent.sources]


def distill(lent: Lent) -> list[Generator]:
    """The context-conditioned policies distilled from experts."""

    def fit(seed: int, zoo: Zoo) -> Generator:
        make = partial(fitting.fit, lent.config.distill, zoo, seed)
        return fit_once(lent.out / f"distilled-{seed}", make)

    return [fit(seed, source.train) for seed, source in lent.drawn]


LOOKED_UP = Method(NEAREST, each(lambda s: lookup.nearest(s.train)))
MIXED = Method(INTERPOLATED, each(lambda s: lookup.linear(s.train)))
REGRESSED = Method(REGRESSION, each(lambda s: fitting.fit(RegressionConfig(), s.train)))
BASE = Method(CONDITIONED, each(Source.conditioned))
CHANGED = Method(RESIDUAL, each(lambda s: residual.around(s.conditioned(), s.train)))
DISTILL = Method(DISTILLED, distill)


def learned(config: TableConfig) -> list[Method]:
    """The generators that a table fits."""

    def fit(name: str, one: Candidate, lent: Lent) -> list[Generator]:
        return fit_learned(one, lent.sources, config.seeds, lent.out / slug(name))

    return [
        Method(name, partial(fit, name, one), draws=config.draws)
        for name, one in config.learned.items()
    ]


def row(method: Method, lent: Lent) -> Row:
    """The method, fitted, as a row to score; fits on one zoo are of one pipeline."""
    makers = method.fit(lent)
    pipelines = range(len(makers)) if lent.several else [0] * len(makers)
    spent = lent.sources[0].env_steps
    return Row(makers, spent, method.draws, method.given, pipelines)


def turned(methods: dict[str, Row]) -> dict[str, Row]:
    """Every row a second time, told the robot's symmetries, where its family knows some."""
    found = {}
    for name, method in methods.items():
        makers = [m for m in method.makers if isinstance(m, Generator)]
        if makers and makers[0].family.symmetries:
            images = [symmetric.symmetric(maker) for maker in makers]
            found[f"{name}, {TURNED}"] = replace(method, makers=images)
    return found


def slug(name: str) -> str:
    """A row's name as the name of a file."""
    return name.replace(",", "").replace(" ", "-").lower()


# --- Fits ---------------------------------------------------------------------------------
def fit_learned(
    learned: Candidate, sources: Sequence[Source], seeds: tuple[int, ...], out: Path
) -> list[Generator]:
    """One fit on each zoo, or all `seeds` side by side on the only one; read back if they exist."""
    zoos = [
        replace(s.train, family=family(learned.family) if learned.family else s.train.family)
        for s in sources
    ]
    if len(zoos) > 1:
        return [
            fit_once(out / f"zoo-{i}", partial(fitting.fit, learned.config, zoo, i))
            for i, zoo in enumerate(zoos)
        ]
    done = sorted(out.glob("seed-*/config.json"))
    if done:  # a fit writes all seeds that lived at once
        return [load(path.parent) for path in done]
    return fitting.fit_seeds(learned.config, zoos[0], seeds, out)


def fit_once(out: Path, fit: Callable[[Path], object]) -> Generator:
    """The generator in `out`, fitted where there is none."""
    return load(Stage("fit", out / "config.json", lambda: fit(out)).run().parent)


def decoded_row(cell: Cell, sources: Sequence[Source], oracles) -> Row | None:
    """The test experts decoded, where they descend from the same networks as the training ones.

    A specialized zoo of a smaller split has another base than the oracles of `full`.
    """
    if cell.kind == "specialized" and cell.split != "full":
        return None
    makers = [decoded(s.train, o) for s, o in zip(sources, cycle(oracles), strict=False)]
    return Row(makers, pipelines=range(len(makers)))


def decoded(train: Zoo, experts: Policies) -> Policies:
    """The test experts through the encoder that was fitted on the training experts."""
    encoder = codecs.fit_pca(PcaConfig(), train.weights)
    weights = [encoder.decode(encoder.encode(row)) for row in experts.weights]
    return Policies(np.stack(weights), experts.spec)
