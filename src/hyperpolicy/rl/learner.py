"""What a learner is: a record of pure functions for ONE expert; `jax.vmap` makes it a fleet.

A learner is a page: a configuration, a state, losses, an update, and at its end the record that
names them. Nothing outside the page knows its name, but for one line in `rl/__init__.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import optax
from jaxtyping import Array, Float

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import CriticSpec, Mlp
from hyperpolicy.nets.policy import PolicyNet
from hyperpolicy.types import Key, Scalar

State = Any
"""A NamedTuple of arrays with a field `key`, the randomness of its updates."""
Metrics = dict[str, Scalar]
"""What an update measures: losses, values, entropy, gradient norms; the same names every time."""


class Spaces(NamedTuple):
    """How many numbers a learner sees and gives."""

    obs: int
    context: int
    """Encoded numbers of the context, which follow the observation; 0 where it is told nothing."""
    action: int

    @property
    def inputs(self) -> int:
        """Of the actor's networks."""
        return self.obs + self.context


class Critics(NamedTuple):
    """Two action-value networks, and the temperature they were learned under."""

    twins: Mlp
    log_alpha: Scalar | None = None
    """Log of reward per nat; None where there is no entropy in the values."""


class WarmStart(NamedTuple):
    """What a learner goes on from."""

    actor: PolicyNet
    critics: Critics | None
    obs: Float[Array, "k o"] | None
    """What the actor sees; for learners that normalize."""


Config = Any
"""The configuration of a learner: a frozen dataclass whose `learner` is the record of its
functions, and whose `hidden` are the units of each hidden layer of actor and critics."""


def adam_step(rate: float | Scalar, params, grads, state) -> tuple[Any, Any]:
    """The parameters after one step of Adam, and its state."""
    updates, state = optax.adam(rate).update(grads, state)
    return optax.apply_updates(params, updates), state


PART: Any = None
"""What each part of a learner is until it is given."""


@dataclass(frozen=True)
class Learner:
    """The functions of one learner; `cfg` is its configuration, b a batch, e worlds.

    Raises:
        BadSetting: a part is missing, or it learns from something else.
    """

    name: str = PART
    learns_from: Literal["replay", "rounds"] = PART
    """Batches drawn from a replay (`types.Batch`), or what the worlds just did (`types.Round`)."""
    policy: Callable[[Any, int, int], Any] = PART
    """(cfg, inputs, actions) → the actor's specification: a `PolicySpec`, or a `MultiTaskSpec`."""
    critic: Callable[[Any, int, int], CriticSpec | None] = PART
    """(cfg, inputs, actions) → the critics' specification; None where it has none."""
    init: Callable[[Any, Spaces, Key], State] = PART
    """(cfg, spaces, key) → a learner with fresh networks."""
    start_from: Callable[[Any, WarmStart, Key], State] = PART
    """(cfg, start, key) → a learner that goes on from given networks, with fresh optimizers."""
    act: Callable[[Any, State, Array], Array] = PART
    """(cfg, state, inputs [e,i]) → deterministic actions [e,a]."""
    explore: Callable[[Any, State, Array, Key], tuple[Array, Any]] = PART
    """(cfg, state, inputs [e,i], key) → actions [e,a] to learn from, and what the update wants to
    know of their choice (None, or arrays that lead with e)."""
    update: Callable[[Any, State, Any, Any], tuple[State, Metrics]] = PART
    """(cfg, state, batch or round, number of the update) → the learner after it, and metrics."""
    improve_critics: Callable[[Any, State, Any], tuple[State, Metrics]] | None = None
    """(cfg, state, batch) → the same with the actor at rest; of learners with critics."""
    actor: Callable[[State], Any] = PART
    """state → the actor, on observations as they come (normalization is folded in)."""
    critics: Callable[[State], Critics | None] = PART
    """state → its critics; None where it has none."""
    updates_per_round: Callable[[Any], int] = lambda cfg: 1
    """cfg → gradient steps of one `update`."""
    usual_reward: Callable[[Any], float] = lambda cfg: 0.0
    """cfg → the reward of a step that its critics leave out."""
    normalizes: bool = False
    """Whether `start_from` wants observations to normalize by."""
    notice: Callable[[Any, State, Any], State] | None = None
    """(cfg, state, `types.Paid`) → the learner that knows what one step of its worlds paid; of
    learners from replay that scale rewards."""
    tasks_in_order: Callable[[Any], int] = lambda cfg: 0
    """cfg → the number of tasks whose rows its batches hold in order, equally many of each; 0: rows
    are drawn from all together."""

    def __post_init__(self):
        if self.learns_from not in (None, "replay", "rounds"):
            raise BadSetting(f"learns_from={self.learns_from!r}; give 'replay' or 'rounds'")
        optional = {"notice"} | ({"improve_critics"} if self.learns_from == "rounds" else set())
        needed = [o.name for o in fields(self) if o.default is None and o.name not in optional]
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise BadSetting(
                f"learner {self.name!r} lacks {', '.join(missing)}; a learner is a record of "
                f"{', '.join(needed)}"
            )
