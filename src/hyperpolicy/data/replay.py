"""Ring buffers of transitions on the device: written for one learner, vmapped over a fleet.

A transition is one row: obs | action | outcome | next_obs | terminated | context. The context is
that of the world that made it. Rewards are not stored: they are computed from the outcome, under
this context or, where the reward holds for any, under another.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hyperpolicy.errors import BadSetting
from hyperpolicy.types import Key


class Layout(NamedTuple):
    """Widths of a row's parts."""

    obs: int
    action: int
    outcome: int
    context: int

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return 2 * self.obs + self.action + self.outcome + 1 + self.context


class Transitions(NamedTuple):
    """b transitions, part by part."""

    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    outcome: Float[Array, "b m"]
    next_obs: Float[Array, "b o"]
    terminated: Float[Array, " b"]
    context: Float[Array, "b c"]


def pack(
    obs: Float[np.ndarray, "n o"],
    action: Float[np.ndarray, "n a"],
    outcome: Float[np.ndarray, "n m"],
    next_obs: Float[np.ndarray, "n o"],
    terminated: Bool[np.ndarray, " n"],
    context: Float[np.ndarray, "n c"],
) -> Float[np.ndarray, "n d"]:
    """The rows of one step of n worlds."""
    parts = [obs, action, outcome, next_obs, terminated[:, None], context]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def unpack(layout: Layout, rows: Float[Array, "b d"]) -> Transitions:
    """The parts of b rows."""
    o, a, m, _ = layout
    ends = [o, o + a, o + a + m, 2 * o + a + m, 2 * o + a + m + 1]
    obs, action, outcome, next_obs, ended, context = jnp.split(rows, ends, axis=1)
    return Transitions(obs, action, outcome, next_obs, ended[:, 0], context)


def push(
    ring: Float[Array, "capacity d"], rows: Float[Array, "e d"], position: Int[Array, ""]
) -> Float[Array, "capacity d"]:
    """The ring with `rows` written from `position` on; the capacity must be a multiple of e."""
    return jax.lax.dynamic_update_slice(ring, rows, (position, 0))


def draw(
    ring: Float[Array, "capacity d"], size: Int[Array, ""] | np.int32, num: int, key: Key
) -> Float[Array, "num d"]:
    """`num` rows drawn uniformly, with replacement, from the first `size`."""
    return ring[jax.random.randint(key, (num,), 0, size)]


def draw_stratified(
    ring: Float[Array, "capacity d"],
    size: Int[Array, ""] | np.int32,
    num: int,
    tasks: Int[np.ndarray, " e"],
    key: Key,
) -> Float[Array, "num d"]:
    """`num` rows, equally many of each task and task by task, each task's drawn uniformly, with
    replacement, from its own rows among the first `size`.

    World i of the e that fill the ring is on task `tasks[i]`; each push wrote one row a world. The
    batches of Meta-World's MT-SAC (Yu et al. 2019, arXiv:1910.10897) are such: 128 rows a task.

    Raises:
        BadSetting: `num` is no multiple of the number of tasks.
    """
    names, counts = np.unique(tasks, return_counts=True)
    if num % len(names):
        raise BadSetting(f"a batch of {num} for {len(names)} tasks; give equally many rows of each")
    worlds = np.zeros((len(names), counts.max()), np.int32)
    for row, name in enumerate(names):
        worlds[row, : counts[row]] = np.flatnonzero(tasks == name)
    task = np.repeat(np.arange(len(names)), num // len(names))
    key_push, key_world = jax.random.split(key)
    pushes = jax.random.randint(key_push, (num,), 0, size // len(tasks))
    world = jax.random.randint(key_world, (num,), 0, jnp.asarray(counts)[task])
    return ring[pushes * len(tasks) + jnp.asarray(worlds)[task, world]]
