"""How many expert-updates a second do two Ray workers of one core make, against one process with
two cores, on the same fleet?

    python benchmarks/cluster.py [--quick]

Needs the extra `ray`. The rate is of the whole loop, from the first evaluation to the last one, of
the slowest worker; what a worker takes to start, and to compile, stands beside it.
"""

import tyro
from harness import Case, console, measure, save, spread
from rich.table import Table

WAYS = {"one process, two cores": [], "two Ray workers": ["--on", "ray", "--shards", "2"]}


def main(quick: bool = False, repeats: int = 3) -> None:
    """Measure, print a table, and write results/cluster.json.

    Args:
        quick: one short repeat, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
    """
    updates = 2_400 if quick else 8_000
    cases = {
        name: Case("cluster.py", {"updates": updates, "options": options})
        for name, options in WAYS.items()
    }
    results = measure(cases, 1 if quick else repeats)
    table = Table(title="expert-updates per second, median (lowest–highest)")
    for name in ("", "updates/s", "whole command"):
        table.add_column(name, justify="right" if name else "left")
    for name, result in results.items():
        seconds = min(run["command_s"] for run in result.runs)
        table.add_row(name, spread(result), f"{seconds:.0f} s")
    console.print(table)
    if not quick:
        print(save("cluster", __doc__.split("\n\n")[0], results, repeats))


if __name__ == "__main__":
    tyro.cli(main)
