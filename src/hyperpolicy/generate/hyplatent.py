"""HypLatent, AMT-Hyp's generator: a conditional GAN over latents of expert weights, for ONE fit.

AMT-Hyp, ICRA 2025 (manuscript 2814), Eqs. 3–4. Where paper and released code differ we follow the
code (the paper omits λ_mse). With m the encoded context, n noise, z the latent of a checkpoint of
the expert at m, ẑ = G(n, m), F the discriminator and Q its auxiliary head, one update does:

    1. F:     ½ [BCE(F(z), 1 − U(.01, .2)) + BCE(F(ẑ), U(.01, .2))]
    2. G ×2:  λ_adv BCE(F(ẑ), 1 − U(.01, .3)) + λ_mse ‖ẑ − z‖² + λ_behavior L_behavior
    3. G, F:  λ_reg ‖Q(ẑ) − m‖²

Departures from the released code, marked where they happen:
  D1  the two steps of G use their own gradients (the code's sum is `legacy.legacy_accumulate`);
  D2  weight decay touches only what a loss reaches, so heads at rest do not decay;
  D3  pairs are drawn with replacement, and a fit is counted in steps;
  D4  the context is the condition (as the papers have it for MuJoCo), encoded to [−1, 1];
  D5  the behavior loss is ours, off by default.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hyperpolicy.generate import encoder as encoders
from hyperpolicy.generate import loop
from hyperpolicy.generate.autoencoder import AutoencoderConfig
from hyperpolicy.generate.behavior import Aim, latent_behavior_loss
from hyperpolicy.generate.generator import Generator, check_zoo, from_zoo, write
from hyperpolicy.generate.latent_model import HypLatent
from hyperpolicy.generate.pairs import Batch, draw, pairs
from hyperpolicy.generate.pca import PcaConfig
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.discriminator import Discriminator, cross_entropy
from hyperpolicy.nets.skip_mlp import Moments, SkipMlp
from hyperpolicy.types import Key, Scalar
from hyperpolicy.zoo import Zoo


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class HypLatentConfig:
    encoder: PcaConfig | AutoencoderConfig = field(default_factory=PcaConfig)
    """What a latent is."""
    generator_hidden: tuple[int, ...] = (128, 64, 32)
    """Widths of G below its first layer (published: 1024, 512, 256)."""
    discriminator_hidden: tuple[int, ...] = (128, 128, 64)
    """Widths of F's trunk (published: 1024, 1024, 512)."""
    noise: int = 4
    """Numbers in n (published: 4 on MuJoCo, 128 on Meta-World)."""
    dropout: float = 0.1
    """In G's blocks, while training."""
    mse: float = 1e3
    """λ_mse."""
    regularization: float = 1e3
    """λ_reg."""
    adversarial: float = 1.0
    """λ_adv."""
    behavior: float = 0.0
    """λ_behavior; 0 leaves the behavior loss out."""
    states: int = 16
    """Observations a generated policy is run on in the behavior loss."""
    rate: float = 2e-4
    """Step size of all three Adams, β = (0.5, 0.999)."""
    weight_decay: float = 1e-5
    """Added to the gradient as weight_decay · θ."""
    batch: int = 64
    """Pairs (context, checkpoint) a step (published: 128)."""
    steps: int = 10_000
    """Updates (published: 5000 epochs)."""


class Networks(NamedTuple):
    generator: SkipMlp
    running: list[Moments]  # of the generator's batch norms
    discriminator: Discriminator


class HypLatentState(NamedTuple):
    nets: Networks
    adam: tuple[optax.OptState, optax.OptState, optax.OptState]  # F, G, both


def optimizer(cfg: HypLatentConfig) -> optax.GradientTransformation:
    """Adam with L2 weight decay added to the gradient, as PyTorch's."""
    decay = optax.add_decayed_weights(cfg.weight_decay)
    return optax.flatten(optax.chain(decay, optax.adam(cfg.rate, b1=0.5, b2=0.999)))


def init(cfg: HypLatentConfig, z: int, d: int, key: Key) -> HypLatentState:
    """Fresh networks for latents of `z` numbers and conditions of `d`."""
    nets, start = make_networks(cfg, z, d, key), optimizer(cfg).init
    parts = (_real_side(nets.discriminator), nets.generator, _auxiliary_side(nets))
    return HypLatentState(nets, tuple(map(start, parts)))


def make_networks(cfg: HypLatentConfig, z: int, d: int, key: Key) -> Networks:
    key_g, key_f = jax.random.split(key)
    generator = SkipMlp.init(cfg.noise + d, cfg.generator_hidden, z, key_g)
    discriminator = Discriminator.init(z, cfg.discriminator_hidden, d, key_f)
    return Networks(generator, skip_mlp.first_moments(generator), discriminator)


