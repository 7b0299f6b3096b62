"""Means and intervals of returns [s, d, k, e]: run, draw, task, start.

A *pipeline* is everything that has training luck: base, experts, generator. A *fit* is one more
generator on the same zoo: three fits on one zoo are one pipeline. `pipelines` says which pipeline
each of the s runs came out of; `()` where nothing was trained.

**What an interval is over: what varied, at the highest level that did.**

    pipelines    2 to 5    Student's t over the pipelines' means. A percentile bootstrap of three
                           values covers 73 %, not 95 (`benchmarks/coverage.py`)
                 more      hierarchical bootstrap: pipelines, draws and starts are resampled
    one pipeline           Student's t over fits; with one fit over draws, with one draw over
                           starts. It knows nothing of training luck, and tables say so

**Contexts** lie between pipelines and starts and are never resampled: a split fixes its test tasks,
every pipeline plays all of them, and a pipeline's mean keeps them together. An interval speaks of
these tasks.

**Starts and draws are crossed with the units**: start j is the same for every run and task, so what
all units share (an unlucky start) is not in the spread between them. The t interval adds it:

    V = var(unit means)/u + max(0, var(start means)/e − R_e) + max(0, var(draw means)/d − R_d)

with R the share of the residual of the two-way table (Searle, Casella & McCulloch 1992, ch. 4),
and Satterthwaite's (1946) degrees of freedom V²/Σ V_i²/df_i, at most u − 1: plain Student's t where
nothing is shared. The bootstrap resamples starts and draws once for all pipelines (the pigeonhole
bootstrap, Owen 2007, arXiv:0712.1111), and its percentiles are widened for the number of pipelines
(Hesterberg 2015, arXiv:1411.5279, section 5: expanded percentiles).

**Success rates** come in the same clusters (policies play the same configurations). V gives an
effective number of independent episodes, n = p(1 − p)/V · (z/t)², and the interval is the one of
Clopper and Pearson for n episodes (Korn & Graubard 1998, Survey Methodology 24:193). Where nothing
varied, as when all succeeded, n is the number of tasks times the smaller number of policies or
starts: how failures would cluster cannot be seen. So no interval has width zero, or leaves [0, 1].

An interval that cannot be known (one episode, equal numbers, a NaN among them) is (NaN, NaN).

Mean and interquartile mean (IQM) as in Agarwal et al. (2021), arXiv:2108.13264, who also ask for
intervals over runs; theirs is a percentile bootstrap stratified by task.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

Returns = Float[np.ndarray, "s d k e"]
Pipelines = Sequence[int] | None
"""One number a run; None: all runs are fits of one pipeline, as is `()`."""

UNKNOWN = (np.nan, np.nan)
LOWER, UPPER = 0.5 - 0.95 / 2, 0.5 + 0.95 / 2
"""Quantiles at the ends of an interval of 95 %."""
MOST_FOR_T = 5
"""Pipelines up to which the interval is Student's t."""
RESAMPLES = 4000
TINY = 1e-12
"""Standard errors below this share of the largest number are rounding."""


# --- Means --------------------------------------------------------------------------------
def iqm(returns: Returns) -> float:
    """Mean of the middle half of the s × k means of a run on a task; NaN if a return is.

    ⌊n/4⌋ numbers are left out at each end.
    """
    runs = np.sort(returns.mean(axis=(1, 3)).ravel())  # NaN sorts last, so it is seen:
    cut = len(runs) // 4
    return float("nan") if np.isnan(runs[-1]) else float(runs[cut : len(runs) - cut].mean())


# --- What varied --------------------------------------------------------------------------
class Units(NamedTuple):
    """The highest level that varied, and the returns arranged by it."""

    level: str
    """One of "pipelines", "fits", "draws" and "starts"."""
    rows: Float[np.ndarray, "u d k e"]

    @property
    def means(self) -> Float[np.ndarray, " u"]:
        return self.rows.mean(axis=(1, 2, 3))


def by_pipeline(returns: Returns, pipelines: Pipelines) -> Float[np.ndarray, "p d k e"]:
    """Mean over each pipeline's fits."""
    numbers = np.zeros(len(returns)) if not pipelines else np.asarray(pipelines)
    return np.stack([returns[numbers == one].mean(axis=0) for one in np.unique(numbers)])


def units(returns: Returns, pipelines: Pipelines = None) -> Units:
    """The returns arranged by what an interval is over."""
    grouped = by_pipeline(returns, pipelines)
    if len(grouped) > 1:
        return Units("pipelines", grouped)
    if returns.shape[0] > 1:
        return Units("fits", returns)
    if returns.shape[1] > 1:
        return Units("draws", returns.swapaxes(0, 1))
    return Units("starts", returns.swapaxes(0, 3))


class Error(NamedTuple):
    """The squared standard error of a mean, and its degrees of freedom; NaN where unknown."""

    variance: float
    df: float

    @property
    def half_width(self) -> float:
        return float(stdtrit(self.df, UPPER) * np.sqrt(self.variance))


def error(found: Units) -> Error:
    """How far the mean may be off, from the spread of units and from what all of them share."""
    u = len(found.rows)
    if u < 2 or np.isnan(found.rows).any():
        return Error(np.nan, np.nan)
    parts = [(found.means.var(ddof=1) / u, u - 1)]
    parts += [_shared(found.rows.mean(axis=other)) for other in ((2, 3), (1, 2))]
    variance = sum(v for v, _ in parts)
    if np.sqrt(variance) <= TINY * np.abs(found.rows).max():
        return Error(np.nan, np.nan)
    df = variance**2 / sum(v**2 / df for v, df in parts)
    return Error(float(variance), float(min(df, u - 1)))


