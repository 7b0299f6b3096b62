"""Make-An-Agent's parameter autoencoder, which AMT-Hyp uses frozen: the learned encoder of weights.

    chunks: [first layer | everything else]
    token_k = LayerNorm(x_k E_k)      x̂_k = token_k D_k      loss = mean (x − x̂)²

E_k and D_k are bias-free; one LayerNorm serves both tokens. In training, weights and tokens are
corrupted, x ← (1 − f)·x + f·ε with ε ~ N(0, 1). Departures from the released code:
  D1  tokens are not clamped to [−1, 1] in training, because nothing clamps them afterwards;
  D2  batches are drawn with replacement, and a fit is counted in steps;
  D3  the normalizer sees training rows only;
  D4  all rows train, and the last step is kept: no split, no choice among checkpoints.
"""

from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Count, Rate, Size, Weight
from hyperpolicy.generate import loop
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.types import Key, Scalar
from hyperpolicy.zoo import Zoo

EPSILON = 1e-5


@dataclass(frozen=True)
class AutoencoderConfig(Bounded):
    dim: Size = 64
    """Numbers a token; a latent is two tokens (published: 1024)."""
    input_noise: Weight = 1e-3
    """f on weights."""
    latent_noise: Weight = 1e-2
    """f on tokens."""
    rate: Rate = 1e-3
    """AdamW step size at the start of each cosine cycle."""
    weight_decay: Weight = 5e-3
    """AdamW's decoupled decay."""
    batch: Count = 32
    """Policies a step."""
    steps: Count = 5110
    """Gradient steps; 10·(2ⁿ − 1) ends with a cycle (published: 3000 epochs)."""
    first_cycle: Count = 10
    """Steps of the first cosine cycle; each later one is twice as long."""


class Coder(eqx.Module):
    """What is learned: bias-free maps of each chunk, and one LayerNorm."""

    encoders: list[Float[Array, "_ dim"]]
    decoders: list[Float[Array, "dim _"]]
    scale: Float[Array, " dim"]
    shift: Float[Array, " dim"]

    @classmethod
    def init(cls, spec: PolicySpec, dim: int, key: Key) -> "Coder":
        """Maps uniform in ±1/√inputs, as PyTorch starts them."""
        key_in, key_out = jax.random.split(key)

        def draw(key, i, o):
            return jax.random.uniform(key, (i, o), minval=-(i**-0.5), maxval=i**-0.5)

        sizes = chunks(spec)
        encoders = [draw(jax.random.fold_in(key_in, n), i, dim) for n, i in enumerate(sizes)]
        decoders = [draw(jax.random.fold_in(key_out, n), dim, i) for n, i in enumerate(sizes)]
        return cls(encoders, decoders, jnp.ones(dim), jnp.zeros(dim))

    def tokens(self, weights: Float[Array, " p"]) -> Float[Array, "k dim"]:
        """The LayerNorm of each chunk's projection."""

        def layer_norm(x):
            x = x - jnp.mean(x)
            return x * jax.lax.rsqrt(jnp.mean(x**2) + EPSILON) * self.scale + self.shift

        ends = list(accumulate(len(e) for e in self.encoders))
        parts = jnp.split(weights, ends[:-1])
        rows = [layer_norm(x @ e) for x, e in zip(parts, self.encoders, strict=True)]
        return jnp.stack(rows)

    def weights(self, tokens: Float[Array, "k dim"]) -> Float[Array, " p"]:
        """The policy that tokens stand for."""
        return jnp.concatenate([t @ d for t, d in zip(tokens, self.decoders, strict=True)])


class Autoencoder(eqx.Module):
    """A trained coder, and the normalizer of its tokens' features."""

    coder: Coder
    normalizer: Normalizer

    @property
    def size(self) -> int:
        return len(self.coder.encoders) * self.coder.scale.shape[-1]

    def encode(self, weights: Float[Array, " p"]) -> Float[Array, " z"]:
        """The latent of one policy: its normalized tokens, one after the other."""
        return jax.vmap(self.normalizer)(self.coder.tokens(weights)).ravel()

    def decode(self, latent: Float[Array, " z"]) -> Float[Array, " p"]:
        """The policy of one latent."""
        tokens = latent.reshape(len(self.coder.encoders), -1)
        return self.coder.weights(jax.vmap(self.normalizer.invert)(tokens))


