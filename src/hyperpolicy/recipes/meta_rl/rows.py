"""The rows of the comparison: what is fitted, what it is told at test time, and what it is told
wrongly, to see whether it listens."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np

from hyperpolicy.baselines import (
    decision_model,
    disk,
    history,
    inferring,
    macaw_model,
    online,
    pearl_model,
)
from hyperpolicy.baselines.decision_model import DecisionModel
from hyperpolicy.baselines.macaw_model import Macaw, MacawStudent
from hyperpolicy.baselines.pearl_model import Pearl, PearlStudent
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.given import Contexts
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.evaluate.protocol import (
    CONDITIONED,
    DECODED,
    INTERPOLATED,
    NEAREST,
    NEAREST_INDEPENDENT,
    NOTHING,
    ORACLE,
    PROMPTED,
    RANDOM,
    REGRESSION,
    SPECIALIST,
    ZERO,
)
from hyperpolicy.evaluate.scoring import Maker
from hyperpolicy.generate import fitting, prompt
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.prompt import PromptReader
from hyperpolicy.generate.writers import lookup, residual
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.meta_rl.lab import Lab
from hyperpolicy.recipes.stage import make_once, timed
from hyperpolicy.recipes.zero_shot.methods import decoded
from hyperpolicy.rollout import record, uniform, zero

CHANGED = "base + interpolated change"
SHOWN_ROWS = 256
"""Transitions of a test task that MACAW and PEARL are given."""
TOLD_ROWS = f"{SHOWN_ROWS} transitions of the test task"
WRONG = ", told another task"


@dataclass(frozen=True)
class Made:
    """Who plays the test tasks, and what that took."""

    maker: Maker
    given: str
    numbers: int | None = None
    """That were trained."""
    fits: tuple[str, ...] = ()
    """Whose minutes it takes."""
    env_steps: int | None = None


# --- Decision Transformers ----------------------------------------------------------------
def _decision(lab: Lab, name: str, **what) -> DecisionModel:
    """A model of the training tasks' last episodes, prompted by their experts'."""
    config = replace(lab.sizes.decision, target=lab.target, **what)

    def make(out) -> DecisionModel:
        episodes = history.late(lab.train_data)
        shown = history.of_tasks(lab.shown, lab.split.train)
        return decision_model.fit(config, episodes, lab.split.train, shown, lab.cell.pipeline, out)

    return lab.fit(name, DecisionModel.load, make)


def prompted(lab: Lab, pieces: int = 1, steps: int = 5, wrong: bool = False, **what) -> Made:
    """Prompt-DT; `wrong`: each task's prompt is another task's."""
    name = f"prompt-dt-{pieces}x{steps}" + "".join(f"-{k}" for k in what)
    model = _decision(lab, name, pieces=pieces, piece_steps=steps, **what)
    prompts = lab.prompts(pieces, steps)
    actor = model.actor(prompts[lab.others] if wrong else prompts)
    return Made(actor, actor.column, model.size, (name,), _data_steps(lab))


def blind(lab: Lab, returns: bool = True) -> Made:
    """A Decision Transformer told nothing of the task; without returns behavior cloning."""
    name = "mt-orl" if returns else "mt-bc"
    model = _decision(lab, name, told="nothing", returns=returns)
    actor = model.actor(None, len(lab.split.test))
    return Made(actor, NOTHING, model.size, (name,), _data_steps(lab))


def finetuned(lab: Lab, steps: int = 10, batch: int = 256) -> Made:
    """MT-BC after some gradient steps on the prompts' episodes of the test task."""
    model = _decision(lab, "mt-bc", told="nothing", returns=False)
    shown = history.of_tasks(lab.shown, lab.split.test)
    tasks, seed = lab.split.test, lab.cell.pipeline
    actor = decision_model.finetune(model, shown, tasks, steps, batch, seed=seed)
    return Made(actor, actor.column, model.size, ("mt-bc",), _data_steps(lab))


def told_context(lab: Lab) -> Made:
    """A Decision Transformer told the true context."""
    model = _decision(lab, "dt-context", told="context")
    actor = model.actor(lab.split.test)
    return Made(actor, Contexts.column, model.size, ("dt-context",), _data_steps(lab))


