"""Make-An-Agent's denoiser: a conditional UNet over the two tokens of a latent.

    e = [S(t) ; c]
    block:   u = γ ⊙ B(x) + β      out = B(u) + W x      [γ ; β] = L(Mish(e))

B is convolution over tokens → GroupNorm → Mish; W is identity where the number of channels stays.
Each level has two blocks. On the way down a strided convolution (2 taps, stride 2, padding 1)
follows them, save on the last level; two blocks stand in the middle; on the way up each level is
also given what the level across put out, and a transposed convolution (2 taps, stride 2, padding 1)
follows. B and a linear map end it. FiLM and S are `film_mlp`'s.

As in the released code: for two tokens both resamplings keep their number; and the way up has one
level fewer than the way down, so what the first level puts out has no skip.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Size, Sizes
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.film_mlp import StepEmbedding, check_embedding, modulation
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key

TOKENS = 2
"""Of a latent: its first half and its second, the tokens of an autoencoder's."""


@dataclass(frozen=True)
class Unet1dConfig(Bounded):
    kind: ClassVar[str] = "unet1d"
    channels: Sizes = (512, 1024, 2048)
    """Channels of each level, from the first to the deepest (published: the default)."""
    kernel: Size = 3
    """Taps of the convolutions in blocks; odd."""
    groups: Size = 8
    """Groups of channels that GroupNorm normalizes together."""
    embedding: Size = 128
    """Numbers in S(t)."""

    def init(self, z: int, d: int, key: Key) -> "Unet1d":
        """A fresh denoiser for latents of `z` numbers and conditions of `d`; BadSetting: odd z."""
        if z % TOKENS:
            raise BadSetting(
                f"a latent of {z} numbers does not make {TOKENS} tokens; choose an encoder whose "
                "latents have an even size"
            )
        key_step, key_down, key_middle, key_up, key_last, key_out = jax.random.split(key, 6)
        e, channels = self.embedding + d, self.channels
        return Unet1d(
            self,
            StepEmbedding.init(self.embedding, key_step),
            _way_down(self, z // TOKENS, e, key_down),
            Level.init(self, channels[-1], channels[-1], e, key_middle),
            _way_up(self, e, key_up),
            ConvBlock.init(self, channels[0], channels[0], key_last),
            Linear.init(channels[0], z // TOKENS, key_out),
        )

    def __post_init__(self):
        super().__post_init__()
        check_embedding(self.embedding)
        if self.kernel % 2 == 0:
            raise BadSetting(f"kernel={self.kernel}; give an odd number, so that tokens keep place")
        if any(c % self.groups for c in self.channels):
            raise BadSetting(
                f"channels={self.channels}, groups={self.groups}; each level needs a multiple of "
                "the groups"
            )


# --- Convolutions -------------------------------------------------------------------------
class Conv(eqx.Module):
    """y_k = Σ_j x_{s·k + j − p} W_j + b, x zero outside; p is half the number of taps."""

    weight: Float[Array, "taps i o"]
    bias: Float[Array, " o"]
    stride: int = eqx.field(static=True)

    @classmethod
    def init(cls, i: int, o: int, taps: int, key: Key, stride: int = 1) -> "Conv":
        return cls(*_start(i, o, taps, key), stride)

    def __call__(self, x: Float[Array, "k i"]) -> Float[Array, "l o"]:
        taps = len(self.weight)
        x = jnp.pad(x, ((taps // 2, taps // 2), (0, 0)))
        end = len(x) - taps + 1
        parts = [x[j : j + end : self.stride] @ w for j, w in enumerate(self.weight)]
        return sum(parts[1:], parts[0]) + self.bias[None]


class TransposedConv(eqx.Module):
    """y_{2k + j − 1} = x_k W_j + b, j = 0, 1, what falls outside dropped."""

    weight: Float[Array, "2 i o"]
    bias: Float[Array, " o"]

    @classmethod
    def init(cls, i: int, o: int, key: Key) -> "TransposedConv":
        return cls(*_start(i, o, 2, key))

    def __call__(self, x: Float[Array, "k i"]) -> Float[Array, "l o"]:
        spread = jnp.stack([x @ w for w in self.weight], axis=1)
        return spread.reshape(2 * len(x), -1)[1:-1] + self.bias[None]


def _start(i: int, o: int, taps: int, key: Key) -> tuple[Array, Array]:
    """Weight and bias uniform in ±1/√(taps · i), as PyTorch starts them."""
    key_w, key_b = jax.random.split(key)
    bound = (taps * i) ** -0.5
    weight = jax.random.uniform(key_w, (taps, i, o), minval=-bound, maxval=bound)
    return weight, jax.random.uniform(key_b, (o,), minval=-bound, maxval=bound)


# --- Blocks -------------------------------------------------------------------------------
class ConvBlock(eqx.Module):
    """Convolution → GroupNorm → Mish."""

    conv: Conv
    norm: eqx.nn.GroupNorm

    @classmethod
    def init(cls, config: Unet1dConfig, i: int, o: int, key: Key) -> "ConvBlock":
        conv = Conv.init(i, o, config.kernel, key)
        return cls(conv, eqx.nn.GroupNorm(config.groups, o))

    def __call__(self, x: Float[Array, "k i"]) -> Float[Array, "k f"]:
        return jax.nn.mish(self.norm(self.conv(x).T).T)


class ResidualBlock(eqx.Module):
    """B(γ ⊙ B(x) + β) + W x."""

    first: ConvBlock
    second: ConvBlock
    film: Linear
    skip: Linear | None
    """W; None stands for identity."""

    @classmethod
    def init(cls, config: Unet1dConfig, i: int, o: int, e: int, key: Key) -> "ResidualBlock":
        key_first, key_second, key_film, key_skip = jax.random.split(key, 4)
        first = ConvBlock.init(config, i, o, key_first)
        second = ConvBlock.init(config, o, o, key_second)
        skip = None if i == o else Linear.init(i, o, key_skip)
        return cls(first, second, Linear.init(e, 2 * o, key_film), skip)

    def __call__(self, x: Float[Array, "k i"], embedded: Float[Array, " e"]) -> Float[Array, "k o"]:
        scale, shift = modulation(self.film, embedded)
        h = self.second(scale[None] * self.first(x) + shift[None])
        return h + (x if self.skip is None else jax.vmap(self.skip)(x))


class Level(eqx.Module):
    """Two residual blocks; `resample`, where there is one, follows them."""

    blocks: list[ResidualBlock]
    resample: Conv | TransposedConv | None

    @classmethod
    def init(
        cls,
        config: Unet1dConfig,
        i: int,
        o: int,
        e: int,
        key: Key,
        resample: Conv | TransposedConv | None = None,
    ) -> "Level":
        key_first, key_second = jax.random.split(key)
        first = ResidualBlock.init(config, i, o, e, key_first)
        return cls([first, ResidualBlock.init(config, o, o, e, key_second)], resample)

    def __call__(self, x: Float[Array, "k i"], embedded: Float[Array, " e"]) -> Float[Array, "k o"]:
        for block in self.blocks:
            x = block(x, embedded)
        return x


# --- Network ------------------------------------------------------------------------------
class Unet1d(eqx.Module):
    config: Unet1dConfig = eqx.field(static=True)
    step: StepEmbedding
    down: list[Level]
    middle: Level
    up: list[Level]
    last: ConvBlock
    out: Linear

    def __call__(
        self, noisy: Float[Array, " z"], t: Int[Array, ""], condition: Float[Array, " d"]
    ) -> Float[Array, " z"]:
        """x̂₀(x_t, t, c) for one latent, its tokens one after the other."""
        embedded = jnp.concatenate([self.step(t), condition])
        x, across = noisy.reshape(TOKENS, -1), []
        for level in self.down:
            x = level(x, embedded)
            across.append(x)
            x = x if level.resample is None else level.resample(x)
        x = self.middle(x, embedded)
        for level in self.up:
            x = level(jnp.concatenate([x, across.pop()], axis=1), embedded)
            x = x if level.resample is None else level.resample(x)
        return jax.vmap(self.out)(self.last(x)).ravel()


def _way_down(config: Unet1dConfig, channels: int, e: int, key: Key) -> list[Level]:
    sizes = list(pairwise((channels, *config.channels)))
    keys = jax.random.split(key, (len(sizes), 2))
    resamples = [Conv.init(o, o, 2, k[1], 2) for (_, o), k in zip(sizes[:-1], keys, strict=False)]
    return [
        Level.init(config, i, o, e, k[0], resample)
        for (i, o), k, resample in zip(sizes, keys, [*resamples, None], strict=True)
    ]


def _way_up(config: Unet1dConfig, e: int, key: Key) -> list[Level]:
    sizes = list(pairwise(config.channels[::-1]))
    keys = jax.random.split(key, (len(sizes), 2))
    return [
        Level.init(config, 2 * i, o, e, k[0], TransposedConv.init(o, o, k[1]))
        for (i, o), k in zip(sizes, keys, strict=True)
    ]
