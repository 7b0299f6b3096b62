"""Tied networks are equivariant; tying is a projection; groups are closed."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.critic import CriticSpec, value
from hyperpolicy.nets.equivariance import Group, tie_critic, tie_policy
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.types import Signed

ANT = family("ant-dir")
GROUP = Group(ANT.symmetries)
SPEC = PolicySpec(29, 8, (16, 16))
CRITIC = CriticSpec(29, 8, (16, 16))


def inputs(seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=29).astype(np.float32), rng.normal(size=8).astype(np.float32)


def test_ant_has_the_eight_symmetries_of_a_square():
    assert len(GROUP.elements) == 8
    for g in GROUP.elements:
        for h in GROUP.elements:
            assert g @ h in GROUP.elements


def test_signed_permutations_compose_and_stand_side_by_side():
    g, h = Signed((1, 0), (-1, 1)), Signed((0, 1), (1, -1))
    x = np.array([2.0, 3.0])
    np.testing.assert_array_equal((g @ h)(x), g(h(x)))
    np.testing.assert_array_equal((g + h)(np.tile(x, 2)), [*g(x), *h(x)])


def test_tied_policy_turns_with_its_input():
    tie = tie_policy(GROUP, SPEC)
    weights = 8**0.5 * tie(SPEC.flatten(SPEC.init(jax.random.key(0))))  # as large as fresh ones
    np.testing.assert_allclose(tie(weights), weights, atol=1e-6)
    actor, (x, _) = SPEC.unflatten(weights), inputs()
    mean, log_std = actor(jnp.asarray(x))
    assert np.abs(mean).min() > 1e-4  # not a network that says nothing
    for g in GROUP.elements:
        turned = actor(jnp.asarray((g.obs + g.context)(x), jnp.float32))
        np.testing.assert_allclose(turned[0], g.action(np.asarray(mean)), atol=1e-6)
        np.testing.assert_allclose(turned[1], g.action.unsigned(np.asarray(log_std)), atol=1e-6)


def test_tied_critics_do_not_see_which_way_is_up():
    twins = CRITIC.init(jax.random.key(1))
    twins = CRITIC.unflatten(jax.vmap(tie_critic(GROUP, CRITIC))(CRITIC.flatten(twins)))
    x, a = inputs()
    before = value(twins, jnp.asarray(x), jnp.asarray(a))
    for g in GROUP.elements:
        obs = jnp.asarray((g.obs + g.context)(x), jnp.float32)
        action = jnp.asarray(g.action(a), jnp.float32)
        np.testing.assert_allclose(value(twins, obs, action), before, atol=1e-6)


def test_width_must_hold_whole_blocks():
    with pytest.raises(BadSetting, match="width=12 is not a multiple of the 8 symmetries"):
        tie_policy(GROUP, replace(SPEC, hidden=(12, 12)))
