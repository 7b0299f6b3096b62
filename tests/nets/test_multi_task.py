"""Encoder and trunk: published counts, batches, one task's plain network, files."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadFile, BadSetting
from hyperpolicy.nets.bronet import BroNetConfig
from hyperpolicy.nets.care import MixtureConfig
from hyperpolicy.nets.encoders import EncoderConfig, FeedForwardConfig
from hyperpolicy.nets.modulated import ModulatedConfig
from hyperpolicy.nets.moore import MooreConfig
from hyperpolicy.nets.multi_head import MultiHeadConfig
from hyperpolicy.nets.multi_task import MultiTaskSpec, Rows
from hyperpolicy.nets.paco import PacoConfig
from hyperpolicy.nets.ptsl import PtslConfig
from hyperpolicy.nets.soft_modules import SoftModulesConfig, SoftModulesOfMtrlConfig
from hyperpolicy.nets.trunks import PlainConfig

TABLE = tuple(map(tuple, np.random.default_rng(0).normal(size=(3, 6)).round(3).tolist()))
CARE = EncoderConfig("language", 5, MixtureConfig(experts=2, width=5), TABLE)
PLAIN = PlainConfig((6, 6))
PARTS = {
    "plain": (EncoderConfig(), PLAIN),
    "one-hot": (EncoderConfig("one-hot"), PLAIN),
    "embedding": (EncoderConfig("embedding", 4), PLAIN),
    "unit": (EncoderConfig("unit-embedding", 4), PLAIN),
    "encoder": (EncoderConfig("embedding", 4, FeedForwardConfig((5, 5))), PLAIN),
    "film": (EncoderConfig("embedding", 4, ModulatedConfig((5, 5))), PLAIN),
    "care": (CARE, PLAIN),
    "gate": (replace(CARE, body=MixtureConfig("gate", 3, 5)), PLAIN),
    "care-ptsl": (CARE, PtslConfig((6, 6), rank=3)),
    "ptsl": (EncoderConfig(), PtslConfig((6, 6), rank=3)),
    "heads": (EncoderConfig(), MultiHeadConfig((6,))),
    "paco": (EncoderConfig("one-hot"), PacoConfig((6, 6), 2)),
}
UNMERGED = {
    "care-paper": (replace(CARE, body=MixtureConfig("dot-product", 2, 5)), PLAIN),
    "moore": (EncoderConfig(), MooreConfig((6, 6), 2)),
    "soft": (EncoderConfig(), SoftModulesConfig(width=4, embed=4, gate=4)),
    "soft-mtrl": (
        EncoderConfig("embedding", 4, FeedForwardConfig((4,))),
        SoftModulesOfMtrlConfig(5, 2, told=4),
    ),
    "bronet": (EncoderConfig("unit-embedding", 4), BroNetConfig(6, 1)),
    "residual": (CARE, PtslConfig((6, 6), rank=3, residual="sum")),
}
ALL = PARTS | UNMERGED
OBS = jnp.asarray(np.random.default_rng(1).normal(size=(12, 7)), jnp.float32)


def made(name: str, key: int = 0):
    spec = MultiTaskSpec(7, 2, 3, *ALL[name])
    net = spec.init(jax.random.key(key))
    # first weights that are zero would hide branches
    noise = lambda x: x + 0.1 * jax.random.normal(jax.random.key(9), x.shape)  # noqa: E731
    return spec, jax.tree.map(noise, net)


@pytest.mark.parametrize("name", ALL)
def test_tasks_in_order_and_rows_alone_give_the_same(name):
    _, net = made(name)
    tasks = np.repeat(np.arange(3), 4)
    in_order = Rows(jnp.arange(3)).over(net, OBS)
    alone = Rows(jnp.asarray(tasks)).over(net, OBS)
    wanted = np.stack([net(x, int(t)) for x, t in zip(OBS, tasks, strict=True)])
    np.testing.assert_allclose(in_order, wanted, atol=1e-5)
    np.testing.assert_allclose(alone, wanted, atol=1e-5)


@pytest.mark.parametrize("name", PARTS)
def test_a_merged_task_is_a_plain_policy_that_does_the_same(name):
    spec, net = made(name)
    plain = spec.plain_spec()
    for task in range(3):
        policy = spec.plain(net, task)
        assert plain.flatten(policy).shape == (plain.size,)
        found = jax.vmap(lambda x, p=policy: p.mean(p.features(x)))(OBS)
        wanted = jax.vmap(net, (0, None))(OBS, task)[:, :2]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("name", UNMERGED)
def test_others_cannot_be_merged(name):
    spec, net = made(name)
    with pytest.raises(BadSetting, match="at any task"):
        spec.plain(net, 0)


@pytest.mark.parametrize("name", ALL)
def test_flat_vectors_and_records_come_back(name):
    spec, net = made(name)
    flat = spec.flatten(net)
    assert flat.shape == (spec.size,)
    again = spec.unflatten(flat)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(net)))
    assert MultiTaskSpec.of(spec.record()) == spec


def test_records_of_other_things_are_refused():
    record = made("care-ptsl")[0].record()
    for change in ({"trunk": None}, {"trunk": {"kind": "none"}}, {"obs": 0}, {"encoder": {}}):
        with pytest.raises(BadFile, match="no description"):
            MultiTaskSpec.of(record | change)


def test_only_a_tasks_own_embedding_moves_it():
    _, net = made("embedding")
    other = eqx.tree_at(lambda n: n.encoder.task.row.rows, net, replace_fn=lambda r: r.at[1].add(1))
    same = [np.array_equal(net(OBS[0], t), other(OBS[0], t)) for t in range(3)]
    assert same == [True, False, True]


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(BadSetting, match="table of sentences"):
        EncoderConfig("language")
    with pytest.raises(BadSetting, match="wants an embedding"):
        EncoderConfig("one-hot", body=MixtureConfig())
    with pytest.raises(BadSetting, match="3 sentences for 4 tasks"):
        CARE.make(4, 7, jax.random.key(0))
    with pytest.raises(BadSetting, match="give an encoder"):
        SoftModulesOfMtrlConfig(told=50).make(3, 39, 8, jax.random.key(0))


def test_bronet_by_hand():
    net = BroNetConfig(5, blocks=1).make(1, 3, 2, jax.random.key(0))
    x = np.array([0.3, -1.0, 2.0], np.float32)

    def norm(h):
        return (h - h.mean()) / np.sqrt(h.var() + 1e-5)

    def linear(layer, x):
        return x @ np.asarray(layer.weight) + np.asarray(layer.bias)

    h = np.maximum(norm(linear(net.first, x)), 0)
    block = net.blocks[0]
    h = h + norm(linear(block.second, np.maximum(norm(linear(block.first, h)), 0)))
    np.testing.assert_allclose(net(jnp.asarray(x), 0), linear(net.last, h), atol=1e-5)
    weight = np.asarray(net.first.weight)  # rows are fewer: orthogonal, of length √2
    np.testing.assert_allclose(weight @ weight.T, 2 * np.eye(3), atol=1e-5)


def test_film_starts_as_a_plain_network():
    net = ModulatedConfig((5, 4)).make(3, 6, 2, jax.random.key(0))
    x, z = OBS[0, :6], jnp.asarray([1.0, -2.0])
    first, last = net.layers
    plain = last(jax.nn.relu(first(x)))
    np.testing.assert_allclose(net(x, z, 0), plain, atol=1e-6)
    film = eqx.tree_at(lambda n: n.films[1].weight, net, jnp.ones((2, 8)))
    np.testing.assert_allclose(film(x, z, 0), plain * 0.0 - 1.0, atol=1e-6)  # γ = 1 − 1, β = −1
