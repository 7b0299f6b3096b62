"""How many expert-updates a second does a fleet do, against Stable-Baselines3 2.9 and SBX 0.28 as
they run out of the box, one expert after another, on the same task and with the same learner?

    python benchmarks/fleet.py [--quick] [--learner td3]

Ours is the whole training loop (worlds, replay, updates) with `fleet.Schedule`'s defaults: 4
worlds an expert, 2 updates an environment step, batch 256. The peers run in `.venv-peers` with
their defaults (1 environment, 1 update a step, batch 256), but for the width. As they train experts
one after another, their rate is the same for any number of experts. Rates are steady: compilation
stands beside them.
"""

from statistics import median
from typing import Literal

import peers
import tyro
from harness import Case, Result, console, measure, save, spread
from rich.table import Table

EXPERTS, WIDTHS = (1, 8, 40), (64, 256)
PEERS = {"stable_baselines3": "SB3", "sbx": "SBX"}


def main(quick: bool = False, repeats: int = 3, learner: Literal["sac", "td3"] = "sac") -> None:
    """Measure, print a table, and write results/fleet.json, or results/fleet-td3.json.

    Args:
        quick: one short repeat of the smallest case, to see that all works; nothing is written.
        repeats: runs of every case, interleaved.
        learner: soft actor-critic, or TD3.
    """
    counts, widths = ((1,), (64,)) if quick else (EXPERTS, WIDTHS)
    repeats = 1 if quick else repeats
    results = measure(contenders(counts, widths, quick, learner), repeats)
    console.print(table(counts, widths, results))
    if not quick:
        name = "fleet" if learner == "sac" else f"fleet-{learner}"
        print(save(name, __doc__.split("\n\n")[0], results, repeats))


def contenders(
    counts: tuple[int, ...], widths: tuple[int, ...], quick: bool, learner: str
) -> dict[str, Case]:
    """Our fleets and the peers, width by width."""
    cases, theirs = {}, str(peers.python())
    for width in widths:
        common = {"learner": learner, "width": width}
        for n in counts:
            seconds = 1.0 if quick else 12.0 if n == max(EXPERTS) else 5.0
            settings = {"experts": n, "seconds": seconds, **common}
            cases[f"fleet {n} × {width}"] = Case("fleet.py", settings)
        for library in PEERS:
            settings = {"library": library, "seconds": 1.0 if quick else 6.0, **common}
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