class ScaledCoder(eqx.Module):
    """A coder of normalized weights; its tokens are latents as they are."""

    coder: Coder
    normalizer: Normalizer

    @property
    def size(self) -> int:
        return len(self.coder.encoders) * self.coder.scale.shape[-1]

    def encode(self, weights: Float[Array, " p"]) -> Float[Array, " z"]:
        """The latent of one policy."""
        return self.coder.tokens(self.normalizer(weights)).ravel()

    def decode(self, latent: Float[Array, " z"]) -> Float[Array, " p"]:
        """The policy of one latent."""
        tokens = latent.reshape(len(self.coder.encoders), -1)
        return self.normalizer.invert(self.coder.weights(tokens))


def chunks(spec: PolicySpec) -> list[int]:
    """Numbers in each chunk: the first layer, and the rest."""
    return [spec.layer_sizes[0], spec.size - spec.layer_sizes[0]]


def loss(config: AutoencoderConfig, coder: Coder, weights: Float[Array, "b p"], key: Key) -> Scalar:
    """E[(x − D(corrupt(E(corrupt(x)))))²], the mean over policies and weights."""

    def one(x, key):
        key_in, key_latent = jax.random.split(key)
        tokens = coder.tokens(corrupt(x, config.input_noise, key_in))
        return jnp.mean((x - coder.weights(corrupt(tokens, config.latent_noise, key_latent))) ** 2)

    return jnp.mean(jax.vmap(one)(weights, jax.random.split(key, len(weights))))


def corrupt(x: Float[Array, "..."], share: float, key: Key) -> Float[Array, "..."]:
    """(1 − f)·x + f·ε."""
    return (1.0 - share) * x + share * jax.random.normal(key, x.shape)


def warm_restarts(rate: float, first_cycle: int, step: Int[Array, ""]) -> Scalar:
    """Cosine cycles of lengths T, 2T, 4T …, each from `rate` down to 0."""
    cycle = jnp.floor(jnp.log2(step / first_cycle + 1.0))
    length = first_cycle * 2.0**cycle
    return 0.5 * rate * (1.0 + jnp.cos(jnp.pi * (step - (length - first_cycle)) / length))


def fit(
    config: AutoencoderConfig, zoo: Zoo, seeds: tuple[int, ...], out: Path | None = None
) -> Autoencoder:
    """One autoencoder per seed, trained on all rows of `zoo`; every leaf leads with axis n."""
    tx = optax.adamw(
        lambda step: warm_restarts(config.rate, config.first_cycle, step),
        weight_decay=config.weight_decay,
    )

    def step(state, seed, weights, i):
        coder, adam = state
        key = jax.random.fold_in(jax.random.key(seed), i)
        key_rows, key_loss = jax.random.split(key)
        rows = jax.random.randint(key_rows, (config.batch,), 0, len(weights))
        value, grads = jax.value_and_grad(loss, argnums=1)(config, coder, weights[rows], key_loss)
        updates, adam = tx.update(grads, adam, coder)
        return (optax.apply_updates(coder, updates), adam), {"loss/reconstruction": value}

    signature = {"config": asdict(config), "zoo": loop.digest(zoo.weights)}
    run = loop.Run("autoencoder", seeds, config.steps, out, signature)
    weights, numbers = jnp.asarray(zoo.weights), jnp.asarray(run.numbers)

    @jax.jit
    @jax.vmap
    def start(seed):
        coder = Coder.init(zoo.spec, config.dim, jax.random.key(seed))
        return coder, tx.init(coder)

    (coder, _), _ = loop.train(run, step, start(numbers), numbers, weights)

    tokens = jax.jit(jax.vmap(lambda c: jax.vmap(c.tokens)(weights)))(coder)
    fitted = [norm.limits(np.asarray(t).reshape(-1, config.dim)) for t in tokens]
    return Autoencoder(coder, jax.tree.map(lambda *leaves: jnp.stack(leaves), *fitted))


def blank(spec: PolicySpec, dim: int) -> Autoencoder:
    """Shapes of an autoencoder for `spec` with `dim` numbers a token."""

    def make():
        return Autoencoder(Coder.init(spec, dim, jax.random.key(0)), norm.blank(dim))

    return jax.eval_shape(make)


def blank_scaled(spec: PolicySpec, dim: int) -> ScaledCoder:
    """Shapes of a coder of normalized weights."""

    def make():
        return ScaledCoder(Coder.init(spec, dim, jax.random.key(0)), norm.blank(spec.size))

    return jax.eval_shape(make)
