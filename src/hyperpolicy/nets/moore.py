"""MOORE: orthogonal experts whose outputs a task mixes.

Hendawy, Peters and D'Eramo (2024), "Multi-Task Reinforcement Learning with Mixture of Orthogonal
Experts", arXiv:2311.11385. K experts give u_1 … u_K for what is seen, Gram–Schmidt makes them
orthonormal, V, and task t has

    y = H_t tanh(Σ_k w_k(t) V_k)

with weights w(t) and a linear head H_t of its own.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size, Sizes
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.orthogonal import orthonormal
from hyperpolicy.types import Key, Task


@dataclass(frozen=True)
class MooreConfig(Bounded):
    """Sizes of the network."""

    hidden: Sizes = (400, 400, 400)
    """Units of each hidden layer of an expert; the last are what it gives."""
    experts: Size = 4
    """K (MT10: 4; MT50: 6)."""

    def make(self, tasks: int, i: int, o: int, key: Key) -> "Moore":
        """A fresh network from i to o numbers for `tasks` tasks."""
        key_experts, key_mixture, key_heads = jax.random.split(key, 3)
        one = lambda k: Mlp.init([i, *self.hidden], k)  # noqa: E731
        head = lambda k: Linear.init(self.hidden[-1], o, k)  # noqa: E731
        experts = jax.vmap(one)(jax.random.split(key_experts, self.experts))
        bound = tasks**-0.5
        mixture = jax.random.uniform(
            key_mixture, (tasks, self.experts), minval=-bound, maxval=bound
        )
        return Moore(experts, mixture, jax.vmap(head)(jax.random.split(key_heads, tasks)))


class Moore(eqx.Module):
    """K experts, and for each task its weights and its head."""

    experts: Mlp
    """K of them, stacked on axis 0."""
    mixture: Float[Array, "t k"]
    """w of each task."""
    heads: Linear
    """One a task, stacked on axis 0."""

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input of one task."""
        given = jax.vmap(lambda expert: expert(x))(self.experts)
        basis = orthonormal(given.T).T
        head = Linear(self.heads.weight[task], self.heads.bias[task])
        return head(jnp.tanh(self.mixture[task] @ basis))
