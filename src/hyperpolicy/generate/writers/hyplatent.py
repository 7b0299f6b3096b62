"""HypLatent, AMT-Hyp's generator: a conditional GAN over latents of expert weights, for ONE fit.

AMT-Hyp, ICRA 2025 (manuscript 2814), Eqs. 3–4. Where paper and released code differ we follow the
code (the paper omits λ_mse). With m the encoded context, n noise, z the latent of a checkpoint of
the expert at m, ẑ = G(n, m), F the discriminator and Q its auxiliary head, one update does:

    1. F:     ½ [BCE(F(z), 1 − U(.01, .2)) + BCE(F(ẑ), U(.01, .2))]
    2. G ×2:  λ_adv BCE(F(ẑ), 1 − U(.01, .3)) + λ_mse ‖ẑ − z‖² + λ_behavior L_behavior
    3. G, F:  λ_reg ‖Q(ẑ) − m‖²

Departures from the released code, marked where they happen:
  D1  the two steps of G use their own gradients (the code's sum is `recipes.amt_hyp.released`);
  D2  weight decay touches only what a loss reaches, so heads at rest do not decay;
  D3  pairs are drawn with replacement, and a fit is counted in steps;
  D4  the context is the condition (as the papers have it for MuJoCo), encoded to [−1, 1];
  D5  the behavior loss is ours, off by default.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from hyperpolicy.generate import loop
from hyperpolicy.generate.codecs import CodecConfig, PcaConfig
from hyperpolicy.generate.fitting import Written, latents_of
from hyperpolicy.generate.lesson import Aim, Minibatch, Pairs, behavior_loss, draw
from hyperpolicy.generate.writers import gan
from hyperpolicy.generate.writers.gan import Discriminator, GanConfig, GanWriter, Networks
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.nets.skip_mlp import Moments, SkipMlp
from hyperpolicy.types import Key, Scalar


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class HypLatentConfig(GanConfig):
    encoder: CodecConfig = field(default_factory=PcaConfig)
    """What a latent is."""
    keep_discriminator: bool = False
    """Keep F, whose disbelief is a signal of how sure a policy is (`generate/confidence.py`)."""
    name: ClassVar[str] = "hyplatent"

    def train(self, run: loop.FitJob, data: Pairs, spec: PolicySpec, codecs) -> Written:
        return train(self, run, data, spec, codecs)


class HypLatent(GanWriter):
    """What a fit leaves behind."""

    kind: ClassVar[str] = "hyplatent"


class HypLatentState(NamedTuple):
    nets: Networks
    adam: tuple[optax.OptState, optax.OptState, optax.OptState]  # F, G, both


def init(cfg: HypLatentConfig, z: int, d: int, key: Key) -> HypLatentState:
    """Fresh networks for latents of `z` numbers and conditions of `d`."""
    nets, start = gan.make_networks(cfg, z, d, key), gan.optimizer(cfg.rate, cfg.weight_decay).init
    parts = (gan.real_side(nets.discriminator), nets.generator, gan.auxiliary_side(nets))
    return HypLatentState(nets, tuple(map(start, parts)))


# --- Losses -------------------------------------------------------------------------------
def discriminator_loss(
    discriminator: Discriminator, real: Float[Array, "b z"], fake: Float[Array, "b z"], key: Key
) -> tuple[Scalar, dict[str, Scalar]]:
    """½ E[BCE(F(z), 1 − U(.01, .2)) + BCE(F(ẑ), U(.01, .2))], labels smoothed per sample."""
    real, fake = (jax.vmap(discriminator.logit)(z) for z in (real, fake))
    y_real, y_fake = jax.random.uniform(key, (2, len(real)), minval=0.01, maxval=0.2)
    loss = 0.5 * (gan.cross_entropy(real, 1.0 - y_real) + gan.cross_entropy(fake, y_fake))
    belief = {"belief/real": jax.nn.sigmoid(real), "belief/fake": jax.nn.sigmoid(fake)}
    return loss, {"loss/discriminator": loss} | jax.tree.map(jnp.mean, belief)


def generator_loss(
    generator: SkipMlp, nets: Networks, aim: Aim, cfg: HypLatentConfig, batch: Minibatch, key: Key
) -> tuple[Scalar, tuple[list[Moments], dict[str, Scalar]]]:
    """λ_adv E[BCE(F(ẑ), 1 − U(.01, .3))] + λ_mse E[(ẑ − z)²] + λ_behavior L_behavior (D5)."""
    key_net, key_label = jax.random.split(key)
    made, moments = skip_mlp.train(generator, batch.inputs, cfg.dropout, key_net)
    logit = jax.vmap(nets.discriminator.logit)(made)
    label = 1.0 - jax.random.uniform(key_label, logit.shape, minval=0.01, maxval=0.3)
    parts = {
        "loss/adversarial": (cfg.adversarial, gan.cross_entropy(logit, label)),
        "loss/mse": (cfg.mse, jnp.mean((made - batch.target) ** 2)),
    }
    if batch.states is not None and batch.actions is not None:
        weights = jax.vmap(aim.codec.decode)(made)
        gap = behavior_loss(aim.spec, weights, batch.states, batch.actions)
        parts["loss/behavior"] = (cfg.behavior, gap)
    loss = jnp.sum(jnp.stack([weight * part for weight, part in parts.values()]))
    return loss, (moments, {name: part for name, (_, part) in parts.items()})


def regularization_loss(
    learned: tuple[SkipMlp, Discriminator], cfg: GanConfig, batch: Minibatch, key: Key
) -> tuple[Scalar, tuple[list[Moments], dict[str, Scalar]]]:
    """λ_reg E[(Q(ẑ) − m)²]."""
    generator, discriminator = learned
    made, moments = skip_mlp.train(generator, batch.inputs, cfg.dropout, key)
    loss = jnp.mean((jax.vmap(discriminator.condition)(made) - batch.condition) ** 2)
    return cfg.regularization * loss, (moments, {"loss/regularization": loss})


def update(
    cfg: HypLatentConfig,
    aim: Aim,
    state: HypLatentState,
    batch: Minibatch,
    key: Key,
    improve: Callable,
) -> tuple[HypLatentState, dict[str, Scalar]]:
    """The three parts in order, on one noise; `improve` is G's, usually `improve_generator`."""
    key_f, key_g, key_q = jax.random.split(key, 3)
    nets, (adam_f, adam_g, adam_q) = state
    nets, adam_f, on_f = improve_discriminator(cfg, nets, adam_f, batch, key_f)
    nets, adam_g, on_g = improve(cfg, aim, nets, adam_g, batch, key_g)
    nets, adam_q, on_q = regularize(cfg, nets, adam_q, batch, key_q)
    return HypLatentState(nets, (adam_f, adam_g, adam_q)), on_f | on_g | on_q


