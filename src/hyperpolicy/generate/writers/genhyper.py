"""GenHyper: HypLatent with its encoder and decoder trained along, end to end, for ONE fit.

GenHyper, IROS 2025 submission, Eqs. 2–3 and Algorithm 1; there is no released code. With x the
normalized weights of a checkpoint of the expert at m, E and D the chunked coder, ẑ = G(n, m), F the
discriminator and Q its auxiliary head, one update does:

    1. F, E:     ½ [BCE(F(E(x)), 1 − U(.01, .2)) + BCE(F(ẑ), U(.01, .2))] + λ_rec ‖D(E(x)) − x‖²
    2. G, D ×2:  λ_adv BCE(F(ẑ), 1 − U(.01, .3)) + λ_mse ‖D(ẑ) − x‖² + λ_rec ‖D(E(x)) − x‖²
                 + λ_behavior L_behavior
    3. G, F, Q:  λ_reg ‖Q(ẑ) − m‖²

Part 3 and all that is equal stand in `hyplatent`, whose departures D1–D4 hold here. The paper's
sentences contradict each other in places; this reading satisfies most. Marked where they happen:
  D5  weights are centered and divided by their spread before E, and D's are brought back;
  D6  E also rebuilds in part 1: alone with F it would make all weights one latent;
  D7  F sees latents, E(x) and ẑ (Eqs. 2–3), not weights (Algorithm 1);
  D8  labels are smoothed and the loss of G does not saturate, as in HypLatent's code;
  D9  part 3 moves G, F and Q, as the text says (Algorithm 1: Q alone);
  D10 the behavior loss is ours, off by default.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Count, Size, Weight
from hyperpolicy.generate import loop
from hyperpolicy.generate.codecs import Coder, ScaledCoder
from hyperpolicy.generate.fitting import Written
from hyperpolicy.generate.lesson import Minibatch, Pairs, behavior_loss, draw
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.generate.writers import gan
from hyperpolicy.generate.writers.gan import Discriminator, GanConfig, GanWriter, Networks
from hyperpolicy.generate.writers.hyplatent import discriminator_loss, regularize
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.nets.skip_mlp import Moments, SkipMlp
from hyperpolicy.types import Key, Scalar


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class GenHyperConfig(GanConfig):
    dim: Size = 64
    """Numbers a token; a latent is two tokens (published: 1024)."""
    reconstruction: Weight = 1e3
    """λ_rec."""
    steps: Count = 3_000
    """Updates (published: 5000 epochs)."""
    name: ClassVar[str] = "genhyper"

    def train(self, run: loop.FitJob, data: Pairs, spec: PolicySpec, codecs) -> Written:
        return train(self, run, data, spec)


PAPER = GenHyperConfig(
    generator_hidden=(1024, 512, 256),
    discriminator_hidden=(1024, 1024, 512),
    batch=128,
    steps=680_000,
    dim=1024,
)
"""The published sizes, for a GPU; 5000 epochs of 35 tasks with 500 checkpoints each."""


class GenHyper(GanWriter):
    """What a fit leaves behind, beside the coder that was trained along."""

    kind: ClassVar[str] = "genhyper"


class Learned(NamedTuple):
    """All networks."""

    nets: Networks
    encoder: ScaledCoder  # its coder learns, its normalizer is data


class GenHyperState(NamedTuple):
    learned: Learned
    adam: tuple[optax.OptState, optax.OptState, optax.OptState]  # F and E, G and D, G and F


def init(
    cfg: GenHyperConfig, spec: PolicySpec, normalizer: Normalizer, d: int, key: Key
) -> GenHyperState:
    """Fresh networks for policies of `spec` and conditions of `d` numbers."""
    key_nets, key_coder = jax.random.split(key)
    encoder = ScaledCoder(Coder.init(spec, cfg.dim, key_coder), normalizer)
    nets = gan.make_networks(cfg, encoder.size, d, key_nets)
    start = gan.optimizer(cfg.rate, cfg.weight_decay).init
    parts = (
        encoder_side((nets.discriminator, encoder.coder)),
        decoder_side((nets.generator, encoder)),
        gan.auxiliary_side(nets),
    )
    return GenHyperState(Learned(nets, encoder), tuple(map(start, parts)))


def encoder_side(learned: tuple[Discriminator, Coder]):
    """What part 1 learns of F and of the coder: E."""
    return *gan.real_side(learned[0]), learned[1].encoders, learned[1].norm


def decoder_side(learned: tuple[SkipMlp, ScaledCoder]):
    """What part 2 learns: G and D."""
    return learned[0], learned[1].coder.decoders


class Task(NamedTuple):
    """What one update works on."""

    cfg: GenHyperConfig
    spec: PolicySpec
    batch: Minibatch


# --- Losses -------------------------------------------------------------------------------
def encoder_loss(
    learned: tuple[Discriminator, Coder],
    fake: Float[Array, "b z"],
    cfg: GenHyperConfig,
    batch: Minibatch,
    key: Key,
) -> tuple[Scalar, dict[str, Scalar]]:
    """½ E[BCE(F(E(x)), 1 − U(.01, .2)) + BCE(F(ẑ), U(.01, .2))] + λ_rec E[(D(E(x)) − x)²]."""
    discriminator, coder = learned
    tokens = jax.vmap(coder.tokens)(batch.target)
    loss, metrics = discriminator_loss(discriminator, tokens.reshape(fake.shape), fake, key)
    gap = rebuilding_loss(coder, tokens, batch.target)  # D6
    return loss + cfg.reconstruction * gap, metrics


def rebuilding_loss(
    coder: Coder, tokens: Float[Array, "b k dim"], target: Float[Array, "b p"]
) -> Scalar:
    """E[(D(tokens) − x)²]."""
    return jnp.mean((jax.vmap(coder.weights)(tokens) - target) ** 2)


def generator_loss(
    learned: tuple[SkipMlp, ScaledCoder],
    discriminator: Discriminator,
    task: Task,
    tokens: Float[Array, "b k dim"],
    key: Key,
) -> tuple[Scalar, tuple[list[Moments], dict[str, Scalar]]]:
    """λ_adv E[BCE(F(ẑ), 1 − U(.01, .3))] + λ_mse E[(D(ẑ) − x)²] + λ_rec E[(D(E(x)) − x)²]
    + λ_behavior L_behavior (D10); `tokens` are E(x)."""
    (generator, encoder), (cfg, spec, batch) = learned, task
    key_net, key_label = jax.random.split(key)
    made, moments = skip_mlp.train(generator, batch.inputs, cfg.dropout, key_net)
    logit = jax.vmap(discriminator.logit)(made)
    label = 1.0 - jax.random.uniform(key_label, logit.shape, minval=0.01, maxval=0.3)
    made = made.reshape(tokens.shape)
    parts = {
        "loss/adversarial": (cfg.adversarial, gan.cross_entropy(logit, label)),
        "loss/mse": (cfg.mse, rebuilding_loss(encoder.coder, made, batch.target)),
        "loss/reconstruction": (
            cfg.reconstruction,
            rebuilding_loss(encoder.coder, tokens, batch.target),
        ),
    }
    if batch.states is not None and batch.actions is not None:
        weights = jax.vmap(encoder.decode)(made.reshape(len(made), -1))
        gap = behavior_loss(spec, weights, batch.states, batch.actions)
        parts["loss/behavior"] = (cfg.behavior, gap)
    loss = jnp.sum(jnp.stack([weight * part for weight, part in parts.values()]))
    return loss, (moments, {name: part for name, (_, part) in parts.items()})


def update(task: Task, state: GenHyperState, key: Key) -> tuple[GenHyperState, dict[str, Scalar]]:
    """The three parts in order, on one noise."""
    key_f, key_g, key_q = jax.random.split(key, 3)
    learned, (adam_f, adam_g, adam_q) = state
    learned, adam_f, on_f = improve_encoder(task, learned, adam_f, key_f)
    learned, adam_g, on_g = improve_generator(task, learned, adam_g, key_g)
    nets, adam_q, on_q = regularize(task.cfg, learned.nets, adam_q, task.batch, key_q)  # D9
    state = GenHyperState(learned._replace(nets=nets), (adam_f, adam_g, adam_q))
    return state, on_f | on_g | on_q


def improve_encoder(task: Task, learned: Learned, adam, key: Key):
    """One step of F's trunk, its real/fake head, and E."""
    (cfg, _, batch), (nets, encoder) = task, learned
    key_net, key_loss = jax.random.split(key)
    fake, moments = skip_mlp.train(nets.generator, batch.inputs, cfg.dropout, key_net)
    old = nets.discriminator, encoder.coder
    grads, metrics = jax.grad(encoder_loss, has_aux=True)(old, fake, cfg, batch, key_loss)
    (discriminator, coder), adam = gan.descend(cfg, encoder_side, old, grads, adam)
    running = skip_mlp.follow(nets.running, moments, len(fake))
    nets = Networks(nets.generator, running, discriminator)
    return Learned(nets, ScaledCoder(coder, encoder.normalizer)), adam, metrics


