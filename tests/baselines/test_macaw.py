"""MACAW: published sizes, the inner step and the gradient through it, and what it learns to do."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hyperpolicy as hp
from hyperpolicy.baselines import macaw as page
from hyperpolicy.baselines import macaw_model, online
from hyperpolicy.baselines.macaw import MacawConfig, Rows
from hyperpolicy.baselines.macaw_model import Macaw, MacawStudent
from hyperpolicy.data.by_task import TaskRows
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.errors import BadFile, BadSetting
from hyperpolicy.nets.latent_mlp import LatentLinear
from hyperpolicy.rollout import record

HORIZON = 12
FAMILY = replace(hp.family("cheetah-vel"), horizon_steps=HORIZON)
CONTEXTS = np.array([[0.3], [2.7]])
TINY = MacawConfig(
    width=8,
    latent=4,
    head=4,
    every=1,
    inner_batch=24,
    outer_batch=32,
    inner_rows="anywhere",
    inner_rate=1e-2,
    policy_rate=3e-3,
    value_rate=3e-3,
    steps=300,
)


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def pushing(push) -> hp.Policies:
    """Policies whose actions are constant."""
    spec = hp.PolicySpec(20, 6, (2,), ("relu",), head="deterministic")
    weights = np.zeros((len(push), spec.size), np.float32)
    weights[:, -6:] = np.arctanh(push)[:, None]
    return hp.Policies(weights, spec)


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    """In both tasks, episodes that push forward and that push backward; the one is paid in the
    first task, the other in the second. Nothing is seen, for it would tell what was done before."""
    made = []
    for context, good in zip(CONTEXTS, (-0.6, 0.6), strict=True):
        for push in (-0.6, 0.6):
            for one in record(pushing([push]), FAMILY, context[None], 3, made_by="pushing"):
                pay = np.full(HORIZON, 1.0 if push == good else -1.0, np.float32)
                made.append(one._replace(reward=pay, obs=np.zeros_like(one.obs)))
    return Episodes.of(FAMILY, made)


@pytest.fixture(scope="module")
def fitted(episodes) -> Macaw:
    return macaw_model.fit(TINY, episodes, CONTEXTS)


@pytest.fixture(scope="module")
def rows() -> Rows:
    rng = np.random.default_rng(0)
    obs, last = rng.normal(size=(2, 32, 20))
    action = rng.uniform(-1, 1, (32, 6))
    parts = obs, action, rng.normal(size=32), rng.uniform(0, 1, 32), last
    return Rows(*(jnp.asarray(x, jnp.float32) for x in parts))


# --- Sizes and layers ---------------------------------------------------------------------
def test_sizes_are_the_published_ones():
    for name, policy, value in (("cheetah-vel", 2.66, 2.26), ("ant-dir", 2.76, 2.33)):
        start = partial(page.init, MacawConfig(), hp.family(name))
        meta = jax.eval_shape(start, jax.random.key(0))
        assert size(meta.policy) / 1e6 == pytest.approx(policy, abs=0.006)
        assert size(meta.value) / 1e6 == pytest.approx(value, abs=0.006)
    assert size(meta.policy_steps) == len(jax.tree.leaves(meta.policy))


def test_a_layers_weights_are_linear_in_its_latent():
    layer = LatentLinear.init(3, 2, 5, jax.random.key(0))
    numbers = layer.latent @ layer.generator.weight + layer.generator.bias
    np.testing.assert_allclose(layer.plain.weight, numbers[:6].reshape(3, 2), rtol=1e-5)
    np.testing.assert_allclose(layer.plain.bias, numbers[6:], rtol=1e-5)


def test_latents_start_as_wide_as_the_layers_are_narrow():
    latents = [LatentLinear.init(3, 100, 50, jax.random.key(i)).latent for i in range(20)]
    assert np.std(latents) == pytest.approx(0.1, rel=0.1)


# --- Losses -------------------------------------------------------------------------------
def test_advantages_and_weights(rows):
    net = page.init(TINY, FAMILY, jax.random.key(0)).value
    v = np.asarray(page.values(net, rows.obs))
    v_last = np.asarray(page.values(net, rows.last_obs))
    wanted = np.asarray(rows.earned) + np.asarray(rows.left) * v_last - v
    found = page.advantages(net, rows)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    apart = (wanted - wanted.mean()) / wanted.std(ddof=1)
    np.testing.assert_allclose(
        page.weights(found), np.exp(np.minimum(apart, np.log(20.0))), rtol=1e-4
    )
    lone = jnp.zeros(400).at[0].set(1.0)
    assert page.weights(lone)[0] == pytest.approx(20.0, rel=1e-5)


def test_the_density_is_a_gaussians_around_the_squashed_mean(rows):
    net = page.init(TINY, FAMILY, jax.random.key(0)).policy
    mean = np.tanh(jax.vmap(net.mean.plain)(rows.obs))
    gap = (np.asarray(rows.action) - mean) / 0.2
    wanted = (-0.5 * gap**2 - np.log(0.2 * np.sqrt(2 * np.pi))).sum(axis=1)
    np.testing.assert_allclose(page.log_prob(net.mean.plain, rows, 0.2), wanted, rtol=1e-4)


def test_the_advantage_head_sees_the_action(rows):
    """The inner loss depends on the action beyond the density: through Â alone, with w = 0."""
    meta = page.init(TINY, FAMILY, jax.random.key(0))
    zero = jnp.zeros(32)
    big = jnp.asarray(3.0)

    def head_part(action):
        own = rows._replace(action=action)
        whole = page.inner_policy_loss(meta.policy, own, zero, 0.2, big)
        return whole - page.outer_policy_loss(meta.policy, own, zero, 0.2)

    grads = jax.grad(head_part)(jnp.abs(rows.action))
    assert np.abs(grads).max() > 1e-6
    assert head_part(rows.action) > 0  # c · Â²


def test_an_inner_step_descends_each_tensor_by_its_own_rate(rows):
    meta = page.init(TINY, FAMILY, jax.random.key(0))
    loss = lambda net: page.value_loss(net, rows, rows.earned)  # noqa: E731
    grads = jax.grad(loss)(meta.value)
    found = page.adapt_value(meta, rows)
    rate = np.log1p(np.exp(np.log(TINY.inner_rate)))
    for new, old, grad in zip(*map(jax.tree.leaves, (found, meta.value, grads)), strict=True):
        np.testing.assert_allclose(new, old - rate * grad, atol=1e-6)
    assert loss(found) < loss(meta.value)


@pytest.mark.parametrize("part", ["value", "value_steps", "policy", "policy_steps", "balance"])
def test_gradients_through_the_inner_step_are_finite_differences(rows, part):
    """Of each outer loss, in double precision; what is held fixed, targets and advantages, is held
    fixed here too."""
    with jax.enable_x64(True):
        cfg = replace(TINY, inner_rate=0.02)
        start = page.init(cfg, FAMILY, jax.random.key(2))
        meta, rows = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), (start, rows))
        inner, outer = (jax.tree.map(lambda x, s=s: x[s], rows) for s in (slice(16), slice(16, 32)))
        value = page.adapt_value(meta, inner)
        advantage = page.advantages(value, outer)

        @jax.jit
        def loss(own):
            now = meta._replace(**{part: own})
            if part.startswith("value"):
                return page.value_loss(page.adapt_value(now, inner), outer, outer.earned)
            adapted = page.adapt_policy(cfg, now, value, inner)
            return page.outer_policy_loss(adapted, outer, advantage, cfg.sigma)

        own = getattr(meta, part)
        rng = np.random.default_rng(3)
        way = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), own)
        along = float(optax.tree.vdot(jax.grad(loss)(own), way))

        def moved(by):
            return float(loss(jax.tree.map(lambda x, w: x + by * w, own, way)))

        eps = 1e-6
        slope = (moved(eps) - moved(-eps)) / (2 * eps)
    assert along == pytest.approx(slope, rel=1e-3, abs=1e-6)
    assert abs(along) > 1e-5  # the inner step's own parameters are learned too


def test_outer_losses_are_learned_from_through_both_inner_steps(rows):
    """The gradient of both losses together is that of each alone, with targets held fixed."""
    meta = page.init(TINY, FAMILY, jax.random.key(2))
    inner, outer = (jax.tree.map(lambda x, s=s: x[s], rows) for s in (slice(16), slice(16, 32)))
    value = page.adapt_value(meta, inner)
    moved = optax.incremental_update(value, meta.value, page.TARGET_TAU)
    target = outer.earned + outer.left * page.values(moved, outer.last_obs)

    def apart(now):
        of_value = page.value_loss(page.adapt_value(now, inner), outer, target)
        policy = page.adapt_policy(TINY, now, value, inner)
        return of_value + page.outer_policy_loss(
            policy, outer, page.advantages(value, outer), TINY.sigma
        )

    def both(now):
        return page.outer_losses(TINY, now, meta.value, inner, outer)[0]

    one, two = (jax.jit(jax.grad(loss))(meta) for loss in (apart, both))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


# --- Rows ---------------------------------------------------------------------------------
def test_rows_follow_one_another_or_come_from_anywhere():
    count = np.arange(40, dtype=np.float32)
    wide = jnp.asarray(np.broadcast_to(count[:, None], (1, 40, 3)))
    flat = jnp.asarray(count[None])
    data = TaskRows(wide, wide, flat, wide, flat, flat, flat, wide, jnp.array([30]))
    cut = jax.jit(page.draw, static_argnums=(2, 3))
    firsts, seen = set(), set()
    for i in range(60):
        key = jax.random.key(i)
        one = np.asarray(cut(data, jnp.int32(0), 10, "contiguous", key).obs[:, 0])
        np.testing.assert_array_equal(np.diff(one), 1)
        firsts.add(one[0])
        seen |= set(np.asarray(cut(data, jnp.int32(0), 10, "anywhere", key).obs[:, 0]))
    assert max(firsts) <= 20 and len(firsts) > 10 and seen == set(range(30))


# --- What it learns -----------------------------------------------------------------------
def test_the_inner_step_makes_the_policy_of_the_task(fitted, episodes):
    adapted, _ = fitted.adapt(episodes, CONTEXTS)
    nothing = np.zeros((2, 20), np.float32)
    both = adapted.act(nothing).mean(axis=1)
    before = fitted.unadapted.act(nothing[:1]).mean()
    assert both[0] < before < both[1] and both[1] - both[0] > 0.4
    exchanged = Episodes.of(
        FAMILY, [one._replace(context=CONTEXTS[1] - one.context + CONTEXTS[0]) for one in episodes]
    )
    wrong, _ = fitted.adapt(exchanged, CONTEXTS)
    turned = wrong.act(nothing).mean(axis=1)
    assert turned[0] - turned[1] > 0.4


def test_tasks_do_not_mix(fitted, episodes):
    both, _ = fitted.adapt(episodes, CONTEXTS, seed=1)
    other = [one._replace(reward=-one.reward) if one.context[0] > 1 else one for one in episodes]
    changed, _ = fitted.adapt(Episodes.of(FAMILY, other), CONTEXTS, seed=1)
    np.testing.assert_array_equal(both.weights[0], changed.weights[0])
    assert (both.weights[1] != changed.weights[1]).any()


def test_inner_steps_may_learn_from_other_data(episodes):
    short = replace(TINY, steps=3)
    own = macaw_model.fit(short, episodes, CONTEXTS)
    other = macaw_model.fit(short, episodes, CONTEXTS, inner=episodes[::-1])
    gaps = jax.tree.map(lambda a, b: np.abs(a - b).max(), own.meta, other.meta)
    assert max(jax.tree.leaves(gaps)) > 0


# --- Online -------------------------------------------------------------------------------
def test_it_goes_on_learning_from_its_own_episodes(fitted, episodes):
    _, nets = fitted.adapt(episodes, CONTEXTS)
    student = MacawStudent.of(fitted, nets, CONTEXTS)
    steps = 27 * HORIZON
    found = online.finetune(student, FAMILY, CONTEXTS, steps, evaluations=3, episodes=2)
    assert found.steps == [0, 14 * HORIZON, 27 * HORIZON]
    assert found.returns.shape == (3, 2, 2)
    np.testing.assert_array_equal(found.returns[0], found.returns[1])  # 25 episodes come first
    assert len(found.student.episodes) == 27 * 2
    assert (found.student.policies.weights != student.policies.weights).any()
    starts = set(found.student.episodes.index.seed.tolist())
    assert len(starts) == 27 * 2 and max(starts) < 2**31  # none of an evaluation's


def test_practice_fits_values_and_favours_what_paid(fitted, episodes):
    _, nets = fitted.adapt(episodes, CONTEXTS)
    student = replace(MacawStudent.of(fitted, nets, CONTEXTS), episodes=episodes)
    more = Episodes.of(FAMILY, list(episodes) * 5)
    after = replace(student, episodes=more).learned(episodes, 0)
    data = page.prepare(TINY, episodes, CONTEXTS, 1)
    rows = page.draw(data, jnp.int32(1), 4000, "anywhere", jax.random.key(0))

    def loss(nets):
        own = jax.tree.map(lambda x: x[1], nets.value)
        return float(page.value_loss(own, rows, rows.earned))

    assert loss(after.nets) < loss(nets)
    pushed = student.policies.act(np.zeros((2, 20), np.float32))
    assert (after.policies.act(np.zeros((2, 20), np.float32)) != pushed).all()


# --- Files and refusals --------------------------------------------------------------------
def test_a_model_is_the_same_when_read_back(fitted, episodes, tmp_path):
    path = fitted.save(tmp_path / "macaw.safetensors")
    again = Macaw.load(path)
    np.testing.assert_array_equal(again.unadapted.weights, fitted.unadapted.weights)
    one, two = (model.adapt(episodes, CONTEXTS)[0].weights for model in (again, fitted))
    np.testing.assert_array_equal(one, two)
    from hyperpolicy.baselines.pearl_model import Pearl

    with pytest.raises(BadFile, match="a fit of macaw, not of pearl"):
        Pearl.load(path)


def test_data_that_cannot_be_learned_from_are_refused(fitted, episodes, as_user):
    with pytest.raises(BadSetting, match=r"72 rows of 0.3 m/s are left.*batches of 100"):
        macaw_model.fit(replace(TINY, outer_batch=100), episodes, CONTEXTS)
    with pytest.raises(BadSetting, match="no episodes of 1 m/s"):
        fitted.adapt(episodes, np.array([[1.0]]))
    with pytest.raises(BadSetting, match="give 1 and 2, or more"):
        online.finetune(None, FAMILY, CONTEXTS, steps=0)  # type: ignore[arg-type]
