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
from hyperpolicy.evaluate.rows import TURNED
from hyperpolicy.evaluate.scoring import Maker, Row
from hyperpolicy.generate import fitting
from hyperpolicy.generate.codecs import pca
from hyperpolicy.generate.codecs.pca import PcaConfig
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.weights import symmetric
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.genhyper import GenHyperConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.stage import make_once
from hyperpolicy.recipes.zero_shot.sources import Cell, Source
from hyperpolicy.recipes.zero_shot.zoos import SPLITS

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

    def row(self, makers: Sequence[Maker], draws: int = 1) -> Row:
        """Fitted makers as a row to score; fits on one zoo are of one pipeline."""
        pipelines = range(len(makers)) if self.several else [0] * len(makers)
        return Row(makers, self.sources[0].env_steps, draws, pipelines=pipelines)

    def each(self, make: Callable[[Source], Maker]) -> Row:
        """The row of a method that draws nothing, with one maker a zoo."""
        return self.row([make(source) for source in self.sources])


def distill(lent: Lent) -> list[Generator]:
    """The context-conditioned policies distilled from experts: one a zoo, or a seed of the only
    one."""
    seeds = range(len(lent.sources)) if lent.several else lent.config.seeds
    config = lent.config.distill
    return [
        fit_once(lent.out / f"distilled-{n}", partial(fitting.fit, config, source.train, n))
        for n, source in zip(seeds, cycle(lent.sources), strict=False)
    ]


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
    zoos = [source.train for source in sources]
    if learned.family is not None:
        zoos = [replace(zoo, family=family(learned.family)) for zoo in zoos]
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
    return load(make_once(out / "config.json", lambda: fit(out)).parent)


def decoded_row(cell: Cell, sources: Sequence[Source], oracles) -> Row | None:
    """The test experts through the encoder that was fitted on the training experts, where they
    descend from the same networks.

    A specialized zoo of a smaller split has another base than the oracles of `full`.
    """
    if cell.kind == "specialized" and cell.split != "full":
        return None
    makers = []
    for source, experts in zip(sources, cycle(oracles), strict=False):
        encoder = pca.fit(PcaConfig(), source.train.weights)
        weights = [encoder.decode(encoder.encode(row)) for row in experts.weights]
        makers.append(Policies(np.stack(weights), experts.spec))
    return Row(makers, pipelines=range(len(makers)))
