"""How much faster is a gradient step of HyperZero where weights are written once for each distinct
context, than where they are written anew for every row of the batch, as the released code does?

    python benchmarks/once.py [--quick] [--repeats 3]

The cheetah's sizes, seven contexts (a `hypogen-20` split), 512 rows, with values and TD: losses and
gradients of the same numbers, both ways compiled by XLA. `small` has embeddings and layers of 64,
`published` of 256.
"""

import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table

SIZES = {"small": 64, "published": 256}
WAYS = {"once a context": True, "for every row": False}


def main(quick: bool = False, repeats: int = 3) -> None:
    """Measure, print a table, and write results/once.json.

    Args:
        quick: one short repeat of the small size, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
    """
    cases = {}
    for size, width in list(SIZES.items())[: 1 if quick else None]:
        for way, once in WAYS.items():
            settings = {"width": width, "once": once, "seconds": 1.0 if quick else 8.0}
            cases[f"{size}, {way}"] = Case("once.py", settings)
    repeats = 1 if quick else repeats
    results = measure(cases, repeats)
    console.print(table(results))
    if not quick:
        print(save("once", __doc__.split("\n\n")[0], results, repeats))


def table(results: dict[str, Result]) -> Table:
    """Rates, and how many times the second way's the first is."""
    shown = Table(title="gradient steps per second, median (lowest–highest)")
    for name in ("size", "weights written", "steps/s", "×"):
        shown.add_column(name, justify="left" if name in ("size", "weights written") else "right")
    for case, result in results.items():
        size, way = case.split(", ")
        other = results[f"{size}, for every row"]
        shown.add_row(size, way, spread(result), f"{result.median / other.median:.1f}")
    return shown


if __name__ == "__main__":
    tyro.cli(main)
