"""Base plus difference: exact at experts, linear between them, the base's course beyond them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.errors import BadZoo
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.generator import load
from hyperpolicy.generate.writers import conditioned, lookup, residual

from .conftest import SPEC, smooth_zoo


@pytest.fixture(scope="module")
def base():
    wide = replace(SPEC, obs=SPEC.obs + 1)
    weights = np.random.default_rng(2).normal(scale=0.3, size=wide.size).astype(np.float32)
    return conditioned.from_weights(
        hp.family("cheetah-vel"), wide, weights, smooth_zoo().contexts, {}
    )


def test_parts_of_parts_know_all_contexts_of_the_base():
    """Confidence leaves experts out of experts that were left over."""
    path = Path(__file__).parents[2] / "zoos/cheetah-vel/specialized-full"
    zoo = hp.Zoo.load(path)
    zoo = zoo.only(zoo.family.grid().split("full").train)
    config = residual.ResidualConfig().beside(path).on_part_of(zoo)
    part = zoo.only(zoo.contexts[::4])
    fit(config.on_part_of(part), part.only(part.contexts[::2]))  # no leak is suspected
    assert config.on_part_of(part).shared == config.shared


def test_experts_are_met_exactly(base, zoo):
    made = residual.around(base, zoo).generate(zoo.contexts)
    np.testing.assert_allclose(made.weights, zoo.finals.weights, atol=1e-5)


def test_between_experts_it_is_linear_interpolation(base, zoo):
    contexts = np.array([[0.5], [1.31], [2.6]])
    made = residual.around(base, zoo).generate(contexts)
    mixed = lookup.linear(zoo).generate(contexts)
    np.testing.assert_allclose(made.weights, mixed.weights, atol=1e-5)


def test_beyond_them_the_base_goes_on_with_the_last_change(base, zoo):
    ends = np.array([[2.7], [2.9]])
    with pytest.warns(UserWarning, match="outside the trained range"):
        made = residual.around(base, zoo).generate(ends).weights
    with pytest.warns(UserWarning, match="outside the trained range"):
        folded = base.generate(ends).weights
    np.testing.assert_allclose(made[1] - made[0], folded[1] - folded[0], atol=1e-5)
    assert np.abs(folded[1] - folded[0]).max() > 1e-3


def test_save_and_load(base, zoo, tmp_path):
    generator = residual.around(base, zoo)
    generator.save(tmp_path / "g")
    contexts = np.array([[0.4], [1.0]])
    np.testing.assert_array_equal(
        load(tmp_path / "g").generate(contexts).weights, generator.generate(contexts).weights
    )


def test_another_architecture_is_refused(zoo):
    wide = replace(SPEC, obs=SPEC.obs + 1, hidden=(5, 5))
    weights = np.zeros(wide.size, np.float32)
    other = conditioned.from_weights(hp.family("cheetah-vel"), wide, weights, zoo.contexts, {})
    with pytest.raises(BadZoo, match="give the base"):
        residual.around(other, zoo)
    with pytest.raises(BadZoo, match="give the base"):
        residual.around(lookup.nearest(zoo), zoo)


def test_a_base_that_saw_other_contexts_is_refused(base, zoo):
    """A test context in the base's training would leak into the generator."""
    with pytest.raises(BadZoo, match="would leak"):
        residual.around(base, zoo.only(zoo.contexts[:-1]))
