"""A causal transformer for ONE sequence of tokens: GPT-2's blocks without its positions (Radford et
al. 2019, "Language Models are Unsupervised Multitask Learners"; as Decision Transformer uses them,
Chen et al. 2021, arXiv:2106.01345).

    x ← x + Attention(LayerNorm(x))        x ← x + L₂ ReLU(L₁ LayerNorm(x))        y = LayerNorm(x)

Token i sees the tokens up to i that are there. Weights start from N(0, 0.02²), biases from 0;
dropout is data (`nets/transformer.py`), on tokens as they enter, on attention's shares, and on what
each half of a block adds.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hyperpolicy.nets.mlp import Linear
from hyperpolicy.nets.transformer import KEEP, Dropout, MaskNumber
from hyperpolicy.types import Key

STD = 0.02
PLACES = 4
"""Dropout masks in a block."""


def small(i: int, o: int, key: Key) -> Linear:
    """Weights from N(0, 0.02²), biases 0."""
    return Linear(STD * jax.random.normal(key, (i, o)), jnp.zeros(o))


class Block(eqx.Module):
    """Attention and a two-layer network, each behind a LayerNorm and beside a skip."""

    attention_norm: eqx.nn.LayerNorm
    project: Linear
    """Queries, keys and values, side by side."""
    mix: Linear
    network_norm: eqx.nn.LayerNorm
    up: Linear
    down: Linear
    heads: int = eqx.field(static=True)

    @classmethod
    def init(cls, d: int, heads: int, key: Key) -> "Block":
        """For tokens of `d` numbers, a multiple of `heads`; the network is four times as wide."""
        keys = jax.random.split(key, 4)
        sizes = (d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)
        project, mix, up, down = (small(*size, k) for size, k in zip(sizes, keys, strict=True))
        norms = eqx.nn.LayerNorm(d), eqx.nn.LayerNorm(d)
        return cls(norms[0], project, mix, norms[1], up, down, heads)

    def __call__(
        self, x: Float[Array, "l d"], sees: Bool[Array, "l l"], drop: Dropout, first: MaskNumber
    ) -> Float[Array, "l d"]:
        """The tokens after the block; its masks are numbered from `first`."""
        normed = jax.vmap(self.attention_norm)(x)
        x = x + drop(first + 1, self.attend(normed, sees, drop, first))
        hidden = jax.nn.relu(jax.vmap(self.up)(jax.vmap(self.network_norm)(x)))
        return x + drop(first + 2, jax.vmap(self.down)(hidden))

    def attend(
        self, x: Float[Array, "l d"], sees: Bool[Array, "l l"], drop: Dropout, first: MaskNumber
    ) -> Float[Array, "l d"]:
        """softmax(q kᵀ / √e) v in each head of e = d / heads numbers, over the tokens seen."""
        l, d = x.shape
        parts = jnp.split(jax.vmap(self.project)(x), 3, axis=1)
        query, key, value = (part.reshape(l, self.heads, -1) for part in parts)
        scores = jnp.einsum("qhe,khe->hqk", query, key) * (d / self.heads) ** -0.5
        scores = jnp.where(sees[None], scores, -1e9)  # a token that sees none sees all: no NaN
        shares = drop(first, jax.nn.softmax(scores, axis=-1))
        return jax.vmap(self.mix)(jnp.einsum("hqk,khe->qhe", shares, value).reshape(l, d))


class Gpt(eqx.Module):
    """Blocks, and a LayerNorm behind the last."""

    blocks: list[Block]
    norm: eqx.nn.LayerNorm

    @classmethod
    def init(cls, d: int, heads: int, layers: int, key: Key) -> "Gpt":
        """For tokens of `d` numbers, a multiple of `heads`."""
        keys = jax.random.split(key, layers)
        return cls([Block.init(d, heads, k) for k in keys], eqx.nn.LayerNorm(d))

    def __call__(
        self, tokens: Float[Array, "l d"], there: Bool[Array, " l"], drop: Dropout = KEEP
    ) -> Float[Array, "l d"]:
        """What each token has become; tokens that are not `there` are seen by none.

        Blocks are the steps of a scan, and their insides are computed again for the gradient. On a
        CPU that is faster than blocks written out, whose gradients are computed again and again
        from the last block on (`benchmarks/blocks.py`).
        """
        l = len(tokens)
        sees = jnp.tril(jnp.ones((l, l), bool)) & there[None, :]
        blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.blocks)
        firsts = 1 + PLACES * jnp.arange(len(self.blocks))

        @jax.checkpoint
        def through(x, one: tuple[Block, Int[Array, ""]]):
            block, first = one
            return block(x, sees, drop, first), None

        x, _ = jax.lax.scan(through, drop(0, tokens), (blocks, firsts))
        return jax.vmap(self.norm)(x)
