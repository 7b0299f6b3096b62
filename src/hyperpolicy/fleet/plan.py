"""What a fleet is to do, and how: its tasks, and the plan of its learners."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.fleet.view import View
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.rl.learner import Config, Spaces, State


class Tasks(NamedTuple):
    """What each of n learners works on."""

    worlds: Float[np.ndarray, "n e c"]
    """The contexts of its worlds."""
    pools: Float[np.ndarray, "n k c"]
    """The contexts its transitions may be labeled with; the first `pool_sizes` count."""
    pool_sizes: Int[np.ndarray, " n"]
    seeds: Int[np.ndarray, " n"]
    """One number a learner: networks, exploration, worlds. Equal seeds on equal tasks agree."""
    prior: Float[np.ndarray, "n j d"] | None = None
    """Transitions of others, which fill half of each batch."""

    def padded(self, devices: int) -> "Tasks":
        """The tasks, repeated at the end until they divide by the devices."""
        n = len(self.seeds)
        rows = np.minimum(np.arange(-(-n // devices) * devices), n - 1)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], self)


class Work(NamedTuple):
    """What a fleet is to do."""

    family: Family
    view: View
    tasks: Tasks
    start: Callable[[jax.Array], State]
    """seeds [n] → learners, every leaf leading with axis n."""
    evaluate: Callable[[Float[np.ndarray, "n p"]], Float[np.ndarray, " n"]]
    """Weights → returns."""
    label: str = "experts"
    begins: str = "own"
    """Where learners begin, in words that change when given weights do."""
    spent: int = 0
    """Environment steps each learner has cost before."""

    @property
    def spaces(self) -> Spaces:
        """What each learner sees and gives."""
        return self.view.spaces(self.family)


@dataclass(frozen=True)
class Plan(ABC):
    """A learner's configuration and how long it trains: what `fleet.train` is given.

    Raises:
        BadSetting: parts of different kinds, or that do not fit each other.
    """

    cfg: Any
    schedule: Any
    prior: Float[np.ndarray, "n j d"] | None = field(default=None, init=False)
    """Replay rows of others, such as demonstrations, where a plan can learn from them."""
    learns_from: ClassVar[str]

    @property
    @abstractmethod
    def critic(self) -> Config | None:
        """The learner that judges its policies; None if nobody does."""

    @property
    @abstractmethod
    def updates_per_turn(self) -> int:
        """Gradient updates of a turn that learns."""

    @abstractmethod
    def runner(self, work: Work) -> Any:
        """The learners and their worlds, at the beginning: a `runner.Runner`."""

    def spec(self, spaces: Spaces) -> PolicySpec:
        """The specification of the learners' actors."""
        return self.cfg.learner.policy(self.cfg, spaces.inputs, spaces.action)

    def updates(self, turns: int) -> int:
        """Gradient updates of each learner after so many turns."""
        return self.schedule.learned(turns) * self.updates_per_turn

    def holding_out(self, contexts: Float[np.ndarray, "m c"]) -> "Plan":
        """The plan that knows the test contexts, where it must."""
        return self

    def check(self, family: Family, contexts: Float[np.ndarray, "n c"]) -> None:  # noqa: B027
        """Refuse experts of these contexts that the plan cannot train; any by default."""

    def __post_init__(self):
        learner = getattr(self.cfg, "learner", None)
        own, theirs = (getattr(x, "learns_from", "nothing") for x in (learner, self.schedule))
        if not own == theirs == self.learns_from:
            raise BadSetting(
                f"{type(self).__name__} of {type(self.cfg).__name__} and "
                f"{type(self.schedule).__name__}: the learner learns from {own}, the schedule is "
                f"for {theirs}. OffPolicy and Schedule go with learners from replay, OnPolicy and "
                "RoundSchedule with learners from rounds"
            )
        if self.critic is None:
            return
        if self.critic.learner.improve_critics is None:
            name = self.critic.learner.name
            raise BadSetting(f"critic={name!r} has no critics of actions; give a learner that has")
        if self.critic.hidden != self.cfg.hidden:
            raise BadSetting(
                f"critics of hidden layers {self.critic.hidden}, an actor of {self.cfg.hidden}; "
                "give the same"
            )
