"""How many environment steps a second do the control suite's sixteen tasks do in batch, with
observations and rewards, against dm_control's own Python environments?

    python benchmarks/control.py [--quick] [--repeats 3]

Ours are 160 Worlds on all cores, of the usual context and, where a task has lengths, of forty
bodies; theirs is one environment in a loop, as its users step it.
"""

import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table

TASKS = (
    *"cheetah-run walker-stand walker-walk walker-run finger-spin fish-swim reacher-easy".split(),
    *"reacher-hard cartpole-balance cartpole-swingup pendulum-swingup hopper-stand".split(),
    *"hopper-hop quadruped-walk quadruped-run quadruped-escape".split(),
)
NUM = 160
ROWS = {
    f"Worlds, {NUM}, all cores": "worlds",
    f"Worlds, {NUM}, bodies of their own": "bodies",
    "dm_control, one": "dm-control",
}
WITHOUT_LENGTH = ("reacher", "hopper", "pendulum", "quadruped")


def main(quick: bool = False, repeats: int = 3) -> None:
    """Measure, print a table, and write results/control.json.

    Args:
        quick: one short repeat of two tasks, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
    """
    cases, seconds = {}, 0.5 if quick else 2.0
    for task in TASKS[:2] if quick else TASKS:
        for way in ROWS.values():
            if way == "bodies" and task.startswith(WITHOUT_LENGTH):
                continue
            settings = {"kind": way, "task": task, "num": NUM, "seconds": seconds}
            cases[f"{task} {way}"] = Case("control.py", settings)
    repeats = 1 if quick else repeats
    results = measure(cases, repeats)
    console.print(table(results))
    if not quick:
        print(save("control", __doc__.split("\n\n")[0], results, repeats))


def table(results: dict[str, Result]) -> Table:
    """Rates, and how many times dm_control's ours is."""
    shown = Table(title="environment steps per second, median (lowest–highest)")
    for name in ("task", "", "steps/s", "× dm_control"):
        shown.add_column(name, justify="left" if name in ("task", "") else "right")
    for task in TASKS:
        theirs = results.get(f"{task} dm-control")
        for label, way in ROWS.items():
            if (found := results.get(f"{task} {way}")) is None or theirs is None:
                continue
            shown.add_row(task, label, spread(found), f"{found.median / theirs.median:.1f}")
    return shown


if __name__ == "__main__":
    tyro.cli(main)
