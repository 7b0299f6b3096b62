"""Statistics against hand-computed numbers, and what the bootstrap may and may not resample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import trim_mean

from hyperpolicy.evaluate import stats

RETURNS = arrays(
    float,
    array_shapes(min_dims=4, max_dims=4, max_side=4),
    elements=st.integers(-500, 500).map(float),
)


def one_number_a_run(*rows) -> np.ndarray:
    """Runs [s][k] as returns [s, 1, k, 1]."""
    return np.array(rows, float)[:, None, :, None]


def test_mean_and_iqm_by_hand():
    returns = one_number_a_run([1, 2, 3, 4], [5, 6, 7, 100])
    assert stats.mean(returns) == 16.0
    assert stats.iqm(returns) == (3 + 4 + 5 + 6) / 4
    assert stats.iqm(one_number_a_run([1, 2, 90])) == 31.0  # ⌊3/4⌋ = 0 left out


def test_task_means_by_hand():
    returns = np.zeros((2, 2, 2, 2))
    returns[:, :, 1] = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    np.testing.assert_array_equal(stats.task_means(returns), [0.0, 4.5])


def test_a_broken_episode_is_not_trimmed_away():
    returns = one_number_a_run([1, 2, 3, np.nan], [5, 6, 7, 8])
    assert np.isnan(stats.mean(returns))
    assert np.isnan(stats.iqm(returns))
    assert np.isnan(stats.interval(returns)).all()


@settings(max_examples=40, deadline=None)
@given(RETURNS)
def test_iqm_is_the_trimmed_mean_of_runs(returns):
    expected = trim_mean(returns.mean(axis=(1, 3)).ravel(), 0.25)
    assert stats.iqm(returns) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(RETURNS, st.integers(-100, 100))
def test_intervals_lie_within_the_returns_and_move_with_them(returns, shift):
    low, high = stats.interval(returns, resamples=50)
    assert returns.min() - 1e-9 <= low <= high <= returns.max() + 1e-9
    moved = stats.interval(returns + shift, resamples=50)
    assert moved == pytest.approx((low + shift, high + shift))


def test_interval_has_the_width_that_theory_gives():
    returns = np.random.default_rng(0).normal(size=(1, 1, 4, 100))
    low, high = stats.interval(returns)
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.12)
    assert stats.interval(returns, confidence=0.5)[0] > low


def test_interval_is_a_function_of_its_seed():
    returns = np.random.default_rng(0).normal(size=(2, 2, 2, 3))
    assert stats.interval(returns) == stats.interval(returns)
    assert stats.interval(returns) != stats.interval(returns, seed=1)


def test_tasks_are_never_resampled():
    returns = np.broadcast_to(np.array([-10.0, -50.0])[:, None], (3, 2, 2, 5))
    assert stats.interval(returns) == (-30.0, -30.0)


def test_a_training_seed_keeps_its_tasks():
    """Two seeds, 0 and 1 on every task: a resample's mean can only be 0, ½ or 1."""
    returns = np.broadcast_to(np.array([0.0, 1.0])[:, None, None, None], (2, 3, 6, 4))
    blocks = list(stats._resample(returns, 200, seed=0))
    means = np.concatenate([stats.mean(block) for block in blocks])
    assert set(means) == {0.0, 0.5, 1.0}


def test_draws_and_episodes_are_both_resampled():
    draws = np.broadcast_to(np.array([0.0, 1.0])[:, None, None], (1, 2, 1, 5))
    episodes = np.broadcast_to(np.array([0.0, 1.0]), (1, 5, 1, 2))
    for returns, values in ((draws, {0.0, 0.5, 1.0}), (episodes, set(np.arange(11) / 10))):
        found = np.concatenate([stats.mean(b) for b in stats._resample(returns, 300, seed=0)])
        assert {0.5} < set(np.round(found, 6)) <= values


def test_blocks_bound_memory_without_losing_resamples(monkeypatch):
    monkeypatch.setattr(stats, "BLOCK", 100)
    returns = np.zeros((1, 1, 2, 10))
    sizes = [len(block) for block in stats._resample(returns, 12, seed=0)]
    assert sizes == [5, 5, 2]
