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
    batch: Callable
    """(family, rows [b,d], pool, key) → Batch."""

    def extra_inputs(self, family: Family) -> int:
        """Numbers the policy sees besides the observation."""
        return self.told(family, np.zeros((1, family.context.size))).shape[-1]

    def observe(self, family: Family, obs: Float[Array, "b o"], contexts: Float[Array, "b c"]):
        """The policy's input [b,i]: the observation, and what it is told."""
        return jnp.concatenate([obs, self.told(family, contexts, jnp)], axis=-1)


def layout(family: Family) -> Layout:
    """The replay row of a family."""
    widths = family.obs_size, family.action_size, family.outcome_size
    return Layout(*widths, family.context.size)


def _nothing(family: Family, contexts, xp=np):
    return xp.zeros((*contexts.shape[:-1], 0))


def _own_batch(family: Family, rows: Float[Array, "b d"], pool: Pool, key: Key) -> Batch:
    """Transitions labeled with the learner's one context."""
    t = unpack(layout(family), rows)
    context = jnp.broadcast_to(pool.contexts[0], (len(rows), pool.contexts.shape[1]))
    reward = jnp.asarray(family.reward(t.action, t.outcome, context, jnp))
    return Batch(t.obs, t.action, reward, t.next_obs, t.terminated)


def _encoded(family: Family, contexts, xp=np):
    return family.context.encode(contexts, xp)


def _any_batch(family: Family, rows: Float[Array, "b d"], pool: Pool, key: Key) -> Batch:
    """Transitions relabeled with contexts drawn from the pool; the policy sees the context."""
    t = unpack(layout(family), rows)
    context = pool.contexts[jax.random.randint(key, (len(rows),), 0, pool.size)]
    reward = jnp.asarray(family.reward(t.action, t.outcome, context, jnp))
    obs, next_obs = (ANY_TASK.observe(family, x, context) for x in (t.obs, t.next_obs))
    return Batch(obs, t.action, reward, next_obs, t.terminated)


OWN_TASK = View(_nothing, _own_batch)
"""An expert: it sees the observation, and every transition is labeled with its own context."""

ANY_TASK = View(_encoded, _any_batch)
"""A context-conditioned policy: every batch is relabeled with contexts of its pool."""
