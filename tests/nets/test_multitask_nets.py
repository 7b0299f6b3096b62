"""PaCo, MOORE and networks with heads: by hand, merged, and one task's own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.nets.moore import MooreConfig
from hyperpolicy.nets.multi_head import MultiHeadConfig
from hyperpolicy.nets.paco import PacoConfig

CONFIGS = {
    "paco": PacoConfig((6, 6), sets=3),
    "moore": MooreConfig((6, 6), experts=3),
    "heads": MultiHeadConfig((6, 6)),
    "deep heads": MultiHeadConfig((6, 6), (5,)),
    "disjoint": MultiHeadConfig((), (6, 6)),
}
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7)), jnp.float32)


def relu(x):
    return np.maximum(x, 0)


def forward(layers, x):
    """A plain network, written out; layers are pairs of weight and bias."""
    for n, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        x = relu(x) if n < len(layers) - 1 else x
    return x


def arrays(mlp, pick=lambda leaf: leaf):
    return [(np.asarray(pick(one.weight)), np.asarray(pick(one.bias))) for one in mlp.layers]


def by_hand(name, net, x, t):
    x = np.asarray(x)
    if name == "paco":
        w = np.asarray(net.mixture.weight)[t] + np.asarray(net.mixture.bias)
        mixed = lambda leaf: sum(w[k] * np.asarray(leaf)[k] for k in range(3))  # noqa: E731
        return forward([(mixed(one.weight), mixed(one.bias)) for one in net.layers], x)
    if name == "moore":
        u = [forward(arrays(net.experts, lambda leaf, k=k: leaf[k]), x) for k in range(3)]
        q = np.linalg.qr(np.stack(u).T)[0].T
        q = q * np.sign((q * np.stack(u)).sum(axis=1))[:, None]
        mixed = np.tanh(np.asarray(net.mixture)[t] @ q)
        return mixed @ np.asarray(net.heads.weight)[t] + np.asarray(net.heads.bias)[t]
    head = arrays(net.heads, lambda leaf: leaf[t])
    return forward([*([] if net.body is None else arrays(net.body)), *head], x)


@pytest.mark.parametrize("name", CONFIGS)
def test_by_hand_in_any_mixture_of_tasks(name):
    net = CONFIGS[name].make(3, 7, 2, jax.random.key(0))
    tasks = np.array([2, 0, 1, 2, 2])
    found = jax.vmap(net)(X, tasks)
    wanted = [by_hand(name, net, x, t) for x, t in zip(X, tasks, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=2e-4 if name == "moore" else 1e-5)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "moore"])
def test_a_merged_task_is_the_same_plain_network(name):
    net = CONFIGS[name].make(3, 7, 2, jax.random.key(0))
    for task in range(3):
        wanted = jax.vmap(net, (0, None))(X, task)
        np.testing.assert_allclose(jax.vmap(net.merge(task))(X), wanted, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_neighbors_in_a_batch_do_not_matter(name):
    net = CONFIGS[name].make(3, 7, 2, jax.random.key(0))
    many = jax.jit(jax.vmap(net))
    tasks = np.array([0, 1, 2, 0, 1])
    a, b = np.asarray(many(X, tasks)), np.asarray(many(X.at[0].add(1.0), tasks))
    assert np.array_equal(a[1:], b[1:]) and not np.array_equal(a[0], b[0])


def test_a_task_has_its_own_head():
    net = CONFIGS["heads"].make(3, 7, 2, jax.random.key(0))
    weight = net.heads.layers[0].weight
    other = eqx.tree_at(lambda n: n.heads.layers[0].weight, net, weight.at[1].add(1.0))
    same = jax.vmap(net)(X[:3], jnp.arange(3)) == jax.vmap(other)(X[:3], jnp.arange(3))
    assert same.all(axis=1).tolist() == [True, False, True]
