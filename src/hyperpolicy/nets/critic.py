"""Twin action-value networks, and their flat vectors."""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Linear, Mlp
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

    def init(self, key: Key) -> Mlp:
        """Twin critics, stacked on axis 0."""
        sizes = [self.obs + self.action, *self.hidden, 1]
        return jax.vmap(lambda k: Mlp.init(sizes, k))(jax.random.split(key, 2))

    def flatten(self, twins: Mlp) -> Float[Array, "2 q"]:
        def one(critic):
            leaves = [leaf.ravel() for la in critic.layers for leaf in (la.weight, la.bias)]
            return jnp.concatenate(leaves)

        return jax.vmap(one)(twins)

    def unflatten(self, weights: Float[Array, "2 q"]) -> Mlp:
        def one(flat):
            layers, start = [], 0
            for i, o in self.layers:
                middle, end = start + i * o, start + i * o + o
                layers.append(Linear(flat[start:middle].reshape(i, o), flat[middle:end]))
                start = end
            return Mlp(layers)

        return jax.vmap(one)(weights)


def value(twins: Mlp, obs: Float[Array, " o"], action: Float[Array, " a"]) -> Float[Array, "2"]:
    """Both critics' estimate of the return."""
    return jax.vmap(lambda critic: critic(jnp.concatenate([obs, action]))[0])(twins)