# --- Losses -------------------------------------------------------------------------------
def discriminator_loss(
    discriminator: Discriminator, fake: Float[Array, "b z"], batch: Batch, key: Key
) -> tuple[Scalar, dict[str, Scalar]]:
    """½ E[BCE(F(z), 1 − U(.01, .2)) + BCE(F(ẑ), U(.01, .2))], labels smoothed per sample."""
    real, fake = (jax.vmap(discriminator.logit)(z) for z in (batch.latent, fake))
    y_real, y_fake = jax.random.uniform(key, (2, len(real)), minval=0.01, maxval=0.2)
    loss = 0.5 * (cross_entropy(real, 1.0 - y_real) + cross_entropy(fake, y_fake))
    belief = {"belief/real": jax.nn.sigmoid(real), "belief/fake": jax.nn.sigmoid(fake)}
    return loss, {"loss/discriminator": loss} | jax.tree.map(jnp.mean, belief)


def generator_loss(
    generator: SkipMlp, nets: Networks, aim: Aim, cfg: HypLatentConfig, batch: Batch, key: Key
) -> tuple[Scalar, tuple[list[Moments], dict[str, Scalar]]]:
    """λ_adv E[BCE(F(ẑ), 1 − U(.01, .3))] + λ_mse E[(ẑ − z)²] + λ_behavior L_behavior (D5)."""
    key_net, key_label = jax.random.split(key)
    made, moments = skip_mlp.train(generator, batch.inputs, cfg.dropout, key_net)
    logit = jax.vmap(nets.discriminator.logit)(made)
    label = 1.0 - jax.random.uniform(key_label, logit.shape, minval=0.01, maxval=0.3)
    parts = {
        "loss/adversarial": (cfg.adversarial, cross_entropy(logit, label)),
        "loss/mse": (cfg.mse, jnp.mean((made - batch.latent) ** 2)),
    }
    if batch.states is not None and batch.actions is not None:
        gap = latent_behavior_loss(aim, made, batch.states, batch.actions)
        parts["loss/behavior"] = (cfg.behavior, gap)
    loss = jnp.sum(jnp.stack([weight * part for weight, part in parts.values()]))
    return loss, (moments, {name: part for name, (_, part) in parts.items()})


def regularization_loss(
    learned: tuple[SkipMlp, Discriminator], cfg: HypLatentConfig, batch: Batch, key: Key
) -> tuple[Scalar, tuple[list[Moments], dict[str, Scalar]]]:
    """λ_reg E[(Q(ẑ) − m)²]."""
    generator, discriminator = learned
    made, moments = skip_mlp.train(generator, batch.inputs, cfg.dropout, key)
    loss = jnp.mean((jax.vmap(discriminator.condition)(made) - batch.condition) ** 2)
    return cfg.regularization * loss, (moments, {"loss/regularization": loss})