def improve_discriminator(cfg: HypLatentConfig, nets: Networks, adam, batch: Minibatch, key: Key):
    """One step of F's trunk and real/fake head."""
    key_net, key_loss = jax.random.split(key)
    fake, moments = skip_mlp.train(nets.generator, batch.inputs, cfg.dropout, key_net)
    old, running = nets.discriminator, skip_mlp.follow(nets.running, moments, len(fake))
    grad = jax.grad(discriminator_loss, has_aux=True)
    grads, metrics = grad(old, batch.target, fake, key_loss)
    discriminator, adam = gan.descend(cfg, gan.real_side, old, grads, adam)
    return Networks(nets.generator, running, discriminator), adam, metrics


def improve_generator(
    cfg: HypLatentConfig, aim: Aim, nets: Networks, adam, batch: Minibatch, key: Key
):
    """Two steps of G, each with its own gradient (D1)."""

    def step(carry, key):
        nets, grads, metrics = generator_gradient(cfg, aim, carry[0], batch, key)
        return move_generator(cfg, nets, grads, carry[1]), metrics

    (nets, adam), metrics = jax.lax.scan(step, (nets, adam), jax.random.split(key))
    return nets, adam, jax.tree.map(lambda both: both[-1], metrics)


def generator_gradient(cfg: HypLatentConfig, aim: Aim, nets: Networks, batch: Minibatch, key: Key):
    """∇_G of `generator_loss`; the running moments have seen its forward pass."""
    grad = jax.grad(generator_loss, has_aux=True)
    grads, (moments, metrics) = grad(nets.generator, nets, aim, cfg, batch, key)
    running = skip_mlp.follow(nets.running, moments, len(batch.inputs))
    return nets._replace(running=running), grads, metrics


def move_generator(cfg: HypLatentConfig, nets: Networks, grads: SkipMlp, adam):
    """One Adam step of G."""
    generator, adam = gan.descend(cfg, lambda g: g, nets.generator, grads, adam)
    return nets._replace(generator=generator), adam


def regularize(cfg: GanConfig, nets: Networks, adam, batch: Minibatch, key: Key):
    """One step of G, F's trunk and Q together; Q learns only here."""
    grad = jax.grad(regularization_loss, has_aux=True)
    learn = (nets.generator, nets.discriminator)
    (grad_g, grad_f), (moments, metrics) = grad(learn, cfg, batch, key)
    nets = nets._replace(running=skip_mlp.follow(nets.running, moments, len(batch.inputs)))
    grads = Networks(grad_g, nets.running, grad_f)
    return *gan.descend(cfg, gan.auxiliary_side, nets, grads, adam), metrics


def train(
    config: HypLatentConfig,
    run: loop.FitJob,
    data: Pairs,
    spec: PolicySpec,
    codecs,
    improve: Callable = improve_generator,
) -> Written:
    """The fits that lived; `codecs` holds one per seed, on axis n."""
    latents = latents_of(codecs, data.weights)
    z, d = latents.shape[-1], data.conditions.shape[-1]

    def step(state, key, i, own, data):
        (codec, latents), (key, key_batch) = own, jax.random.split(key)
        batch = draw(data, latents, config.draw_sizes, key_batch)
        return update(config, Aim(spec, codec), state, batch, key, improve)

    fits = loop.learn(run, partial(init, config, z, d), step, (codecs, latents), data)
    return {
        n: (HypLatent(nets.generator, nets.running, config.noise, kept(config, nets)), codec)
        for n, (nets, codec) in fits.living((fits.state.nets, codecs)).items()
    }


def kept(config: HypLatentConfig, nets: Networks) -> Discriminator | None:
    """F, where it is kept."""
    return nets.discriminator if config.keep_discriminator else None
