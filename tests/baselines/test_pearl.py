"""PEARL: the posterior, what learns from what, a probe with a known optimum, training online."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.baselines import online, pearl_model, pearl_online
from hyperpolicy.baselines import pearl as page
from hyperpolicy.baselines.pearl import Context, PearlConfig, Posterior
from hyperpolicy.baselines.pearl_model import Buffers, Pearl, PearlStudent
from hyperpolicy.baselines.pearl_online import OnlinePlan
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.errors import BadSetting
from hyperpolicy.rollout import record
from hyperpolicy.run import job

HORIZON = 8
FAMILY = replace(hp.family("cheetah-vel"), horizon_steps=HORIZON)
CONTEXTS = np.array([[0.3], [2.7]])
GOAL = np.array([-0.5, 0.5])
TINY = PearlConfig(
    latent=2, width=24, encoder_width=32, context=20, batch=64, rate=3e-3, steps=2000, kl=0.01
)


def one_step_tasks() -> Episodes:
    """Episodes of one step that ends the task, in which nothing is seen, paid −Σ(a − g)²: the best
    action is the goal g."""
    rng, made = np.random.default_rng(0), []
    for context, goal in zip(CONTEXTS, GOAL, strict=True):
        for _ in range(200):
            action = rng.uniform(-1, 1, (1, 6)).astype(np.float32)
            made.append(
                Episode(
                    context=context,
                    obs=np.zeros((2, 20), np.float32),
                    action=action,
                    reward=-((action - goal) ** 2).sum(axis=1),
                    outcome=np.zeros((1, 1), np.float32),
                    terminated=True,
                    truncated=False,
                    seed=0,
                    policy=0,
                    made_by="chance",
                )
            )
    return Episodes.of(FAMILY, made)


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    return one_step_tasks()


@pytest.fixture(scope="module")
def fitted(episodes) -> Pearl:
    return pearl_model.fit(TINY, episodes, CONTEXTS)


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# --- The posterior ------------------------------------------------------------------------
def test_sizes_are_the_published_ones():
    start = partial(page.init, PearlConfig(), hp.family("cheetah-vel"))
    nets = jax.eval_shape(start, jax.random.key(0)).nets
    assert size(nets.encoder) == 88_010
    assert size(nets.critics) == 2 * 190_501


def test_networks_start_as_the_released_code_starts_them():
    nets = page.init(PearlConfig(), FAMILY, jax.random.key(0)).nets
    first, *_, end = nets.value.layers
    assert np.abs(first.weight).max() == pytest.approx(300**-0.5, rel=0.01)
    assert (first.bias == np.float32(0.1)).all() and np.abs(end.weight).max() <= 3e-3
    assert np.abs(nets.policy.mean.weight).max() <= 1e-3


def test_a_product_of_gaussians_is_the_gaussian_of_the_product():
    mean, variance = np.array([[0.0, 1.0], [2.0, -1.0], [1.0, 0.5]]), np.array([[1.0, 0.5]] * 3)
    variance = variance * np.array([[1.0], [2.0], [4.0]])
    found = page.product(jnp.asarray(mean, jnp.float32), jnp.asarray(variance, jnp.float32))
    grid = np.linspace(-6, 6, 4001)
    for i in range(2):
        log = sum(
            -((grid - m) ** 2) / (2 * v) for m, v in zip(mean[:, i], variance[:, i], strict=True)
        )
        p = np.exp(log - log.max())
        p /= p.sum()
        assert found.mean[i] == pytest.approx((p * grid).sum(), abs=1e-3)
        wanted = (p * (grid - (p * grid).sum()) ** 2).sum()
        assert found.variance[i] == pytest.approx(wanted, rel=1e-3)


def test_the_order_of_transitions_does_not_matter_and_more_say_more(fitted, episodes):
    rows = Buffers.fixed(episodes, CONTEXTS)
    encoder = fitted.state.nets.encoder
    some = Context(*(x[1, :50] for x in rows[:3]))
    turned = Context(*(x[1, :50][::-1] for x in rows[:3]))
    one, two = page.infer(encoder, some), page.infer(encoder, turned)
    np.testing.assert_allclose(one.mean, two.mean, atol=1e-5)
    less = page.infer(encoder, Context(*(x[1, :5] for x in rows[:3])))
    assert (one.variance < less.variance).all()


def test_divergence_is_zero_at_the_prior_and_as_sampled_elsewhere():
    zero = Posterior(jnp.zeros(3), jnp.ones(3))
    assert page.divergence(zero) == pytest.approx(0.0)
    mean, variance = np.array([0.5, -1.0]), np.array([0.3, 2.0])
    z = mean + np.sqrt(variance) * np.random.default_rng(0).normal(size=(200_000, 2))
    log_q = -0.5 * ((z - mean) ** 2 / variance + np.log(variance)).sum(axis=1)
    sampled = (log_q + 0.5 * (z**2).sum(axis=1)).mean()
    found = page.divergence(Posterior(jnp.asarray(mean), jnp.asarray(variance)))
    assert found == pytest.approx(sampled, rel=0.02)


# --- Losses -------------------------------------------------------------------------------
def test_the_encoder_learns_from_the_critics_alone(episodes):
    state = page.init(TINY, FAMILY, jax.random.key(0))
    data = jax.tree.map(jnp.asarray, Buffers.fixed(episodes, CONTEXTS))
    own = pearl_model.draw(TINY, data, jnp.arange(2), jax.random.key(1))
    one = jax.tree.map(lambda x: x[0], own)

    def loss(encoder, part):
        pair = encoder, state.nets.critics
        value, (z, _) = page.critic_loss(
            pair, state.target, one.context, one.rows, one.latent_noise, TINY
        )
        if part == "critics":
            return value
        net = getattr(state.nets, part)
        function = page.value_loss if part == "value" else page.policy_loss
        return function(net, state.nets, one.rows, z, one.action_noise)

    for part, learns in (("critics", True), ("value", False), ("policy", False)):
        grads = jax.grad(loss)(state.nets.encoder, part)
        moved = max(float(np.abs(g).max()) for g in jax.tree.leaves(grads))
        assert (moved > 0) == learns, part


def test_critics_are_told_scaled_rewards_and_nothing_after_the_end(episodes):
    state = page.init(TINY, FAMILY, jax.random.key(0))
    data = jax.tree.map(jnp.asarray, Buffers.fixed(episodes, CONTEXTS))
    own = jax.tree.map(
        lambda x: x[0], pearl_model.draw(TINY, data, jnp.arange(2), jax.random.key(1))
    )

    def loss(rows, target):
        pair = state.nets.encoder, state.nets.critics
        return page.critic_loss(pair, target, own.context, rows, own.latent_noise, TINY)

    value, (z, _) = loss(own.rows, state.target)
    q = page.q_values(state.nets.critics, own.rows.obs, own.rows.action, z)
    wanted = ((np.asarray(q) - 5.0 * np.asarray(own.rows.reward)) ** 2).mean(axis=1).sum()
    assert value == pytest.approx(wanted, rel=1e-4)
    other = jax.tree.map(lambda x: x + 1.0, state.target)
    assert loss(own.rows, other)[0] == value
    goes_on = own.rows._replace(terminated=jnp.zeros(TINY.batch))
    assert loss(goes_on, other)[0] != loss(goes_on, state.target)[0]


# --- A known optimum ----------------------------------------------------------------------
def test_it_does_what_the_inferred_task_pays_for(fitted, episodes):
    posterior = fitted.infer(episodes, CONTEXTS)
    acts = lambda who: who.act(np.zeros((len(who), 20), np.float32))  # noqa: E731
    found = acts(fitted.policies(posterior.mean))
    np.testing.assert_allclose(found, np.repeat(GOAL[:, None], 6, axis=1), atol=0.35)
    wrong = acts(fitted.policies(posterior.mean[::-1]))
    np.testing.assert_allclose(wrong, found[::-1], atol=1e-6)
    gap = np.abs(acts(fitted.prior(8)) - GOAL[0]).mean()
    assert gap > 0.3  # the prior knows no task


def test_an_episode_of_ones_own_is_inferred_from_and_learned_from(fitted, episodes):
    posterior = fitted.infer(episodes, CONTEXTS, rows=4)
    student = PearlStudent.of(fitted, posterior, CONTEXTS)
    found = online.finetune(student, FAMILY, CONTEXTS, 2 * HORIZON, evaluations=2, episodes=1)
    assert found.steps == [0, 2 * HORIZON] and len(found.student.episodes) == 4
    assert (found.student.posterior.mean != posterior.mean).all()
    after = found.student.states.nets.policy.mean.weight
    assert (np.asarray(after[0]) != np.asarray(after[1])).any()  # each of its own task


# --- Online -------------------------------------------------------------------------------
PLAN = OnlinePlan(
    iterations=3,
    tasks=1,
    first_episodes=2,
    prior_episodes=1,
    posterior_episodes=1,
    updates=2,
    capacity=5 * HORIZON,
)


def test_it_collects_what_it_learns_from():
    made = pearl_online.fit_online(TINY, PLAN, FAMILY, CONTEXTS)
    assert made.provenance["env_steps"] == HORIZON * (2 * 2 + 3 * 2)
    rng = np.random.default_rng(0)
    data = pearl_online.empty(FAMILY, 2, 20)
    who = record(hp.rollout.zero(FAMILY), FAMILY, CONTEXTS[1:], 2, made_by="nobody")
    some = np.array([1])
    data = pearl_online.store(data, some, who, 2, inferred=True)
    assert data.filled.tolist() == [0, 16] and data.recent.tolist() == [0, 16]
    one = who[:1]
    data = pearl_online.store(data, some, one, 1, inferred=False)
    assert data.filled[1] == 20 and data.place[1] == 4  # over the oldest
    assert (data.first[1], data.recent[1]) == (0, 16)
    np.testing.assert_array_equal(data.obs[1, :4], one.episode(0).obs[4:8])
    data = pearl_online.store(data, some, one, 1, inferred=True)
    assert (data.first[1], data.recent[1]) == (4, HORIZON)
    at = np.asarray(pearl_model.recent(data, jnp.array([1]), 50, jax.random.key(0)))
    assert set(at.ravel().tolist()) == set(range(4, 12))
    del rng


def test_a_killed_fit_goes_on_where_it_was(tmp_path, monkeypatch):
    whole = pearl_online.fit_online(TINY, PLAN, FAMILY, CONTEXTS, 3, tmp_path / "whole")
    monkeypatch.setattr(job, "SNAPSHOT_S", 0.0)
    collect = pearl_online.collect

    def dies(model, plan, data, contexts, seed, i):
        if i == 2:
            raise RuntimeError("killed")
        return collect(model, plan, data, contexts, seed, i)

    monkeypatch.setattr(pearl_online, "collect", dies)
    with pytest.raises(RuntimeError, match="killed"):
        pearl_online.fit_online(TINY, PLAN, FAMILY, CONTEXTS, 3, tmp_path / "killed")
    monkeypatch.setattr(pearl_online, "collect", collect)
    again = pearl_online.fit_online(TINY, PLAN, FAMILY, CONTEXTS, 3, tmp_path / "killed")
    for one, two in zip(*(jax.tree.leaves(x.state) for x in (whole, again)), strict=True):
        np.testing.assert_array_equal(one, two)
    assert again.provenance["env_steps"] == whole.provenance["env_steps"]


# --- Files and refusals --------------------------------------------------------------------
def test_a_model_is_the_same_when_read_back(fitted, tmp_path):
    path = fitted.save(tmp_path / "pearl.safetensors")
    z = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(Pearl.load(path).policies(z).weights, fitted.policies(z).weights)


def test_what_cannot_be_is_refused(fitted, episodes):
    with pytest.raises(BadSetting, match="one or more to infer"):
        fitted.infer(episodes, CONTEXTS, rows=0)
    with pytest.raises(BadSetting, match="no episodes of 1 m/s"):
        fitted.infer(episodes, np.array([[1.0]]))
    with pytest.raises(BadSetting, match="capacity=5; the first iteration makes up to 32"):
        pearl_online.fit_online(TINY, replace(PLAN, capacity=5), FAMILY, CONTEXTS)
