"""Settings of the zero-shot tables, and the generators that they fit."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Suppress

from hyperpolicy.bounds import Bounded, Count, Names, Place, Seeds
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.genhyper import GenHyperConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig

KINDS = ("specialized", "independent")
SPLITS = ("full", "eighth", "sixteenth", "extrapolation")


@dataclass(frozen=True)
class Learned(Bounded):
    """A generator to fit, and how it sees the contexts."""

    config: HypLatentConfig | GenHyperConfig
    family: str | None = None
    """Another view of the family, such as `ant-dir-radians`."""


HYPLATENT = {
    "HypLatent": Learned(HypLatentConfig(steps=5_000)),
    "HypLatent, behavior loss": Learned(HypLatentConfig(steps=5_000, behavior=1e3)),
}
"""λ_behavior was chosen on the `full` split with five of its training speeds held out."""
LEARNED = HYPLATENT | {"GenHyper": Learned(GenHyperConfig())}
RADIANS = {
    "HypLatent, direction in radians": Learned(LEARNED["HypLatent"].config, "ant-dir-radians")
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
    learned: Suppress[dict[str, Learned]] = field(default_factory=lambda: dict(HYPLATENT))
    distill: Suppress[DistillConfig] = field(default_factory=DistillConfig)
