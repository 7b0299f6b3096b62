"""A generator that knows symmetries: exact at experts' images, itself where nothing is nearer."""

import numpy as np
import pytest

from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate.generator import load
from hyperpolicy.generate.symmetric import inverse, symmetric
from hyperpolicy.generate.writers import lookup

ANT = family("ant-dir")
ANGLES = [0.1, 0.3, 0.6]


@pytest.fixture(scope="module")
def wise(make_ant_zoo):
    return symmetric(lookup.linear(make_ant_zoo(ANGLES)))


def test_near_trained_contexts_it_is_the_generator_inside(wise, make_ant_zoo):
    inside = lookup.linear(make_ant_zoo(ANGLES))
    contexts = [[0.1], [0.35]]
    np.testing.assert_array_equal(
        wise.generate(contexts).weights, inside.generate(contexts).weights
    )


@pytest.mark.parametrize("g", ANT.symmetries)
def test_an_expert_stands_at_all_images_of_its_context(wise, make_ant_zoo, g):
    expert = make_ant_zoo(ANGLES).finals[1]
    there = wise.generate(g.context(np.array([[0.3]])) % (2 * np.pi))
    obs = np.random.default_rng(0).normal(size=(1, 27)).astype(np.float32)
    np.testing.assert_allclose(there.act(g.obs(obs)), g.action(expert.act(obs)), atol=1e-5)


def test_nothing_round_the_circle_is_far(wise):
    """0.6 rad beyond a quarter turn is 0.6 rad: no warning, although training ends there."""
    wise.generate([[np.pi / 2 + 0.6], [np.pi + 0.2]])


def test_every_symmetry_is_undone():
    for g in ANT.symmetries:
        one = inverse(ANT.symmetries, g) @ g
        assert one.obs == ANT.symmetries[0].obs


def test_save_and_load(wise, tmp_path):
    wise.save(tmp_path / "g")
    contexts = [[2.0], [5.0]]
    again = load(tmp_path / "g").generate(contexts)
    np.testing.assert_allclose(again.weights, wise.generate(contexts).weights, atol=1e-6)


def test_families_without_symmetries_are_refused(zoo):
    with pytest.raises(BadSetting, match="symmetries are known of ant-dir"):
        symmetric(lookup.nearest(zoo))
