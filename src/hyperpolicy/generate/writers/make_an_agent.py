"""Make-An-Agent: diffusion over latents of expert weights, given a condition, for ONE fit.

Liang et al. (2024), "Make-An-Agent: A Generalizable Policy Network Generator with Behavior-Prompted
Diffusion", arXiv:2407.10973, and its released code, which we follow. With z the limits-normalized
latent of a checkpoint, c its condition, t uniform and ε ~ N(0, 1), one update is an AdamW step on

    E[(x̂₀(x_t, t, c) − z)²]        x_t = √ᾱ_t z + √(1 − ᾱ_t) ε
    f(u) = cos²(π/2 · (u + .008)/1.008)      β_t = min(1 − f((t+1)/T)/f(t/T), .999)
    ᾱ_t = Π_{s ≤ t} (1 − β_s)

and a step of the average weights, θ̄ ← d_i θ̄ + (1 − d_i) θ. A policy is what DDIM makes of N(0, 1)
noise, its limits undone, decoded; s is the time after t:

    ε̂ = (x_t − √ᾱ_t x̂₀)/√(1 − ᾱ_t)          x_s = √ᾱ_s clip(x̂₀, −1, 1) + √(1 − ᾱ_s) ε̂

Schedule: Nichol & Dhariwal (2021), arXiv:2102.09672, Eq. 17; steps: Song et al. (2021), "Denoising
Diffusion Implicit Models", arXiv:2010.02502, Eq. 12 with η = 0. As in diffusers' DDIMScheduler,
which the released code uses with `squaredcos_cap_v2`, `clip_sample` and prediction of x₀:
  * times are "leading": (n−1)·k, …, k, 0 with k = T/n rounded down; for T = 100 and n = 10 the
    first is 90, not 99, though what it is given is pure noise;
  * the time after the last has ᾱ = 1 (`set_alpha_to_one`), so the result is the last clipped x̂₀;
  * ε̂ is taken from x̂₀ before clipping (`use_clipped_model_output` is off).
Departures from the released code:
  D1  the average weights are kept; the released code saves the raw ones;
  D2  within a cosine cycle the rate falls to 0, there to 1e-9;
  D3  pairs are drawn with replacement, and a fit is counted in steps;
  D4  all rows train, and the last step is kept: no split, no choice among checkpoints;
  D5  limits are fitted on training rows and on each number of a latent, there on all files and on
      each feature of both tokens together; so they fit PCA latents too;
  D6  conditions are taken as they come: encoded contexts lie in [−1, 1] already;
  D7  the small network, `nets.film_mlp`, is ours; the released one is `nets.unet1d`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Count, PartialShare, Rate, Share, Weight
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.codecs import CodecConfig, PcaConfig
from hyperpolicy.generate.fitting import LearnedConfig, Written, latents_of
from hyperpolicy.generate.lesson import Minibatch, Pairs, draw
from hyperpolicy.generate.loop import warm_restarts
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.generate.parts import Frame, RowWriter
from hyperpolicy.nets.film_mlp import FilmMlp, FilmMlpConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.nets.unet1d import Unet1d, Unet1dConfig
from hyperpolicy.types import Key, Scalar

Net = FilmMlp | Unet1d
NETS: dict[str, Callable] = {config.kind: config for config in (FilmMlpConfig, Unet1dConfig)}


# --- Diffusion ----------------------------------------------------------------------------
def schedule(steps: int) -> Float[np.ndarray, " t"]:
    """ᾱ_t of each of the `steps` times, falling from nearly 1 to nearly 0."""
    f = np.cos(np.pi / 2 * (np.arange(steps + 1) / steps + 0.008) / 1.008) ** 2
    betas = np.minimum(1.0 - f[1:] / f[:-1], 0.999)
    return np.cumprod(1.0 - betas).astype(np.float32)


def times(steps: int, count: int) -> Int[np.ndarray, " s"]:
    """The `count` of `steps` times that sampling visits, from the noisiest to 0; raises BadSetting
    where there are not as many."""
    if not 1 <= count <= steps:
        raise BadSetting(f"{count} sampling steps of {steps} diffusion steps; give 1 … {steps}")
    return np.arange(count)[::-1] * (steps // count)


def noised(
    clean: Float[Array, " z"], noise: Float[Array, " z"], alpha: Scalar
) -> Float[Array, " z"]:
    """x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε."""
    return jnp.sqrt(alpha) * clean + jnp.sqrt(1.0 - alpha) * noise


def ddim_step(
    noisy: Float[Array, " z"], predicted: Float[Array, " z"], alpha: Scalar, next_alpha: Scalar
) -> Float[Array, " z"]:
    """x_s of x_t and x̂₀, `alpha` being ᾱ_t and `next_alpha` ᾱ_s."""
    noise = (noisy - jnp.sqrt(alpha) * predicted) / jnp.sqrt(1.0 - alpha)
    return noised(jnp.clip(predicted, -1.0, 1.0), noise, next_alpha)


def sample(
    predict: Callable, alphas: Float[np.ndarray, " t"], count: int, noise: Float[Array, " z"]
) -> Float[Array, " z"]:
    """x₀ by `count` steps from `noise`; `predict(x, t)` is x̂₀."""
    visited = times(len(alphas), count)
    here = alphas[visited]
    there = np.append(here[1:], np.float32(1.0))

    def step(x, now):
        t, alpha, next_alpha = now
        return ddim_step(x, predict(x, t), alpha, next_alpha), None

    now = (jnp.asarray(visited), jnp.asarray(here), jnp.asarray(there))
    return jax.lax.scan(step, noise, now)[0]


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class MakeAnAgentConfig(LearnedConfig):
    encoder: CodecConfig = field(default_factory=PcaConfig)
    """What a latent is (published: an autoencoder of 1024 numbers a token)."""
    net: FilmMlpConfig | Unet1dConfig = field(default_factory=FilmMlpConfig)
    """What predicts x̂₀ (published: a UNet; D7)."""
    diffusion_steps: Count = 100
    """T, times of the noise schedule."""
    sampling_steps: Count = 10
    """Steps of DDIM."""
    rate: Rate = 2e-4
    """AdamW step size at the start of each cosine cycle."""
    betas: tuple[PartialShare, PartialShare] = (0.95, 0.999)
    """AdamW's decay rates of its two moments."""
    weight_decay: Weight = 5e-4
    """AdamW's decoupled decay."""
    first_cycle: Count = 10
    """Steps of the first cosine cycle; each later one is twice as long."""
    batch: Count = 128
    """Pairs (condition, checkpoint) a step."""
    steps: Count = 10_230
    """Updates; 10·(2ⁿ − 1) ends with a cycle (published: 1000 epochs)."""
    average_power: Weight = 0.75
    """How fast the share that average weights keep of themselves nears 1."""
    average_most: Share = 0.9999
    """The largest such share."""
    name: ClassVar[str] = "make-an-agent"

    def __post_init__(self):
        super().__post_init__()
        times(self.diffusion_steps, self.sampling_steps)

    def train(self, run: loop.FitJob, data: Pairs, spec: PolicySpec, codecs) -> Written:
        return train(self, run, data, spec, codecs)


