"""A small denoiser for flat latents: residual FiLM blocks of linear layers.

    e = [S(t) ; c]      h = L(x_t)      x̂₀ = L(h after the blocks)
    block:   u = γ ⊙ B(h) + β      h ← h + B(u)      [γ ; β] = L(Mish(e))

L is linear, B is linear → LayerNorm → Mish, c the condition, and S embeds the diffusion step t:
sines and cosines → linear → Mish → linear. The block is `unet1d`'s, with one token and linear maps
for convolutions; FiLM is Perez et al. (2018), arXiv:1709.07871.
"""

from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Size
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key


@dataclass(frozen=True)
class FilmMlpConfig(Bounded):
    kind: ClassVar[str] = "film-mlp"
    width: Size = 256
    """Units of every layer."""
    blocks: Size = 4
    """Residual blocks, of two layers each."""
    embedding: Size = 128
    """Numbers in S(t)."""

    def init(self, z: int, d: int, key: Key) -> "FilmMlp":
        """A fresh denoiser for latents of `z` numbers and conditions of `d`."""
        key_step, key_first, key_last, *keys = jax.random.split(key, 3 + self.blocks)
        f, e = self.width, self.embedding + d
        return FilmMlp(
            self,
            StepEmbedding.init(self.embedding, key_step),
            Linear.init(z, f, key_first),
            [FilmBlock.init(f, e, k) for k in keys],
            Linear.init(f, z, key_last),
        )

    def __post_init__(self):
        super().__post_init__()
        check_embedding(self.embedding)


def check_embedding(size: int) -> None:
    """Raise BadSetting where sines and cosines cannot share `size` numbers."""
    if size < 2 or size % 2:
        raise BadSetting(f"embedding={size}; half are sines, half cosines: give an even number")


# --- Step and condition -------------------------------------------------------------------
class StepEmbedding(eqx.Module):
    """S(t) = L(Mish(L([sin ωt ; cos ωt])))."""

    inner: Linear
    outer: Linear

    @classmethod
    def init(cls, size: int, key: Key) -> "StepEmbedding":
        key_inner, key_outer = jax.random.split(key)
        return cls(Linear.init(size, 4 * size, key_inner), Linear.init(4 * size, size, key_outer))

    def __call__(self, t: Int[Array, ""]) -> Float[Array, " s"]:
        size = self.inner.weight.shape[0]
        return self.outer(jax.nn.mish(self.inner(sinusoids(t, size))))


def sinusoids(t: Int[Array, ""], size: int) -> Float[Array, " s"]:
    """[sin ωt ; cos ωt], ω falling geometrically from 1 to 1/10,000."""
    angles = t * jnp.asarray(np.geomspace(1.0, 1e-4, size // 2), jnp.float32)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


def modulation(
    film: Linear, embedded: Float[Array, " e"]
) -> tuple[Float[Array, " f"], Float[Array, " f"]]:
    """[γ ; β] = L(Mish(e)): what FiLM multiplies features with, and what it adds."""
    scale, shift = jnp.split(film(jax.nn.mish(embedded)), 2)
    return scale, shift


# --- Blocks -------------------------------------------------------------------------------
class Layer(eqx.Module):
    """Linear → LayerNorm → Mish."""

    linear: Linear
    norm: eqx.nn.LayerNorm

    @classmethod
    def init(cls, f: int, key: Key) -> "Layer":
        return cls(Linear.init(f, f, key), eqx.nn.LayerNorm(f))

    def __call__(self, h: Float[Array, " f"]) -> Float[Array, " f"]:
        return jax.nn.mish(self.norm(self.linear(h)))


class FilmBlock(eqx.Module):
    """h + B(γ ⊙ B(h) + β)."""

    first: Layer
    second: Layer
    film: Linear

    @classmethod
    def init(cls, f: int, e: int, key: Key) -> "FilmBlock":
        key_first, key_second, key_film = jax.random.split(key, 3)
        film = Linear.init(e, 2 * f, key_film)
        return cls(Layer.init(f, key_first), Layer.init(f, key_second), film)

    def __call__(self, h: Float[Array, " f"], embedded: Float[Array, " e"]) -> Float[Array, " f"]:
        scale, shift = modulation(self.film, embedded)
        return h + self.second(scale * self.first(h) + shift)


class FilmMlp(eqx.Module):
    config: FilmMlpConfig = eqx.field(static=True)
    step: StepEmbedding
    first: Linear
    blocks: list[FilmBlock]
    last: Linear

    def __call__(
        self, noisy: Float[Array, " z"], t: Int[Array, ""], condition: Float[Array, " d"]
    ) -> Float[Array, " z"]:
        """x̂₀(x_t, t, c) for one latent."""
        embedded = jnp.concatenate([self.step(t), condition])
        h = self.first(noisy)
        for block in self.blocks:
            h = block(h, embedded)
        return self.last(h)
