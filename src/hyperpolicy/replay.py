"""Ring buffers of transitions on the device: written for one expert, vmapped over a fleet.

A transition is one row: obs | action | outcome | next_obs | terminated. Rewards are not stored:
they are computed from the outcome under whatever context a batch is drawn for.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.envs import Family, Step
from hyperpolicy.types import Key


class Transitions(NamedTuple):
    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    outcome: Float[Array, "b m"]
    next_obs: Float[Array, "b o"]
    terminated: Float[Array, " b"]


def row_size(family: Family) -> int:
    """Numbers in one row."""
    return 2 * family.obs_size + family.action_size + family.outcome_size + 1


def pack(
    obs: Float[np.ndarray, "n o"], action: Float[np.ndarray, "n a"], step: Step
) -> Float[np.ndarray, "n d"]:
    """Rows of what just happened in n worlds."""
    ended = step.terminated[:, None].astype(np.float32)
    return np.concatenate([obs, action, step.outcome, step.next_obs, ended], axis=1, dtype=np.float32)


def unpack(family: Family, rows: Float[Array, "b d"]) -> Transitions:
    o, a, m = family.obs_size, family.action_size, family.outcome_size
    cuts = [o, o + a, o + a + m, o + a + m + o]
    obs, action, outcome, next_obs, ended = jnp.split(rows, cuts, axis=1)
    return Transitions(obs, action, outcome, next_obs, ended[:, 0])


def push(
    ring: Float[Array, "capacity d"], rows: Float[Array, "e d"], position: Int[Array, ""]
) -> Float[Array, "capacity d"]:
    """The ring with `rows` written from `position` on; the capacity must be a multiple of e."""
    return jax.lax.dynamic_update_slice(ring, rows, (position, 0))


def draw(
    ring: Float[Array, "capacity d"], size: Int[Array, ""], num: int, key: Key
) -> Float[Array, "num d"]:
    """`num` rows drawn uniformly, with replacement, from the first `size`."""
    return ring[jax.random.randint(key, (num,), 0, size)]
