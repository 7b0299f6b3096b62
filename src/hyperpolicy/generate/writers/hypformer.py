"""HypFormer, AMT-Hyp's third stage: one latent out of several samples of a frozen generator.

AMT-Hyp, ICRA 2025 (manuscript 2814), Eqs. 5–7. G is a trained HypLatent in evaluation mode. For a
pair (m, z) of an encoded condition and a latent, L noises give ẑ_l = G(n_l, m). With a learned
token cls, the MLPs P₁, P₂, P₃ and the heads H, R per token, and means over all L + 2 tokens:

    x = P₂ [P₁(cls), P₁(ẑ_1), …, P₁(ẑ_L), C m]      y = P₃ EncoderLayer(x)
    z_pred = mean H(y)      ∇_pred = mean R(y)      output: z_pred + ∇_pred
    loss = λ_res SmoothL1(∇_pred, mean_l (z − ẑ_l)) + λ_cos (1 − cos(z_pred, z))
           + λ_mse ‖z_pred + ∇_pred − z‖²

Where paper and released code differ we follow the code: the residue is z's distance from G's
samples, not from z_pred, and its error is SmoothL1; cls is averaged with the others. The paper
prints the cosine with the larger norm twice in the denominator; it is the cosine here.
Departures from the released code, marked where they happen:
  D1  attention runs over one sample's tokens. The code gives [batch, tokens, width] to a layer
      that takes [tokens, batch, width], so it mixes the samples of a batch at one token position
      and never a sample's tokens: `recipes.amt_hyp.released`;
  D2  pairs are drawn with replacement, and a fit is counted in steps; the last one is kept, where
      the released one was chosen by its success in the environment;
  D3  linear layers start uniform in ±1/√inputs as everywhere here, attention as PyTorch's;
  D4  several demonstrations of one task can be attended together on purpose: `write_for_set`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Count, PartialShare, Rate, Size, Weight
from hyperpolicy.errors import BadSetting, BadShape, BadZoo
from hyperpolicy.generate import loop
from hyperpolicy.generate.fitting import Places, Written, keep, latents_of
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson, Pairs, pairs
from hyperpolicy.generate.parts import Codec, Frame, RowWriter, alike
from hyperpolicy.generate.writers import gan
from hyperpolicy.generate.writers.hyplatent import HypLatent
from hyperpolicy.nets.transformer import EVALUATION, Aggregator, Dropout, Drops, Prediction
from hyperpolicy.run.directory import alone
from hyperpolicy.types import Key, Scalar


@dataclass(frozen=True)
class HypFormerConfig(Bounded):
    width: Size = 64
    """Numbers a token inside the network (published: 256)."""
    heads: Size = 32
    """Heads of attention, a divisor of `width` (published: 128, of two numbers each)."""
    ff: Size = 512
    """Width inside the encoder layer's own network (published: 2048)."""
    tokens: Size = 8
    """L, samples of G a prediction is made of."""
    dropout: PartialShare = 0.2
    """In the MLPs and heads, while training."""
    layer_dropout: PartialShare = 0.1
    """In the encoder layer, while training."""
    residue: Weight = 1e3
    """λ_res."""
    cosine: Weight = 1e3
    """λ_cos."""
    mse: Weight = 1e3
    """λ_mse."""
    rate: Rate = 2e-4
    """Step size of Adam, β = (0.5, 0.999)."""
    weight_decay: Weight = 1e-5
    """Added to the gradient as weight_decay · θ."""
    batch: Count = 64
    """Pairs (condition, checkpoint) a step (published: 128)."""
    steps: Count = 10_000
    """Updates (published: 3000 epochs)."""

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise BadSetting(f"heads={self.heads} do not divide width={self.width} evenly")


# --- Samples and predictions --------------------------------------------------------------
class Samples(NamedTuple):
    """A minibatch: several samples of G for each pair."""

    tokens: Float[Array, "b k z"]  # ẑ_1 … ẑ_L
    conditions: Float[Array, "b d"]
    target: Float[Array, "b z"]


def sample(
    base: HypLatent, condition: Float[Array, " d"], num: int, key: Key
) -> Float[Array, "k z"]:
    """ẑ_l = G(n_l, m) in evaluation mode, n_l ~ N(0, 1), l = 1 … num."""
    noises = jax.random.normal(key, (num, base.noise))
    return jax.vmap(lambda noise: base.at(noise, condition))(noises)


