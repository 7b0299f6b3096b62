"""HyperZero: a hypernetwork that writes a policy, and its value, for a context.

Rezaei-Shoshtari et al. (2023), arXiv:2211.15457; the architecture is the released code's (the paper
says less): a context is embedded by residual blocks of growing width,

    z = R₂(R₂(R₂(c → e/4) → e/2) → e),  R(x) = x + W₂ ReLU(W₁ ReLU(x))

and four linear heads write the layers of π̂_c = tanh(W₂ ReLU(W₁ s)) and Q̂_c = V₂ ReLU(V₁ [s; a]).
How it learns, and what differs from the code, stands in `cloning`. With `PAPER` it has 3,612,935
numbers on the cheetah's speeds.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.generate.cloning import CloneConfig, Cloned, policy_of
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.types import Key

BLOCKS = 2
"""Residual blocks of each width."""
FIRST, LAST = 0.05, 0.008
"""Bounds of the first weights of heads for first and last layers."""


class Block(eqx.Module):
    """x + W₂ ReLU(W₁ ReLU(x))."""

    one: Linear
    two: Linear

    @classmethod
    def init(cls, width: int, key: Key) -> "Block":
        """Weights uniform in ±1/(2√width)."""
        one, two = jax.random.split(key)
        return cls(halved(width, width, one), halved(width, width, two))

    def __call__(self, x: Float[Array, " w"]) -> Float[Array, " w"]:
        return x + self.two(jax.nn.relu(self.one(jax.nn.relu(x))))


def halved(i: int, o: int, key: Key) -> Linear:
    """Weights uniform in ±1/(2√i), biases in ±1/√i."""
    layer = Linear.init(i, o, key)
    return Linear(0.5 * layer.weight, layer.bias)


class Embedding(eqx.Module):
    """z of a condition."""

    steps: list[Linear]
    blocks: list[list[Block]]

    @classmethod
    def init(cls, d: int, e: int, key: Key) -> "Embedding":
        """From d numbers to e."""
        widths = [d, max(1, e // 4), max(1, e // 2), e]
        steps, blocks = [], []
        for n, (i, o) in enumerate(itertools.pairwise(widths)):
            keys = jax.random.split(jax.random.fold_in(key, n), 1 + BLOCKS)
            steps.append(halved(i, o, keys[0]))
            blocks.append([Block.init(o, own) for own in keys[1:]])
        return cls(steps, blocks)

    def __call__(self, condition: Float[Array, " d"]) -> Float[Array, " e"]:
        x = condition
        for step, blocks in zip(self.steps, self.blocks, strict=True):
            x = step(x)
            for block in blocks:
                x = block(x)
        return x


class Head(eqx.Module):
    """Writes one layer [i, o] from z."""

    weight: Linear
    bias: Linear

    @classmethod
    def init(cls, e: int, i: int, o: int, bound: float, key: Key) -> "Head":
        """Weights uniform in ±bound, biases 0: what is written is proportional to z at first."""
        keys = jax.random.split(key)

        def linear(o: int, key: Key) -> Linear:
            weight = jax.random.uniform(key, (e, o), minval=-bound, maxval=bound)
            return Linear(weight, jnp.zeros(o))

        return cls(linear(i * o, keys[0]), linear(o, keys[1]))

    def __call__(self, z: Float[Array, " e"]) -> Linear:
        o = len(self.bias.bias)
        return Linear(self.weight(z).reshape(-1, o), self.bias(z))


class HyperNet(eqx.Module):
    """The embedding and its heads: two for the policy, two for the value or none."""

    embedding: Embedding
    policy: list[Head]
    value: list[Head]

    @classmethod
    def init(cls, cfg: "HyperZeroConfig", spec: PolicySpec, d: int, key: Key) -> "HyperNet":
        """Fresh networks."""
        keys = jax.random.split(key, 5)
        (o, a), h, e = (spec.obs, spec.action), cfg.hidden, cfg.embed
        policy = [Head.init(e, o, h, FIRST, keys[1]), Head.init(e, h, a, LAST, keys[2])]
        value = []
        if cfg.values:
            value = [Head.init(e, o + a, h, FIRST, keys[3]), Head.init(e, h, 1, LAST, keys[4])]
        return cls(Embedding.init(d, e, keys[0]), policy, value)

    def __call__(self, condition: Float[Array, " d"]) -> tuple[PolicyNet, Mlp | None]:
        z = self.embedding(condition)
        value = Mlp([head(z) for head in self.value]) if self.value else None
        return policy_of([head(z) for head in self.policy]), value


@dataclass(frozen=True)
class HyperZeroConfig(CloneConfig):
    name: ClassVar[str] = "hyperzero"

    def init(self, spec: PolicySpec, d: int, key: Key) -> HyperNet:
        return HyperNet.init(self, spec, d, key)

    @property
    def part(self) -> type["HyperZero"]:
        return HyperZero


PAPER = HyperZeroConfig(hidden=256, embed=256, steps=332_500, rate=1e-4, episodes=10)
"""The published sizes, for a GPU: 500 epochs of 340,000 rows."""


class HyperZero(Cloned):
    kind: ClassVar[str] = "hyperzero"
    config: ClassVar[type[CloneConfig]] = HyperZeroConfig
