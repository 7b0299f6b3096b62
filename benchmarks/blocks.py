"""How much faster is a gradient step of a Decision Transformer where its blocks are a scan whose
insides are computed again, than where they are written out?

    python benchmarks/blocks.py [--quick] [--repeats 3]

The comparison's `small` sizes: three blocks of width 64, 32 sequences of 75 tokens with their
prompts; with and without dropout. Losses and gradients are of the same numbers.
"""

import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table

DROPOUT = {"no dropout": 0.0, "dropout 0.1": 0.1}
WAYS = {"a scan": True, "written out": False}


def main(quick: bool = False, repeats: int = 3) -> None:
    """Measure, print a table, and write results/blocks.json.

    Args:
        quick: one short repeat without dropout, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
    """
    cases = {}
    for name, share in list(DROPOUT.items())[: 1 if quick else None]:
        for way, scanned in WAYS.items():
            settings = {"dropout": share, "scanned": scanned, "seconds": 1.0 if quick else 8.0}
            cases[f"{name}, {way}"] = Case("blocks.py", settings)
    repeats = 1 if quick else repeats
    results = measure(cases, repeats)
    console.print(table(results))
    if not quick:
        print(save("blocks", __doc__.split("\n\n")[0], results, repeats))


def table(results: dict[str, Result]) -> Table:
    """Rates, and how many times the second way's the first is."""
    shown = Table(title="gradient steps per second, median (lowest–highest)")
    for name in ("dropout", "blocks", "steps/s", "×"):
        shown.add_column(name, justify="left" if name in ("dropout", "blocks") else "right")
    for case, result in results.items():
        share, way = case.split(", ")
        other = results[f"{share}, written out"]
        shown.add_row(share, way, spread(result), f"{result.median / other.median:.1f}")
    return shown


if __name__ == "__main__":
    tyro.cli(main)
