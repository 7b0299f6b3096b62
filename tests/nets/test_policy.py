"""Policies: one flat vector ⇄ one network, and many at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadShape
from hyperpolicy.nets.policy import PolicySpec, act, sample
from hyperpolicy.policies import Policies

SPEC = PolicySpec(5, 2, (7, 6))


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (PolicySpec(39, 4, (128, 128), ("elu", "relu")), 22_664),
        (PolicySpec(20, 6, (256, 256)), 74_252),
        (PolicySpec(17, 6, (256, 256)), 73_484),
        (PolicySpec(27, 8, (256, 256)), 77_072),
        (PolicySpec(111, 8, (256, 256)), 98_576),
        (PolicySpec(20, 6, (64, 64)), 6_284),
    ],
)
def test_published_parameter_counts(spec, size):
    assert spec.size == size


def test_flatten_and_unflatten_are_inverse():
    actor = SPEC.init(jax.random.key(0))
    flat = SPEC.flatten(actor)
    assert flat.shape == (SPEC.size,)
    np.testing.assert_array_equal(SPEC.flatten(SPEC.unflatten(flat)), flat)
    obs = jnp.arange(5.0)
    np.testing.assert_array_equal(act(actor, obs), act(SPEC.unflatten(flat), obs))


def test_flat_order_is_layer_by_layer_weight_then_bias():
    actor = SPEC.init(jax.random.key(0))
    flat = np.asarray(SPEC.flatten(actor))
    np.testing.assert_array_equal(flat[:35], np.asarray(actor.hidden[0].weight).ravel())
    np.testing.assert_array_equal(flat[35:42], actor.hidden[0].bias)
    np.testing.assert_array_equal(flat[-2:], actor.log_std.bias)


def test_hidden_units_can_be_permuted():
    """Symmetry: the same policy has many weight vectors."""
    actor = SPEC.init(jax.random.key(0))
    order = np.random.default_rng(0).permutation(7)
    first, second = actor.hidden
    first = type(first)(first.weight[:, order], first.bias[order])
    second = type(second)(second.weight[order], second.bias)
    other = type(actor)([first, second], actor.mean, actor.log_std, actor.activations)
    obs = jnp.arange(5.0)
    np.testing.assert_allclose(act(other, obs), act(actor, obs), atol=1e-6)
    assert np.abs(np.asarray(SPEC.flatten(other) - SPEC.flatten(actor))).max() > 0.1


def test_log_prob_is_the_density_of_the_squashed_gaussian():
    """Against the change of variables written out in float64."""
    actor = SPEC.init(jax.random.key(0))
    obs = jnp.arange(5.0)
    action, log_prob = sample(actor, obs, jnp.array([0.3, -1.2]))
    mean, log_std = (np.asarray(x, np.float64) for x in actor(obs))
    u = np.arctanh(np.asarray(action, np.float64))
    normal = -0.5 * ((u - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    expected = (normal - np.log(1 - np.tanh(u) ** 2)).sum()
    np.testing.assert_allclose(log_prob, expected, rtol=1e-3)


def test_log_std_stays_in_its_range():
    actor = SPEC.unflatten(jnp.full(SPEC.size, 100.0))
    assert np.all(np.asarray(actor(jnp.ones(5))[1]) <= 2.0)
    actor = SPEC.unflatten(jnp.full(SPEC.size, 100.0).at[-14:].set(-100.0))
    assert np.all(np.asarray(actor(jnp.ones(5))[1]) >= -5.0)


def make_policies(n: int = 3) -> Policies:
    keys = jax.random.split(jax.random.key(0), n)
    return Policies(np.asarray(jax.vmap(lambda k: SPEC.flatten(SPEC.init(k)))(keys)), SPEC)


def test_many_policies_act_as_each_alone():
    policies = make_policies()
    obs = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    actions = policies.act(obs)
    assert actions.shape == (3, 2) and isinstance(actions, np.ndarray)
    for i in range(3):
        np.testing.assert_allclose(policies[i].act(obs[i : i + 1])[0], actions[i], atol=1e-6)


def test_neighbours_do_not_matter():
    policies = make_policies()
    obs = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    weights = policies.weights.copy()
    weights[1] += 1.0
    before, after = policies.act(obs), Policies(weights, SPEC).act(obs)
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert np.abs(before[1] - after[1]).max() > 0


def test_several_observations_a_policy():
    policies = make_policies()
    obs = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    wide = policies.act(obs)
    assert wide.shape == (3, 4, 2)
    np.testing.assert_allclose(wide[:, 1], policies.act(obs[:, 1]), atol=1e-6)
    drawn = policies.sample(obs, seed=0)
    np.testing.assert_array_equal(drawn, policies.sample(obs, seed=0))
    assert np.abs(drawn - wide).max() > 0.01


def test_wrong_shapes_are_explained():
    policies = make_policies()
    with pytest.raises(BadShape, match=r"\(3, 4\); 3 policies take \[3, 5\]"):
        policies.act(np.zeros((3, 4), np.float32))
    with pytest.raises(BadShape, match="3 policies take"):
        policies.act(np.zeros((2, 5), np.float32))
    with pytest.raises(BadShape, match=r"a policy of .* is \[n, 118\]"):
        Policies(np.zeros((3, 4), np.float32), SPEC)
