"""Generators that learn from behavior: published sizes, the losses, what is written and kept."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.generate import behavior, cloning, fitting
from hyperpolicy.generate.behavior import Rows
from hyperpolicy.generate.cloning import discounted_target, losses, total
from hyperpolicy.generate.generator import critic_spec, load
from hyperpolicy.generate.writers import maml
from hyperpolicy.generate.writers.conditioned_clone import ConditionedCloneConfig, ToldNet
from hyperpolicy.generate.writers.hyperzero import HyperNet, HyperZeroConfig
from hyperpolicy.generate.writers.hypogen import HyPoGenConfig
from hyperpolicy.generate.writers.maml import MamlConfig
from hyperpolicy.nets.policy import PolicySpec, act

SHORT = {"hidden": 4, "embed": 8, "steps": 20, "batch": 16, "episodes": 1}
CONFIGS = [
    HyperZeroConfig(**SHORT),
    HyPoGenConfig(**SHORT, blocks=2, latent=3, width=4),
    ConditionedCloneConfig(**SHORT),
    MamlConfig(**SHORT, inner_steps=2),
]


@pytest.fixture(scope="module")
def zoo():
    """Untrained experts of four speeds, in short episodes, with critics."""
    family = replace(hp.family("cheetah-vel"), horizon_steps=12)
    contexts, spec = np.array([[0.3], [0.9], [1.5], [2.4]]), PolicySpec(20, 6, (5, 5))
    rng = np.random.default_rng(0)
    twins = critic_spec(spec).size
    return hp.Zoo(
        spec,
        family,
        rng.normal(0, 0.3, (4, spec.size)).astype(np.float32),
        expert=np.arange(4),
        updates=np.full(4, 10),
        final=np.ones(4, bool),
        returns=np.full(4, -9.0, np.float32),
        contexts=contexts,
        critics=rng.normal(0, 0.3, (4, 2, twins)).astype(np.float32),
    )


def size(net) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(net))


def published(net: type, obs: int, action: int, d: int = 1, **off) -> int:
    cfg = HyperZeroConfig(hidden=256, embed=256, **off)
    spec = PolicySpec(obs, action, (256,), ("relu",), "deterministic")
    return size(jax.eval_shape(lambda: net.init(cfg, spec, d, jax.random.key(0))))


def test_sizes_are_the_published_ones():
    """Cheetah, walker, finger; with two coordinates; without value; the conditioned policies."""
    found = [published(HyperNet, *sizes) for sizes in ((17, 6), (24, 6), (9, 2))]
    assert found == [3_612_935, 4_534_023, 2_032_899]
    assert published(HyperNet, 17, 6, d=2) == 3_612_999
    assert published(HyperNet, 17, 6, value=0.0, td=0.0) == 1_967_878
    assert published(ToldNet, 17, 6, value=0.0, td=0.0) == 459_014
    assert published(ToldNet, 17, 6) == 530_951


def rows(rng, n: int) -> Rows:
    shapes = {"obs": (n, 20), "action": (n, 6), "next_obs": (n, 20)}
    parts = {name: rng.normal(0, 1, shapes.get(name, (n,))) for name in Rows._fields}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), Rows(**parts))


SPEC = PolicySpec(20, 6, (4,), ("relu",), "deterministic")


@pytest.mark.parametrize("config", CONFIGS[:3], ids=lambda c: c.name)
def test_the_losses_are_their_equations(config):
    net = config.init(SPEC, 2, jax.random.key(0))
    some, condition = rows(np.random.default_rng(1), 3), jnp.array([0.2, -0.5])
    found = losses(net, config, condition, some, discounted_target)
    policy, value = net(condition)
    chosen = np.stack([act(policy, s) for s in some.obs])
    q = [
        float(value(jnp.concatenate([s, a]))[0]) for s, a in zip(some.obs, some.action, strict=True)
    ]
    ahead = [float(value(jnp.concatenate([s, act(policy, s)]))[0]) for s in some.next_obs]
    target = np.array(some.reward) + 0.99 * (1 - np.array(some.ended)) * ahead
    want = {
        "loss/action": np.mean((chosen - some.action) ** 2),
        "loss/value": np.mean((np.array(q) - some.value) ** 2),
        "loss/td": np.mean((some.value - target) ** 2),
    }
    assert found.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-4)
    weighted = want["loss/action"] + 0.01 * want["loss/value"] + 0.01 * want["loss/td"]
    np.testing.assert_allclose(total(config, found), weighted, rtol=1e-4)


def test_td_moves_no_policy():
    """L_td's gradient by the policy's heads is zero, by the value's it is not."""
    cfg = CONFIGS[0]
    net = cfg.init(SPEC, 1, jax.random.key(0))
    some = rows(np.random.default_rng(1), 3)

    def td(net):
        return losses(net, cfg, jnp.array([0.3]), some, discounted_target)["loss/td"]

    grads = jax.grad(td)(net)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads.policy))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(grads.value))


