"""What a latent is: principal components of flat weights, or Make-An-Agent's parameter autoencoder,
which AMT-Hyp uses frozen:

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
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Count, Rate, Size, Weight
from hyperpolicy.generate import loop
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.loop import warm_restarts
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.generate.parts import Frame, Rows, decode_rows
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.types import Key, Scalar


# --- Principal components -----------------------------------------------------------------
@dataclass(frozen=True)
class PcaConfig(Bounded):
    components: Size = 32
    """Numbers a latent; fewer where there are fewer training rows."""
    for_policies: ClassVar[bool] = False

    def fit(self, weights, spec: PolicySpec, seeds: tuple[int, ...], out: Path | None = None):
        """The same PCA for every seed, for nothing is drawn; every leaf leads with axis n."""
        fitted = fit_pca(self, weights)
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(seeds)), fitted)


class Pca(eqx.Module):
    """latent = normalizer((weights − mean) · basisᵀ)."""

    kind: ClassVar[str] = "pca"
    mean: Float[Array | np.ndarray, " p"]
    basis: Float[Array | np.ndarray, "z p"]
    normalizer: Normalizer

    @property
    def size(self) -> int:
        return self.basis.shape[-2]

    def encode(self, weights: Float[Array | np.ndarray, "*n p"]):
        """The latent [z] of a policy; NumPy takes many at once."""
        return self.normalizer((weights - self.mean) @ self.basis.T)

    def decode(self, latent: Float[Array | np.ndarray, "*n z"]):
        """The policy [p] of a latent; NumPy takes many at once."""
        return self.mean + self.normalizer.invert(latent) @ self.basis

    def decode_rows(self, latents: Rows) -> Float[np.ndarray, "n p"]:
        """NumPy's rows are decoded in NumPy, others as one program."""
        decode = Pca.decode if isinstance(latents, np.ndarray) else decode_rows
        return np.asarray(decode(self, latents), np.float32)

    def settings(self) -> dict:
        return {"components": self.size}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Pca":
        z, p = settings["components"], frame.vector
        return cls(jnp.zeros(p), jnp.zeros((z, p)), norm.blank(z))


def fit_pca(config: PcaConfig, weights: Float[np.ndarray, "r p"]) -> Pca:
    """The leading components of training rows, by SVD; weights are centered, not standardized."""
    weights = np.asarray(weights, np.float64)
    mean = weights.mean(axis=0)
    count = max(1, min(config.components, len(weights) - 1))
    basis = np.linalg.svd(weights - mean, full_matrices=False)[2][:count]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    basis = basis * np.where(largest < 0, -1.0, 1.0)  # the sign of a component is arbitrary: fix it
    coordinates = (weights - mean) @ basis.T
    return Pca(mean.astype(np.float32), basis.astype(np.float32), norm.pooled(coordinates))


# --- Autoencoder --------------------------------------------------------------------------
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
    for_policies: ClassVar[bool] = True

    def fit(self, weights, spec: PolicySpec, seeds: tuple[int, ...], out: Path | None = None):
        """One autoencoder for each seed, fitted on rows of weights; every leaf leads with axis n.

        `out` is the directory of the run, in which a fit keeps what it needs to go on after a kill.
        """
        return fit_autoencoder(self, weights, spec, seeds, out and out / loop.ENCODER)


CodecConfig = PcaConfig | AutoencoderConfig
"""How a codec is fitted: `config.fit(weights, spec, seeds, out)`. With `for_policies` it takes
policies' weights and no other vectors."""


class Coder(eqx.Module):
    """What is learned: bias-free maps of each chunk, and one LayerNorm."""

    encoders: list[Float[Array, "_ dim"]]
    decoders: list[Float[Array, "dim _"]]
    norm: eqx.nn.LayerNorm

    @property
    def dim(self) -> int:
        """Numbers in a token."""
        return self.decoders[0].shape[-2]

    @classmethod
    def init(cls, spec: PolicySpec, dim: int, key: Key) -> "Coder":
        """Maps uniform in ±1/√inputs, as PyTorch starts them."""
        key_in, key_out = jax.random.split(key)

        def draw(key, i, o):
            return jax.random.uniform(key, (i, o), minval=-(i**-0.5), maxval=i**-0.5)

        sizes = chunks(spec)
        encoders = [draw(jax.random.fold_in(key_in, n), i, dim) for n, i in enumerate(sizes)]
        decoders = [draw(jax.random.fold_in(key_out, n), dim, i) for n, i in enumerate(sizes)]
        return cls(encoders, decoders, eqx.nn.LayerNorm(dim))

    def tokens(self, weights: Float[Array, " p"]) -> Float[Array, "k dim"]:
        """The LayerNorm of each chunk's projection."""
        ends = list(accumulate(len(e) for e in self.encoders))
        parts = jnp.split(weights, ends[:-1])
        rows = [self.norm(x @ e) for x, e in zip(parts, self.encoders, strict=True)]
        return jnp.stack(rows)

    def weights(self, tokens: Float[Array, "k dim"]) -> Float[Array, " p"]:
        """The policy that tokens stand for."""
        return jnp.concatenate([t @ d for t, d in zip(tokens, self.decoders, strict=True)])


