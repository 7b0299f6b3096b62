"""What AMT-Hyp's released code does unlike its paper, to reproduce it exactly.

Each is a small function that stands in the place of one of the generators' own:

    fit(config, zoo, train=partial(hyplatent.train, improve=accumulate_gradients))
    hypformer.fit(config, bases, lesson, forward=attend_over_batch)
"""

from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.generate.lesson import Aim, Minibatch
from hyperpolicy.generate.parts import Model
from hyperpolicy.generate.writers import hypformer
from hyperpolicy.generate.writers.gan import Networks
from hyperpolicy.generate.writers.hypformer import HypFormer
from hyperpolicy.generate.writers.hyplatent import (
    HypLatentConfig,
    generator_gradient,
    move_generator,
)
from hyperpolicy.nets.transformer import EVALUATION, Aggregator, Drops, Prediction
from hyperpolicy.types import Key


def accumulate_gradients(
    cfg: HypLatentConfig, aim: Aim, nets: Networks, adam, batch: Minibatch, key: Key
):
    """Two steps of G with gradients zeroed once: the second uses g₁ + g₂.

    It stands where `hyplatent.improve_generator` stands by default.
    """
    key_1, key_2 = jax.random.split(key)
    nets, first, _ = generator_gradient(cfg, aim, nets, batch, key_1)
    nets, adam = move_generator(cfg, nets, first, adam)
    nets, second, metrics = generator_gradient(cfg, aim, nets, batch, key_2)
    nets, adam = move_generator(cfg, nets, jax.tree.map(jnp.add, first, second), adam)
    return nets, adam, metrics


def attend_over_batch(
    net: Aggregator,
    tokens: Float[Array, "b k z"],
    conditions: Float[Array, "b d"],
    drops: Drops = EVALUATION,
) -> Prediction:
    """HypFormer's predictions where attention runs over the batch, at one token position at a time.

    The released layer takes [tokens, batch, width] and is given [batch, tokens, width]. A sample's
    tokens never meet, its neighbors' do, so a prediction depends on who shares the batch; alone, a
    sample attends to nothing. It stands where `hypformer.attend_within` stands by default; `.total`
    is what is decoded.
    """
    mlps = drops.mlps.split(len(tokens))
    rows = jax.vmap(net.embed)(tokens, conditions[:, None], mlps)
    positions = jnp.swapaxes(rows, 0, 1)
    attended = jax.vmap(net.layer)(positions, drops.layer.split(len(positions)))
    return jax.vmap(net.read)(jnp.swapaxes(attended, 0, 1), mlps)


@jax.jit
def write_over_batch(
    model: Model, conditions: Float[Array, "b d"], key: Key
) -> Float[Array, "b p"]:
    """The policies of a HypFormer for demonstrations that are looked at together, as one batch."""
    former = cast(HypFormer, model.writer)
    tokens = hypformer.sample_each(former.base, conditions, former.tokens, key)
    latents = attend_over_batch(former.net, tokens, conditions).total
    return jax.vmap(model.codec.decode)(latents)