def sample_each(
    base: HypLatent, conditions: Float[Array, "b d"], num: int, key: Key
) -> Float[Array, "b k z"]:
    """`sample` for each condition, with noises of its own."""
    keys = jax.random.split(key, len(conditions))
    return jax.vmap(sample, (None, 0, None, 0))(base, conditions, num, keys)


def draw(
    cfg: HypFormerConfig, data: Pairs, base: HypLatent, latents: Float[Array, "r z"], key: Key
) -> Samples:
    """Pairs with replacement (D2), and fresh samples of G for each."""
    key_rows, key_noise = jax.random.split(key)
    rows = jax.random.randint(key_rows, (cfg.batch,), 0, len(latents))
    conditions = data.conditions[rows]
    return Samples(sample_each(base, conditions, cfg.tokens, key_noise), conditions, latents[rows])


def attend_within(
    net: Aggregator,
    tokens: Float[Array, "b k z"],
    conditions: Float[Array, "b d"],
    drops: Drops = EVALUATION,
) -> Prediction:
    """The predictions of a batch, each sample attending over its own tokens alone (D1)."""
    return jax.vmap(net)(tokens, conditions[:, None], drops.split(len(tokens)))


def residue_loss(
    residue: Float[Array, " z"], target: Float[Array, " z"], tokens: Float[Array, "k z"]
) -> Scalar:
    """SmoothL1(∇_pred, mean_l (z − ẑ_l)), with its corner at 1."""
    return jnp.mean(optax.huber_loss(residue, target - jnp.mean(tokens, axis=0)))


def cosine_loss(latent: Float[Array, " z"], target: Float[Array, " z"]) -> Scalar:
    """1 − cos(z_pred, z)."""
    norms = jnp.sum(latent**2) * jnp.sum(target**2)
    return 1.0 - jnp.dot(latent, target) * jax.lax.rsqrt(jnp.maximum(norms, 1e-16))


def mse_loss(total: Float[Array, " z"], target: Float[Array, " z"]) -> Scalar:
    """‖z_pred + ∇_pred − z‖², the mean over numbers."""
    return jnp.mean((total - target) ** 2)


def loss(
    net: Aggregator, cfg: HypFormerConfig, batch: Samples, drops: Drops, forward: Callable
) -> tuple[Scalar, dict[str, Scalar]]:
    """λ_res E[SmoothL1] + λ_cos E[1 − cos] + λ_mse E[MSE]; and these, and G's own error."""
    made, target = forward(net, batch.tokens, batch.conditions, drops), batch.target
    parts = {
        "loss/residue": jax.vmap(residue_loss)(made.residue, target, batch.tokens),
        "loss/cosine": jax.vmap(cosine_loss)(made.latent, target),
        "loss/mse": jax.vmap(mse_loss)(made.total, target),
        "samples/mse": jax.vmap(mse_loss)(jnp.mean(batch.tokens, axis=1), target),
    }
    means = jax.tree.map(jnp.mean, parts)
    total = cfg.residue * means["loss/residue"] + cfg.cosine * means["loss/cosine"]
    return total + cfg.mse * means["loss/mse"], means


def update(
    cfg: HypFormerConfig, net: Aggregator, adam, batch: Samples, key: Key, forward: Callable
):
    """One Adam step of the network; G rests."""
    key_mlps, key_layer = jax.random.split(key)
    drops = Drops(Dropout(key_mlps, cfg.dropout), Dropout(key_layer, cfg.layer_dropout))
    grads, metrics = jax.grad(loss, has_aux=True)(net, cfg, batch, drops, forward)
    updates, adam = gan.optimizer(cfg.rate, cfg.weight_decay).update(grads, adam, net)
    return optax.apply_updates(net, updates), adam, metrics