# --- MACAW --------------------------------------------------------------------------------
def _macaw(lab: Lab, name: str = "macaw") -> Macaw:
    config, at_random = lab.sizes.macaw, name != "macaw"
    if at_random:
        config = replace(config, inner_rows="anywhere", inner_batch=2 * config.inner_batch)

    def make(out) -> Macaw:
        inner = _by_chance(lab.train_data) if at_random else None
        tasks, seed = lab.split.train, lab.cell.pipeline
        return macaw_model.fit(config, lab.train_data, tasks, inner, seed, out)

    return lab.fit(name, Macaw.load, make)


def _by_chance(episodes: Episodes) -> Episodes:
    """Those of random actions."""
    return episodes[np.flatnonzero(episodes.index.made_by == history.RANDOM)]


def unadapted(lab: Lab) -> Made:
    """MACAW before its inner step."""
    model = _macaw(lab)
    one = model.unadapted
    policies = Policies(np.repeat(one.weights, len(lab.split.test), axis=0), one.spec)
    return Made(policies, NOTHING, model.size, ("macaw",), _data_steps(lab))


def adapted(lab: Lab, name: str = "macaw", wrong: bool = False) -> Made:
    """MACAW after its inner step on transitions of the test task, or of another one."""
    model, data = _macaw(lab, name), lab.test_data
    data = data if name == "macaw" else _by_chance(data)
    data = lab.as_if(data) if wrong else data
    policies, _ = model.adapt(data, lab.split.test, lab.cell.pipeline)
    given = f"{model.config.inner_batch} transitions of the test task"
    given += "" if name == "macaw" else ", of random actions"
    return Made(policies, given, model.size, (name,), _data_steps(lab))


def macaw_online(lab: Lab) -> Made:
    """MACAW after so many steps of its own in the test task."""
    model, tasks = _macaw(lab), lab.split.test
    _, nets = model.adapt(lab.test_data, tasks, lab.cell.pipeline)
    return _online(lab, MacawStudent.of(model, nets, tasks), model.size, "macaw")


def _online(lab: Lab, student: online.Student, numbers: int, name: str) -> Made:
    """A student after the preset's steps."""
    steps, tasks = lab.sizes.online_steps, lab.split.test
    with timed(lab.clock, lab.stage(f"{name}, online")):
        found = online.finetune(
            student, lab.family, tasks, steps, 2, episodes=2, seed=lab.cell.pipeline
        )
    given = f"{TOLD_ROWS}, {steps:,} online steps"
    fits = name, f"{name}, online"
    return Made(found.student.policies, given, numbers, fits, _data_steps(lab))


# --- PEARL --------------------------------------------------------------------------------
def _pearl(lab: Lab) -> Pearl:
    def make(out) -> Pearl:
        tasks, seed = lab.split.train, lab.cell.pipeline
        return pearl_model.fit(lab.sizes.pearl, lab.train_data, tasks, seed, out)

    return lab.fit("pearl", Pearl.load, make)


def at_prior(lab: Lab) -> Made:
    """PEARL by latents of the prior."""
    model = _pearl(lab)
    policies = model.prior(len(lab.split.test), lab.cell.pipeline)
    return Made(policies, NOTHING, model.size, ("pearl",), _data_steps(lab))


def at_posterior(lab: Lab, wrong: bool = False) -> Made:
    """PEARL by the posterior's mean, of transitions of the test task, or of another one."""
    model = _pearl(lab)
    data = lab.as_if(lab.test_data) if wrong else lab.test_data
    posterior = model.infer(data, lab.split.test, SHOWN_ROWS, lab.cell.pipeline)
    policies = model.policies(posterior.mean)
    return Made(policies, TOLD_ROWS, model.size, ("pearl",), _data_steps(lab))


def after_exploring(lab: Lab) -> Made:
    """PEARL by the posterior of two episodes of its own, by latents of the prior: its own way."""
    model, tasks = _pearl(lab), lab.split.test
    prior = model.prior(2 * len(tasks), lab.cell.pipeline)
    made = record(prior, lab.family, np.repeat(tasks, 2, axis=0), 1, seed=lab.cell.pipeline + 40)
    posterior = model.infer(made, tasks, 2 * lab.family.horizon_steps)
    policies = model.policies(posterior.mean)
    given = "two episodes of its own in the test task"
    return Made(policies, given, model.size, ("pearl",), _data_steps(lab))


