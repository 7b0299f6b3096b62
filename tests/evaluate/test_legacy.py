from functools import partial

import numpy as np
import pytest

from hyperpolicy.envs.metaworld import MetaWorld, crews
from hyperpolicy.evaluate import legacy
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import Results


def results(success, steps=None) -> Results:
    success = np.array(success, bool)
    steps = np.where(success, 10, 500) if steps is None else np.array(steps)
    return Results(10.0 * success, success, success, steps)


def test_columns_are_sorted_by_themselves():
    """Two policies that succeed on one seed each count as one that always does."""
    found = legacy.read(results([[1, 0], [0, 1], [0, 0]]))
    assert found.success.tolist() == [1.0, 0.0, 0.0]
    assert found.average == pytest.approx(1 / 3) and found.top(1) == 1.0
    assert found.reward.tolist() == [10.0, 0.0, 0.0]


def test_top_k_is_the_share_of_successes_cut_at_one():
    rng = np.random.default_rng(0)
    success = rng.uniform(size=(100, 2)) < 0.05
    found = legacy.read(results(success))
    assert found.average == success.mean()
    split = [min(5, s) / 5 for s in success.sum(axis=0)]
    assert found.top(5) == pytest.approx(np.mean(split))


def test_lengths_are_sorted_the_shortest_first():
    found = legacy.read(results(np.ones((3, 2)), [[10, 30], [20, 60], [40, 40]]))
    assert found.length.tolist() == [20.0, 30.0, 50.0]


def test_both_configurations_are_played_whatever_the_number_of_policies(monkeypatch):
    """Turns of two policies give what one turn of three does."""
    monkeypatch.setattr(legacy, "MetaWorld", partial(legacy.MetaWorld, horizon_steps=5))
    spec = PolicySpec(39, 4, (4, 4), ("elu", "relu"))
    weights = np.random.default_rng(0).normal(size=(3, spec.size))
    policies = Policies(weights, spec)
    whole = legacy.play(policies, "window-open")
    few = partial(legacy.MetaWorld, most_worlds=4)
    monkeypatch.setattr(legacy, "MetaWorld", few)
    for a, b in zip(whole, legacy.play(policies, "window-open"), strict=True):
        np.testing.assert_allclose(a, b)
    assert whole.returns.shape == (3, 2) and (whole.returns[:, 0] != whole.returns[:, 1]).all()
    crews.dismiss()


def test_episodes_that_end_at_success_give_the_same_successes_and_lengths(monkeypatch):
    """Success is called a reward above the median here, so that some policies have it."""
    monkeypatch.setattr(legacy, "MetaWorld", partial(legacy.MetaWorld, horizon_steps=8))
    spec = PolicySpec(39, 4, (4, 4), ("elu", "relu"))
    policies = Policies(np.random.default_rng(0).normal(size=(4, spec.size)), spec)
    median = np.median(legacy.play(policies, "window-open").returns) / 8
    monkeypatch.setattr(MetaWorld, "success", lambda self, x: np.asarray(x)[..., 0] > median)
    whole, short = (legacy.play(policies, "window-open", until) for until in (False, True))
    assert 0 < whole.success.sum() < 8
    np.testing.assert_array_equal(short.success, whole.success)
    np.testing.assert_array_equal(short.success_steps, whole.success_steps)
    crews.dismiss()
