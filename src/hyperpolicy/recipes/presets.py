"""How long zoos train, and with what settings: a preset for each family, and schedules for zoos
without a base."""

from dataclasses import dataclass, replace
from typing import TypeVar

from hyperpolicy.bounds import Bounded
from hyperpolicy.errors import UnknownFamily, unknown
from hyperpolicy.fleet import RoundSchedule, Schedule
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig

T = TypeVar("T")


def preset_of(presets: dict[str, T], family: str) -> T:
    """What `presets` have for a family.

    Raises:
        UnknownFamily: nothing.
    """
    if family not in presets:
        raise unknown(UnknownFamily, "preset for the zoos of", "Families", family, presets)
    return presets[family]


@dataclass(frozen=True)
class SpecializedPreset(Bounded):
    """A base for each split, then one fine-tuned expert for each of its training contexts."""

    base: SacConfig | PpoConfig
    base_schedule: Schedule | RoundSchedule
    """As long as the learner needs; of PPO's kind for PPO."""
    expert: SacConfig | PpoConfig
    expert_schedule: Schedule | RoundSchedule
    critic: SacConfig | None = None
    """Of what PPO trains."""


CHEETAH_BASE = Schedule(
    num_updates=240_000,
    num_envs=35,
    updates_per_step=8,
    batch=512,
    capacity=1_100_000,
    num_evaluations=24,
    episodes=2,
)
CHEETAH_VEL = SpecializedPreset(
    base=SacConfig(),
    base_schedule=CHEETAH_BASE,
    expert=SacConfig(actor_rate=1e-4, critic_rate=3e-4),
    expert_schedule=Schedule(
        num_updates=16_000, fill_steps=600, num_checkpoints=10, num_evaluations=10
    ),
)
ANT_BASE = RoundSchedule(num_rounds=600)
ANT_DIR = SpecializedPreset(
    base=PpoConfig(discount=0.97),
    base_schedule=ANT_BASE,
    expert=PpoConfig(value_width=64, discount=0.97, warmup_rounds=10),
    expert_schedule=RoundSchedule(num_rounds=60, num_envs=16, round_steps=64, average_from=0.5),
    critic=SacConfig(initial_alpha=0.05, usual_reward=1.0),
)
PRESETS = {"cheetah-vel": CHEETAH_VEL, "ant-dir": ANT_DIR}
"""Each fits into half an hour on two cores."""
CHEETAH_PPO = SpecializedPreset(
    base=PpoConfig(value_width=64, discount=0.97),
    base_schedule=RoundSchedule(num_rounds=800, num_envs=160),
    expert=ANT_DIR.expert,
    expert_schedule=RoundSchedule(num_rounds=120, num_envs=8, round_steps=64, average_from=0.5),
    critic=SacConfig(),
)
SHORTER = {
    "cheetah-vel": CHEETAH_PPO,
    "ant-dir": replace(ANT_DIR, base_schedule=replace(ANT_BASE, num_rounds=360)),
}
"""For tables that need many zoos: those of all their splits but `full`."""
TINY = Schedule(
    num_updates=8,
    num_envs=1,
    updates_per_step=4,
    batch=8,
    fill_steps=2,
    episodes=1,
    num_checkpoints=2,
    num_evaluations=1,
    num_states=8,
)
SMOKE = SpecializedPreset(
    base=SacConfig(width=8),
    base_schedule=TINY,
    expert=SacConfig(width=8),
    expert_schedule=TINY,
)
"""Seconds; for tests."""


@dataclass(frozen=True)
class IndependentPreset(Bounded):
    """Experts that share their first weights and nothing else, unless their schedule says so."""

    expert: SacConfig | PpoConfig
    schedule: Schedule | RoundSchedule
    splits: tuple[str, ...] | None = None
    """Splits whose training and test contexts get experts; None: all contexts of the grid. A shared
    replay takes training contexts only, of `full` unless others are named."""

    @property
    def shares(self) -> bool:
        """Whether its experts learn from each other's transitions."""
        return isinstance(self.schedule, Schedule) and self.schedule.replay == "shared"


INDEPENDENT = Schedule(
    num_updates=120_000, average_from=0.75, num_checkpoints=10, num_evaluations=24
)
"""40 experts of width 64 from one shared initialization: three quarters of an hour on two cores."""
SHARED_REPLAY = replace(INDEPENDENT, replay="shared", capacity=25_000)
WITHOUT_BASE = {
    "cheetah-vel": {
        "independent": IndependentPreset(SacConfig(), INDEPENDENT),
        "shared-replay": IndependentPreset(SacConfig(), SHARED_REPLAY, splits=("full",)),
    },
    "ant-dir": {
        "independent": IndependentPreset(
            PpoConfig(value_width=64, discount=0.97),
            RoundSchedule(num_rounds=400, num_envs=16, round_steps=64),
            splits=("sixteenth",),
        )
    },
}
"""Kinds of zoos without a base, of each family. Nine ants alone, 410,000 steps each, take a quarter
of an hour on one core; all fifty would take an hour and a half."""
