"""Quirks of AMT-Hyp's released code, to reproduce them exactly."""

import jax
import jax.numpy as jnp

from hyperpolicy.generate.behavior import Aim
from hyperpolicy.generate.hyplatent import (
    HypLatentConfig,
    Networks,
    generator_gradient,
    move_generator,
)
from hyperpolicy.generate.pairs import Batch
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
