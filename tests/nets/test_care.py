"""CARE's parts: weights that sum to 1, encodings by hand, published parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.care import MixtureConfig, TaskEncoder, trained, untrained

MODES = ("attention", "dot-product", "gate", "ensemble", "identity", "clusters")
CLUSTERS = ((0,), (1, 2), (0, 3), (3,))


def mixture(mode, **settings):
    clusters = CLUSTERS if mode == "clusters" else ()
    cfg = MixtureConfig(mode=mode, experts=4, width=5, clusters=clusters, **settings)
    return cfg.make(4, 3, 5, jax.random.key(0))


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("mode", MODES)
def test_weights_sum_to_one_and_the_encoding_is_their_mean(mode):
    net, x, z = mixture(mode), drawn(3), drawn(5, seed=1)
    encoded = jnp.stack(
        [jax.tree.map(lambda leaf, j=j: leaf[j], net.encoders)(x) for j in range(4)]
    )
    weights = np.asarray(net.weights(encoded, z, 2))
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(), 1, atol=1e-6)
    wanted = sum(w * e for w, e in zip(weights, np.asarray(encoded), strict=True))
    np.testing.assert_allclose(net(x, z, 2), wanted, atol=1e-5)


def test_who_is_chosen():
    encoded, z = drawn(4, 5), drawn(5, seed=1)
    by = lambda mode, task=1: np.asarray(mixture(mode).weights(encoded, z, task))  # noqa: E731
    assert by("identity").tolist() == [0, 1, 0, 0]
    assert by("clusters").tolist() == [0, 0.5, 0.5, 0]
    assert by("ensemble").tolist() == [0.25] * 4
    assert (by("gate") > 0).sum() == 2
    logits = np.asarray(encoded) @ np.asarray(z)
    np.testing.assert_allclose(by("dot-product"), np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)
    assert np.array_equal(by("attention", 0), by("attention", 1))  # told z, not the task


def test_no_gradient_reaches_the_embedding_where_it_should_not():
    x, z = drawn(3), drawn(5, seed=1)
    grads = {mode: jax.grad(lambda z, m=mode: mixture(m)(x, z, 1).sum())(z) for mode in MODES}
    alive = [mode for mode in MODES if np.asarray(grads[mode]).any()]
    assert alive == ["attention"]


def test_published_parameter_counts():
    z = TaskEncoder.language(jnp.zeros((10, 768)), 50, jax.random.key(0))
    assert trained(z) == 89_600
    assert trained(TaskEncoder.learned(10, 50, jax.random.key(0))) == 8_150
    for experts, numbers in ((4, 18_104), (6, 24_606), (10, 37_610)):
        net = MixtureConfig(experts=experts).make(10, 12, 50, jax.random.key(0))
        assert trained(net) == numbers


def test_a_table_is_never_trained():
    net = TaskEncoder.language(drawn(3, 7), 5, jax.random.key(0))
    grads = jax.grad(lambda net: net(1).sum())(net)
    assert not np.asarray(grads.row.rows).any()
    assert np.asarray(grads.net.layers[-1].bias).all()


def test_the_actors_attention_of_mtrl_has_no_gradient():
    net, x, z = mixture("attention"), drawn(3), drawn(5, seed=1)

    def loss(net):
        return untrained(net, jax.random.key(9))(x, z, 0).sum()

    grads = jax.grad(loss)(net)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads.attention))
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads.encoders))
    assert not np.allclose(untrained(net, jax.random.key(9))(x, z, 0), net(x, z, 0))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "identity"}, "an encoder a task: 4 for 3 tasks"),
        ({"mode": "gate", "top": 9}, "top=9 of 4 encoders"),
        ({"mode": "dot-product", "width": 7}, "give the same width"),
        ({"mode": "clusters", "clusters": ((0,), (9,), (1,))}, "the encoders 0 to 3"),
        ({"mode": "clusters"}, "for each of 3 tasks"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(BadSetting, match=says):
        MixtureConfig(**settings).make(3, 4, 5, jax.random.key(0))