def improve_generator(task: Task, learned: Learned, adam, key: Key):
    """Two steps of G and D."""
    cfg, batch = task.cfg, task.batch
    tokens = jax.vmap(learned.encoder.coder.tokens)(batch.target)

    def step(carry, key):
        (nets, encoder), adam = carry
        old, grad = (nets.generator, encoder), jax.grad(generator_loss, has_aux=True)
        grads, (moments, metrics) = grad(old, nets.discriminator, task, tokens, key)
        (generator, encoder), adam = gan.descend(cfg, decoder_side, old, grads, adam)
        running = skip_mlp.follow(nets.running, moments, len(batch.inputs))
        nets = Networks(generator, running, nets.discriminator)
        return (Learned(nets, encoder), adam), metrics

    (learned, adam), metrics = jax.lax.scan(step, (learned, adam), jax.random.split(key))
    return learned, adam, jax.tree.map(lambda both: both[-1], metrics)


def train(config: GenHyperConfig, run: loop.FitJob, data: Pairs, spec: PolicySpec) -> Written:
    """The fits that lived."""
    normalizer = jax.tree.map(jnp.asarray, spread(np.asarray(data.weights)))
    start = partial(init, config, spec, normalizer, data.conditions.shape[1])

    def step(state, key, i, own, shared):
        (data, targets), (key, key_batch) = shared, jax.random.split(key)
        batch = draw(data, targets, config.draw_sizes, key_batch)
        return update(Task(config, spec, batch), state, key)

    shared = data, jax.vmap(normalizer)(data.weights)
    fits = loop.learn(run, start, step, None, shared)
    return {
        n: (GenHyper(nets.generator, nets.running, config.noise), encoder)
        for n, (nets, encoder) in fits.living(fits.state.learned).items()
    }


def spread(rows: Float[np.ndarray, "r p"]) -> Normalizer:
    """Centers each weight and divides all by one number, their standard deviation (D5).

    A squared error of 1 is then the spread of the training rows, and weights that hardly vary stay
    small.
    """
    center = rows.mean(axis=0)
    scale = np.full(len(center), 1.0 / max(float((rows - center).std()), 1e-8), np.float32)
    return Normalizer(scale, -scale * center)
