"""How many policies an hour reach a given return at the five held-out speeds: the shipped
generator's, fine-tuned all at once, against SBX 0.28 SAC from scratch, one after another?

    python benchmarks/tuning.py [--quick] [--speeds 0.6 1.8] [--steps 100000]

The return to reach lies half way between that of the nearest training expert and that of the
speed's own, so looking up the neighbor does not do. Both sides are evaluated deterministically
every 2,500 steps on the same five episodes, evaluations included in the time. A generated policy
that starts above the return has reached it at step 0. Budgets: 50,000 steps a policy here, `steps`
for SBX. The generator's own training is not in the time; it is paid once.
"""

from statistics import median

import peers
import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table


def main(
    quick: bool = False,
    repeats: int = 3,
    speeds: tuple[float, ...] = (),
    steps: int = 200_000,
) -> None:
    """Measure, print a table, and write results/tuning.json.

    Args:
        quick: a short repeat that reaches nothing, to see that all works; nothing is written.
        repeats: runs of either side, interleaved.
        speeds: some of the five held-out speeds, m/s; all of them by default.
        steps: after which SBX gives a speed up.
    """
    steps, repeats = (3_000, 1) if quick else (steps, repeats)
    settings = {"steps": steps, "speeds": speeds}
    cases = {
        "hyperpolicy": Case("tuning.py", settings),
        "SBX": Case("peer_to_return.py", settings, str(peers.python())),
    }
    results = measure(cases, repeats)
    console.print(table(results))
    if not quick:
        print(save("tuning", __doc__.split("\n\n")[0], results, repeats))


def table(results: dict[str, Result]) -> Table:
    """Policies that got there an hour, how many of those that tried, and after how many steps."""
    shown = Table(title="policies an hour that reach the return, median (lowest–highest)")
    for name in ("", "an hour", "reached", "median steps of those"):
        shown.add_column(name, justify="right" if name else "left")
    for name, result in results.items():
        tried = sum(len(run["steps_to"]) for run in result.runs)
        reached = [s for run in result.runs for s in run["steps_to"] if s is not None]
        steps = f"{median(reached):,.0f}" if reached else "–"
        shown.add_row(name, spread(result), f"{len(reached)} of {tried}", steps)
    return shown


if __name__ == "__main__":
    tyro.cli(main)
