"""Statistics of returns [s, d, k, e]: training seed, noise draw, task, episode.

One number a run and task is the mean over its draws and episodes; the mean and the interquartile
mean (IQM) are taken over these s × k numbers, as in Agarwal et al. (2021), "Deep Reinforcement
Learning at the Edge of the Statistical Precipice", arXiv:2108.13264.

Intervals are percentiles of a nested bootstrap, stratified by task: the training seeds are
resampled with replacement (a seed keeps all its tasks, for one generator answers them all), then
within every seed and task the draws, then within every draw the episodes. The tasks themselves are
never resampled: an interval speaks of these tasks.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

Returns = Float[np.ndarray, "*b s d k e"]
Values = Float[np.ndarray | np.float64, "*b"]
Statistic = Callable[[Returns], Values]

BLOCK = 2_000_000
"""Numbers resampled at once; bounds the memory of a bootstrap."""


def task_means(returns: Returns) -> Float[np.ndarray, "*b k"]:
    """Mean of each task over seeds, draws and episodes."""
    return returns.mean(axis=(-4, -3, -1))


def mean(returns: Returns) -> Values:
    """Mean over everything; every task weighs the same."""
    return returns.mean(axis=(-4, -3, -2, -1))


def iqm(returns: Returns) -> Values:
    """Mean of the middle half of the s × k means of a seed on a task.

    ⌊n/4⌋ numbers are left out at each end.
    """
    runs = returns.mean(axis=(-3, -1))
    runs = np.sort(runs.reshape(*runs.shape[:-2], -1), axis=-1)  # NaN sorts last, so it is seen:
    cut = runs.shape[-1] // 4
    broken = np.isnan(runs[..., -1])
    return np.where(broken, np.nan, runs[..., cut : runs.shape[-1] - cut].mean(axis=-1))


def interval(
    returns: Float[np.ndarray, "s d k e"],
    statistic: Statistic = mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The bootstrap interval of `statistic`, a function of `seed` alone; NaN if a return is."""
    if np.isnan(returns).any():
        return np.nan, np.nan
    values = [statistic(block) for block in _resample(returns, resamples, seed)]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(np.concatenate(values), [tail, 100.0 - tail])
    return float(low), float(high)


def _resample(returns, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "b s d k e"]]:
    """`resamples` bootstrap samples, in blocks."""
    rng = np.random.default_rng(seed)
    s, d, k, e = returns.shape
    task = np.arange(k)[:, None]
    block = max(1, BLOCK // returns.size)
    for start in range(0, resamples, block):
        b = min(block, resamples - start)
        seeds = rng.integers(s, size=(b, s, 1, 1, 1))
        draws = rng.integers(d, size=(b, s, d, k, 1))
        episodes = rng.integers(e, size=(b, s, d, k, e))
        yield returns[seeds, draws, task, episodes]