def train(
    config: HypFormerConfig,
    run: loop.FitJob,
    data: Pairs,
    codecs,
    base: HypLatent,
    forward: Callable = attend_within,
) -> Written:
    """The fits that lived; `codecs` and `base` hold one per seed, on axis n. Raises BadShape for a
    base of other conditions or not one per seed, and BadSetting where every fit died."""
    shape, takes = base.net.first.weight.shape, base.net.first.weight.shape[-2] - base.noise
    if len(shape) != 3 or shape[0] != len(run.seeds):
        text = "seeds need one HypLatent each, stacked on a leading axis"
        raise BadShape(f"the base's first weight has shape {shape}; {len(run.seeds)} {text}")
    if takes != data.conditions.shape[1]:
        raise BadShape(
            f"the base takes conditions of {takes} numbers, these have {data.conditions.shape[1]}"
        )
    latents = latents_of(codecs, data.weights)
    z, d = latents.shape[-1], data.conditions.shape[-1]

    def init(key):
        net = Aggregator.init(z, d, config.width, config.heads, config.ff, key)
        return net, gan.optimizer(config.rate, config.weight_decay).init(net)

    def step(state, key, i, own, data):
        (net, adam), (base, latents), (key, key_batch) = state, own, jax.random.split(key)
        batch = draw(config, data, base, latents, key_batch)
        net, adam, metrics = update(config, net, adam, batch, key, forward)
        return (net, adam), metrics

    fits = loop.learn(run, init, step, (base, latents), data)
    return {
        n: (HypFormer(frozen, net, config.tokens), codec)
        for n, (frozen, net, codec) in fits.living((base, fits.state[0], codecs)).items()
    }


class HypFormer(RowWriter):
    """z_pred + ∇_pred of `tokens` samples of `base`, in evaluation mode."""

    kind: ClassVar[str] = "hypformer"
    base: HypLatent
    net: Aggregator
    tokens: int = eqx.field(static=True)

    def __call__(self, condition: Float[Array, " d"], key: Key) -> Float[Array, " z"]:
        return write_for_set(self, condition[None], key)

    def settings(self) -> dict:
        width, ff = self.net.layer.up.weight.shape
        sizes = {"width": width, "heads": self.net.layer.heads, "ff": ff, "tokens": self.tokens}
        return sizes | {"base": self.base.settings()}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "HypFormer":
        cfg = HypFormerConfig(**{k: settings[k] for k in ("width", "heads", "ff", "tokens")})
        sizes = frame.latent, frame.condition, cfg.width, cfg.heads, cfg.ff
        net = Aggregator.init(*sizes, jax.random.key(0))
        return cls(HypLatent.blank(settings["base"], frame), net, cfg.tokens)


def write_for_set(
    writer: HypFormer, conditions: Float[Array, "q d"], key: Key
) -> Float[Array, " z"]:
    """One latent out of q demonstrations of one task: L samples and a condition token each (D4)."""
    tokens = sample_each(writer.base, conditions, writer.tokens, key)
    return writer.net(tokens.reshape(-1, tokens.shape[-1]), conditions).total


@alone
def fit(
    config: HypFormerConfig,
    bases: Sequence[Generator],
    lesson: Lesson,
    out: str | Path | None = None,
    forward: Callable = attend_within,
) -> list[Generator]:
    """One HypFormer on each of the HypLatents `bases`, fitted on the same lesson; with `out` each
    is saved in `out/seed-<seed>`, and a killed fit resumes. `forward` as in `train`. Raises BadZoo:
    bases that are no HypLatents of this lesson's reader; BadSetting, BadShape: as `train`."""
    data = pairs(lesson, with_behavior=False)
    places = Places.several([base.provenance["seed"] for base in bases], out)
    loop.claim(places.path)
    base, codecs = jax.tree.map(lambda *x: jnp.stack(x), *(_parts(b, lesson) for b in bases))
    record = {"config": asdict(config), "given": lesson.given.name, "forward": forward.__name__}
    known = record | {"zoo": loop.digest(data), "base": loop.digest((base, codecs))}
    run = loop.FitJob(HypFormer.kind, places.seeds, config.steps, places.out, known)
    return keep(lesson, places, train(config, run, data, codecs, base, forward), record)


def _parts(base: Generator, lesson: Lesson) -> tuple[HypLatent, Codec]:
    model = base.model
    if base.kind != HypLatent.kind:
        raise BadZoo(f"HypFormer is fitted on HypLatents; this is a {base.kind}")
    if not alike(model.reader, lesson.reader):
        raise BadZoo("this HypLatent reads what it is given in another way: with another embedding")
    return cast(HypLatent, model.writer), model.codec
