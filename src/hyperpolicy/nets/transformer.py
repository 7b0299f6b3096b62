"""A transformer encoder layer for ONE sample's tokens, and HypFormer's network around it.

The layer is post-norm and without positional encoding (Vaswani et al., 2017, "Attention Is All You
Need", arXiv:1706.03762):

    x ← LayerNorm(x + Attention(x))        x ← LayerNorm(x + L₂ ReLU(L₁ x))

The tokens [k, d] are one sample's, so attention can mix nothing else; `vmap` makes the batch.
Dropout is data: `KEEP` in evaluation mode.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from jaxtyping import Key as Keys

from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key

MaskNumber = int | Int[Array, ""]
"""A number, or one that a scan counts."""


class Dropout(eqx.Module):
    """x / (1 − share) where a mask keeps it, else 0; x as it is without a key, which is evaluation
    mode, or with a share of 0."""

    key: Keys[Array, "*b"] | None = None
    share: float = eqx.field(static=True, default=0.0)

    def __call__(self, number: MaskNumber, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """`x` under mask `number`; every place in a network has a number of its own."""
        if self.key is None or not self.share:
            return x
        kept = jax.random.bernoulli(jax.random.fold_in(self.key, number), 1.0 - self.share, x.shape)
        return jnp.where(kept, x / (1.0 - self.share), 0.0)

    def split(self, num: int) -> "Dropout":
        """One for each of `num` samples, on a leading axis for `vmap`."""
        return self if self.key is None else Dropout(jax.random.split(self.key, num), self.share)


KEEP = Dropout()


class EncoderLayer(eqx.Module):
    """Attention and a two-layer network, each with a skip and a LayerNorm behind it."""

    project: Linear
    """Queries, keys and values, side by side."""
    mix: Linear
    attention_norm: eqx.nn.LayerNorm
    up: Linear
    down: Linear
    network_norm: eqx.nn.LayerNorm
    heads: int = eqx.field(static=True)

    @classmethod
    def init(cls, d: int, heads: int, ff: int, key: Key) -> "EncoderLayer":
        """For tokens of `d` numbers, a multiple of `heads`; attention starts as PyTorch starts it.

        Projections are uniform in ±√(6 / (d + 3d)), attention's biases are zero.
        """
        key_project, key_mix, key_up, key_down = jax.random.split(key, 4)
        bound = (1.5 / d) ** 0.5
        weight = jax.random.uniform(key_project, (d, 3 * d), minval=-bound, maxval=bound)
        return cls(
            Linear(weight, jnp.zeros(3 * d)),
            Linear(Linear.init(d, d, key_mix).weight, jnp.zeros(d)),
            eqx.nn.LayerNorm(d),
            Linear.init(d, ff, key_up),
            Linear.init(ff, d, key_down),
            eqx.nn.LayerNorm(d),
            heads,
        )

    def __call__(self, tokens: Float[Array, "k d"], drop: Dropout = KEEP) -> Float[Array, "k d"]:
        """The tokens after the layer; without `drop`, in evaluation mode."""
        x = jax.vmap(self.attention_norm)(tokens + drop(1, self.attend(tokens, drop)))
        hidden = drop(2, jax.nn.relu(jax.vmap(self.up)(x)))
        return jax.vmap(self.network_norm)(x + drop(3, jax.vmap(self.down)(hidden)))

    def attend(self, tokens: Float[Array, "k d"], drop: Dropout = KEEP) -> Float[Array, "k d"]:
        """softmax(q kᵀ / √e) v in each head of e = d / heads numbers, mixed over heads."""
        k, d = tokens.shape
        parts = jnp.split(jax.vmap(self.project)(tokens), 3, axis=1)
        query, key, value = (part.reshape(k, self.heads, -1) for part in parts)
        scores = jnp.einsum("qhe,khe->hqk", query, key) * (d / self.heads) ** -0.5
        shares = drop(0, jax.nn.softmax(scores, axis=-1))
        return jax.vmap(self.mix)(jnp.einsum("hqk,khe->qhe", shares, value).reshape(k, d))


# --- The network of HypFormer -------------------------------------------------------------
class Drops(NamedTuple):
    """Dropout of the MLPs and of the encoder layer."""

    mlps: Dropout = KEEP
    layer: Dropout = KEEP

    def split(self, num: int) -> "Drops":
        """One for each of `num` samples, on a leading axis for `vmap`."""
        return Drops(self.mlps.split(num), self.layer.split(num))


EVALUATION = Drops()


class Prediction(NamedTuple):
    latent: Float[Array, "*b z"]
    """z_pred."""
    residue: Float[Array, "*b z"]
    """∇_pred."""

    @property
    def total(self) -> Float[Array, "*b z"]:
        """z_pred + ∇_pred, the latent to decode."""
        return self.latent + self.residue


class TokenMlp(eqx.Module):
    """L₂ dropout(GELU(L₁ x)), token by token."""

    first: Linear
    last: Linear

    @classmethod
    def init(cls, i: int, width: int, o: int, key: Key) -> "TokenMlp":
        key_first, key_last = jax.random.split(key)
        return cls(Linear.init(i, width, key_first), Linear.init(width, o, key_last))

    def __call__(
        self, tokens: Float[Array, "k i"], drop: Dropout, number: int
    ) -> Float[Array, "k o"]:
        """`number` is the mask's."""
        hidden = jax.nn.gelu(jax.vmap(self.first)(tokens), approximate=False)
        return jax.vmap(self.last)(drop(number, hidden))


