"""Twin action-value networks, and their flat vectors."""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Mlp, unravel
from hyperpolicy.types import Key


@dataclass(frozen=True)
class CriticSpec:
    """Sizes of one critic, (obs, action) → hidden layers → 1."""

    obs: int
    action: int
    hidden: tuple[int, ...] = (64, 64)

    @property
    def layers(self) -> list[tuple[int, int]]:
        return list(pairwise((self.obs + self.action, *self.hidden, 1)))

    @property
    def size(self) -> int:
        """Numbers in one critic; the twins have twice as many."""
        return sum(i * o + o for i, o in self.layers)

    def init_one(self, key: Key) -> Mlp:
        """One critic."""
        return Mlp.init([self.obs + self.action, *self.hidden, 1], key)

    def init(self, key: Key) -> Mlp:
        """Twin critics, stacked on axis 0."""
        return jax.vmap(self.init_one)(jax.random.split(key, 2))

    def flatten(self, twins: Mlp) -> Float[Array, "2 q"]:
        """Both critics as flat vectors."""
        return jax.vmap(lambda critic: ravel_pytree(critic)[0])(twins)

    def unflatten(self, weights: Float[Array, "2 q"]) -> Mlp:
        """The twin critics of two flat vectors."""
        return jax.vmap(unravel(CriticSpec.init_one, self))(weights)


def value(twins: Mlp, obs: Float[Array, " o"], action: Float[Array, " a"]) -> Float[Array, "2"]:
    """Both critics' estimate of the return."""
    return jax.vmap(lambda critic: critic(jnp.concatenate([obs, action]))[0])(twins)


value_batch = jax.vmap(value, in_axes=(None, 0, 0))
"""The same for b observations and actions: [b, 2]."""
