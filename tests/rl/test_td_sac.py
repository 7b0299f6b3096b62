"""Fine-tuning SAC: SAC itself where its options are off, and each option by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import value
from hyperpolicy.rl import sac, td_sac
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.rl.td_sac import TdSacConfig
from hyperpolicy.types import Batch

B, O, A = 8, 5, 2
PLAIN = TdSacConfig(hidden=(16, 16), td=0.0, first_actor_rate=3e-4, ramp_updates=1)


def make(seed: int = 0):
    state = sac.init(PLAIN, Spaces(O, 0, A), jax.random.key(seed))
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    ended = jnp.asarray(rng.integers(0, 2, B), jnp.float32)
    return state, Batch(normal(B, O), jnp.tanh(normal(B, A)), normal(B), normal(B, O), ended)


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree._replace(key=jnp.zeros(())))]


def updated(cfg: TdSacConfig, index: int = 0, count: int = 1):
    state, batch = make()
    step = jax.jit(partial(td_sac.update, cfg))
    for i in range(index, index + count):
        state, _ = step(state, batch, jnp.int32(i))
    return state


def test_without_its_options_it_is_sac():
    state, batch = make()
    plain = jax.jit(partial(sac.update, sac.SacConfig(hidden=(16, 16))))
    for i in range(4):
        state, _ = plain(state, batch, jnp.int32(i))
    for ours, theirs in zip(leaves(updated(PLAIN, count=4)), leaves(state), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_regularizer_reaches_the_actor_and_nothing_else():
    state, with_td = updated(PLAIN), updated(TdSacConfig(**vars(PLAIN) | {"td": 0.5}))
    for name in ("critics", "targets"):
        for a, b in zip(
            *(jax.tree.leaves(getattr(s, name)) for s in (state, with_td)), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    first = state.actor.hidden[0].weight - with_td.actor.hidden[0].weight
    assert np.abs(first).max() > 1e-6


def test_td_error_by_hand():
    """Against the definition, transition by transition, in NumPy."""
    state, batch = make()
    key = jax.random.key(4)
    delta = td_sac.td_error(state.actor, state, batch, PLAIN, key)
    action, _ = sac.sample_batch(state.actor, batch.next_obs, A, key)
    for i in range(B):
        next_q = min(np.asarray(value(state.targets, batch.next_obs[i], action[i])))
        q = min(np.asarray(value(state.critics, batch.obs[i], batch.action[i])))
        expected = batch.reward[i] + 0.99 * (1 - batch.terminated[i]) * next_q - q
        np.testing.assert_allclose(delta[i], expected, rtol=1e-4, atol=1e-5)


def test_penalties():
    delta = jnp.array([1.0, -2.0, 3.0, 0.0])
    np.testing.assert_allclose(td_sac.PENALTIES["all"](delta), 14 / 8)
    np.testing.assert_allclose(td_sac.PENALTIES["overestimated"](delta), 4 / 8)


def test_rate_and_weight_along_the_run():
    cfg = TdSacConfig(ramp_updates=100, warmup_updates=10, td=0.2, td_decay=0.5)
    rates = [float(td_sac.actor_rate(cfg, jnp.int32(i))) for i in (0, 10, 60, 110, 500)]
    np.testing.assert_allclose(rates, [3e-6, 3e-6, 1.515e-4, 3e-4, 3e-4], rtol=1e-5)
    weights = [float(td_sac.td_weight(cfg, jnp.int32(i))) for i in (10, 12)]
    np.testing.assert_allclose(weights, [0.2, 0.05], rtol=1e-5)


def test_the_actor_rests_through_the_warmup():
    cfg = TdSacConfig(**vars(PLAIN) | {"warmup_updates": 2})
    start, rested, moved = make()[0], updated(cfg, 0, 2), updated(cfg, 0, 3)
    for a, b in zip(*(jax.tree.leaves(s.actor) for s in (start, rested)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(rested.log_alpha) == float(start.log_alpha)
    assert np.abs(moved.actor.mean.weight - start.actor.mean.weight).max() > 0
    assert np.abs(rested.critics.layers[0].weight - start.critics.layers[0].weight).max() > 0


@pytest.mark.parametrize("bad", [{"ramp_updates": 0}, {"warmup_updates": -1}, {"penalized": "x"}])
def test_impossible_settings(bad, as_user):
    with pytest.raises(BadSetting, match=next(iter(bad))):
        TdSacConfig(**bad)
