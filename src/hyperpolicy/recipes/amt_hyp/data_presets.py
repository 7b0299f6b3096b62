"""How much of Meta-World's data there is: for two cores, as published, and for tests."""

from dataclasses import dataclass, field, replace

from hyperpolicy.bounds import Bounded, Count, Weight
from hyperpolicy.fleet import OnPolicy, RoundSchedule
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.rl.ppo import PpoConfig


@dataclass(frozen=True)
class DataPreset(Bounded):
    """How long experts train, what is kept of them, and how much is shown."""

    clone: DistillConfig = field(default_factory=lambda: DistillConfig(steps=10_000))
    """One fit of the base."""
    fits: Count = 4
    """Fits of the base; each after the first also sees states that the one before reached."""
    expert: OnPolicy = field(
        default_factory=lambda: OnPolicy(
            PpoConfig(
                hidden=(128, 128),
                activations=("elu", "relu"),
                value_hidden=(128, 128),
                warmup_rounds=6,
            ),
            RoundSchedule(
                num_rounds=80,
                num_envs=8,
                round_steps=125,
                average_from=0.25,
                num_checkpoints=60,
                num_evaluations=8,
            ),
        )
    )
    """How experts train."""
    prior_steps: Count = 1_000
    """Of each world in which a scripted policy shows the base what to do."""
    noise: Weight = 0.3
    """Standard deviation of the noise on scripted policies' actions."""
    gate_episodes: Count = 4
    """A checkpoint is kept if it succeeds in all of these."""
    shown: Count = 2
    """Episodes from which a row's demonstrations are cut, for training."""
    test: Count = 100
    """Demonstrations a task, for testing."""


SMALL = DataPreset()
PAPER = DataPreset(
    expert=replace(
        SMALL.expert,
        schedule=replace(
            SMALL.expert.schedule, num_rounds=700, average_from=0.285, num_checkpoints=500
        ),
    )
)
"""500 checkpoints a task, as the papers have."""
SMOKE = DataPreset(
    clone=DistillConfig(steps=5, batch=8),
    fits=2,
    expert=OnPolicy(
        PpoConfig(
            hidden=(8, 8),
            activations=("elu", "relu"),
            value_hidden=(8, 8),
            minibatches=2,
            epochs=1,
        ),
        RoundSchedule(
            num_rounds=2,
            num_envs=2,
            round_steps=4,
            num_checkpoints=2,
            num_evaluations=1,
            episodes=1,
            num_states=8,
            average_from=0.0,
        ),
    ),
    prior_steps=20,
    gate_episodes=1,
    shown=1,
    test=3,
)
"""Seconds, where episodes are short; for tests."""
