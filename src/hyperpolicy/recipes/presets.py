"""How long zoos train, and with what settings: a preset for each family, and schedules for zoos
without a base."""

from dataclasses import dataclass, replace

from hyperpolicy.fleet import RoundSchedule, Schedule
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig


@dataclass(frozen=True)
class SpecializedPreset:
    """A base for each split, then one fine-tuned expert for each of its training contexts."""

    base: SacConfig | PpoConfig
    base_schedule: Schedule | RoundSchedule
    """As long as the learner needs; of PPO's kind for PPO."""
    random_base_schedule: Schedule | RoundSchedule
    """The base's for one draw of a random split; there are many of them."""
    expert: SacConfig | PpoConfig
    expert_schedule: Schedule | RoundSchedule
    critic: SacConfig | None = None
    """Of what PPO trains."""

    def for_random_splits(self) -> "SpecializedPreset":
        return replace(self, base_schedule=self.random_base_schedule)


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
    random_base_schedule=replace(CHEETAH_BASE, num_updates=100_000),
    expert=SacConfig(actor_rate=1e-4, critic_rate=3e-4),
    expert_schedule=Schedule(
        num_updates=16_000, fill_steps=600, num_checkpoints=10, num_evaluations=10
    ),
)
ANT_BASE = RoundSchedule(num_rounds=600)
ANT_DIR = SpecializedPreset(
    base=PpoConfig(discount=0.97),
    base_schedule=ANT_BASE,
    random_base_schedule=ANT_BASE,
    expert=PpoConfig(value_width=64, discount=0.97, warmup_rounds=10),
    expert_schedule=RoundSchedule(num_rounds=60, num_envs=16, round_steps=64, average_from=0.5),
    critic=SacConfig(initial_alpha=0.05, usual_reward=1.0),
)
PRESETS = {"cheetah-vel": CHEETAH_VEL, "ant-dir": ANT_DIR}
"""Each fits into half an hour on two cores."""
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
    random_base_schedule=TINY,
    expert=SacConfig(width=8),
    expert_schedule=TINY,
)
"""Seconds; for tests."""

INDEPENDENT = Schedule(
    num_updates=120_000, average_from=0.75, num_checkpoints=10, num_evaluations=24
)
"""40 experts of width 64 from one shared initialization: three quarters of an hour on two cores."""
SHARED_REPLAY = replace(INDEPENDENT, replay="shared", capacity=25_000)
SCHEDULES = {"independent": INDEPENDENT, "shared-replay": SHARED_REPLAY}
"""Kinds of zoos without a base."""
