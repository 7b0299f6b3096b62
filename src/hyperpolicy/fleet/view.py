"""How a learner sees transitions: as one task's expert, or as one policy for any context.

Written for one learner. A view says what the policy is told of its context, and makes labeled
transitions out of replay rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data.replay import Layout, unpack
from hyperpolicy.envs import Family
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.types import Batch, Key


class Pool(NamedTuple):
    """What a learner is given: the contexts it may be labeled with, the first `size` of
    `contexts`, and transitions others made, which fill half of each batch where there are any."""

    contexts: Float[Array, "k c"]
    size: Int[Array, ""]
    prior: Float[Array, "j d"]


class View(NamedTuple):
    told: Callable
    """(family, contexts [..., c], array module) → what the policy is told of them [..., d]."""
    label: Callable[[Pool, int, Key], Float[Array, "b c"]]
    """(pool, b, key) → the contexts that b transitions are labeled with."""

    def spaces(self, family: Family) -> Spaces:
        """How many numbers a learner sees and gives."""
        told = self.told(family, np.zeros((1, family.context.size))).shape[-1]
        return Spaces(family.obs_size, told, family.action_size)

    def observe(self, family: Family, obs: Float[Array, "b o"], contexts: Float[Array, "b c"]):
        """The policy's input [b,i]: the observation, and what it is told."""
        return jnp.concatenate([obs, self.told(family, contexts, jnp)], axis=-1)

    def batch(self, family: Family, rows: Float[Array, "b d"], pool: Pool, key: Key) -> Batch:
        """Labeled transitions, as the learner sees them."""
        t, context = unpack(layout(family), rows), self.label(pool, len(rows), key)
        reward = jnp.asarray(family.reward(t.action, t.outcome, context, jnp))
        obs, next_obs = (self.observe(family, x, context) for x in (t.obs, t.next_obs))
        return Batch(obs, t.action, reward, next_obs, t.terminated)


def layout(family: Family) -> Layout:
    """The replay row of a family."""
    widths = family.obs_size, family.action_size, family.outcome_size
    return Layout(*widths, family.context.size)


def _own(pool: Pool, num: int, key: Key) -> Float[Array, "b c"]:
    return jnp.broadcast_to(pool.contexts[0], (num, pool.contexts.shape[1]))


def _any(pool: Pool, num: int, key: Key) -> Float[Array, "b c"]:
    return pool.contexts[jax.random.randint(key, (num,), 0, pool.size)]


OWN_TASK = View(lambda family, contexts, xp=np: xp.zeros((*contexts.shape[:-1], 0)), _own)
"""An expert: it sees the observation, and every transition is labeled with its own context."""

ANY_TASK = View(lambda family, contexts, xp=np: family.context.encode(contexts, xp), _any)
"""A context-conditioned policy: every batch is relabeled with contexts drawn from its pool."""