class Aggregator(eqx.Module):
    """Several latents and the conditions they were made for → one latent and its residue.

    x = P₂ [P₁(cls), P₁(ẑ_1), P₁(ẑ_2), …, C m]    y = P₃ EncoderLayer(x)    mean H(y), mean R(y)
    """

    token: Float[Array, " z"]
    """cls, which is learned."""
    enter: TokenMlp
    """P₁."""
    condition: Linear
    """C."""
    mix: TokenMlp
    """P₂."""
    layer: EncoderLayer
    leave: TokenMlp
    """P₃."""
    latent: TokenMlp
    """H."""
    residue: TokenMlp
    """R."""

    @classmethod
    def init(cls, z: int, d: int, w: int, heads: int, ff: int, key: Key) -> "Aggregator":
        """For latents of `z` numbers and conditions of `d`, with tokens of `w` inside."""
        key_token, key_condition, key_layer, *keys = jax.random.split(key, 8)
        sizes = (z, w), (w, w), (w, w), (w, z), (w, z)
        mlps = [TokenMlp.init(i, w, o, k) for (i, o), k in zip(sizes, keys, strict=True)]
        enter, mix, leave, latent, residue = mlps
        token = jax.random.normal(key_token, (z,))
        condition = Linear.init(d, w, key_condition)
        layer = EncoderLayer.init(w, heads, ff, key_layer)
        return cls(token, enter, condition, mix, layer, leave, latent, residue)

    def __call__(
        self,
        latents: Float[Array, "k z"],
        conditions: Float[Array, "q d"],
        drops: Drops = EVALUATION,
    ) -> Prediction:
        """The prediction of ONE sample, attending over its own 1 + k + q tokens."""
        tokens = self.embed(latents, conditions, drops.mlps)
        return self.read(self.layer(tokens, drops.layer), drops.mlps)

    def embed(
        self, latents: Float[Array, "k z"], conditions: Float[Array, "q d"], drop: Dropout
    ) -> Float[Array, "t w"]:
        """What attention sees of one sample, t = 1 + k + q."""
        entered = self.enter(jnp.concatenate([self.token[None], latents]), drop, 0)
        tokens = jnp.concatenate([entered, jax.vmap(self.condition)(conditions)])
        return self.mix(tokens, drop, 1)

    def read(self, attended: Float[Array, "t w"], drop: Dropout) -> Prediction:
        """The means of both heads over all tokens."""
        y = self.leave(attended, drop, 2)
        latents, residues = self.latent(y, drop, 3), self.residue(y, drop, 4)
        return Prediction(jnp.mean(latents, axis=0), jnp.mean(residues, axis=0))
