"""Statistics against hand-computed numbers, and how often the intervals cover the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats as scipy_stats
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


# --- Means --------------------------------------------------------------------------------
def test_iqm_by_hand():
    assert stats.iqm(one_number_a_run([1, 2, 3, 4], [5, 6, 7, 100])) == (3 + 4 + 5 + 6) / 4
    assert stats.iqm(one_number_a_run([1, 2, 90])) == 31.0  # ⌊3/4⌋ = 0 left out


def test_a_broken_episode_is_not_trimmed_away():
    returns = one_number_a_run([1, 2, 3, np.nan], [5, 6, 7, 8])
    assert np.isnan(stats.iqm(returns))
    assert np.isnan(stats.interval(returns)).all()
    assert np.isnan(stats.rate_interval(returns)).all()
    assert np.isnan(stats.prediction(returns, (0, 1))).all()
    assert np.isnan(stats.difference(returns, returns + 1, ((0, 1), (0, 1)), True)).all()


@settings(max_examples=40, deadline=None)
@given(RETURNS)
def test_iqm_is_the_trimmed_mean_of_runs(returns):
    expected = trim_mean(returns.mean(axis=(1, 3)).ravel(), 0.25)
    assert stats.iqm(returns) == pytest.approx(expected)


# --- Student's t --------------------------------------------------------------------------
def test_three_pipelines_have_students_t():
    """Means 1, 2, 6: mean 3, s = √7; t of two degrees of freedom is 4.3027."""
    low, high = stats.interval(one_number_a_run([0, 2], [1, 3], [5, 7]), (0, 1, 2))
    half = 4.302653 * np.sqrt(7) / np.sqrt(3)
    assert (low, high) == pytest.approx((3 - half, 3 + half), rel=1e-6)
    low, high = stats.prediction(one_number_a_run([0, 2], [1, 3], [5, 7]), (0, 1, 2))
    half = 4.302653 * np.sqrt(7) * np.sqrt(4 / 3)
    assert (low, high) == pytest.approx((3 - half, 3 + half), rel=1e-6)


def test_two_pipelines_have_one_degree_of_freedom():
    low, high = stats.interval(one_number_a_run([1], [3]), (0, 1))
    assert (low, high) == pytest.approx((2 - 12.7062, 2 + 12.7062), rel=1e-5)


def test_fits_of_a_pipeline_count_once():
    """Three pipelines of two fits each are three numbers, whatever the fits do."""
    fits = one_number_a_run([0], [2], [1], [3], [5], [7])
    numbers = (0, 0, 1, 1, 2, 2)
    whole = one_number_a_run([1], [2], [6])
    assert stats.interval(fits, numbers) == pytest.approx(stats.interval(whole, (0, 1, 2)))
    assert stats.units(fits, numbers).level == "pipelines"
    assert stats.units(fits, (0,) * 6).level == "fits"
    assert stats.units(fits).level == "fits"
    assert np.isnan(stats.prediction(fits, (0,) * 6)).all()


def test_one_policy_has_its_starts():
    starts = np.array([1.0, 2.0, 6.0])
    returns = np.stack([starts, starts + 10])[None, None]  # two tasks
    low, high = stats.interval(returns, (0,))
    half = 4.302653 * np.sqrt(7) / np.sqrt(3)
    assert (low, high) == pytest.approx((8 - half, 8 + half), rel=1e-6)
    assert stats.units(returns).level == "starts"


def test_tasks_are_never_resampled():
    """A difference between tasks is none between pipelines."""
    tasks = np.array([0.0, 100.0])[:, None]
    returns = tasks + np.array([0.0, 1.0, 2.0])[:, None, None, None]
    alone = stats.interval(returns[:, :, :1], (0, 1, 2))
    assert np.subtract(*stats.interval(returns, (0, 1, 2))) == pytest.approx(np.subtract(*alone))
    many = np.concatenate([returns] * 3)
    low, high = stats.interval(many, range(9))
    assert 45 < low < high < 57


def test_what_all_units_share_is_counted():
    """Two pipelines alike but for 0.1, on starts that shift both by 10: the starts decide."""
    starts = np.array([-10.0, 10.0] * 5)
    returns = np.array([0.0, 0.1])[:, None, None, None] + starts
    low, high = stats.interval(returns, (0, 1))
    assert high - low > 2 * 1.96 * starts.std(ddof=1) / np.sqrt(10)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 5, 1), (3, 2, 2, 4), (7, 1, 1, 1)])
def test_no_interval_of_returns_has_width_zero(shape):
    same = np.full(shape, -82.1)
    assert np.isnan(stats.interval(same, range(shape[0]))).all()
    assert np.isnan(stats.prediction(same, range(shape[0]))).all()


@settings(max_examples=40, deadline=None)
@given(RETURNS, st.integers(-100, 100), st.booleans())
def test_intervals_hold_the_mean_and_move_with_the_returns(returns, shift, several):
    numbers = tuple(range(len(returns))) if several else None
    low, high = stats.interval(returns, numbers)
    if np.isnan(low):
        return
    assert low < returns.mean() < high
    moved = stats.interval(returns + shift, numbers)
    assert moved == pytest.approx((low + shift, high + shift), abs=1e-6)


# --- Success rates ------------------------------------------------------------------------
def test_all_succeeded_is_clopper_and_pearson():
    """20 starts of one policy on one task, all successes: 1 − 0.025^(1/20)."""
    low, high = stats.rate_interval(np.ones((1, 1, 1, 20)))
    assert (low, high) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert stats.rate_interval(np.zeros((1, 1, 1, 20)))[1] == pytest.approx(1 - 0.025 ** (1 / 20))


def test_policies_on_the_same_starts_are_no_more_than_the_starts():
    many = stats.rate_interval(np.ones((3, 100, 8, 3)))
    assert many == pytest.approx(stats.rate_interval(np.ones((1, 1, 8, 3))))


@settings(max_examples=40, deadline=None)
@given(
    arrays(
        float,
        array_shapes(min_dims=4, max_dims=4, max_side=4),
        elements=st.sampled_from([0.0, 1.0]),
    )
)
def test_rates_stay_in_bounds_and_have_a_width(successes):
    low, high = stats.rate_interval(successes, range(len(successes)))
    assert 0.0 <= low < high <= 1.0
    assert low <= successes.mean() <= high


def test_clustered_failures_widen_a_rate():
    """Half of the configurations fail for all of 50 policies: 20 episodes' worth, not 1,000."""
    starts = np.tile([0.0, 1.0], 10)
    clustered = stats.rate_interval(np.broadcast_to(starts, (1, 50, 1, 20)).copy())
    free = stats.rate_interval(np.random.default_rng(0).integers(0, 2, (1, 50, 1, 20)) * 1.0)
    assert clustered[1] - clustered[0] > 4 * (free[1] - free[0])


