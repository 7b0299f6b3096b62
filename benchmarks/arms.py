"""How many environment steps a second do Worlds do on Meta-World tasks, against the package's own
SyncVectorEnv and AsyncVectorEnv?

    python benchmarks/arms.py [--quick]

One world a task, random actions, observations, rewards and resets included. The package's
environments get the weld that this MuJoCo needs and nothing else of ours.
"""

import tyro
from harness import Case, console, measure, save, spread
from rich.table import Table

from hyperpolicy.envs.metaworld.family import SEEN, UNSEEN

NUM_TASKS = (1, 8, 16)
WAYS = {
    "Worlds, all cores": ("worlds", 0),
    "Worlds, this process": ("worlds", 1),
    "SyncVectorEnv of Meta-World": ("sync", 0),
    "AsyncVectorEnv of Meta-World": ("async", 0),
}


def main(quick: bool = False, repeats: int = 3) -> None:
    """Measure, print a table, and write results/arms.json.

    Args:
        quick: one short repeat of one size, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
    """
    sizes = (2,) if quick else NUM_TASKS
    cases = {}
    for n in sizes:
        tasks = [*SEEN, *UNSEEN][:n]
        for name, (kind, threads) in WAYS.items():
            settings = {"kind": kind, "tasks": tasks, "threads": threads}
            settings |= {"seconds": 0.5 if quick else 5.0}
            cases[f"{name}, {n}"] = Case("arms.py", settings)
    repeats = 1 if quick else repeats
    results = measure(cases, repeats)
    table = Table("environment steps a second", *(f"{n} tasks" for n in sizes))
    for name in WAYS:
        table.add_row(name, *(spread(results[f"{name}, {n}"]) for n in sizes))
    console.print(table)
    if not quick:
        print(save("arms", __doc__.split("\n\n")[0], results, repeats))


if __name__ == "__main__":
    tyro.cli(main)
