"""How much nearer do experts' weights come to each other, and how much better do the mean weights
of two neighbors act, when hidden units are put into one order and at one scale?

    python benchmarks/alignment.py [--zoo DIR] [--held-out 1.125 1.275]

The held-out experts take no part in matching; at their contexts the weights of the neighbors left
are interpolated and scored; and so they are half way between all neighbors, where there are many
more pairs to average over.
"""

from pathlib import Path

import numpy as np
import tyro
from harness import ROOT

from hyperpolicy import files
from hyperpolicy.envs import family
from hyperpolicy.evaluate import Score, score, tables
from hyperpolicy.evaluate.tables import number
from hyperpolicy.generate import align
from hyperpolicy.generate.writers import lookup
from hyperpolicy.provenance import library_versions
from hyperpolicy.zoo import Zoo

WAYS = {
    "as trained": lambda zoo: zoo,
    "balanced": align.balance,
    "matched to the middle": align.align,
    "matched to neighbors": align.align_chain,
}


def main(
    zoo: Path = ROOT / "zoos/cheetah-vel/independent",
    held_out: tuple[float, ...] = (),
    episodes: int = 10,
    out: Path | None = None,
) -> None:
    """Measure and print a table.

    Args:
        zoo: its experts are aligned.
        held_out: contexts to interpolate at; by default the test contexts of MACAW's split `full`.
        episodes: of each interpolated policy.
        out: write the scores here, as JSON.
    """
    experts = Zoo.load(zoo)
    tasks = family(experts.family)
    split = tasks.grid("macaw").split("full")
    test = np.array(held_out)[:, None] if held_out else split.test
    gaps = tasks.context.distance(experts.contexts, tasks.context.check(test)).min(axis=1)
    train = experts.only(experts.contexts[gaps > 1e-6])
    known = np.sort(train.contexts, axis=0)
    halves = (known[1:] + known[:-1]) / 2
    scores, rows = {}, []
    for name, way in WAYS.items():
        zoo_now = way(train)
        found = score(lookup.linear(zoo_now), tasks, test, episodes)
        scores[f"interpolated, {name}"] = found
        half = score(lookup.linear(zoo_now), tasks, halves, episodes=3)
        scores[f"half way, {name}"] = half
        norm = float(np.linalg.norm(zoo_now.finals.weights, axis=1).mean())
        gap = float(align.neighbor_gaps(zoo_now).mean())
        rows.append(
            [name, number(gap, 2), number(gap / norm, 2), number(half.mean), *_cells(found)]
        )
    scores["nearest expert"] = score(lookup.nearest(train), tasks, test, episodes)
    scores["own experts"] = score(experts.only(test).finals, tasks, test, episodes)
    rows += [
        [name, "–", "–", "–", *_cells(scores[name])] for name in ("nearest expert", "own experts")
    ]
    names = scores["own experts"].tasks
    header = ["experts", "distance of neighbors", "÷ norm", "half way", "held out", *names]
    print(tables.markdown(header, rows))
    if out is not None:
        record = {"zoo": train.provenance, "versions": library_versions()}
        record["scores"] = {name: found.to_json() for name, found in scores.items()}
        print(files.save_json(out, record))


def _cells(found: Score) -> list[str]:
    return [number(found.mean), *map(number, found.task_means)]


if __name__ == "__main__":
    tyro.cli(main)
