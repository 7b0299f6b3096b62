"""TD3 for one learner: its losses by hand, its delays, and a probe it must solve."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import value_batch
from hyperpolicy.nets.policy import act_batch
from hyperpolicy.rl import td3
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.rl.td3 import CANONICAL, Td3Config
from hyperpolicy.types import Batch

B, O, A = 8, 5, 2
CFG = Td3Config(hidden=(16, 16))


@pytest.fixture(scope="module")
def state() -> td3.Td3State:
    return td3.init(CFG, Spaces(O, 0, A), jax.random.key(0))


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    ended = jnp.asarray(rng.integers(0, 2, B), jnp.float32)
    return Batch(normal(B, O), jnp.tanh(normal(B, A)), normal(B), normal(B, O), ended)


@pytest.mark.parametrize("cfg", [CFG, replace(CANONICAL, hidden=(16, 16))])
def test_critic_target_by_hand(state, batch, cfg):
    """y = r + γ(1 − d) min Q̄(s′, clip(π̄(s′) + clip(ε, −c, c), −1, 1)), in NumPy; the sum of both
    critics' errors."""
    key = jax.random.key(4)
    loss, mean = td3.critic_loss(state.critics, state, batch, cfg, key)
    std = 0.2 if cfg.target_noise else 1.0  # of the paper; the schedule's first
    noise = np.clip(std * jax.random.normal(key, (B, A)), -cfg.noise_clip, cfg.noise_clip)
    action = np.clip(act_batch(state.target_actor, batch.next_obs) + noise, -1, 1)
    next_q = np.asarray(value_batch(state.targets, batch.next_obs, jnp.asarray(action)))
    y = batch.reward + 0.99 * (1 - batch.terminated) * next_q.min(axis=1)
    q = np.asarray(value_batch(state.critics, batch.obs, batch.action))
    np.testing.assert_allclose(loss, ((q - np.asarray(y)[:, None]) ** 2).mean(axis=0).sum(), 1e-4)
    np.testing.assert_allclose(mean, q.mean(), rtol=1e-5)


def test_the_actor_climbs_the_first_critic(state, batch):
    q = value_batch(state.critics, batch.obs, act_batch(state.actor, batch.obs))
    np.testing.assert_allclose(td3.actor_loss(state.actor, state, batch), -q[:, 0].mean(), 1e-5)


def test_actor_and_targets_wait_for_their_period(state, batch):
    """At odd updates the critics alone move; at even ones all targets go τ of the way."""
    step = jax.jit(partial(td3.update, CFG))
    rested, _ = step(state, batch, jnp.int32(1))
    moved, metrics = step(state, batch, jnp.int32(2))
    for name in ("actor", "target_actor", "targets"):
        for a, b in zip(*(jax.tree.leaves(getattr(s, name)) for s in (state, rested)), strict=True):
            np.testing.assert_array_equal(a, b)
    assert np.abs(rested.critics.layers[0].weight - state.critics.layers[0].weight).max() > 0
    assert int(rested.updates) == 1 and float(metrics["grad_norm/actor"]) > 0
    for new, target, old in (
        (moved.actor.mean.weight, moved.target_actor.mean.weight, state.actor.mean.weight),
        (
            moved.critics.layers[0].weight,
            moved.targets.layers[0].weight,
            state.critics.layers[0].weight,
        ),
    ):
        np.testing.assert_allclose(target - old, 0.01 * (new - old), atol=1e-6)


def test_noise_falls_with_the_updates(state):
    for updates, std in ((0, 1.0), (50_000, 0.55), (100_000, 0.1), (300_000, 0.1)):
        now = state._replace(updates=jnp.int32(updates))
        np.testing.assert_allclose(td3.noise(CFG, now), std, rtol=1e-5)
        np.testing.assert_allclose(td3.noise(CANONICAL, now), 0.1, rtol=1e-5)


