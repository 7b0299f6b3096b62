"""How well do Meta-World's training demonstrations stand for those of tests, and what do wider nets
and longer fits of HypLatent make of them?

    python benchmarks/shown.py [--out runs/fifty] [--no-fits]

Reads the data and the embedding of `recipe mt50-demonstration --out OUT`. Distances are between
embedded demonstrations. Fits learn from three quarters of the training demonstrations; on the
others actions of what they write are compared with the expert's.
"""

import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from harness import console, record, save_record

from hyperpolicy.generate.fitting import fit_seeds
from hyperpolicy.generate.lesson import action_gap, probe
from hyperpolicy.recipes.amt_hyp.methods import NearestDemonstration
from hyperpolicy.recipes.fifty import study
from hyperpolicy.recipes.fifty.presets import SMALL

EACH = 20
"""Test demonstrations of a task that are compared."""
GIVEN = SMALL.hyplatent
WIDE = replace(GIVEN, generator_hidden=(512, 256, 128))
VARIANTS = {
    "as in the table": GIVEN,
    "wider": WIDE,
    "four times as long": replace(GIVEN, steps=4 * GIVEN.steps),
    "dropout 0.3": replace(GIVEN, dropout=0.3),
}


def main(out: Path = Path("runs/fifty"), fits: bool = True) -> None:
    """Measure, print, and write results/shown.json.

    Args:
        out: of the recipe.
        fits: whether HypLatents are fitted, a minute or two each on a quiet core.
    """
    if not (out / study.ALL / "embedding.safetensors").exists():
        console.print(f"{out} holds no data; hyperpolicy recipe mt50-demonstration --out {out}")
        return
    bench = study.bench(SMALL, out, study.ALL)
    found = {"demonstrations": nearness(bench)}
    if fits:
        found["action gap on those held out"] = gaps(bench)
    console.print(found)
    question = " ".join(__doc__.split("\n\n")[0].split())
    save_record("shown", record("shown", question, {"out": str(out), "each": EACH}, found))


def nearness(bench) -> dict[str, float]:
    """How many configurations are shown, and medians of distances to the nearest one."""
    lesson, test = bench.lesson(), bench.data.test
    zoo, own = lesson.zoo, lesson.expert
    asked = [test.of(context)[:EACH] for context in zoo.contexts]
    task = np.repeat(np.arange(len(asked)), [len(one) for one in asked])
    known = np.asarray(lesson.reader.read(lesson.given))
    told = np.concatenate([np.asarray(lesson.reader.read(one)) for one in asked])
    far = np.linalg.norm(told[:, None] - known[None], axis=2)
    among = np.linalg.norm(known[:, None] - known[None], axis=2) + np.diag(
        np.full(len(own), np.inf)
    )
    same, mine = task[:, None] == own[None], own[:, None] == own[None]

    def middle(x, where) -> float:
        least = np.where(where, x, np.inf).min(axis=1)
        return float(np.median(least[np.isfinite(least)]))

    return {
        "training": len(own),
        "configurations": len(np.unique(lesson.given.starts)),
        "least of a task": int(np.bincount(own, minlength=len(asked)).min()),
        "training to training, own task": middle(among, mine),
        "test to training, own task": middle(far, same),
        "test to training, another task": middle(far, ~same),
        "nearest is of the right task": float((own[far.argmin(axis=1)] == task).mean()),
    }


def gaps(bench) -> dict[str, float]:
    """Who writes → mean squared gap to the expert's actions, on its own states."""
    lesson = bench.lesson()
    rows, zoo = np.asarray(lesson.rows), lesson.zoo
    held = np.arange(len(rows)) % 4 == 0
    known, asked = (_only(lesson, np.flatnonzero(which)) for which in (~held, held))
    states, actions = (jnp.asarray(x)[asked.expert, ::16] for x in probe(zoo))

    @jax.jit
    @jax.vmap
    def gap(weights, obs, action):
        return action_gap(zoo.spec.unflatten(weights), obs, action)

    def of(weights) -> float:
        return float(gap(jnp.asarray(weights), states, actions).mean())

    found = {"the row that is shown": of(zoo.weights[asked.rows])}
    nearest = NearestDemonstration(known).generate(asked.given)
    found["expert of the nearest demonstration"] = of(nearest.weights)
    for name, config in VARIANTS.items():
        began = time.perf_counter()
        (made,) = fit_seeds(config, known, (0,))
        found[f"HypLatent, {name}"] = of(made.generate(asked.given).weights)
        console.print(
            f"{name}: {found[f'HypLatent, {name}']:.5f}, {time.perf_counter() - began:.0f} s"
        )
    return found


def _only(lesson, some):
    """Some of a lesson's demonstrations."""
    return lesson._replace(given=lesson.given[some], rows=np.asarray(lesson.rows)[some])


if __name__ == "__main__":
    tyro.cli(main)