class MakeAnAgentState(NamedTuple):
    net: Net
    average: Net
    """θ̄, what a fit leaves behind."""
    adam: optax.OptState


def init(config: MakeAnAgentConfig, z: int, d: int, key: Key) -> MakeAnAgentState:
    """A fresh network for latents of `z` numbers and conditions of `d`; its average is itself."""
    net = config.net.init(z, d, key)
    return MakeAnAgentState(net, net, optimizer(config).init(net))


def optimizer(config: MakeAnAgentConfig) -> optax.GradientTransformation:
    """AdamW under cosine warm restarts, counted in steps (D2)."""
    b1, b2 = config.betas
    rate = partial(warm_restarts, config.rate, config.first_cycle)
    return optax.adamw(rate, b1=b1, b2=b2, weight_decay=config.weight_decay)


# --- Loss and update ----------------------------------------------------------------------
def loss(config: MakeAnAgentConfig, net: Net, batch: Minibatch, key: Key) -> Scalar:
    """E[(x̂₀(x_t, t, c) − z)²], t uniform in 0 … T − 1; the mean over pairs and numbers."""
    alphas = jnp.asarray(schedule(config.diffusion_steps))

    def one(condition, latent, key):
        key_time, key_noise = jax.random.split(key)
        t = jax.random.randint(key_time, (), 0, len(alphas))
        noisy = noised(latent, jax.random.normal(key_noise, latent.shape), alphas[t])
        return jnp.mean((net(noisy, t, condition) - latent) ** 2)

    keys = jax.random.split(key, len(batch.target))
    return jnp.mean(jax.vmap(one)(batch.condition, batch.target, keys))


