"""How long zoos train, and with what settings: a preset for each family, and schedules for zoos
without a base; and the settings of the tables that are made from them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tyro.conf import Suppress

from hyperpolicy.bounds import Bounded, Count, Names, Place, Seeds
from hyperpolicy.errors import UnknownFamily, unknown
from hyperpolicy.fleet import OffPolicy, OnPolicy, Plan, RoundSchedule, Schedule
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.genhyper import GenHyperConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig

T = TypeVar("T")
SPLITS = ("full", "eighth", "sixteenth", "extrapolation")


def preset_of(presets: dict[str, T], family: str) -> T:
    """What `presets` have for a family; UnknownFamily where it is nothing."""
    if family not in presets:
        raise unknown(UnknownFamily, "preset for the zoos of", "Families", family, presets)
    return presets[family]


@dataclass(frozen=True)
class SpecializedPreset(Bounded):
    """A base for each split, then one fine-tuned expert for each of its training contexts."""

    base: Plan
    expert: Plan


CHEETAH_VEL = SpecializedPreset(
    base=OffPolicy(
        SacConfig(),
        Schedule(
            num_updates=240_000,
            num_envs=35,
            updates_per_step=8,
            batch=512,
            capacity=1_100_000,
            num_evaluations=24,
            episodes=2,
        ),
    ),
    expert=OffPolicy(
        SacConfig(actor_rate=1e-4, critic_rate=3e-4),
        Schedule(num_updates=16_000, fill_steps=600, num_checkpoints=10, num_evaluations=10),
    ),
)
ANT_CRITIC = SacConfig(initial_alpha=0.05, usual_reward=1.0)
ANT_EXPERT = PpoConfig(value_hidden=(64, 64), discount=0.97, warmup_rounds=10)
ANT_DIR = SpecializedPreset(
    base=OnPolicy(PpoConfig(discount=0.97), RoundSchedule(num_rounds=600), ANT_CRITIC),
    expert=OnPolicy(
        ANT_EXPERT,
        RoundSchedule(num_rounds=60, num_envs=16, round_steps=64, average_from=0.5),
        ANT_CRITIC,
    ),
)
PRESETS = {"cheetah-vel": CHEETAH_VEL, "ant-dir": ANT_DIR}
"""Each fits into half an hour on two cores."""
CHEETAH_PPO = SpecializedPreset(
    base=OnPolicy(
        PpoConfig(value_hidden=(64, 64), discount=0.97),
        RoundSchedule(num_rounds=800, num_envs=160),
        SacConfig(),
    ),
    expert=OnPolicy(
        ANT_EXPERT,
        RoundSchedule(num_rounds=120, num_envs=8, round_steps=64, average_from=0.5),
        SacConfig(),
    ),
)
SHORTER = {
    "cheetah-vel": CHEETAH_PPO,
    "ant-dir": replace(ANT_DIR, base=replace(ANT_DIR.base, schedule=RoundSchedule(num_rounds=360))),
}
"""For tables that need many zoos: those of all their splits but `full`."""
TINY = OffPolicy(
    SacConfig(hidden=(8, 8)),
    Schedule(
        num_updates=8,
        num_envs=1,
        updates_per_step=4,
        batch=8,
        fill_steps=2,
        episodes=1,
        num_checkpoints=2,
        num_evaluations=1,
        num_states=8,
    ),
)
SMOKE = SpecializedPreset(base=TINY, expert=TINY)
"""Seconds; for tests."""


@dataclass(frozen=True)
class IndependentPreset(Bounded):
    """Experts that share their first weights and nothing else, unless their schedule says so."""

    expert: Plan
    splits: tuple[str, ...] | None = None
    """Splits whose training and test contexts get experts; None: all contexts of the grid. A shared
    replay takes training contexts only, of `full` unless others are named."""


INDEPENDENT = Schedule(
    num_updates=120_000, average_from=0.75, num_checkpoints=10, num_evaluations=24
)
"""40 experts of width 64 from one shared initialization: three quarters of an hour on two cores."""
SHARED_REPLAY = replace(INDEPENDENT, replay="shared", capacity=25_000)
WITHOUT_BASE = {
    "cheetah-vel": {
        "independent": IndependentPreset(OffPolicy(SacConfig(), INDEPENDENT)),
        "shared-replay": IndependentPreset(OffPolicy(SacConfig(), SHARED_REPLAY), ("full",)),
    },
    "ant-dir": {
        "independent": IndependentPreset(
            OnPolicy(
                PpoConfig(value_hidden=(64, 64), discount=0.97),
                RoundSchedule(num_rounds=400, num_envs=16, round_steps=64),
            ),
            splits=("sixteenth",),
        )
    },
}
"""Kinds of zoos without a base, of each family. Nine ants alone, 410,000 steps each, take a quarter
of an hour on one core; all fifty would take an hour and a half."""


# --- Tables -------------------------------------------------------------------------------
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
