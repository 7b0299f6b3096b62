"""Symmetries compose, act on policies exactly, and are those of the ant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.envs import family
from hyperpolicy.generate.symmetric import image_weights
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.symmetry import Signed

ANT = family("ant-dir")
SPEC = PolicySpec(27, 8, (6, 6))


def test_signed_permutations_compose_and_stand_side_by_side():
    g, h = Signed((1, 0), (-1, 1)), Signed((0, 1), (1, -1))
    x = np.array([2.0, 3.0])
    np.testing.assert_array_equal((g @ h)(x), g(h(x)))
    np.testing.assert_array_equal((g + h)(np.tile(x, 2)), [*g(x), *h(x)])


def test_ant_has_the_eight_symmetries_of_a_square():
    moves = {(g.obs, g.action) for g in ANT.symmetries}
    assert len(moves) == 8
    assert {((g @ h).obs, (g @ h).action) for g in ANT.symmetries for h in ANT.symmetries} == moves
    assert ANT.symmetries[0].obs == Signed.identity(27)


@pytest.mark.parametrize("number", range(8))
def test_an_image_does_in_images_of_states_the_images_of_actions(number):
    g = ANT.symmetries[number]
    weights = SPEC.flatten(SPEC.init(jax.random.key(0)))
    here = Policies(np.asarray(weights)[None], SPEC)
    there = Policies(np.asarray(image_weights(g, SPEC, weights))[None], SPEC)
    obs = np.random.default_rng(number).normal(size=(1, 27)).astype(np.float32)
    np.testing.assert_allclose(there.act(g.obs(obs)), g.action(here.act(obs)), atol=1e-6)


def test_noise_keeps_its_size():
    """σ moves with the joints and has no sign."""
    g, actor = ANT.symmetries[1], SPEC.init(jax.random.key(1))
    turned = SPEC.unflatten(image_weights(g, SPEC, SPEC.flatten(actor)))
    obs = jnp.asarray(np.random.default_rng(0).normal(size=27), jnp.float32)
    expected = g.action.unsigned(actor(obs)[1])
    np.testing.assert_allclose(turned(g.obs(obs))[1], expected, atol=1e-6)
