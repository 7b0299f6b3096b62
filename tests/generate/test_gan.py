"""Discriminator: published size, and which head sees what."""

import jax
import jax.numpy as jnp
import numpy as np

from hyperpolicy.generate.writers.gan import Discriminator, cross_entropy


def test_published_size():
    make = lambda: Discriminator.init(2048, (1024, 1024, 512), 128, jax.random.key(0))  # noqa: E731
    assert sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(make))) == 3_738_753


def test_heads_share_the_trunk_and_nothing_else():
    f = Discriminator.init(6, (5, 4), 2, jax.random.key(0))
    z = jax.random.normal(jax.random.key(1), (6,))
    by_logit = jax.grad(lambda f: f.logit(z))(f)
    by_condition = jax.grad(lambda f: jnp.sum(f.condition(z)))(f)
    assert np.any(by_logit.trunk[0].weight) and np.any(by_condition.trunk[0].weight)
    assert np.any(by_logit.real.weight) and not np.any(by_logit.auxiliary.weight)
    assert np.any(by_condition.auxiliary.weight) and not np.any(by_condition.real.weight)


def test_cross_entropy_by_hand():
    logit, label = jnp.array([0.0, 2.0]), jnp.array([0.9, 0.1])
    p = 1 / (1 + np.exp(-np.array([0.0, 2.0])))
    y = np.array([0.9, 0.1])
    want = np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p))
    np.testing.assert_allclose(cross_entropy(logit, label), want, rtol=1e-6)