def _shared(table: Float[np.ndarray, "u j"]) -> tuple[float, int]:
    """What all units share of the columns: its part of the mean's variance, its freedom."""
    u, m = table.shape
    if m < 2:
        return 0.0, 1
    columns = table.mean(axis=0)
    rest = table - columns - table.mean(axis=1, keepdims=True) + table.mean()
    noise = (rest**2).sum() / ((u - 1) * (m - 1))
    return max(0.0, columns.var(ddof=1) / m - noise / (u * m)), m - 1


# --- Intervals ----------------------------------------------------------------------------
def interval(returns: Returns, pipelines: Pipelines = None) -> tuple[float, float]:
    """The 95 % interval of the mean; NaN where it cannot be known."""
    found = units(returns, pipelines)
    spread = error(found)
    if np.isnan(spread.variance):
        return UNKNOWN
    if found.level == "pipelines" and len(found.rows) > MOST_FOR_T:
        return _bootstrap(found.rows)
    half, middle = spread.half_width, found.means.mean()
    return float(middle - half), float(middle + half)


def _bootstrap(rows: Float[np.ndarray, "p d k e"]) -> tuple[float, float]:
    """Expanded percentiles of the mean: pipelines, draws and starts resampled, each once for all
    others; a function of the numbers alone."""
    rng = np.random.default_rng(0)
    p, d, _, e = rows.shape
    drawn = [rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in (p, d, e)]
    means = np.einsum("bp,bd,be,pde->b", *drawn, rows.mean(axis=2), optimize=True)
    tail = ndtr(-np.sqrt(p / (p - 1)) * stdtrit(p - 1, UPPER))
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def rate_interval(successes: Returns, pipelines: Pipelines = None) -> tuple[float, float]:
    """The 95 % interval of a success rate, from successes 0 and 1; NaN only if one of them is."""
    if np.isnan(successes).any():
        return UNKNOWN
    found = units(successes, pipelines)
    rate, spread = float(found.means.mean()), error(found)
    _, d, k, e = successes.shape
    n = k * min([m for m in (d, e) if m > 1], default=1)
    if 0.0 < rate < 1.0 and not np.isnan(spread.variance):
        t = stdtrit(spread.df, UPPER)
        n = rate * (1 - rate) / spread.variance * (ndtri(UPPER) / t) ** 2
        n = min(n, d * k * e)
    won = rate * n
    low = 0.0 if rate <= 0.0 else betaincinv(won, n - won + 1, LOWER)
    high = 1.0 if rate >= 1.0 else betaincinv(won + 1, n - won, 1.0 - LOWER)
    return float(low), float(high)


def prediction(returns: Returns, pipelines: Pipelines) -> tuple[float, float]:
    """Where the mean of one new pipeline will lie in 95 % of cases: m ± t·s·√(1 + 1/n) over n
    pipelines' means; NaN for fewer than two.
    """
    means = by_pipeline(returns, pipelines).mean(axis=(1, 2, 3))
    n = len(means)
    if n < 2 or np.isnan(means).any():
        return UNKNOWN
    half = stdtrit(n - 1, UPPER) * means.std(ddof=1) * np.sqrt(1 + 1 / n)
    if half <= TINY * np.abs(means).max():
        return UNKNOWN
    return float(means.mean() - half), float(means.mean() + half)


def student(x: Float[np.ndarray, " s"]) -> tuple[float, float]:
    """The mean of a few numbers, 95 %: m ± t·s/√n; NaN for one."""
    n = len(x)
    if n < 2:
        return UNKNOWN
    half = stdtrit(n - 1, 0.975) * x.std(ddof=1) / np.sqrt(n)
    return float(x.mean() - half), float(x.mean() + half)


def difference(
    a: Float[np.ndarray, "s d k e"],
    b: Float[np.ndarray, "s2 d2 k e2"],
    pipelines: tuple[Pipelines, Pipelines],
    paired: bool,
) -> tuple[float, float]:
    """The 95 % interval of mean(a) − mean(b) on the same tasks.

    Where the two are `paired` (same starts, and the same pipelines or one run each) it is that of
    the differences. Otherwise their errors are added (Welch), which is too wide rather than too
    narrow where they share something.
    """
    ones, others = (by_pipeline(x, p) for x, p in zip((a, b), pipelines, strict=True))
    same = sorted(set(pipelines[0] or ())) == sorted(set(pipelines[1] or ()))
    single = len(a) == len(b) == 1
    if paired and a.shape[3] == b.shape[3] and (single or (same and len(ones) > 1)):
        gaps = (ones.mean(axis=1) - others.mean(axis=1))[:, None]
        return interval(gaps, tuple(range(len(gaps))))
    first, second = (error(units(x, p)) for x, p in zip((a, b), pipelines, strict=True))
    variance = first.variance + second.variance
    df = variance**2 / sum(one.variance**2 / one.df for one in (first, second))
    half, gap = Error(variance, df).half_width, a.mean() - b.mean()
    return UNKNOWN if np.isnan(half) else (float(gap - half), float(gap + half))
