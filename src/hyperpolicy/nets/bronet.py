"""BroNet: residual blocks with layer normalization, which keep learning when they are wide.

Nauman et al. (2024), "Bigger, Regularized, Optimistic: scaling for compute and sample-efficient
continuous control", arXiv:2405.16158, whose critics these are; in Nauman et al. (2025),
"Bigger, Regularized, Categorical", arXiv:2505.23150, actors too, without the last layer:

    h ← ReLU(N(L(x)))        h ← h + N(L(ReLU(N(L(h)))))        y = L(h)

L is linear, its first weights orthogonal times √2, N is layer normalization.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size
from hyperpolicy.nets import orthogonal
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key, Task


@dataclass(frozen=True)
class BroNetConfig(Bounded):
    """Sizes of the network."""

    width: Size = 512
    """Units of every layer (BRC's critics: 4,096)."""
    blocks: Size = 2
    """Residual blocks, of two layers each (BRC's actor: 1)."""

    def make(self, tasks: int, i: int, o: int, key: Key) -> "BroNet":
        """A fresh network from i to o numbers; it is not asked for a task."""
        w = self.width
        key_first, key_last, *keys = jax.random.split(key, 2 + self.blocks)
        blocks = [Block.init(w, own) for own in keys]
        return BroNet(
            _linear(i, w, key_first), eqx.nn.LayerNorm(w), blocks, _linear(w, o, key_last)
        )


def _linear(i: int, o: int, key: Key) -> Linear:
    return Linear(2**0.5 * orthogonal.draw(key, (i, o)), jnp.zeros(o))


class Block(eqx.Module):
    """h + N(L(ReLU(N(L(h)))))."""

    first: Linear
    inner: eqx.nn.LayerNorm
    second: Linear
    outer: eqx.nn.LayerNorm

    @classmethod
    def init(cls, width: int, key: Key) -> "Block":
        one, two = jax.random.split(key)
        norms = eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width)
        return cls(_linear(width, width, one), norms[0], _linear(width, width, two), norms[1])

    def __call__(self, h: Float[Array, " w"]) -> Float[Array, " w"]:
        inside = jax.nn.relu(self.inner(self.first(h)))
        return h + self.outer(self.second(inside))


class BroNet(eqx.Module):
    """A network of residual blocks."""

    first: Linear
    norm: eqx.nn.LayerNorm
    blocks: list[Block]
    last: Linear

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input."""
        h = jax.nn.relu(self.norm(self.first(x)))
        for block in self.blocks:
            h = block(h)
        return self.last(h)