def kept_share(config: MakeAnAgentConfig, i: Int[Array, ""]) -> Scalar:
    """d_i = min(.9999, 1 − max(i, 1)^−¾), after i earlier updates.

    This is 1 − (1 + k/γ)^−power with k = max(0, i − 1) and 1/γ = `inv_gamma` = 1: the first two
    updates replace the average by the weights.
    """
    return jnp.minimum(config.average_most, 1.0 - jnp.maximum(i, 1.0) ** -config.average_power)


def update(
    config: MakeAnAgentConfig,
    state: MakeAnAgentState,
    batch: Minibatch,
    i: Int[Array, ""],
    key: Key,
) -> tuple[MakeAnAgentState, dict[str, Scalar]]:
    """One AdamW step, and one of the average; `i` counts the updates before this one."""
    net, average, adam = state
    value, grads = jax.value_and_grad(loss, argnums=1)(config, net, batch, key)
    updates, adam = optimizer(config).update(grads, adam, net)
    net = optax.apply_updates(net, updates)
    average = optax.incremental_update(net, average, 1.0 - kept_share(config, i))
    return MakeAnAgentState(net, average, adam), {"loss/mse": value}


class MakeAnAgent(RowWriter):
    """What a fit leaves behind: average weights, and limits of latents; DDIM(ε, c), ε ~ N(0, 1)."""

    kind: ClassVar[str] = "make-an-agent"
    net: Net
    normalizer: Normalizer
    diffusion_steps: int = eqx.field(static=True)
    sampling_steps: int = eqx.field(static=True)

    def __call__(self, condition: Float[Array, " d"], key: Key) -> Float[Array, " z"]:
        noise = jax.random.normal(key, self.normalizer.scale.shape)
        alphas = schedule(self.diffusion_steps)
        latent = sample(lambda x, t: self.net(x, t, condition), alphas, self.sampling_steps, noise)
        return self.normalizer.invert(latent)

    def settings(self) -> dict:
        return {
            "net": {"kind": self.net.config.kind, **asdict(self.net.config)},
            "diffusion_steps": self.diffusion_steps,
            "sampling_steps": self.sampling_steps,
        }

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "MakeAnAgent":
        sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in settings["net"].items()}
        del sizes["kind"]
        config, z = NETS[settings["net"]["kind"]](**sizes), frame.latent
        net = config.init(z, frame.condition, jax.random.key(0))
        return cls(net, norm.blank(z), settings["diffusion_steps"], settings["sampling_steps"])


def train(
    config: MakeAnAgentConfig, run: loop.FitJob, data: Pairs, spec: PolicySpec, codecs
) -> Written:
    """The fits that lived; `codecs` holds one per seed, on axis n. Raises BadSetting where every
    fit died, or the network is a UNet and latents have an odd size."""
    encoded = latents_of(codecs, data.weights)
    limits = [norm.limits(np.asarray(rows)) for rows in encoded]
    normalizer = jax.tree.map(lambda *leaves: jnp.stack(leaves), *limits)
    latents = jax.vmap(jax.vmap(Normalizer.__call__, (None, 0)))(normalizer, encoded)
    z, d = latents.shape[-1], data.conditions.shape[-1]

    def step(state, key, i, latents, data):
        key, key_batch = jax.random.split(key)
        batch = draw(data, latents, (config.batch, 0, 0), key_batch)
        return update(config, state, batch, i, key)

    fits = loop.learn(run, partial(init, config, z, d), step, latents, data)
    steps = config.diffusion_steps, config.sampling_steps
    return {
        n: (MakeAnAgent(net, limits, *steps), codec)
        for n, (net, limits, codec) in fits.living((fits.state.average, normalizer, codecs)).items()
    }
