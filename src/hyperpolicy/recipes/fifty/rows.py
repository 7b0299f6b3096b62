"""The rows: what is fitted on demonstrations of fifty tasks, or of forty, and what tells whether
anyone reads them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float

from hyperpolicy import rollout
from hyperpolicy.evaluate.protocol import BY_HAND, NOTHING
from hyperpolicy.generate import sentence
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.fitting import fit_seeds
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.amt_hyp.bench import CHOOSING_SEED, Bench, Method
from hyperpolicy.recipes.amt_hyp.methods import METHODS as AMT_HYP
from hyperpolicy.recipes.amt_hyp.methods import OWN_EXPERTS, NearestDemonstration, decoded
from hyperpolicy.recipes.fifty.makers import (
    Always,
    Averaged,
    Instead,
    OwnPolicy,
    OwnScript,
    another,
    with_mirrored,
)
from hyperpolicy.recipes.stage import record_once, timed

WRONG, REPLAYED = ", told another task", ", in the configuration that is shown"
"""End the names of rows that are told wrongly, and that play what they were shown."""
SEVERAL = 10
CHOOSING_EPISODES = 2
"""Of each expert on each training task, to choose one."""
BEHAVIOR = 1e3
"""λ of the behavior loss, as large as the other losses'."""
ONE_EXPERT = "one expert, chosen on training tasks"


# --- Generators ---------------------------------------------------------------------------
def hyplatent(b: Bench, fits: int | None = None) -> list[Generator]:
    return b.of_config("hyplatent", b.preset.hyplatent, fits=fits)


def with_behavior(b: Bench) -> list[Generator]:
    config = replace(b.preset.hyplatent, behavior=BEHAVIOR)
    return b.of_config("hyplatent-behavior", config, fits=1)


def regression(b: Bench) -> list[Generator]:
    """Linear, of principal components on the embedding, of every row of the zoo."""
    encoder = b.preset.hyplatent.encoder
    assert isinstance(encoder, PcaConfig)
    size = encoder.components
    config = RegressionConfig(components=size, degree=1, ridge=1e-3, checkpoints=True)
    return b.of_config("regression", config, fits=1)


def whole(fit: Callable[[Bench], list], b: Bench) -> list[Instead]:
    """Makers that are fitted on demonstrations from the start to the success, and shown such."""
    there = replace(b, data=b.data.as_whole, out=b.out / "whole")
    return [Instead(maker, there.data.test) for maker in fit(there)]


def nearest(b: Bench) -> list[NearestDemonstration]:
    return [NearestDemonstration(b.lesson())]


def named(b: Bench, alone: bool = False) -> list[Generator]:
    lesson = sentence.told(b.lesson(), alone)
    name = "hyplatent-sentence-alone" if alone else "hyplatent-sentence"
    fit = partial(fit_seeds, b.preset.hyplatent, lesson, b.preset.seeds[:1])
    return b.fitted(name, fit, fits=1)


def mirror(b: Bench) -> list[Generator]:
    lesson = with_mirrored(b.lesson())
    fit = partial(fit_seeds, b.preset.hyplatent, lesson, b.preset.seeds[:1])
    return b.fitted("hyplatent-mirrored", fit, fits=1)


def misled(name: str, b: Bench) -> list[Instead]:
    """The makers of another row; each task is shown by another one that is tested."""
    wrong = another(np.unique(b.data.test.contexts, axis=0))
    return [Instead(maker, b.data.test, wrong) for maker in ROWS[name].fit(b)]


# --- Who looks at no demonstration --------------------------------------------------------
def among(b: Bench) -> Float[np.ndarray, "x k"]:
    """Success of each final expert (rows) on each training task, in configurations like those of
    training; kept in `out/among.json`."""
    zoo = b.data.zoo

    def make() -> dict:
        k = len(zoo.contexts)
        who, tasks = zoo.finals[np.repeat(np.arange(k), k)], np.tile(zoo.contexts, (k, 1))
        rate = rollout.success_rate(who, zoo.family, tasks, CHOOSING_EPISODES, CHOOSING_SEED)
        return {"success": rate.reshape(k, k)}

    clock = timed(b.minutes, "experts on each other's tasks")
    return np.array(record_once(b.out / "among.json", make, clock)["success"])


def one_expert(b: Bench) -> list[Always]:
    """The final expert that succeeds most often on all training tasks."""
    return [Always(b.data.zoo.finals[int(among(b).mean(axis=1).argmax())])]


def base(b: Bench) -> Policies:
    """The base, folded at each training task."""
    return Policies.load(b.out / "data/base.safetensors")


def base_blind(b: Bench) -> list[Always]:
    """The base at the mean of what it can be told."""
    folded = base(b)
    return [Always(Policies(folded.weights.mean(axis=0, keepdims=True), folded.spec))]


BOTH, SEEN = ("seen", "unseen"), ("seen",)
WHOLE = "one whole demonstration of the test task"
AS_IN_AMT_HYP = (
    "HypFormer",
    "HypLatent",
    "Make-An-Agent",
    "distilled conditional policy",
    "Prompt-DT",
    "CARE, cloned",
)
TRIED_WRONGLY = (
    "HypFormer",
    "HypLatent",
    "Make-An-Agent",
    "expert of the nearest demonstration",
    "distilled conditional policy",
)
"""Rows that are told another task as well, and play what they were shown."""
TOLD = (
    *(replace(AMT_HYP[name], cells=BOTH) for name in AS_IN_AMT_HYP),
    replace(AMT_HYP["HypLatent, as shipped"], cells=SEEN),
    Method("HypLatent with a behavior loss", with_behavior),
    Method("regression of latents", regression),
    Method("expert of the nearest demonstration", nearest),
    Method("HypLatent, whole demonstration", partial(whole, partial(hyplatent, fits=1)), WHOLE),
    Method("expert of the nearest whole demonstration", partial(whole, nearest), WHOLE),
    Method(
        f"HypLatent, {SEVERAL} demonstrations",
        lambda b: [Averaged(one, SEVERAL) for one in hyplatent(b, 1)],
        f"{SEVERAL} demonstrations of the test task",
    ),
    Method(
        "HypLatent, told the name as well", named, "one demonstration of the test task, its name"
    ),
    Method("HypLatent, told the name alone", partial(named, alone=True), "the test task's name"),
    Method("HypLatent, mirrored experts as well", mirror),
)
PLAIN = (
    Method(ONE_EXPERT, one_expert, NOTHING, seldom=True),
    Method("base, told nothing", base_blind, NOTHING, seldom=True),
    Method("base, told the task", lambda b: [OwnPolicy(base(b), b.split.train)], "the task", SEEN),
    Method(
        "final expert",
        lambda b: [OwnPolicy(b.data.zoo.finals, b.data.zoo.contexts)],
        OWN_EXPERTS,
        SEEN,
    ),
    replace(AMT_HYP["mean of the task's checkpoints"], cells=SEEN),
    Method("decoded expert", lambda b: decoded(b.preset.hyplatent.encoder, b), OWN_EXPERTS, SEEN),
    Method("scripted policy", lambda b: [OwnScript(b.family)], BY_HAND),
)
_told = {row.name: row for row in TOLD}
_wrongly = (
    Method(name + WRONG, partial(misled, name), "one demonstration of another task", seldom=True)
    for name in TRIED_WRONGLY
)
_replayed = (
    replace(_told[name], name=name + REPLAYED, replayed=True, seldom=True) for name in TRIED_WRONGLY
)
ROWS = {row.name: row for row in (*TOLD, *PLAIN, *_wrongly, *_replayed)}
"""The rows of the tables, by name."""