# --- Update -------------------------------------------------------------------------------
def update(
    cfg: HypLatentConfig,
    aim: Aim,
    state: HypLatentState,
    batch: Batch,
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


def improve_discriminator(cfg: HypLatentConfig, nets: Networks, adam, batch: Batch, key: Key):
    """One step of F's trunk and real/fake head."""
    key_net, key_loss = jax.random.split(key)
    fake, moments = skip_mlp.train(nets.generator, batch.inputs, cfg.dropout, key_net)
    old, running = nets.discriminator, skip_mlp.follow(nets.running, moments, len(fake))
    grads, metrics = jax.grad(discriminator_loss, has_aux=True)(old, fake, batch, key_loss)
    (trunk, real), adam = _descend(cfg, _real_side(old), _real_side(grads), adam)
    return (
        Networks(nets.generator, running, Discriminator(trunk, real, old.auxiliary)),
        adam,
        metrics,
    )


def improve_generator(cfg: HypLatentConfig, aim: Aim, nets: Networks, adam, batch: Batch, key: Key):
    """Two steps of G, each with its own gradient (D1)."""

    def step(carry, key):
        nets, grads, metrics = generator_gradient(cfg, aim, carry[0], batch, key)
        return move_generator(cfg, nets, grads, carry[1]), metrics

    (nets, adam), metrics = jax.lax.scan(step, (nets, adam), jax.random.split(key))
    return nets, adam, jax.tree.map(lambda both: both[-1], metrics)


def generator_gradient(cfg: HypLatentConfig, aim: Aim, nets: Networks, batch: Batch, key: Key):
    """∇_G of `generator_loss`; the running moments have seen its forward pass."""
    grad = jax.grad(generator_loss, has_aux=True)
    grads, (moments, metrics) = grad(nets.generator, nets, aim, cfg, batch, key)
    running = skip_mlp.follow(nets.running, moments, len(batch.inputs))
    return nets._replace(running=running), grads, metrics


def move_generator(cfg: HypLatentConfig, nets: Networks, grads: SkipMlp, adam):
    """One Adam step of G."""
    generator, adam = _descend(cfg, nets.generator, grads, adam)
    return nets._replace(generator=generator), adam


def regularize(cfg: HypLatentConfig, nets: Networks, adam, batch: Batch, key: Key):
    """One step of G, F's trunk and Q together; Q learns only here."""
    grad = jax.grad(regularization_loss, has_aux=True)
    learn = (nets.generator, nets.discriminator)
    (grad_g, grad_f), (moments, metrics) = grad(learn, cfg, batch, key)
    running = skip_mlp.follow(nets.running, moments, len(batch.inputs))
    grads = _auxiliary_side(Networks(grad_g, running, grad_f))
    (generator, trunk, auxiliary), adam = _descend(cfg, _auxiliary_side(nets), grads, adam)
    discriminator = Discriminator(trunk, nets.discriminator.real, auxiliary)
    return Networks(generator, running, discriminator), adam, metrics


def _real_side(f: Discriminator):
    return f.trunk, f.real  # D2


def _auxiliary_side(nets: Networks):
    return nets.generator, nets.discriminator.trunk, nets.discriminator.auxiliary  # D2


def _descend(cfg: HypLatentConfig, params, grads, adam):
    updates, adam = optimizer(cfg).update(grads, adam, params)
    return optax.apply_updates(params, updates), adam


# --- Fit ----------------------------------------------------------------------------------
def fit(
    config: HypLatentConfig,
    zoo: Zoo,
    seed: int = 0,
    out: str | Path | None = None,
    improve: Callable = improve_generator,
) -> Generator:
    """A generator trained on `zoo`; with `out` it is saved there, and a killed fit resumes.

    Raises:
        BadZoo: a zoo that cannot be trained on, or without observations where behavior > 0.
        BadSetting: numbers stopped being finite; the message names the step.
    """
    return _fit(config, zoo, (seed,), out, [out], improve)[0]


def fit_seeds(
    config: HypLatentConfig,
    zoo: Zoo,
    seeds: Sequence[int],
    out: str | Path | None = None,
    improve: Callable = improve_generator,
) -> list[Generator]:
    """One generator per seed, trained side by side; with `out` each is saved in `out/seed-<seed>`.

    A seed whose numbers stop being finite is left out, with a warning that names it and the step.
    """
    places = [out and Path(out) / f"seed-{seed}" for seed in seeds]
    return _fit(config, zoo, tuple(seeds), out, places, improve)


def _fit(config: HypLatentConfig, zoo: Zoo, seeds, out, places, improve) -> list[Generator]:
    d, out = check_zoo(zoo).context.encoded_size, out and Path(out)
    loop.claim(out)
    record = {"config": asdict(config), "improve": improve.__name__}
    data = pairs(zoo, config.behavior > 0)
    run = loop.Run("hyplatent", seeds, config.steps, out, record | {"zoo": loop.digest(data)})
    encoder = encoders.fit(config.encoder, zoo, seeds, out)
    latents = jax.jit(jax.vmap(encoders.encode_rows, (0, None)))(encoder, data.weights)

    def step(state, own, data, i):
        seed, encoder, latents = own
        key, key_batch = jax.random.split(jax.random.fold_in(jax.random.key(seed), i))
        batch = draw(data, latents, config.batch, config.noise, config.states, key_batch)
        return update(config, Aim(zoo.spec, encoder), state, batch, key, improve)

    numbers, z = jnp.asarray(seeds), latents.shape[-1]
    start = jax.jit(jax.vmap(lambda seed: init(config, z, d, jax.random.key(seed))))
    state, died_at = loop.train(run, step, start(numbers), (numbers, encoder, latents), data)

    def generator(n: int) -> Generator:
        nets, mine = jax.tree.map(lambda leaf: np.asarray(leaf[n]), (state.nets, encoder))
        model = HypLatent(nets.generator, nets.running, mine, config.noise)
        return from_zoo(zoo, model, record | {"seed": seeds[n]})

    fitted = {n: generator(n) for n in range(len(seeds)) if died_at[n] < 0}
    if out is not None:
        for n, one in fitted.items():
            write(one, places[n])
        loop.finish(out)
    return list(fitted.values())
