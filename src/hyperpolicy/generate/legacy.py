"""Quirks of AMT-Hyp's released code, to reproduce them exactly."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.generate.behavior import Aim
from hyperpolicy.generate.hyplatent import (
    HypLatentConfig,
    Networks,
    generator_gradient,
    move_generator,
)
from hyperpolicy.generate.pairs import Batch
from hyperpolicy.nets.transformer import EVALUATION, Aggregator, Drops, Prediction
from hyperpolicy.types import Key


def legacy_accumulate(cfg: HypLatentConfig, aim: Aim, nets: Networks, adam, batch: Batch, key: Key):
    """Two steps of G with gradients zeroed once: the second uses g₁ + g₂.

    Give it to `hyplatent.fit` as `improve`, where `hyplatent.improve_generator` stands by default.
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
    sample attends to nothing. Give it to `hypformer.train` as `forward`, where
    `hypformer.attend_within` stands by default; `.total` is what is decoded.
    """
    mlps = drops.mlps.split(len(tokens))
    rows = jax.vmap(net.embed)(tokens, conditions[:, None], mlps)
    positions = jnp.swapaxes(rows, 0, 1)
    attended = jax.vmap(net.layer)(positions, drops.layer.split(len(positions)))
    return jax.vmap(net.read)(jnp.swapaxes(attended, 0, 1), mlps)
