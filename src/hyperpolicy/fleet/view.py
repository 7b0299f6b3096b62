"""How a learner sees transitions: as one task's expert, or as one policy for any context.

Written for one learner. A view has two functions: `observe` makes the policy's input, `batch`
makes labeled transitions out of replay rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    extra_inputs: Callable[[Family], int]
    """Numbers the policy sees besides the observation."""
    observe: Callable
    """(family, obs [b,o], contexts [b,c]) → policy input [b,i]."""
    batch: Callable
    """(family, rows [b,d], pool, key) → Batch."""


def layout(family: Family) -> Layout:
    """The replay row of a family."""
    widths = family.obs_size, family.action_size, family.outcome_size
    return Layout(*widths, family.context.size)


def _own_observe(family: Family, obs, contexts):
    return obs


def _own_batch(family: Family, rows: Float[Array, "b d"], pool: Pool, key: Key) -> Batch:
    """Transitions labeled with the learner's one context."""
    t = unpack(layout(family), rows)
    context = jnp.broadcast_to(pool.contexts[0], (len(rows), pool.contexts.shape[1]))
    reward = jnp.asarray(family.reward(t.action, t.outcome, context, jnp))
    return Batch(t.obs, t.action, reward, t.next_obs, t.terminated)


def _any_observe(family: Family, obs, contexts):
    return jnp.concatenate([obs, family.context.encode(contexts, jnp)], axis=-1)


def _any_batch(family: Family, rows: Float[Array, "b d"], pool: Pool, key: Key) -> Batch:
    """Transitions relabeled with contexts drawn from the pool; the policy sees the context."""
    t = unpack(layout(family), rows)
    context = pool.contexts[jax.random.randint(key, (len(rows),), 0, pool.size)]
    reward = jnp.asarray(family.reward(t.action, t.outcome, context, jnp))
    obs = _any_observe(family, t.obs, context)
    next_obs = _any_observe(family, t.next_obs, context)
    return Batch(obs, t.action, reward, next_obs, t.terminated)


OWN_TASK = View(lambda family: 0, _own_observe, _own_batch)
"""An expert: it sees the observation, and every transition is labeled with its own context."""

ANY_TASK = View(lambda family: family.context.encoded_size, _any_observe, _any_batch)
"""A context-conditioned policy: every batch is relabeled with contexts of its pool."""