def pearl_online(lab: Lab) -> Made:
    """PEARL after so many steps of its own in the test task."""
    model, tasks = _pearl(lab), lab.split.test
    posterior = model.infer(lab.test_data, tasks, SHOWN_ROWS, lab.cell.pipeline)
    return _online(lab, PearlStudent.of(model, posterior, tasks), model.size, "pearl")


# --- Generators ---------------------------------------------------------------------------
def _changed(lab: Lab) -> Generator:
    return residual.around(lab.source.conditioned(), lab.source.train)


def _hyplatent(lab: Lab) -> Generator:
    out = lab.place / lab.cell.split / "hyplatent"
    fit = partial(fitting.fit, lab.sizes.hyplatent, lab.source.train, lab.cell.pipeline)
    clock = timed(lab.clock, lab.stage("hyplatent"))
    return load(make_once(out / "config.json", lambda: fit(lab.output(out)), clock).parent)


def _expert_steps(lab: Lab) -> int:
    """Environment steps of the training of the training tasks' independent experts."""
    return len(lab.split.train) * lab.experts.training.env_steps


@dataclass(frozen=True)
class Written:
    """A generator of a cell, and what it took."""

    make: Callable[[Lab], Generator]
    fits: tuple[str, ...] = ()
    """Whose minutes it takes."""
    env_steps: Callable[[Lab], int | None] = lambda lab: lab.source.env_steps
    """Behind the experts that it was made from."""


GENERATORS = {
    NEAREST: Written(lambda lab: lookup.nearest(lab.source.train)),
    NEAREST_INDEPENDENT: Written(
        lambda lab: lookup.nearest(lab.experts.only(lab.split.train)), env_steps=_expert_steps
    ),
    INTERPOLATED: Written(lambda lab: lookup.linear(lab.source.train)),
    CONDITIONED: Written(lambda lab: lab.source.conditioned()),
    CHANGED: Written(_changed),
    "HypLatent": Written(_hyplatent, ("hyplatent",)),
}
"""By the names of their rows."""


def told_truly(lab: Lab, name: str) -> Made:
    """A generator told the true context."""
    written = GENERATORS[name]
    made = written.make(lab)
    return Made(made, Contexts.column, _size(made), written.fits, written.env_steps(lab))


def told_prompt(lab: Lab, name: str, wrong: bool = False) -> Made:
    """A generator told what Prompt-DT is told."""
    written, reader, prompts = GENERATORS[name], _reader(lab), lab.prompts()
    made = prompt.told_prompts(written.make(lab), reader)
    policies = made.generate(prompts[lab.others] if wrong else prompts)
    given, fits = f"{prompts.steps} expert steps of the test task", ("prompt-reader", *written.fits)
    return Made(policies, given, _size(made), fits, written.env_steps(lab))


def _reader(lab: Lab) -> PromptReader:
    """What guesses contexts from prompts of training tasks' experts."""
    episodes, train = lab.shown, lab.split.train  # made before the clock of this one runs

    def make() -> PromptReader:
        shown = Prompts.cut(episodes, train, 1, 5, "anywhere", each=50)
        ends = Prompts.cut(episodes, train, 1, 5, "end", each=10)
        parts = "contexts", "obs", "action", "reward", "to_go", "t"
        both = (np.concatenate([getattr(x, name) for x in (shown, ends)]) for name in parts)
        return prompt.fit(lab.sizes.reader, Prompts(lab.family, *both), seed=lab.cell.pipeline)

    return lab.remember("prompt-reader", make)


def from_own_steps(lab: Lab, name: str = CHANGED) -> Made:
    """A generator in front of which an encoder guesses the context from the actor's own steps."""
    made, seed = GENERATORS[name].make(lab), lab.cell.pipeline

    def make():
        return inferring.fit(lab.sizes.reader, made, lab.split.train, seed=seed)

    actor, spent = lab.remember("inferring", make)
    numbers = _size(actor.generator) + disk.size(actor.guess)
    return Made(actor, actor.column, numbers, ("inferring",), spent + lab.source.env_steps)


