"""SAC for one learner: its losses by hand, a probe it must solve, and the fleet it becomes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.rl import sac
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.types import Batch

N, B, O, A = 3, 8, 5, 2
CFG = sac.SacConfig(hidden=(16, 16))
measure_fleet = jax.jit(jax.vmap(partial(sac.update, CFG), in_axes=(0, 0, None)))
measure_solo = jax.jit(partial(sac.update, CFG))


def update_fleet(*given):
    return measure_fleet(*given)[0]


def update_solo(*given):
    return measure_solo(*given)[0]


def make_fleet():
    return jax.jit(jax.vmap(partial(sac.init, CFG, Spaces(O, 0, A))))(
        jax.random.split(jax.random.key(0), N)
    )


def make_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Batch(
        normal(N, B, O), jnp.tanh(normal(N, B, A)), normal(N, B), normal(N, B, O), jnp.zeros((N, B))
    )


def pick(tree, i: int):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def numbers(tree) -> list[np.ndarray]:
    def raw(leaf):
        typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if typed else leaf)

    return [raw(leaf) for leaf in jax.tree.leaves(tree)]


def test_fleet_equals_solo():
    fleet, batch = make_fleet(), make_batch()
    together = update_fleet(fleet, batch, jnp.int32(0))
    for i in range(N):
        alone = update_solo(pick(fleet, i), pick(batch, i), jnp.int32(0))
        for a, b in zip(numbers(alone), numbers(pick(together, i)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_neighbours_are_bit_identical():
    fleet, batch = make_fleet(), make_batch()
    disturbed = batch._replace(reward=batch.reward.at[1].add(3.0))
    before = update_fleet(fleet, batch, jnp.int32(0))
    after = update_fleet(fleet, disturbed, jnp.int32(0))
    changed = [np.abs(a - b).max() for a, b in zip(numbers(before), numbers(after), strict=True)]
    assert max(changed) > 0
    for i in (0, 2):
        for a, b in zip(numbers(pick(before, i)), numbers(pick(after, i)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_actor_rests_between_its_periods():
    state, batch = pick(make_fleet(), 0), pick(make_batch(), 0)
    rested = update_solo(state, batch, jnp.int32(1))
    moved = update_solo(state, batch, jnp.int32(2))
    for a, b in zip(numbers(state.actor), numbers(rested.actor), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(rested.adam[1][0].count) == 0
    assert int(moved.adam[1][0].count) == CFG.policy_period
    assert int(moved.adam[0][0].count) == int(rested.adam[0][0].count) == 1


def test_critic_target_by_hand():
    """With γ = 0 the target is the reward alone, whatever the policy says."""
    cfg = sac.SacConfig(hidden=(16, 16), discount=0.0)
    state, batch = pick(make_fleet(), 0), pick(make_batch(), 0)
    q = sac.value_batch(state.critics, batch.obs, batch.action)
    expected = 0.5 * np.mean((np.asarray(q) - np.asarray(batch.reward)[:, None]) ** 2)
    loss, mean = sac.critic_loss(state.critics, state, batch, cfg, jax.random.key(0))
    np.testing.assert_allclose(mean, np.mean(q), rtol=1e-5)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_a_terminated_step_has_no_future():
    state, batch = pick(make_fleet(), 0), pick(make_batch(), 0)
    ended = batch._replace(terminated=jnp.ones(B))
    loss, _ = sac.critic_loss(state.critics, state, ended, CFG, jax.random.key(0))
    blind, _ = sac.critic_loss(
        state.critics, state, batch, sac.SacConfig(hidden=(16, 16), discount=0.0), jax.random.key(0)
    )
    np.testing.assert_allclose(loss, blind, rtol=1e-6)


def test_a_usual_reward_shifts_what_the_networks_learn():
    """With r̄ the loss at Q − r̄/(1 − γ) is that without it at Q."""
    plain, shifted = (sac.SacConfig(hidden=(4, 4), usual_reward=r) for r in (0.0, 1.0))
    state = sac.init(plain, Spaces(3, 0, 2), jax.random.key(0))
    key = jax.random.key(1)
    draw = lambda i, *shape: jax.random.normal(jax.random.fold_in(key, i), shape)  # noqa: E731
    batch = Batch(draw(0, 8, 3), jnp.tanh(draw(1, 8, 2)), draw(2, 8), draw(3, 8, 3), jnp.eye(8)[0])
    spec = sac.critic_spec(plain, 3, 2)
    flat = spec.flatten(state.critics)
    less = spec.unflatten(flat.at[:, -1].add(-shifted.usual_return))  # the last bias
    there = state._replace(critics=less, targets=less)
    expected, _ = sac.critic_loss(state.critics, state, batch, plain, key)
    np.testing.assert_allclose(
        sac.critic_loss(less, there, batch, shifted, key)[0], expected, rtol=1e-4
    )


def test_temperature_loss_by_hand():
    """α(H − H̄): above the target entropy the gradient lowers α."""
    grad = jax.grad(sac.temperature_loss)(jnp.log(0.5), jnp.float32(-1.0), -2.0)
    np.testing.assert_allclose(grad, 0.5 * (-1.0 + 2.0), rtol=1e-6)


@pytest.mark.parametrize(("target", "entropy", "rises"), [(-1.0, -1.5, False), (-0.5, -1.5, True)])
def test_temperature_follows_the_target_entropy(target, entropy, rises):
    """With two actions the targets are −2 and −1 nats."""
    cfg = sac.SacConfig(hidden=(4, 4), target_entropy=target)
    state = sac.init(cfg, Spaces(3, 0, 2), jax.random.key(0))
    found = jnp.float32(0.0), jnp.float32(entropy), state.actor
    new = sac.improve_temperature(cfg, state, *found)
    assert (new.log_alpha > state.log_alpha) == rises


def test_pull_keeps_the_actor_near_its_start():
    state, batch = pick(make_fleet(), 0), pick(make_batch(), 0)

    def distance(pull: float) -> float:
        step = jax.jit(partial(sac.update, sac.SacConfig(hidden=(16, 16), pull=pull)))
        s = state
        for i in range(60):
            s, _ = step(s, batch, jnp.int32(i))
        gaps = zip(numbers(s.actor), numbers(s.start), strict=True)
        return sum(float(((a - b) ** 2).sum()) for a, b in gaps) ** 0.5

    assert distance(10.0) < 0.5 * distance(0.0)


def test_probe_one_step_reward_is_solved():
    """Reward −(a − 0.5)² and episodes of one step: the action must come to 0.5."""
    cfg = sac.SacConfig(hidden=(16, 16), actor_rate=3e-3, critic_rate=3e-3)
    state = sac.init(cfg, Spaces(1, 0, 1), jax.random.key(1))

    def one(state, i):
        key = jax.random.fold_in(jax.random.key(2), i)
        action = jax.random.uniform(key, (64, 1), minval=-1.0, maxval=1.0)
        obs = jnp.ones((64, 1))
        batch = Batch(obs, action, -((action[:, 0] - 0.5) ** 2), obs, jnp.ones(64))
        return sac.update(cfg, state, batch, i)

    state, metrics = jax.jit(lambda s: jax.lax.scan(one, s, jnp.arange(1500)))(state)
    np.testing.assert_allclose(sac.act(cfg, state, jnp.ones((1, 1))), 0.5, atol=0.15)
    assert metrics["loss/critic"][-100:].mean() < 0.1 * metrics["loss/critic"][:100].mean()
    assert metrics["alpha"][-1] < metrics["alpha"][0]
