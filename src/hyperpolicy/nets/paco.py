"""PaCo: the parameters of a task's network are a mixture of K sets of parameters.

Sun et al. (2022), "PaCo: Parameter-Compositional Multi-Task Reinforcement Learning",
arXiv:2210.11653. Every layer of task t has Σ_k w_k(t) W_k and Σ_k w_k(t) b_k, with w(t) learned.
Their resets of tasks whose loss explodes are not part of this page.
"""

from dataclasses import dataclass
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size, Sizes
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.types import Key, Task


@dataclass(frozen=True)
class PacoConfig(Bounded):
    """Sizes of the network."""

    hidden: Sizes = (400, 400, 400)
    """Units of each hidden layer."""
    sets: Size = 5
    """K, the sets of parameters (MT10: 5; MT50: 20)."""

    def make(self, tasks: int, i: int, o: int, key: Key) -> "Paco":
        """A fresh network from i to o numbers for `tasks` tasks."""
        key_weights, key_net = jax.random.split(key)
        sizes = list(pairwise([i, *self.hidden, o]))
        keys = jax.random.split(key_net, (len(sizes), self.sets))
        many = jax.vmap(Linear.init, (None, None, 0))
        layers = [many(a, b, own) for (a, b), own in zip(sizes, keys, strict=True)]
        return Paco(layers, Linear.init(tasks, self.sets, key_weights))


class Paco(eqx.Module):
    """K networks, and how much of each a task is."""

    layers: list[Linear]
    """K of each, stacked on axis 0."""
    mixture: Linear
    """From a task's one-hot vector to w."""

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input of one task. Under `vmap` over inputs of one task its parameters
        are mixed once."""
        return self.merge(task)(x)

    def merge(self, task: Task) -> Mlp:
        """The plain network of one task."""
        w = self.mixture.weight[task] + self.mixture.bias
        mixed = lambda leaf: jnp.tensordot(w, leaf, 1)  # noqa: E731
        return Mlp([jax.tree.map(mixed, layer) for layer in self.layers])
