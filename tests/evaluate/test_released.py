from functools import partial

import numpy as np
import pytest

from hyperpolicy.envs.metaworld import MetaWorld, crews
from hyperpolicy.evaluate import scoring
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import results


def test_columns_are_sorted_by_themselves():
    """Two policies that succeed on one seed each count as one that always does."""
    found = scoring.sorted_averages(np.array([[1, 0], [0, 1], [0, 0]], bool))
    assert found.tolist() == [1.0, 0.0, 0.0]


def test_top_k_is_the_share_of_successes_cut_at_one():
    rng = np.random.default_rng(0)
    success = rng.uniform(size=(100, 2)) < 0.05
    found = scoring.sorted_averages(success)
    assert found.mean() == success.mean()
    split = [min(5, s) / 5 for s in success.sum(axis=0)]
    assert found[:5].mean() == pytest.approx(np.mean(split))


@pytest.mark.parametrize("most", [64, 4])
def test_both_configurations_are_played_until_success(most, monkeypatch):
    """Whatever the number of policies that take a turn; episodes that go on have the same
    successes. Success is called a reward above the median here, so that some policies have it."""
    family = MetaWorld(frozen=True, horizon_steps=8, most_worlds=most)
    monkeypatch.setattr(scoring, "MetaWorld", partial(MetaWorld, horizon_steps=8, most_worlds=most))
    spec = PolicySpec(39, 4, (4, 4), ("elu", "relu"))
    policies = Policies(np.random.default_rng(0).normal(size=(4, spec.size)), spec)
    asked = (
        policies,
        family,
        family.contexts(["window-open"] * 4),
        np.tile(scoring.RELEASED_SEEDS, (4, 1)),
    )
    returns = results(*asked).returns
    assert (returns[:, 0] != returns[:, 1]).all()
    median = np.median(returns) / 8
    monkeypatch.setattr(MetaWorld, "success", lambda self, x: np.asarray(x)[..., 0] > median)
    whole = results(*asked).success
    assert 0 < whole.sum() < 8
    found = scoring.released_successes(policies, "window-open")
    np.testing.assert_array_equal(found, scoring.sorted_averages(whole))
    crews.dismiss()