def test_writing_once_a_context_is_the_loss_of_writing_for_every_row():
    cfg = CONFIGS[0]
    net = cfg.init(SPEC, 1, jax.random.key(0))
    rng = np.random.default_rng(2)
    conditions = jnp.asarray(rng.normal(0, 1, (3, 1)), jnp.float32)
    some = [rows(rng, 5) for _ in conditions]
    pairs = list(zip(conditions, some, strict=True))

    def td(condition, own):
        return losses(net, cfg, condition, own, discounted_target)["loss/td"]

    once = np.mean([td(*pair) for pair in pairs])
    one = lambda own, i: jax.tree.map(lambda x: x[i : i + 1], own)  # noqa: E731
    each = [td(c, one(own, i)) for c, own in pairs for i in range(5)]
    np.testing.assert_allclose(once, np.mean(each), rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_a_fit_writes_policies_is_kept_and_read_back(zoo, config, tmp_path):
    made = fitting.fit(config, zoo, seed=1, out=tmp_path / "g")
    policies = made.generate([[0.5], [2.0]])
    assert policies.spec.hidden == (4,) and policies.spec.head == "deterministic"
    again = load(tmp_path / "g").generate([[0.5], [2.0]])
    np.testing.assert_array_equal(policies.weights, again.weights)
    alone = made.generate([[2.0]]).weights
    np.testing.assert_allclose(alone[0], policies.weights[1], rtol=1e-5, atol=1e-6)
    with pytest.warns(UserWarning, match="trained range"):
        made.generate([[2.9]])


def test_what_is_written_acts_as_the_network_on_normalized_observations(zoo):
    cfg = CONFIGS[0]
    made = fitting.fit(cfg, zoo)
    writer, obs = made.model.writer, np.random.default_rng(0).normal(0, 2, 20)
    policy, value = writer.net(jnp.asarray(made.model.reader.read(made.accept([[1.2]])))[0])
    seen = (obs - writer.mean) * writer.scale
    acted = made.generate([[1.2]]).act(obs[None, None].astype(np.float32))[0, 0]
    np.testing.assert_allclose(acted, act(policy, jnp.asarray(seen)), atol=1e-4)
    action = np.full((1, 1, 6), 0.3, np.float32)
    worth = cloning.q(made, [[1.2]], obs[None, None].astype(np.float32), action)
    want = value(jnp.concatenate([jnp.asarray(seen), action[0, 0]]))
    np.testing.assert_allclose(worth[0, 0], want[0] * writer.worth, rtol=1e-3)
    assert abs(writer.worth - 1) > 0.05


def test_a_fit_learns_what_experts_do(zoo):
    """Twenty times the steps: actions come near, and nearer with more."""
    long = fitting.fit(replace(CONFIGS[0], hidden=16, steps=600, rate=3e-3), zoo)
    data = behavior.rollouts(
        CONFIGS[0].lesson(zoo), CONFIGS[0].episodes, CONFIGS[0].discount, CONFIGS[0].values
    )
    seen, mean, scale = map(np.asarray, (data.rows.obs, *data.moments))
    obs = seen / scale + mean
    acts = zoo.finals.act(obs)
    np.testing.assert_allclose(acts, data.rows.action, atol=1e-4)
    gap = ((long.generate(zoo.contexts).act(obs) - acts) ** 2).mean()
    assert gap < 0.3 * (acts**2).mean()


def test_labels_are_the_smaller_critic_of_what_was_done(zoo):
    data = behavior.rollouts(
        CONFIGS[0].lesson(zoo), CONFIGS[0].episodes, CONFIGS[0].discount, CONFIGS[0].values
    )
    x, k = 2, 5
    twins = critic_spec(zoo.spec).unflatten(jnp.asarray(zoo.critics[x]))
    obs = data.rows.obs[x, k] / data.moments.scale + data.moments.mean
    from hyperpolicy.nets.mlp import value as value_of

    want = value_of(twins, obs, data.rows.action[x, k]).min()
    np.testing.assert_allclose(data.rows.value[x, k] * data.worth, want, rtol=1e-3)
    np.testing.assert_allclose(np.mean(data.rows.value**2), 1.0, rtol=1e-4)


def test_contexts_that_are_held_out_choose_the_step(zoo):
    cfg = replace(CONFIGS[0], validation=2, steps=100)
    first, second = fitting.fit(cfg, zoo, seed=0), fitting.fit(cfg, zoo, seed=0)
    np.testing.assert_array_equal(first.generate([[1.0]]).weights, second.generate([[1.0]]).weights)
    with pytest.raises(BadSetting, match="at least one to train on"):
        fitting.fit(replace(cfg, validation=4), zoo)


def test_the_released_target_has_no_discount_and_no_end():
    assert cloning.released_target(1.0, 5.0, 1.0, 0.5) == 6.0
    assert cloning.discounted_target(1.0, 5.0, 0.0, 0.5) == 3.5
    assert cloning.discounted_target(1.0, 5.0, 1.0, 0.5) == 1.0


def test_a_variant_trains_by_the_released_target(zoo):
    released = partial(cloning.clone, target=cloning.released_target)
    one = fitting.fit(CONFIGS[0], zoo)
    other = fitting.fit(CONFIGS[0], zoo, train=released)
    assert not np.array_equal(one.generate([[1.0]]).weights, other.generate([[1.0]]).weights)


def test_a_zoo_without_critics_labels_no_values(zoo):
    bare = replace(zoo, critics=None)
    with pytest.raises(BadZoo, match="--value 0"):
        fitting.fit(CONFIGS[0], bare)
    made = fitting.fit(replace(CONFIGS[0], value=0.0, td=0.0), bare)
    with pytest.raises(BadSetting, match="without values"):
        cloning.q(made, [[1.0]], np.zeros((1, 1, 20), np.float32), np.zeros((1, 1, 6), np.float32))


def test_maml_differentiates_through_its_inner_steps(zoo):
    """The outer gradient is that of the loss after adaptation, by finite differences."""
    cfg = replace(CONFIGS[3], inner_rate=0.5)
    net = cfg.init(SPEC, 1, jax.random.key(0))
    rng = np.random.default_rng(0)
    support, query, condition = rows(rng, 4), rows(rng, 4), jnp.array([0.4])

    def outer(bias):
        moved = net.policy[1].bias.at[0].add(bias)
        from hyperpolicy.nets.mlp import Linear

        last = Linear(net.policy[1].weight, moved)
        own = maml.adapted(
            ToldNet(net.embedding, [net.policy[0], last], net.value),
            cfg,
            condition,
            support,
            discounted_target,
        )
        return losses(own, cfg, condition, query, discounted_target)["loss/action"]

    slope = (outer(1e-2) - outer(-1e-2)) / 2e-2
    np.testing.assert_allclose(jax.grad(outer)(0.0), slope, rtol=5e-2)