# --- Differences --------------------------------------------------------------------------
def test_paired_differences_are_those_of_pipelines():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 30, (3, 1, 1, 1))
    a, b = luck + rng.normal(1, 0.1, (3, 2, 2, 5)), luck + rng.normal(0, 0.1, (3, 1, 2, 5))
    low, high = stats.difference(a, b, ((0, 1, 2), (0, 1, 2)), True)
    assert 0.5 < low < 1.0 < high < 1.5
    low, high = stats.difference(a, b, ((0, 1, 2), (0, 1, 2)), False)
    assert low < -20 and high > 20


def test_unpaired_differences_are_welchs():
    a, b = one_number_a_run([1.0], [2.0], [6.0]), one_number_a_run([0.0], [1.0], [1.0], [4.0])
    low, high = stats.difference(a, b, ((0, 1, 2), (0, 1, 2, 3)), False)
    found = scipy_stats.ttest_ind(a.ravel(), b.ravel(), equal_var=False).confidence_interval()
    assert (low, high) == pytest.approx((found.low, found.high), rel=1e-6)


# --- Coverage -----------------------------------------------------------------------------
def simulated(rng, pipelines: int) -> np.ndarray:
    """Returns with mean 0, five tasks, ten starts; Cheetah-Vel's spreads."""
    between = rng.normal(0, 1.3, (pipelines, 1, 1, 1)) + rng.normal(0, 0.5, (pipelines, 1, 5, 1))
    return between + rng.normal(0, 0.4, 10) + rng.normal(0, 1.0, (pipelines, 1, 5, 10))


def percentiles(returns) -> tuple[float, float]:
    """What earlier versions printed: a nested percentile bootstrap."""
    rng = np.random.default_rng(0)
    s, d, k, e = returns.shape
    seeds = rng.integers(s, size=(200, s, 1, 1, 1))
    starts = rng.integers(e, size=(200, s, d, k, e))
    task = np.arange(k)[:, None]
    means = returns[seeds, np.zeros_like(seeds), task, starts].mean(axis=(1, 2, 3, 4))
    return tuple(np.percentile(means, [2.5, 97.5]))


@pytest.mark.parametrize(("pipelines", "least"), [(2, 0.93), (3, 0.92), (5, 0.92), (8, 0.9)])
def test_intervals_cover_the_truth(pipelines, least):
    rng = np.random.default_rng(pipelines)
    hits, old, runs = 0, 0, 300
    for _ in range(runs):
        returns = simulated(rng, pipelines)
        low, high = stats.interval(returns, range(pipelines))
        hits += low <= 0.0 <= high
        if pipelines == 3:
            low, high = percentiles(returns)
            old += low <= 0.0 <= high
    assert hits / runs >= least
    if pipelines == 3:
        assert old / runs < 0.8


def test_predictions_cover_a_new_pipeline():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        returns = simulated(rng, 4)
        low, high = stats.prediction(returns[:3], (0, 1, 2))
        hits += low <= returns[3].mean() <= high
    assert hits / 300 >= 0.91
