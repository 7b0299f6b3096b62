"""Linear layers whose weights are a linear function of a learned latent: MACAW's weight transform
(Mitchell et al. 2021, arXiv:2008.06043, §4.2), so that one gradient step changes a layer by more
than a sum of its inputs' outer products.

    [W ; b] = z G + g      y = x W + b
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.types import Key


class LatentLinear(eqx.Module):
    """x W + b, with W [i, o] and b out of the latent."""

    latent: Float[Array, " z"]
    generator: Linear
    o: int = eqx.field(static=True)

    @classmethod
    def init(cls, i: int, o: int, z: int, key: Key) -> "LatentLinear":
        """z from N(0, 1/o), G and g as PyTorch starts linear layers."""
        key_latent, key_generator = jax.random.split(key)
        latent = o**-0.5 * jax.random.normal(key_latent, (z,))
        return cls(latent, Linear.init(z, i * o + o, key_generator), o)

    @property
    def plain(self) -> Linear:
        """The layer that the latent makes."""
        numbers = self.generator(self.latent)
        return Linear(numbers[: -self.o].reshape(-1, self.o), numbers[-self.o :])


class LatentMlp(eqx.Module):
    """Such layers with ReLU between them."""

    layers: list[LatentLinear]

    @classmethod
    def init(cls, sizes: list[int], z: int, key: Key) -> "LatentMlp":
        """`sizes` runs from input to output."""
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = zip(pairwise(sizes), keys, strict=True)
        return cls([LatentLinear.init(i, o, z, k) for (i, o), k in pairs])

    @property
    def plain(self) -> Mlp:
        """The network that the latents make."""
        return Mlp([layer.plain for layer in self.layers])


def before_last(net: Mlp, x: Float[Array, " i"]) -> Float[Array, " h"]:
    """The last hidden layer's output before its ReLU."""
    *hidden, last = net.layers[:-1]
    for layer in hidden:
        x = jax.nn.relu(layer(x))
    return last(x)


def joined(hidden: Float[Array, " h"], action: Float[Array, " a"]) -> Float[Array, " i"]:
    """ReLU of both, the input of MACAW's advantage head."""
    return jax.nn.relu(jnp.concatenate([hidden, action]))
