"""PPO: advantages against their sums, densities against SAC's, moments, and a task it solves."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.fold import Observed
from hyperpolicy.nets.policy import sample
from hyperpolicy.rl import ppo
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.rl.ppo import Data, PpoConfig
from hyperpolicy.types import Round

CFG = PpoConfig(
    hidden=(16, 16), value_hidden=(16, 16), discount=0.9, trace=0.8, epochs=2, minibatches=2
)
O, D, A = 3, 2, 2


@pytest.fixture(scope="module")
def state() -> ppo.PpoState:
    return ppo.init(CFG, Spaces(O, D, A), jax.random.key(0))


def a_round(t: int = 6, n: int = 3, seed: int = 0) -> Round:
    rng = np.random.default_rng(seed)
    ended = np.zeros((t, n))
    terminated = np.zeros((t, n))
    ended[2, 0] = ended[4, 1] = terminated[4, 1] = 1.0  # a time limit, and a real end
    normal = rng.normal(size=(4, t, n, O)).astype(np.float32)
    told = np.broadcast_to(rng.normal(size=(n, D)), (t, n, D)).astype(np.float32)
    inputs, after = (jnp.asarray(np.concatenate([x, told], axis=2)) for x in normal[[0, 3]])
    return Round(
        inputs,
        jnp.asarray(normal[1, ..., :A]),
        jnp.asarray(normal[2, ..., 0]),
        after,
        jnp.asarray(terminated, jnp.float32),
        jnp.asarray(ended, jnp.float32),
    )


def test_advantages_are_discounted_sums_within_an_episode(state):
    r = a_round()
    found, target = jax.jit(partial(ppo.advantages, CFG))(state, r)
    value = jax.jit(lambda inputs: state.value(ppo.see(state.seen, inputs))[0])
    for world in range(3):
        for start in range(6):
            total, weight = 0.0, 1.0
            for t in range(start, 6):
                now = value(r.inputs[t, world])
                then = (1 - r.terminated[t, world]) * value(r.next_inputs[t, world])
                total += weight * (0.1 * r.reward[t, world] + 0.9 * then - now)
                weight *= 0.9 * 0.8
                if r.ended[t, world]:
                    break
            np.testing.assert_allclose(found[start, world], total, atol=1e-5)
            known = total + value(r.inputs[start, world])
            np.testing.assert_allclose(target[start, world], known, atol=1e-5)


def test_ratios_of_latent_densities_are_those_of_the_actions(state):
    other = ppo.init(CFG, Spaces(O, D, A), jax.random.key(1)).actor
    seen, noise = jax.random.normal(jax.random.key(2), (2, O + D))
    mean, log_std = state.actor(seen)
    latent = mean + jnp.exp(log_std) * noise[:A]
    _, old = sample(state.actor, seen, noise[:A])
    new_mean, new_log_std = other(seen)
    _, new = sample(other, seen, (latent - new_mean) / jnp.exp(new_log_std))
    ours = ppo.log_density(latent, new_mean, new_log_std) - ppo.log_density(latent, mean, log_std)
    np.testing.assert_allclose(ours, new - old, rtol=1e-4)


def test_divergence_is_the_mean_log_ratio():
    mean, log_std = jnp.array([0.3, -0.2]), jnp.array([-0.5, -1.0])
    other = jnp.array([0.1, 0.0]), jnp.array([-0.7, -0.8])
    noise = jax.random.normal(jax.random.key(0), (200_000, 2))
    latent = mean[None] + jnp.exp(log_std)[None] * noise
    old, new = (
        jax.vmap(ppo.log_density, (0, None, None))(latent, *own) for own in ((mean, log_std), other)
    )
    found = float(ppo.divergence(mean, log_std, *other))
    np.testing.assert_allclose(found, jnp.mean(old - new), atol=5e-3)
    assert float(ppo.divergence(mean, log_std, mean, log_std)) == 0.0


def test_moments_are_those_of_everything_seen():
    rng = np.random.default_rng(0)
    rounds = [rng.normal(2.0, 3.0, (4, 5, O)).astype(np.float32) for _ in range(3)]
    moments = Observed.nothing(O)
    for own in rounds:
        moments = moments.with_more(jnp.asarray(own))
    everything = np.concatenate(rounds).reshape(-1, O)
    np.testing.assert_allclose(moments.mean, everything.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.var, everything.var(axis=0), rtol=1e-4)


def test_plain_actor_sees_unnormalized_observations(state):
    obs, context = jax.random.normal(jax.random.key(3), (O,)), jnp.array([0.6, 0.8])
    moments = Observed(jnp.float32(9.0), jnp.array([1.0, -2.0, 0.5]), jnp.array([4.0, 0.1, 30.0]))
    own = state._replace(seen=moments)
    for ours, theirs in zip(
        ppo.plain(own)(jnp.concatenate([obs, context])),
        own.actor(ppo.see(moments, jnp.concatenate([obs, context]))),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_step_size_follows_the_divergence(state):
    seen = jnp.zeros((4, O + D))
    mean, log_std = jax.vmap(state.actor)(seen)
    still = Data(seen, mean, mean, log_std, jnp.arange(4.0), jnp.zeros(4))
    moved = still._replace(mean=mean + 2.0)  # the old policy was far away
    for data, factor in ((still, 1.5), (moved, 1 / 1.5)):
        after, _ = jax.jit(partial(ppo.improve, CFG))(state, data)
        np.testing.assert_allclose(after.rate, factor * state.rate, rtol=1e-6)
    capped = replace(CFG, max_rate=3e-4, min_rate=3e-4)
    after, _ = jax.jit(partial(ppo.improve, capped))(state, moved)
    np.testing.assert_allclose(after.rate, 3e-4)


def test_ratios_beyond_the_clip_do_not_count(state):
    """Where all that paid off is already much more likely, nothing is left to learn."""
    seen = jax.random.normal(jax.random.key(0), (4, O + D))
    mean, log_std = jax.vmap(state.actor)(seen)
    away = mean + jnp.array([0.0, 0.0, 3.0, 3.0])[:, None]
    latent = jnp.concatenate([mean[:2], away[2:]])
    # the first two were unlikely and paid off; the others were likely and did not
    old = jnp.concatenate([mean[:2] + 3.0, away[2:]])
    done = Data(seen, latent, old, log_std, jnp.array([1.0, 1.0, -1.0, -1.0]), jnp.zeros(4))
    undone = done._replace(advantage=-done.advantage)
    grads = [
        jax.grad(lambda a, d=d: ppo.actor_loss(a, d, 0.2)[0])(state.actor) for d in (done, undone)
    ]
    sizes = [sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(g)) for g in grads]
    assert sizes[0] == 0.0 and sizes[1] > 0.0


def test_it_learns_what_a_context_asks_for():
    """One-step episodes whose reward is −(a − c)²: the mean action follows the context."""
    cfg = PpoConfig(hidden=(32, 32), value_hidden=(16, 16), epochs=4, minibatches=2)
    state = ppo.init(cfg, Spaces(1, 1, 1), jax.random.key(0))
    contexts = jnp.linspace(-0.7, 0.7, 64)[:, None]
    inputs, ones = jnp.concatenate([jnp.zeros((64, 1)), contexts], axis=1), jnp.ones((1, 64))

    @jax.jit
    def step(state, i):
        action, latent = ppo.explore(cfg, state, inputs, jax.random.key(i))
        reward = -((action - contexts) ** 2).sum(axis=1)[None]
        found = Round(inputs[None], latent[None], reward, inputs[None], ones, ones)
        return ppo.update(cfg, state, found, i)

    state, metrics = jax.lax.scan(step, state, jnp.arange(120))
    actor = ppo.plain(state)
    actions = jnp.tanh(jax.vmap(lambda c: actor(jnp.array([0.0, c]))[0])(contexts[:, 0]))
    assert float(jnp.abs(actions - contexts).mean()) < 0.1  # 0.35 for the mean of them all
    assert float(metrics["log_std"][-1]) < cfg.first_log_std
    assert float(metrics["loss/value"][-1]) < float(metrics["loss/value"][0])


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"minibatches": 0}, {"hidden": (0,)}, {"first_log_std": 3.0}]
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(BadSetting, match=next(iter(wrong))):
        PpoConfig(**wrong)


def test_more_minibatches_than_transitions_are_refused(state):
    with pytest.raises(BadSetting, match="minibatches=19 of a round of 18 transitions"):
        jax.eval_shape(partial(ppo.update, replace(CFG, minibatches=19)), state, a_round(), 0)
    with pytest.raises(BadSetting, match="between min_rate"):
        replace(CFG, first_rate=1.0)
