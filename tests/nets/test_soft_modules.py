"""Soft Modularization against loops over modules, and mtrl's parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.nets.soft_modules import SoftModulesConfig, SoftModulesOfMtrlConfig


def count(net) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(net))


def relu(x):
    return np.maximum(x, 0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def linear(layer, x, j=None):
    """x W + b, of the j-th layer of a stack where j is given."""
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    return x @ (weight if j is None else weight[j]) + (bias if j is None else bias[j])


def test_published_parameter_counts_of_mtrl():
    cfg = SoftModulesOfMtrlConfig()
    assert count(cfg.make(10, 100, 8, jax.random.key(0))) == 98_826
    assert count(cfg.make(10, 104, 1, jax.random.key(0))) == 92_420


@pytest.mark.parametrize("inputs", [6, 5])
def test_mtrls_version_equals_loops(inputs):
    cfg = SoftModulesOfMtrlConfig(width=7, experts=3, told=6)
    net = cfg.make(1, inputs + 6, 2, jax.random.key(1))
    rng = np.random.default_rng(0)
    for x, z in zip(rng.normal(size=(4, inputs)), rng.normal(size=(4, 6)), strict=True):
        own = x if net.entry is None else linear(net.entry, x)
        p = softmax(linear(net.route, relu(linear(net.embed, own * z))).reshape(3, 3))
        hidden = [relu(linear(net.first, own, j)) for j in range(3)]
        given = [sum(p[i, j] * hidden[j] for j in range(3)) for i in range(3)]
        wanted = np.mean([linear(net.last, given[i], i) for i in range(3)], axis=0)
        found = net(jnp.asarray(np.concatenate([x, z]), jnp.float32), 0)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_authors_version_equals_loops():
    cfg = SoftModulesConfig(layers=3, modules=2, width=5, embed=6, gate=4)
    net = cfg.make(3, 7, 2, jax.random.key(1))
    rng = np.random.default_rng(0)
    for t in range(3):
        x = rng.normal(size=7)
        f = linear(net.embed.layers[1], relu(linear(net.embed.layers[0], x)))
        h = np.asarray(net.tasks.weight)[t] + np.asarray(net.tasks.bias)
        c = linear(net.gate.layers[1], relu(linear(net.gate.layers[0], relu(f * h))))
        p1 = softmax(linear(net.route[0], relu(c)).reshape(2, 2))
        told = relu(linear(net.carry[0], p1.ravel()) * c)
        p2 = softmax(linear(net.route[1], told).reshape(2, 2))
        told = relu(linear(net.carry[1], np.concatenate([p1.ravel(), p2.ravel()])) * c)
        last = softmax(linear(net.route[2], told))
        g = [linear(net.modules[0], relu(f), j) for j in range(2)]
        for layer, p in ((1, p1), (2, p2)):
            g = [
                linear(net.modules[layer], relu(sum(p[i, j] * g[j] for j in range(2))), i)
                for i in range(2)
            ]
        wanted = linear(net.last, relu(sum(w * one for w, one in zip(last, g, strict=True))))
        np.testing.assert_allclose(net(jnp.asarray(x, jnp.float32), t), wanted, atol=1e-5)


def test_neighbors_in_a_batch_do_not_matter():
    net = SoftModulesConfig(layers=2, modules=2, width=5, embed=6, gate=4)
    net = net.make(3, 7, 2, jax.random.key(1))
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    tasks = np.array([0, 1, 2, 0])
    other = np.concatenate([x[:1] + 1, x[1:]])
    a, b = (np.asarray(jax.vmap(net)(rows, tasks)) for rows in (x, other))
    assert np.array_equal(a[1:], b[1:])