def test_it_explores_within_the_actions_bounds(state):
    inputs = jnp.zeros((500, O))
    action, memo = td3.explore(CFG, state, inputs, jax.random.key(0))
    assert memo is None and float(jnp.abs(action).max()) == 1.0
    spread = (action - td3.act(CFG, state, inputs)).std()
    assert 0.5 < float(spread) < 1.0  # 1 before the clip


def test_weights_start_orthogonal_and_biases_zero(state):
    """HyperZero's way; the canonical preset draws them uniformly."""
    weight = state.actor.hidden[1].weight
    np.testing.assert_allclose(weight @ weight.T, np.eye(16), atol=1e-5)
    np.testing.assert_array_equal(state.critics.layers[0].bias, 0.0)
    first, second = state.critics.layers[0].weight
    assert np.abs(first - second).max() > 0.1
    uniform = td3.init(replace(CFG, initializer="uniform"), Spaces(O, 0, A), jax.random.key(0))
    assert np.abs(uniform.actor.hidden[1].weight).max() <= 0.25 + 1e-6


def test_published_sizes():
    """HyperZero's cheetah: 71,942 numbers of the actor, 144,386 of the twin critics."""
    cfg = Td3Config(hidden=(256, 256))
    assert td3.policy_spec(cfg, 17, 6).size == 71_942
    assert 2 * td3.critic_spec(cfg, 17, 6).size == 144_386


def test_probe_one_step_reward_is_solved():
    """Reward −(a − 0.5)² and episodes of one step: the action must come to 0.5."""
    cfg = replace(CFG, actor_rate=3e-3, critic_rate=3e-3)
    state = td3.init(cfg, Spaces(1, 0, 1), jax.random.key(1))

    def one(state, i):
        key = jax.random.fold_in(jax.random.key(2), i)
        action = jax.random.uniform(key, (64, 1), minval=-1.0, maxval=1.0)
        obs = jnp.ones((64, 1))
        batch = Batch(obs, action, -((action[:, 0] - 0.5) ** 2), obs, jnp.ones(64))
        return td3.update(cfg, state, batch, i)

    state, metrics = jax.jit(lambda s: jax.lax.scan(one, s, jnp.arange(1500)))(state)
    np.testing.assert_allclose(td3.act(cfg, state, jnp.ones((1, 1))), 0.5, atol=0.1)
    assert metrics["loss/critic"][-100:].mean() < 0.1 * metrics["loss/critic"][:100].mean()


def test_probe_a_reward_to_come_is_worth_what_the_discount_says():
    """Two states: nothing happens in the first, the second pays 1 and ends. Q of the first → γ."""
    cfg = replace(CFG, discount=0.8, critic_rate=3e-3, tau=0.05)
    state = td3.init(cfg, Spaces(1, 0, 1), jax.random.key(1))
    obs = jnp.repeat(jnp.array([[0.0], [1.0]]), 32, axis=0)
    paid = (obs[:, 0] == 1.0).astype(jnp.float32)

    def one(state, i):
        key = jax.random.fold_in(jax.random.key(2), i)
        action = jax.random.uniform(key, (64, 1), minval=-1.0, maxval=1.0)
        return td3.update(cfg, state, Batch(obs, action, paid, jnp.ones((64, 1)), paid), i)

    state, _ = jax.jit(lambda s: jax.lax.scan(one, s, jnp.arange(1500)))(state)
    found = value_batch(state.critics, jnp.array([[0.0], [1.0]]), jnp.zeros((2, 1)))
    np.testing.assert_allclose(found, np.array([[0.8, 0.8], [1.0, 1.0]]), atol=0.08)


@pytest.mark.parametrize("bad", [{"policy_period": 0}, {"noise_clip": -1.0}, {"initializer": "x"}])
def test_impossible_settings(bad, as_user):
    with pytest.raises(BadSetting, match=next(iter(bad))):
        Td3Config(**bad)
