"""How many environment steps and updates a second does one policy for ten Meta-World tasks make?
The whole loop of worlds, replay and updates, against 556 steps (56 updates) of mtrl's log and 930
(93) of metaworld-algorithms on an A100.

    python benchmarks/multi_task.py [--quick] [--preset paper]

Rates are of all seeds that train side by side; published ones of the one seed that they train.
Batches: 320 rows in `small`, 1,280 in `paper`; mtrl's log is of 128, with its default agent.
"""

from statistics import median
from typing import Literal

import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table

PUBLISHED = {"mtrl": 556, "metaworld-algorithms, A100": 930}
COMMAND = "python benchmarks/multi_task.py"
METHODS = ("MT-SAC, told its task", "CARE", "CARE + PTSL", "BRC")


def main(
    quick: bool = False, repeats: int = 1, preset: Literal["small", "paper"] = "small"
) -> None:
    """Measure, print a table, and write results/multi-task-<preset>.json.

    Args:
        quick: one short repeat of one method, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
        preset: sizes of networks and batches.
    """
    cases = {}
    for method in METHODS[: 1 if quick else None]:
        for seeds in (1,) if quick else (1, 4):
            settings = {"method": method, "preset": preset, "seeds": seeds}
            settings["seconds"] = 2.0 if quick else 20.0
            cases[f"{method}; {seeds}"] = Case("multi_task.py", settings)
    repeats = 1 if quick else repeats
    results = measure(cases, repeats)
    console.print(table(results))
    if not quick:
        question, command = __doc__.split("\n\n")[0], f"{COMMAND} --preset {preset}"
        print(save(f"multi-task-{preset}", question, results, repeats, command=command))


def table(results: dict[str, Result]) -> Table:
    """Rates, and how many times as fast as what is published."""
    shown = Table(title="environment steps per second, median (lowest–highest)")
    for name in ("method", "seeds", "env-steps/s", "updates/s", "compiled in"):
        shown.add_column(name, justify="left" if name == "method" else "right")
    for name in PUBLISHED:
        shown.add_column(f"÷ {name}", justify="right")
    for case, result in results.items():
        method, seeds = case.split("; ")
        updates, compiled = (
            median(run[name] for run in result.runs) for name in ("updates_per_s", "compile_s")
        )
        ratios = [f"{result.median / rate:.1f}×" for rate in PUBLISHED.values()]
        shown.add_row(
            method, seeds, spread(result), f"{updates:,.0f}", f"{compiled:.0f} s", *ratios
        )
    return shown


if __name__ == "__main__":
    tyro.cli(main)
