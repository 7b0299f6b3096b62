"""Projected task-specific layers against loops over samples, the published counts, and the table of
which parameters ever learn."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import Mlp
from hyperpolicy.nets.ptsl import Ptsl, PtslConfig

RESIDUALS = ("none", "sum", "linear", "project")
SMALL = PtslConfig(hidden=(6, 6), rank=3)


def count(net) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(net))


def random_like(net, seed=0):
    """The network with every number drawn anew, so that nothing is zero."""
    leaves, shape = jax.tree.flatten(net)
    rng = np.random.default_rng(seed)
    new = [jnp.asarray(rng.normal(size=leaf.shape) / 2, jnp.float32) for leaf in leaves]
    return jax.tree.unflatten(shape, new)


def by_hand(net: Ptsl, x, t):
    """One sample, written out with NumPy."""
    before = None
    for n, layer in enumerate(net.layers):
        first, last = n == 0, n == len(net.layers) - 1
        down = layer.down if layer.down is not None or first else net.down
        up = layer.up if layer.up is not None or last else net.up
        low = x if down is None else x @ np.asarray(down)
        z = low
        if before is not None and net.residual != "none":
            old_low, old = before
            z = {
                "sum": lambda a, b, c: a + b + c,
                "linear": lambda a, b, c: sum(
                    m * v for m, v in zip(np.asarray(net.mixing), (a, b, c), strict=True)
                ),
                "project": lambda a, b, c: np.concatenate([a, b, c]) @ np.asarray(net.mixing),
            }[net.residual](low, old_low, old)
        changed = z @ np.asarray(layer.weight[t]) + np.asarray(layer.bias[t])
        y = x @ np.asarray(layer.shared.weight) + np.asarray(layer.shared.bias)
        y = y + (changed if up is None else changed @ np.asarray(up))
        before, x = (low, changed), y if last else np.maximum(y, 0)
    return x


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("shared", [True, False])
def test_any_mixture_of_tasks_equals_a_loop_over_samples(residual, shared):
    cfg = replace(SMALL, residual=residual, shared=shared)
    net = random_like(cfg.make(5, 9, 4, jax.random.key(0)))
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(15, 9)).astype(np.float32), rng.integers(0, 5, 15)
    found = jax.vmap(net)(x, t)
    np.testing.assert_allclose(
        found, [by_hand(net, *one) for one in zip(x, t, strict=True)], atol=1e-5
    )


def test_rows_task_by_task_equal_rows_one_by_one():
    net = random_like(SMALL.make(5, 9, 4, jax.random.key(0)))
    x = np.random.default_rng(1).normal(size=(5, 7, 9)).astype(np.float32)
    tasks = jnp.arange(5)
    by_task = jax.vmap(jax.vmap(net, (0, None)))(x, tasks)
    one_by_one = jax.vmap(net)(x.reshape(35, 9), jnp.repeat(tasks, 7)).reshape(5, 7, 4)
    np.testing.assert_allclose(by_task, one_by_one, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_a_merged_task_is_the_same_plain_network(shared):
    net = random_like(replace(SMALL, shared=shared).make(5, 9, 4, jax.random.key(0)))
    x = np.random.default_rng(1).normal(size=(7, 9)).astype(np.float32)
    for task in range(5):
        plain = net.merge(task)
        assert isinstance(plain, Mlp)
        np.testing.assert_allclose(jax.vmap(plain)(x), jax.vmap(net, (0, None))(x, task), atol=1e-5)


def test_residuals_cannot_be_merged():
    net = replace(SMALL, residual="sum").make(5, 9, 4, jax.random.key(0))
    with pytest.raises(BadSetting, match="only residual='none' can be merged"):
        net.merge(0)


def test_a_task_is_its_own():
    net = random_like(SMALL.make(5, 9, 4, jax.random.key(0)))
    x = np.random.default_rng(1).normal(size=(5, 9)).astype(np.float32)
    layers = [
        type(one)(one.shared, one.down, one.up, one.weight.at[2].add(1.0), one.bias.at[2].add(1.0))
        for one in net.layers
    ]
    other = Ptsl(layers, net.down, net.up, net.mixing, net.residual)
    same = jax.vmap(net)(x, jnp.arange(5)) == jax.vmap(other)(x, jnp.arange(5))
    assert same.all(axis=1).tolist() == [True, True, False, True, True]


def test_projections_that_cost_more_than_they_save_are_left_out():
    def plan(a, b):
        return PtslConfig(hidden=(b,), rank=10, shared=False)._plan(0, 5, a, b)

    assert not plan(3, 4).own_down
    assert not plan(3, 1).own_up
    wide = PtslConfig(hidden=(50, 50), rank=4, shared=False).make(5, 50, 50, jax.random.key(0))
    assert all(layer.down is not None and layer.up is not None for layer in wide.layers)


# (config, inputs of the actor, tasks, actor, one critic), of the released code's counter
COUNTS = {
    "CARE+PTSL 326×3": (PtslConfig(), 100, 10, 366_926, 362_571),
    "CARE+PTSL 400×2": (PtslConfig((400, 400)), 100, 10, 304_088, 299_511),
    "independent": (PtslConfig((400, 400), shared=False), 100, 10, 344_088, 339_511),
    "CARE+PTSL 321×3": (PtslConfig((321,) * 3), 100, 10, 359_401, 355_061),
    "project": (PtslConfig((321,) * 3, residual="project"), 100, 10, 366_901, 362_561),
    "SAC+PTSL 367×3": (PtslConfig((367,) * 3), 12, 10, 376_107, 373_429),
    "MT50, 274×3": (PtslConfig((274,) * 3, rank=32), 100, 50, 372_910, 360_659),
    "MT50, 331×2": (PtslConfig((331,) * 2, rank=42), 100, 50, 375_783, 359_901),
    "MT50, SAC+PTSL 325×3": (PtslConfig((325,) * 3, rank=32), 12, 50, 379_133, 373_001),
}


@pytest.mark.parametrize("name", COUNTS)
def test_published_parameter_counts(name):
    cfg, i, tasks, actor, critic = COUNTS[name]
    make = lambda i, o: jax.eval_shape(lambda: cfg.make(tasks, i, o, jax.random.key(0)))  # noqa: E731
    assert (count(make(i, 8)), count(make(i + 4, 1))) == (actor, critic)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_it_begins_as_the_shared_network_and_the_last_layers_bias(residual):
    net = replace(SMALL, residual=residual).make(5, 9, 2, jax.random.key(0))
    x = np.random.default_rng(1).normal(size=(7, 9)).astype(np.float32)
    plain = Mlp([layer.shared for layer in net.layers])
    np.testing.assert_allclose(jax.vmap(net, (0, None))(x, 3), jax.vmap(plain)(x), atol=1e-6)


def learning(cfg: PtslConfig) -> set[str]:
    """The task-specific parameters that have a gradient in one of six steps of descent."""
    net = cfg.make(3, 9, 2, jax.random.key(0))
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(3, 8, 9)), jnp.float32)
    y = jnp.asarray(rng.normal(size=(3, 8, 2)), jnp.float32)

    def loss(net):
        return jnp.mean((jax.vmap(jax.vmap(net, (0, None)))(x, jnp.arange(3)) - y) ** 2)

    grad, found = jax.jit(jax.grad(loss)), set()
    for _ in range(6):
        grads = grad(net)
        net = optax.apply_updates(net, jax.tree.map(lambda g: -0.05 * g, grads))
        leaves = jax.tree_util.tree_leaves_with_path(grads)
        found |= {jax.tree_util.keystr(path) for path, g in leaves if np.asarray(g).any()}
    return {name for name in found if "shared" not in name}


def everything(cfg: PtslConfig) -> set[str]:
    leaves = jax.tree_util.tree_leaves_with_path(cfg.make(3, 9, 2, jax.random.key(0)))
    return {jax.tree_util.keystr(p) for p, _ in leaves if "shared" not in jax.tree_util.keystr(p)}


DEEP = PtslConfig(hidden=(8, 8, 8), rank=4)
LAST_BIAS = {".layers[3].bias"}


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("shared", [True, False])
def test_which_branches_ever_learn(residual, shared):
    faithful = replace(DEEP, residual=residual, shared=shared)
    learned, wanted = learning(faithful), everything(faithful)
    if residual == "project":
        assert learned == LAST_BIAS
    elif residual == "none" and not shared:
        assert {name[:10] for name in learned} == {".layers[3]"}
    else:
        assert learned == wanted
    safe = replace(faithful, init="safe")
    assert learning(safe) == everything(safe)


def test_bad_settings():
    with pytest.raises(BadSetting, match="layers of one width, or shared=False"):
        PtslConfig(hidden=(8, 4))
    with pytest.raises(BadSetting, match="must all have the width rank=50; with 12 inputs"):
        PtslConfig(residual="sum").make(10, 12, 8, jax.random.key(0))
