"""How often do the 95 % intervals of our tables hold the truth, beside those of earlier versions?

    python benchmarks/coverage.py [--quick]

Returns are simulated with Cheetah-Vel's spreads: pipelines differ by 1.3 (standard deviation), a
pipeline on a context by 0.5 more, what a start does to everybody is 0.4, and an episode's own noise
1.0; five contexts, ten starts. The truth of several pipelines is the mean of all pipelines there
could be; that of one pipeline is its own mean over all starts, for nothing else can be known of it.
The last column asks how often the interval for a new pipeline holds one. Success rates: eight
tasks, 100 policies on three configurations each, as in AMT-Hyp's cells.

"Before" is the nested percentile bootstrap of runs, draws and starts.
"""

import numpy as np
import tyro
from harness import console, record, save_record
from rich.table import Table

from hyperpolicy.evaluate import stats

BETWEEN, ON_CONTEXT, START, NOISE = 1.3, 0.5, 0.4, 1.0
CONTEXTS, STARTS = 5, 10
PIPELINES = (1, 2, 3, 5, 10)
TASKS, POLICIES, CONFIGURATIONS, FITS = 8, 100, 3, 3
POLICY_LOGIT, CONFIGURATION_LOGIT, FIT_LOGIT, LEVEL_LOGIT = 1.0, 1.0, 0.3, 2.0


def main(quick: bool = False, trials: int = 1000, seed: int = 0) -> None:
    """Simulate, print a table, and write results/coverage.json.

    Args:
        quick: 50 trials, to see that all works; nothing is written.
        trials: simulated tables of each size.
        seed: of the simulation.
    """
    trials = 50 if quick else trials
    rng = np.random.default_rng(seed)
    found = {f"{n} pipeline{'s' * (n > 1)}": of_returns(rng, n, trials) for n in PIPELINES}
    found["success rates, one pipeline, 3 fits"] = of_rates(rng, trials)
    table = Table("simulated", "before", "now", "width before", "now", "a new pipeline")
    for name, one in found.items():
        shares = [f"{100 * one[key]:.1f} %" for key in ("before", "now")]
        widths = [f"{one[key]:.2f}" for key in ("width before", "width now")]
        new = one["new pipeline"]
        table.add_row(name, *shares, *widths, "–" if new is None else f"{100 * new:.1f} %")
    console.print(table)
    if not quick:
        about = {"trials": trials, "seeds": [seed]}
        print(save_record("coverage", record("coverage", __doc__.split("\n\n")[0], about, found)))


def of_returns(rng: np.random.Generator, n: int, trials: int) -> dict:
    """Coverage and mean widths for n pipelines."""
    tally = Tally()
    for _ in range(trials):
        luck = rng.normal(0, BETWEEN, (n + 1, 1, 1, 1))
        luck = luck + rng.normal(0, ON_CONTEXT, (n + 1, 1, CONTEXTS, 1))
        noise = rng.normal(0, NOISE, (n, 1, CONTEXTS, STARTS))
        returns = luck[:n] + rng.normal(0, START, STARTS) + noise
        truth = 0.0 if n > 1 else float(luck[0].mean())
        now = stats.interval(returns, range(n))
        new = stats.prediction(returns, range(n)) if n > 1 else None
        tally.add(truth, before(returns), now, new, float(luck[n].mean()))
    return tally.shares()


def of_rates(rng: np.random.Generator, trials: int) -> dict:
    """Coverage of success rates whose failures cluster by policy and by configuration."""
    everything = rng.normal(0, np.sqrt(POLICY_LOGIT**2 + CONFIGURATION_LOGIT**2), 1_000_000)
    everything += rng.normal(0, FIT_LOGIT, len(everything))
    truth = float((1 / (1 + np.exp(-LEVEL_LOGIT - everything))).mean())
    tally = Tally()
    for _ in range(trials):
        logit = LEVEL_LOGIT + rng.normal(0, FIT_LOGIT, (FITS, 1, 1, 1))
        logit = logit + rng.normal(0, POLICY_LOGIT, (1, POLICIES, TASKS, 1))
        logit = logit + rng.normal(0, CONFIGURATION_LOGIT, (1, 1, TASKS, CONFIGURATIONS))
        won = (rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(float)
        tally.add(truth, before(won, resamples=100), stats.rate_interval(won), None, truth)
    return tally.shares()


class Tally:
    """Counts what the intervals held."""

    def __init__(self):
        self.rows: list[tuple] = []

    def add(self, truth: float, old, now, new, newcomer: float) -> None:
        held = [low <= truth <= high for low, high in (old, now)]
        widths = [high - low for low, high in (old, now)]
        self.rows.append((*held, *widths, new is not None and new[0] <= newcomer <= new[1]))
        self.predicts = new is not None

    def shares(self) -> dict:
        names = ("before", "now", "width before", "width now", "new pipeline")
        means = dict(zip(names, np.mean(self.rows, axis=0).tolist(), strict=True))
        return means if self.predicts else means | {"new pipeline": None}


def before(returns: np.ndarray, resamples: int = 400) -> tuple[float, float]:
    """The interval that earlier versions printed."""
    rng = np.random.default_rng(0)
    s, d, k, e = returns.shape
    task, means = np.arange(k)[:, None], []
    for size in (resamples // 10,) * 10:
        runs = rng.integers(s, size=(size, s, 1, 1, 1))
        draws = rng.integers(d, size=(size, s, d, k, 1))
        starts = rng.integers(e, size=(size, s, d, k, e))
        means.append(returns[runs, draws, task, starts].mean(axis=(1, 2, 3, 4)))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    tyro.cli(main)