class Autoencoder(eqx.Module):
    """A trained coder, and a normalizer of its tokens' features."""

    kind: ClassVar[str] = "autoencoder"
    coder: Coder
    normalizer: Normalizer

    @property
    def size(self) -> int:
        return len(self.coder.decoders) * self.coder.dim

    def encode(self, weights: Float[Array, " p"]) -> Float[Array, " z"]:
        """The latent of one policy: its normalized tokens, one after the other."""
        return jax.vmap(self.normalizer)(self.coder.tokens(weights)).ravel()

    def decode(self, latent: Float[Array, " z"]) -> Float[Array, " p"]:
        """The policy of one latent."""
        tokens = latent.reshape(len(self.coder.encoders), -1)
        return self.coder.weights(jax.vmap(self.normalizer.invert)(tokens))

    def decode_rows(self, latents: Rows) -> Float[np.ndarray, "n p"]:
        return np.asarray(decode_rows(self, jnp.asarray(latents)))

    def settings(self) -> dict:
        return {"dim": self.coder.dim}

    @classmethod
    def blank(cls, settings: dict, frame: Frame):
        coder = Coder.init(frame.spec, settings["dim"], jax.random.key(0))
        return cls(coder, norm.blank(cls.normalized(coder.dim, frame.spec)))

    @classmethod
    def normalized(cls, dim: int, spec: PolicySpec) -> int:
        """Features of the normalizer."""
        return dim


class ScaledCoder(Autoencoder):
    """Its normalizer is of the weights; tokens are latents as they are."""

    kind: ClassVar[str] = "scaled"

    def encode(self, weights: Float[Array, " p"]) -> Float[Array, " z"]:
        """The latent of one policy."""
        return self.coder.tokens(self.normalizer(weights)).ravel()

    def decode(self, latent: Float[Array, " z"]) -> Float[Array, " p"]:
        """The policy of one latent."""
        tokens = latent.reshape(len(self.coder.encoders), -1)
        return self.normalizer.invert(self.coder.weights(tokens))

    @classmethod
    def normalized(cls, dim: int, spec: PolicySpec) -> int:
        return spec.size


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


def fit_autoencoder(
    config: AutoencoderConfig,
    weights: Float[np.ndarray, "r p"],
    spec: PolicySpec,
    seeds: tuple[int, ...],
    out: Path | None = None,
) -> Autoencoder:
    """One autoencoder per seed, trained on policies of `spec`; every leaf leads with axis n."""
    rate = partial(warm_restarts, config.rate, config.first_cycle)
    tx = optax.adamw(rate, weight_decay=config.weight_decay)

    def init(key):
        coder = Coder.init(spec, config.dim, key)
        return coder, tx.init(coder)

    def step(state, key, i, own, weights):
        coder, adam = state
        key_rows, key_loss = jax.random.split(key)
        rows = jax.random.randint(key_rows, (config.batch,), 0, len(weights))
        value, grads = jax.value_and_grad(loss, argnums=1)(config, coder, weights[rows], key_loss)
        updates, adam = tx.update(grads, adam, coder)
        return (optax.apply_updates(coder, updates), adam), {"loss/reconstruction": value}

    signature = {"config": asdict(config), "zoo": loop.digest(weights)}
    run = loop.FitJob("autoencoder", seeds, config.steps, out, signature)
    rows = jnp.asarray(weights)
    coder, _ = loop.learn(run, init, step, None, rows).state
    tokens = jax.jit(jax.vmap(lambda c: jax.vmap(c.tokens)(rows)))(coder)
    fitted = [norm.limits(np.asarray(t).reshape(-1, config.dim)) for t in tokens]
    return Autoencoder(coder, jax.tree.map(lambda *leaves: jnp.stack(leaves), *fitted))
