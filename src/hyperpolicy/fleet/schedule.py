"""How long a fleet trains, on how much data, and what it keeps.

A fleet advances by *turns*: off policy one step of its worlds and the updates that go with it, on
policy one round of steps, which is learned from once.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hyperpolicy.bounds import Bounded, Count, PartialShare, Whole
from hyperpolicy.errors import BadSetting


@dataclass(frozen=True, kw_only=True)
class Kept(Bounded):
    """What a fleet keeps of its training, and after which turns; `learning_turns` have updates."""

    average_from: PartialShare = 0.5
    """Share of the updates after which the actor's weights are averaged; the average is the
    result."""
    num_checkpoints: Count = 10
    """Actors kept along the way, evenly spaced over the averaged part."""
    checkpoints_from: PartialShare | None = None
    """Share of the updates after which they are kept, where it is not the averaged part: 0 keeps
    some of the whole training."""
    num_evaluations: Count = 20
    """Deterministic evaluations of the averaged weights, evenly spaced; the learning curve."""
    episodes: Count = 5
    """Episodes of each evaluation."""
    num_states: Count = 256
    """Observations kept of each expert."""

    learning_turns: ClassVar[Any]
    fill_steps = 0
    updates_per_step = 1
    first_updates = 0

    @property
    def turns(self) -> int:
        """All turns, those included that only fill the replay."""
        return self.fill_steps + self.learning_turns

    def learned(self, turns: int) -> int:
        """How many of the first `turns` had updates."""
        return max(0, turns - self.fill_steps)

    @property
    def averaged_from(self) -> int:
        """The first learning turn whose weights are averaged, counted from 0."""
        return int(self.average_from * self.learning_turns)

    def share(self, turn: int) -> float:
        """Weight of the newest actor in the average, at the turn after `turn` others."""
        return 1.0 / max(1, self.learned(turn) + 1 - self.averaged_from)

    @property
    def checkpoint_turns(self) -> list[int]:
        """Turns after which an actor is kept."""
        share = self.checkpoints_from
        first = self.averaged_from if share is None else int(share * self.learning_turns)
        return self._due(self.num_checkpoints, first)

    @property
    def evaluation_turns(self) -> list[int]:
        """Turns after which the average is evaluated."""
        return self._due(self.num_evaluations)

    def _due(self, count: int, start: int = 0) -> list[int]:
        """`count` turns, evenly spaced over the learning ones from `start` on."""
        span = self.learning_turns - start
        marks = {max(1, start + int(span * (i + 1) / count)) for i in range(count)}
        return [self.fill_steps + mark for mark in sorted(marks)]


@dataclass(frozen=True, kw_only=True)
class Schedule(Kept):
    """For learners that draw batches from a replay."""

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
    first_updates: Whole = 0
    """Gradient updates at once, before the first step that updates follow (mtrl: as many as steps
    filled the replay)."""

    learns_from = "replay"

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
    def learning_turns(self) -> int:
        """Steps of the worlds that updates follow."""
        return self.num_updates // self.updates_per_step

    def steps(self, turns: int) -> int:
        """Environment steps each expert has spent after so many turns."""
        return turns * self.num_envs

    @property
    def ring(self) -> int:
        """Rows of a ring buffer: a multiple of the worlds, no longer than the run fills."""
        return min(self.capacity // self.num_envs, self.turns) * self.num_envs


@dataclass(frozen=True, kw_only=True)
class RoundSchedule(Kept):
    """For learners that learn once from what their worlds just did."""

    num_rounds: Count = 600
    """Rounds of steps, each learned from once."""
    num_envs: Count = 360
    """Worlds of each learner; for a base best a multiple of its training contexts."""
    round_steps: Count = 32
    """Steps of the worlds in a round."""
    average_from: PartialShare = 0.9
    """Share of the rounds after which the actor's weights are averaged; the average is the
    result."""
    episodes: Count = 2
    """Episodes of each evaluation."""

    learns_from = "rounds"
    replay = "own"
    """There is none to share."""

    @property
    def learning_turns(self) -> int:
        """Rounds."""
        return self.num_rounds

    def steps(self, turns: int) -> int:
        """Environment steps each learner has spent after so many rounds."""
        return turns * self.round_steps * self.num_envs
