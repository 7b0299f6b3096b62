"""How long a fleet trains, on how much data, and what it keeps."""

from dataclasses import dataclass
from typing import Literal

from hyperpolicy.bounds import Bounded, Count, PartialShare
from hyperpolicy.errors import BadSetting


@dataclass(frozen=True)
class Schedule(Bounded):
    num_updates: Count = 100_000
    """Gradient updates of each expert."""
    num_envs: Count = 4
    """Worlds of each expert, stepped together."""
    updates_per_step: Count = 8
    """Gradient updates of each expert for every step of its worlds."""
    batch: Count = 256
    """Transitions in a batch."""
    capacity: Count = 100_000
    """Transitions each expert remembers; rounded down to whole steps of its worlds."""
    replay: Literal["own", "shared"] = "own"
    """Whose transitions an expert learns from: its own, or all experts', relabeled with its own
    reward."""
    fill_steps: Count = 250
    """Steps of the worlds before the first update: random actions for fresh networks, the own
    stochastic policy for given ones."""
    average_from: PartialShare = 0.5
    """Share of the updates after which the actor's weights are averaged; the average is the
    result."""
    num_checkpoints: Count = 10
    """Actors kept along the way, evenly spaced over the averaged part."""
    num_evaluations: Count = 20
    """Deterministic evaluations of the averaged weights, evenly spaced; the learning curve."""
    episodes: Count = 5
    """Episodes of each evaluation."""
    num_states: Count = 256
    """Observations kept of each expert's replay."""

    def __post_init__(self):
        super().__post_init__()
        if self.num_updates < self.updates_per_step or self.num_updates % self.updates_per_step:
            raise BadSetting(
                f"num_updates={self.num_updates} must be a positive multiple of "
                f"updates_per_step={self.updates_per_step}"
            )
        if self.capacity < self.num_envs:
            raise BadSetting(
                f"capacity={self.capacity} cannot hold one step of num_envs={self.num_envs} worlds"
            )

    @property
    def update_to_data(self) -> float:
        """Gradient updates per environment step."""
        return self.updates_per_step / self.num_envs

    @property
    def num_steps(self) -> int:
        """Steps of the worlds, filling included."""
        return self.fill_steps + self.num_updates // self.updates_per_step

    @property
    def env_steps(self) -> int:
        """Environment steps each expert spends."""
        return self.num_steps * self.num_envs

    @property
    def ring(self) -> int:
        """Rows of a ring buffer: a multiple of the worlds, no longer than the run fills."""
        return min(self.capacity // self.num_envs, self.num_steps) * self.num_envs

    def due(self, count: int, share_from: float = 0.0) -> list[int]:
        """`count` numbers of updates, evenly spaced from share `share_from` on, on whole steps."""
        start = share_from * self.num_updates
        span = self.num_updates - start
        step = self.updates_per_step
        marks = [start + span * (i + 1) / count for i in range(count)]
        return sorted({max(step, int(m) // step * step) for m in marks})
