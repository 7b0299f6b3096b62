"""FiLM: the features of what is seen, scaled and shifted by what is known of the task.

Perez et al. (2018), arXiv:1709.07871; for many tasks as in Sodhani, Zhang and Pineau (2021),
arXiv:2102.06177:

    h_{l+1} = ReLU(γ_l ⊙ (W_l h_l + b_l) + β_l)        [γ_l ; β_l] = L_l(z)

The last layer has no ReLU. γ starts at 1 and β at 0.
"""

from dataclasses import dataclass
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Sizes
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key, Task


@dataclass(frozen=True)
class ModulatedConfig(Bounded):
    """Sizes of the encoder."""

    layers: Sizes = (50, 50, 50)
    """Units of each layer."""

    @property
    def width(self) -> int:
        """Numbers it gives."""
        return self.layers[-1]

    def make(self, tasks: int, i: int, z: int, key: Key) -> "Modulated":
        """A fresh encoder of i numbers, for embeddings of z numbers."""
        sizes = list(pairwise([i, *self.layers]))
        keys = jax.random.split(key, len(sizes))
        layers = [Linear.xavier(a, b, k) for (a, b), k in zip(sizes, keys, strict=True)]
        films = [
            Linear(jnp.zeros((z, 2 * b)), jnp.concatenate([jnp.ones(b), jnp.zeros(b)]))
            for _, b in sizes
        ]
        return Modulated(layers, films)


class Modulated(eqx.Module):
    """Layers, and what makes their scales and shifts."""

    layers: list[Linear]
    films: list[Linear]

    def __call__(
        self, x: Float[Array, " i"], z: Float[Array, " z"], task: Task
    ) -> Float[Array, " w"]:
        """The encoding of one input, told the task's embedding."""
        *inner, last = self.merge(z)
        for layer in inner:
            x = jax.nn.relu(layer(x))
        return last(x)

    def merge(self, z: Float[Array, " z"]) -> list[Linear]:
        """The plain layers of one embedding. Under `vmap` over inputs of one task they are made
        once."""
        found = []
        for layer, film in zip(self.layers, self.films, strict=True):
            scale, shift = jnp.split(film(z), 2)
            found.append(Linear(layer.weight * scale[None], layer.bias * scale + shift))
        return found