def _size(made: Generator) -> int:
    """Numbers in a generator's arrays."""
    leaves = jax.tree.leaves(made.model)
    return sum(int(np.size(leaf)) for leaf in leaves if hasattr(leaf, "shape"))


def _data_steps(lab: Lab) -> int:
    """Environment steps behind the training tasks' data: the experts' training, and its history."""
    return _expert_steps(lab) + int(lab.train_data.index.length.sum())


# --- The table ----------------------------------------------------------------------------
def _oracle(lab: Lab) -> Made:
    zoo = lab.experts
    return Made(zoo.only(lab.split.test).finals, "training on the test task")


def _specialist(lab: Lab) -> Made:
    return Made(lab.specialists, "training on the test task")


def _decoded(lab: Lab) -> Made:
    """Specialized experts of the test tasks through the coordinates of the training experts."""
    return Made(decoded(lab.source.train, lab.specialists), "test task's expert")


ROWS: dict[str, Callable[[Lab], Made]] = {
    ZERO: lambda lab: Made(zero(lab.family), NOTHING),
    RANDOM: lambda lab: Made(uniform(lab.family), NOTHING),
    NEAREST: partial(told_truly, name=NEAREST),
    NEAREST_INDEPENDENT: partial(told_truly, name=NEAREST_INDEPENDENT),
    INTERPOLATED: partial(told_truly, name=INTERPOLATED),
    REGRESSION: lambda lab: Made(
        fitting.fit(RegressionConfig(), lab.source.train), Contexts.column
    ),
    CONDITIONED: partial(told_truly, name=CONDITIONED),
    CHANGED: partial(told_truly, name=CHANGED),
    "HypLatent": partial(told_truly, name="HypLatent"),
    "Decision Transformer, told the context": told_context,
    **{f"{name}, {PROMPTED}": partial(told_prompt, name=name) for name in GENERATORS},
    f"{CHANGED}, {PROMPTED}{WRONG}": partial(told_prompt, name=CHANGED, wrong=True),
    f"{CHANGED}, told nothing": from_own_steps,
    "Prompt-DT": prompted,
    f"Prompt-DT{WRONG}": partial(prompted, wrong=True),
    "Prompt-DT, K* = 2": partial(prompted, steps=2),
    "Prompt-DT, K* = 10": partial(prompted, steps=10),
    "Prompt-DT, K* = 40": partial(prompted, pieces=2, steps=20),
    "Prompt-MT-BC": partial(prompted, returns=False),
    "MT-ORL": blind,
    "MT-BC": partial(blind, returns=False),
    "MT-BC-Finetune": finetuned,
    "MT-BC-Finetune, 100 steps": partial(finetuned, steps=100, batch=1280),
    "MACAW, not adapted": unadapted,
    "MACAW": adapted,
    f"MACAW{WRONG}": partial(adapted, wrong=True),
    "MACAW, online": macaw_online,
    "MACAW, random inner data": partial(adapted, name="macaw-random"),
    "PEARL, prior": at_prior,
    "PEARL": at_posterior,
    f"PEARL{WRONG}": partial(at_posterior, wrong=True),
    "PEARL, own episodes": after_exploring,
    "PEARL, online": pearl_online,
    DECODED: _decoded,
    SPECIALIST: _specialist,
    ORACLE: _oracle,
}
"""name → what makes it in a cell."""
LISTENERS = {
    **{name: (name + WRONG,) for name in ROWS if name + WRONG in ROWS},
    "MACAW": ("MACAW, not adapted", f"MACAW{WRONG}"),
    "PEARL": ("PEARL, prior", f"PEARL{WRONG}"),
}
"""A row, and what it has to be ahead of where it listens to what it is given."""
ONE_SPLIT = ("Prompt-DT, K* = 2", "Prompt-DT, K* = 10", "Prompt-DT, K* = 40", DECODED)
"""Rows of the split `full` alone: a smaller one's base is not that of the test tasks' experts."""
