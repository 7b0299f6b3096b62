"""The encoder layer and HypFormer's network: by hand, neighbors, order of tokens, sizes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.nets.transformer import KEEP, Aggregator, Dropout, Drops, EncoderLayer

D, HEADS, K = 6, 3, 5


def stir(module):
    """Every leaf away from its first value, so that biases, norms and every path count."""
    leaves, structure = jax.tree.flatten(module)
    rng = np.random.default_rng(0)
    moved = [leaf + 0.5 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, moved)


@pytest.fixture(scope="module")
def layer() -> EncoderLayer:
    return stir(jax.jit(lambda key: EncoderLayer.init(D, HEADS, 7, key))(jax.random.key(0)))


@pytest.fixture(scope="module")
def tokens():
    return jax.random.normal(jax.random.key(2), (K, D))


@pytest.fixture(scope="module")
def net() -> Aggregator:
    return stir(jax.jit(lambda key: Aggregator.init(3, 2, D, HEADS, 7, key))(jax.random.key(3)))


@pytest.fixture(scope="module")
def predict(net):
    """The network, compiled, for K latents and two conditions."""
    return jax.jit(lambda latents, conditions: net(latents, conditions))


@pytest.fixture(scope="module")
def inputs():
    shapes = (K, 3), (2, 2)
    return tuple(jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes))


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_published_sizes():
    make = lambda: Aggregator.init(2048, 128, 256, 128, 2048, jax.random.key(0))  # noqa: E731
    net = jax.eval_shape(make)
    assert size(net) == 3_387_904
    assert size(net.layer) == 1_315_072


def test_attention_starts_as_published():
    fresh = EncoderLayer.init(64, 32, 8, jax.random.key(0))
    bound = np.sqrt(6 / (64 + 3 * 64))
    assert 0.98 * bound < np.abs(fresh.project.weight).max() <= bound
    assert not np.any(fresh.project.bias) and not np.any(fresh.mix.bias)


def test_layer_by_hand(layer, tokens):
    """Head by head and query by query, in NumPy."""
    x, e = np.asarray(tokens, np.float64), D // HEADS
    linear = lambda la, x: x @ np.asarray(la.weight) + np.asarray(la.bias)  # noqa: E731
    query, key, value = np.split(linear(layer.project, x), 3, axis=1)
    mixed = np.zeros((K, D))
    for own in (slice(h * e, (h + 1) * e) for h in range(HEADS)):
        for i in range(K):
            shares = np.exp(key[:, own] @ query[i, own] / np.sqrt(e))
            mixed[i, own] = shares / shares.sum() @ value[:, own]

    def norm(n, x):
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        return x * np.asarray(n.weight) + np.asarray(n.bias)

    x = norm(layer.attention_norm, x + linear(layer.mix, mixed))
    inner = linear(layer.down, np.maximum(linear(layer.up, x), 0.0))
    np.testing.assert_allclose(layer(tokens), norm(layer.network_norm, x + inner), atol=1e-4)


def test_layer_has_no_order(layer, tokens):
    run, order = jax.jit(lambda tokens: layer(tokens)), np.array([3, 0, 4, 2, 1])
    np.testing.assert_allclose(run(tokens[order]), run(tokens)[order], atol=1e-5)


def test_every_token_meets_every_other(layer, tokens):
    """The derivative of output token i after input token j is never zero."""
    meets = np.abs(jax.jit(jax.jacobian(layer))(tokens)).max(axis=(1, 3))
    assert meets.shape == (K, K) and meets.min() > 1e-3


def test_neighbors_are_bit_identical(layer, net):
    others, x = np.array([0, 1, 3]), jax.random.normal(jax.random.key(4), (4, K, D))
    many = jax.jit(jax.vmap(layer))
    before, after = np.asarray(many(x)), np.asarray(many(x.at[2].add(1.0)))
    np.testing.assert_array_equal(before[others], after[others])
    assert np.abs(before[2] - after[2]).max(axis=1).min() > 1e-4

    latents, conditions = x[:, :, :3], x[:, :1, 3:5]
    many = jax.jit(jax.vmap(lambda latents, conditions: net(latents, conditions).total))
    before = np.asarray(many(latents, conditions))
    after = np.asarray(many(latents.at[2].add(1.0), conditions))
    np.testing.assert_array_equal(before[others], after[others])
    assert np.abs(before[2] - after[2]).max() > 1e-3


def test_prediction_needs_every_token_and_no_order(predict, inputs):
    (latents, conditions), order = inputs, np.array([3, 0, 4, 2, 1])
    want = predict(latents, conditions).total
    np.testing.assert_allclose(predict(latents[order], conditions).total, want, atol=1e-5)
    np.testing.assert_allclose(predict(latents, conditions[::-1]).total, want, atol=1e-5)
    slopes = jax.jit(jax.jacobian(lambda *inputs: predict(*inputs).total, (0, 1)))(*inputs)
    for slope in slopes:
        assert np.abs(slope).max(axis=(0, 2)).min() > 1e-3


def test_prediction_is_a_mean_over_all_tokens(net, predict, inputs):
    """1 + k + q of them, the learned one among them."""

    @jax.jit
    def by_steps(net):
        tokens = net.embed(*inputs, KEEP)
        assert tokens.shape == (1 + K + 2, D)
        y = net.leave(net.layer(tokens), KEEP, 0)
        return net.latent(y, KEEP, 0).mean(axis=0), net.residue(y, KEEP, 0).mean(axis=0)

    latent, residue = by_steps(net)
    made = predict(*inputs)
    np.testing.assert_allclose(made.latent, latent, atol=1e-5)
    np.testing.assert_allclose(made.residue, residue, atol=1e-5)
    np.testing.assert_allclose(made.total, latent + residue, atol=1e-5)
    moved = by_steps(eqx.tree_at(lambda net: net.token, net, net.token + 1.0))
    assert np.abs(moved[0] - latent).max() > 1e-3


def test_dropout():
    drop = Dropout(jax.random.key(7), 0.25)
    x = jnp.full((100, 100), 3.0)
    once = np.asarray(drop(0, x))
    np.testing.assert_array_equal(np.unique(once), [0.0, 4.0])
    assert abs((once == 0.0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(drop(0, x), once)
    for other in (drop(1, x), Dropout(jax.random.key(8), 0.25)(0, x)):
        assert 0.3 < (np.asarray(other) != once).mean() < 0.45  # 2 · 0.25 · 0.75
    np.testing.assert_array_equal(KEEP(0, x), x)
    assert Dropout(jax.random.key(7), 0.0)(0, x) is x, "no mask is drawn"


def test_each_sample_of_a_batch_has_masks_of_its_own(net):
    latents, conditions = jnp.ones((4, K, 3)), jnp.ones((4, 1, 2))
    drops = Drops(Dropout(jax.random.key(0), 0.5), Dropout(jax.random.key(1), 0.5)).split(4)
    many = np.asarray(jax.jit(jax.vmap(net))(latents, conditions, drops).total)
    assert np.abs(many[1:] - many[:1]).max(axis=1).min() > 1e-3
    one = jax.tree.map(lambda leaf: leaf[2], drops)
    alone = jax.jit(lambda *args: net(*args).total)(latents[2], conditions[2], one)
    np.testing.assert_allclose(alone, many[2], atol=1e-5)
