"""The chunked autoencoder: published size, what it learns, its schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.generate import codecs
from hyperpolicy.generate.codecs import AutoencoderConfig, Coder
from hyperpolicy.generate.loop import warm_restarts
from hyperpolicy.nets.policy import PolicySpec


def test_published_size():
    spec = PolicySpec(39, 4, (128, 128), ("elu", "relu"))
    coder = jax.eval_shape(lambda: Coder.init(spec, 1024, jax.random.key(0)))
    assert codecs.chunks(spec) == [5120, 17544]
    assert sum(leaf.size for leaf in jax.tree.leaves(coder)) == 46_417_920


def test_tokens_are_layer_norms_of_chunks():
    spec = PolicySpec(3, 2, (4, 4))
    coder = Coder.init(spec, 5, jax.random.key(0))
    weights = jax.random.normal(jax.random.key(1), (spec.size,))
    tokens = np.asarray(coder.tokens(weights))
    for token, part, encoder in zip(
        tokens, np.split(np.asarray(weights), [3 * 4 + 4]), coder.encoders, strict=True
    ):
        x = part @ np.asarray(encoder)
        np.testing.assert_allclose(token, (x - x.mean()) / np.sqrt(x.var() + 1e-5), atol=1e-5)


def test_warm_restarts():
    """Cycles of 10, 20, 40 … steps, each a half cosine from the full rate."""
    rate = jax.vmap(lambda step: warm_restarts(1.0, 10, step))
    got = rate(jnp.array([0, 5, 10, 20, 30, 50, 69]))
    want = [1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 0.5 * (1 + np.cos(np.pi * 39 / 40))]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
def test_every_seed_learns_to_rebuild(zoo):
    fitted = AutoencoderConfig(dim=16, steps=1270, batch=16).fit(zoo.weights, zoo.spec, (0, 1))
    weights = jnp.asarray(zoo.weights)
    spread = np.mean((zoo.weights - zoo.weights.mean(axis=0)) ** 2)
    for n in (0, 1):
        one = jax.tree.map(lambda leaf, n=n: leaf[n], fitted)
        latents = jax.vmap(one.encode)(weights)
        assert latents.shape == (len(weights), one.size) == (len(weights), 32)
        np.testing.assert_allclose([latents.min(), latents.max()], [-1.0, 1.0], atol=1e-4)
        rebuilt = np.asarray(jax.vmap(one.decode)(latents))
        assert np.mean((rebuilt - zoo.weights) ** 2) < 0.1 * spread
    assert np.any(fitted.coder.norm.weight[0] != fitted.coder.norm.weight[1])
