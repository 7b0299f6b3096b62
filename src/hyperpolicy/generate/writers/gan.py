"""The nouns of HypLatent and GenHyper: settings, networks, what is kept of them, optimizer.

Losses and updates stand on the pages of the two; D2 is theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Count, PartialShare, Rate, Sizes, Weight, Whole, unused
from hyperpolicy.generate.fitting import LearnedConfig
from hyperpolicy.generate.parts import Frame, RowWriter
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.nets.skip_mlp import Moments, SkipMlp
from hyperpolicy.types import Key, Scalar


@dataclass(frozen=True)
class GanConfig(LearnedConfig):
    """What HypLatent and GenHyper have in common."""

    generator_hidden: Sizes = (128, 64, 32)
    """Widths of G below its first layer (published: 1024, 512, 256)."""
    discriminator_hidden: Sizes = (128, 128, 64)
    """Widths of F's trunk (published: 1024, 1024, 512)."""
    noise: Whole = 4
    """Numbers in n (published: 4 on MuJoCo, 128 on Meta-World)."""
    dropout: PartialShare = 0.1
    """In G's blocks, while training."""
    mse: Weight = 1e3
    """λ_mse, on what G is to write: latents in HypLatent, weights in GenHyper."""
    regularization: Weight = 1e3
    """λ_reg."""
    adversarial: Weight = 1.0
    """λ_adv."""
    behavior: Weight = 0.0
    """λ_behavior; 0 leaves the behavior loss out."""
    states: Count = 16
    """Observations a generated policy is run on in the behavior loss."""
    rate: Rate = 2e-4
    """Step size of all three Adams, β = (0.5, 0.999)."""
    weight_decay: Weight = 1e-5
    """Added to the gradient as weight_decay · θ."""
    batch: Count = 64
    """Pairs (context, checkpoint) a step (published: 128)."""
    steps: Count = 10_000
    """Updates (published: 5000 epochs)."""

    @property
    def needs_behavior(self) -> bool:
        return self.behavior > 0

    @property
    def draw_sizes(self) -> tuple[int, int, int]:
        """Pairs, numbers of noise and observations of a minibatch."""
        return self.batch, self.noise, self.states

    def check_unused(self) -> None:
        if self.behavior == 0:
            unused(self, ["states"], "without --behavior")


# --- Networks -----------------------------------------------------------------------------
class Discriminator(eqx.Module):
    """A trunk over latents, a real/fake head F and an auxiliary head Q.

    It never sees the condition; Q has to read it out of the latent.
    """

    trunk: list[Linear]
    """Each followed by GELU; no normalization, no dropout."""
    real: Linear
    auxiliary: Linear

    @classmethod
    def init(cls, z: int, hidden: tuple[int, ...], d: int, key: Key) -> "Discriminator":
        """`z` numbers a latent, `d` numbers an encoded condition."""
        key_real, key_auxiliary, *keys = jax.random.split(key, 2 + len(hidden))
        sizes = zip(pairwise((z, *hidden)), keys, strict=True)
        trunk = [Linear.init(i, o, k) for (i, o), k in sizes]
        real = Linear.init(hidden[-1], 1, key_real)
        return cls(trunk, real, Linear.init(hidden[-1], d, key_auxiliary))

    def features(self, z: Float[Array, " z"]) -> Float[Array, " f"]:
        """What both heads read."""
        for layer in self.trunk:
            z = jax.nn.gelu(layer(z), approximate=False)
        return z

    def logit(self, z: Float[Array, " z"]) -> Scalar:
        """log odds that the latent is an expert's: F(z) = sigmoid(logit)."""
        return self.real(self.features(z))[0]

    def condition(self, z: Float[Array, " z"]) -> Float[Array, " d"]:
        """Q(z), the condition this latent seems to have been made for."""
        return self.auxiliary(self.features(z))


def cross_entropy(logit: Float[Array, " b"], label: Float[Array, " b"]) -> Scalar:
    """E[−y log σ(l) − (1 − y) log(1 − σ(l))]."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logit, label))


class Networks(NamedTuple):
    generator: SkipMlp
    running: list[Moments]  # of the generator's batch norms
    discriminator: Discriminator


class GanWriter(RowWriter):
    """G(n, m) in evaluation mode, n ~ N(0, 1)."""

    net: SkipMlp
    running: list[Moments]
    noise: int = eqx.field(static=True)
    judge: Discriminator | None = None
    """The discriminator, where the fit kept it."""

    def __call__(self, condition: Float[Array, " d"], key: Key) -> Float[Array, " z"]:
        return self.at(jax.random.normal(key, (self.noise,)), condition)

    def at(self, noise: Float[Array, " n"], condition: Float[Array, " d"]) -> Float[Array, " z"]:
        """G(n, m) for a noise that was drawn."""
        return skip_mlp.evaluate(self.net, self.running, jnp.concatenate([noise, condition]))

    def settings(self) -> dict:
        own = {"noise": self.noise, "hidden": [block.scale.shape[0] for block in self.net.down]}
        if self.judge is not None:
            own["judge"] = [layer.bias.shape[0] for layer in self.judge.trunk]
        return own

    @classmethod
    def blank(cls, settings: dict, frame: Frame):
        noise, hidden = settings["noise"], tuple(settings["hidden"])
        net = SkipMlp.init(noise + frame.condition, hidden, frame.latent, jax.random.key(0))
        judge, z, d = None, frame.latent, frame.condition
        if "judge" in settings:
            judge = Discriminator.init(z, tuple(settings["judge"]), d, jax.random.key(0))
        return cls(net, skip_mlp.first_moments(net), noise, judge)


def make_networks(cfg: GanConfig, z: int, d: int, key: Key) -> Networks:
    key_g, key_f = jax.random.split(key)
    generator = SkipMlp.init(cfg.noise + d, cfg.generator_hidden, z, key_g)
    discriminator = Discriminator.init(z, cfg.discriminator_hidden, d, key_f)
    return Networks(generator, skip_mlp.first_moments(generator), discriminator)


def optimizer(rate: float, weight_decay: float) -> optax.GradientTransformation:
    """Adam with L2 weight decay added to the gradient, as PyTorch's."""
    decay = optax.add_decayed_weights(weight_decay)
    return optax.flatten(optax.chain(decay, optax.adam(rate, b1=0.5, b2=0.999)))


def real_side(f: Discriminator):
    """What part 1 learns of F (D2)."""
    return f.trunk, f.real


def auxiliary_side(nets: Networks):
    """What part 3 learns (D2)."""
    return nets.generator, nets.discriminator.trunk, nets.discriminator.auxiliary


def descend(cfg: GanConfig, side: Callable, nets, grads, adam):
    """`nets` after one Adam step of what `side` picks of them."""
    params = side(nets)
    updates, adam = optimizer(cfg.rate, cfg.weight_decay).update(side(grads), adam, params)
    return eqx.tree_at(side, nets, optax.apply_updates(params, updates)), adam
