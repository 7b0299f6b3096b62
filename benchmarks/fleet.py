"""How many expert-updates a second does a fleet do, against Stable-Baselines3 2.9 and SBX 0.28 SAC
as they run out of the box, one expert after another, on the same task?

    python benchmarks/fleet.py [--quick]

Ours is the whole training loop (worlds, replay, updates) with `fleet.Schedule`'s defaults: 4
worlds an expert, 2 updates an environment step, batch 256. The peers run in `.venv-peers` with
their defaults (1 environment, 1 update a step, batch 256), but for the width. As they train experts
one after another, their rate is the same for any number of experts. Rates are steady: compilation
stands beside them.
"""

from statistics import median

import peers
import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table

EXPERTS, WIDTHS = (1, 8, 40), (64, 256)
PEERS = {"stable_baselines3": "SB3", "sbx": "SBX"}


def main(quick: bool = False, repeats: int = 3) -> None:
    """Measure, print a table, and write results/fleet.json.

    Args:
        quick: one short repeat of the smallest case, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
    """
    counts, widths = ((1,), (64,)) if quick else (EXPERTS, WIDTHS)
    repeats = 1 if quick else repeats
    results = measure(contenders(counts, widths, quick), repeats)
    console.print(table(counts, widths, results))
    if not quick:
        print(save("fleet", __doc__.split("\n\n")[0], results, repeats))


def contenders(counts: tuple[int, ...], widths: tuple[int, ...], quick: bool) -> dict[str, Case]:
    """Our fleets and the peers, width by width."""
    cases, theirs = {}, str(peers.python())
    for width in widths:
        for n in counts:
            seconds = 1.0 if quick else 12.0 if n == max(EXPERTS) else 5.0
            settings = {"experts": n, "width": width, "seconds": seconds}
            cases[f"fleet {n} × {width}"] = Case("fleet.py", settings)
        for library in PEERS:
            settings = {"library": library, "width": width, "seconds": 1.0 if quick else 6.0}
            cases[f"{library} {width}"] = Case("peer.py", settings, theirs)
    return cases


def table(counts: tuple[int, ...], widths: tuple[int, ...], results: dict[str, Result]) -> Table:
    """Rates, compilation, and how many times as fast as each peer."""
    shown = Table(title="expert-updates per second, median (lowest–highest)")
    shown.add_column("")
    for name in ("experts", "width", "updates/s", "env-steps/s", "compiled in", *PEERS):
        shown.add_column(f"÷ {PEERS[name]}" if name in PEERS else name, justify="right")
    for width in widths:
        rivals = [results[f"{library} {width}"] for library in PEERS]
        for n in counts:
            ours = results[f"fleet {n} × {width}"]
            ratios = [f"{ours.median / rival.median:.1f}×" for rival in rivals]
            shown.add_row("hyperpolicy", str(n), str(width), *cells(ours), *ratios)
        for label, rival in zip(PEERS.values(), rivals, strict=True):
            shown.add_row(label, "any", str(width), *cells(rival), "", "")
        shown.add_section()
    return shown


def cells(result: Result) -> tuple[str, str, str]:
    steps = median(run["env_steps_per_s"] for run in result.runs)
    compilation = median(run["compile_s"] for run in result.runs)
    return spread(result), f"{steps:,.0f}", f"{compilation:.1f} s"


if __name__ == "__main__":
    tyro.cli(main)
