"""What a fleet is to do, and how: how a learner sees transitions, the fleet's tasks, and the plan
of its learners."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data.replay import Layout, unpack
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.rl.learner import Config, Spaces, State
from hyperpolicy.types import Batch, Key


# --- How a learner sees transitions -------------------------------------------------------
class Pool(NamedTuple):
    """What a learner is given: the contexts it may be labeled with, the first `size` of
    `contexts`, and transitions others made, which fill half of each batch where there are any."""

    contexts: Float[Array, "k c"]
    size: Int[Array, ""]
    prior: Float[Array, "j d"]


class View(NamedTuple):
    told: Callable
    """(family, contexts [..., c], array module) → what the policy is told of them [..., d]."""
    label: Callable[[Pool, Float[Array, "b c"], Key], Float[Array, "b c"]]
    """(pool, contexts of b transitions, key) → the contexts they are labeled with."""

    def spaces(self, family: Family) -> Spaces:
        """How many numbers a learner sees and gives."""
        told = self.told(family, np.zeros((1, family.context.size))).shape[-1]
        return Spaces(family.obs_size, told, family.action_size)

    def observe(self, family: Family, obs: Float[Array, "b o"], contexts: Float[Array, "b c"]):
        """The policy's input [b,i]: the observation, and what it is told."""
        return jnp.concatenate([obs, self.told(family, contexts, jnp)], axis=-1)

    def batch(self, family: Family, rows: Float[Array, "b d"], pool: Pool, key: Key) -> Batch:
        """Labeled transitions, as the learner sees them."""
        t = unpack(layout(family), rows)
        context = self.label(pool, t.context, key)
        reward = jnp.asarray(family.reward(t.action, t.outcome, context, jnp))
        obs, next_obs = (self.observe(family, x, context) for x in (t.obs, t.next_obs))
        return Batch(obs, t.action, reward, next_obs, t.terminated)


def layout(family: Family) -> Layout:
    """The replay row of a family."""
    widths = family.obs_size, family.action_size, family.outcome_size
    return Layout(*widths, family.context.size)


def _first(pool: Pool, made: Float[Array, "b c"], key: Key) -> Float[Array, "b c"]:
    return jnp.broadcast_to(pool.contexts[0], made.shape)


def _any(pool: Pool, made: Float[Array, "b c"], key: Key) -> Float[Array, "b c"]:
    return pool.contexts[jax.random.randint(key, (len(made),), 0, pool.size)]


def _encoded(family: Family, contexts, xp=np):
    return family.context.encode(contexts, xp)


OWN_TASK = View(lambda family, contexts, xp=np: xp.zeros((*contexts.shape[:-1], 0)), _first)
"""An expert: it sees the observation, and every transition is labeled with its own context."""

ANY_TASK = View(_encoded, _any)
"""A context-conditioned policy: every batch is relabeled with contexts drawn from its pool."""

EACH_TASK = View(_encoded, lambda pool, made, key: made)
"""A context-conditioned policy whose transitions keep the context they were made in, as those of
different bodies must."""


def of_pools(family: Family, pools: Sequence[np.ndarray]) -> View:
    """How a context-conditioned policy of these pools of contexts sees transitions."""
    return ANY_TASK if all(family.relabels(pool) for pool in pools) else EACH_TASK


# --- Tasks and plans ----------------------------------------------------------------------
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
    starts: Int[np.ndarray, "n e"] | None = None
    """Seeds of the worlds; None: each learner's own."""


class Exam(NamedTuple):
    """What an evaluation during training found."""

    returns: Float[np.ndarray, " n"]
    also: dict = {}
    """What else stands in the record of metrics: name → one value a learner."""


class Work(NamedTuple):
    """What a fleet is to do."""

    family: Family
    view: View
    tasks: Tasks
    start: Callable[[jax.Array], State]
    """seeds [n] → learners, every leaf leading with axis n."""
    evaluate: Callable[[Float[np.ndarray, "n p"]], Exam]
    """Weights [n,p] → what they reach."""
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
    """A learner's configuration and how long it trains: what `fleet.train` is given."""

    cfg: Any
    schedule: Any
    prior: Float[np.ndarray, "n j d"] | None = field(default=None, init=False)
    """Replay rows of others, such as demonstrations, where a plan can learn from them."""
    learns_from: ClassVar[str]

    @property
    @abstractmethod
    def critic(self) -> Config | None:
        """The learner that judges its policies; None if nobody does."""

    @abstractmethod
    def runner(self, work: Work) -> Any:
        """The learners and their worlds, at the beginning: a `runner.Runner`."""

    def spec(self, spaces: Spaces) -> Any:
        """The specification of the learners' actors: a `PolicySpec`, or a `MultiTaskSpec`."""
        return self.cfg.learner.policy(self.cfg, spaces.inputs, spaces.action)

    def updates(self, turns: int) -> int:
        """Gradient updates of each learner after so many turns."""
        of_an_update = self.cfg.learner.updates_per_round(self.cfg)
        learned, schedule = self.schedule.learned(turns), self.schedule
        first = schedule.first_updates if learned else 0
        return (learned * schedule.updates_per_step + first) * of_an_update

    def holding_out(self, contexts: Float[np.ndarray, "m c"]) -> "Plan":
        """The plan that knows the test contexts, where it must."""
        return self

    def check(self, family: Family, contexts: Float[np.ndarray, "n c"]) -> None:  # noqa: B027
        """Refuse experts of these contexts that the plan cannot train; any by default."""

    def __post_init__(self):
        if isinstance(self.cfg, type) or not hasattr(self.cfg, "learner"):
            raise BadSetting(f"{self.cfg!r} is no learner's configuration, which has a `learner`")
        parts = self.cfg.learner, self.schedule
        own, theirs = (getattr(part, "learns_from", "nothing") for part in parts)
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
