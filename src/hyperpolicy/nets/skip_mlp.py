"""The multi-layer perceptron with additive skips that AMT-Hyp calls a "1D UNet".

    d₁ = L(x)   d₂ = B(d₁)   d₃ = B(d₂)   d₄ = B(d₃)   u₃ = B(d₄) + d₃   u₂ = B(u₃) + d₂
    out = L(u₂) + d₁

L is linear, B is linear → batch norm → GELU → dropout; d₁ has the width of the output. The forward
pass is written for one sample; batch norm alone sees the others, through the axis `BATCH`.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key

BATCH = "batch"
EPSILON = 1e-5
MOMENTUM = 0.1
"""Share of the newest batch in the running moments."""


class Moments(NamedTuple):
    """Mean and variance of a block's features."""

    mean: Float[Array, " f"]
    variance: Float[Array, " f"]


class Block(eqx.Module):
    """Linear → batch norm → GELU → dropout."""

    linear: Linear
    scale: Float[Array, " f"]
    shift: Float[Array, " f"]

    @classmethod
    def init(cls, i: int, o: int, key: Key) -> "Block":
        return cls(Linear.init(i, o, key), jnp.ones(o), jnp.zeros(o))


class SkipMlp(eqx.Module):
    """Numbers that are learned; running moments are data and live outside."""

    first: Linear
    down: list[Block]
    up: list[Block]
    last: Linear

    @classmethod
    def init(cls, i: int, hidden: tuple[int, ...], z: int, key: Key) -> "SkipMlp":
        """`hidden` holds the widths of d₂, d₃ … down to the narrowest."""
        key_first, key_last, *keys = jax.random.split(key, 2 * len(hidden) + 1)
        down, up = list(pairwise((z, *hidden))), list(pairwise(hidden[::-1]))
        blocks = [Block.init(*io, k) for io, k in zip(down + up, keys, strict=True)]
        first, last = Linear.init(i, z, key_first), Linear.init(hidden[0], z, key_last)
        return cls(first, blocks[: len(down)], blocks[len(down) :], last)

    @property
    def blocks(self) -> list[Block]:
        return [*self.down, *self.up]


def first_moments(net: SkipMlp) -> list[Moments]:
    """Running moments before any batch: mean 0, variance 1."""
    return [Moments(jnp.zeros_like(b.shift), jnp.ones_like(b.scale)) for b in net.blocks]


def evaluate(net: SkipMlp, running: list[Moments], x: Float[Array, " i"]) -> Float[Array, " z"]:
    """The output for one sample, from running moments and without dropout."""

    def finish(number: int, h: Float[Array, " f"]) -> Float[Array, " f"]:
        return jax.nn.gelu(_normalize(net.blocks[number], h, running[number]), approximate=False)

    return _forward(net, x, finish)


def train(
    net: SkipMlp, xs: Float[Array, "b i"], dropout: float, key: Key
) -> tuple[Float[Array, "b z"], list[Moments]]:
    """Outputs for a batch, with the batch's own moments and dropout; and those moments."""
    one = jax.vmap(_train_one, (None, 0, None, 0), (0, None), axis_name=BATCH)
    return one(net, xs, dropout, jax.random.split(key, len(xs)))


def follow(running: list[Moments], batch: list[Moments], b: int) -> list[Moments]:
    """Running moments moved toward a batch of b samples (its variance made unbiased)."""

    def mix(old, new):
        return (1.0 - MOMENTUM) * old + MOMENTUM * new

    unbiased = b / max(b - 1, 1)
    pairs = zip(running, batch, strict=True)
    return [Moments(mix(r.mean, m.mean), mix(r.variance, unbiased * m.variance)) for r, m in pairs]


def _train_one(net: SkipMlp, x, dropout: float, key: Key):
    seen: list[Moments] = []
    widths = [block.shift.shape[0] for block in net.blocks]
    draws = jax.random.bernoulli(key, 1.0 - dropout, (sum(widths),))
    kept = jnp.split(draws, list(accumulate(widths))[:-1])

    def finish(number: int, h):
        mean = jax.lax.pmean(h, BATCH)
        seen.append(Moments(mean, jax.lax.pmean((h - mean) ** 2, BATCH)))
        h = jax.nn.gelu(_normalize(net.blocks[number], h, seen[-1]), approximate=False)
        return jnp.where(kept[number], h / (1.0 - dropout), 0.0)

    return _forward(net, x, finish), seen


def _forward(net: SkipMlp, x, finish: Callable):
    """The equations of the module's docstring; `finish(number, h)` follows each block's linear."""
    h = net.first(x)
    skips = []
    for number, block in enumerate(net.down):
        skips.append(h)
        h = finish(number, block.linear(h))
    for number, block in enumerate(net.up, start=len(net.down)):
        h = finish(number, block.linear(h)) + skips.pop()
    return net.last(h) + skips.pop()


def _normalize(block: Block, h, moments: Moments):
    unit = (h - moments.mean) * jax.lax.rsqrt(moments.variance + EPSILON)
    return block.scale * unit + block.shift
