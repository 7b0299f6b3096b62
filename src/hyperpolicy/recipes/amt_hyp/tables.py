"""AMT-Hyp's tables as pages: seen tasks (I), summary (II), unseen tasks (III); strict and legacy.

Percentages of successful episodes. Published rows are marked and never mixed into a statistic.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import numpy as np

from hyperpolicy import files
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.evaluate import memorization
from hyperpolicy.evaluate.memorization import Audit
from hyperpolicy.evaluate.protocol import published
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.tables import NONE, interval_text, markdown, number
from hyperpolicy.generate.behavior_embedding import Rows, retrieval
from hyperpolicy.recipes import stage
from hyperpolicy.recipes.amt_hyp import data, imitation
from hyperpolicy.recipes.amt_hyp.bench import (
    HALVES,
    Bench,
    Played,
    plain,
    play,
    transfer,
)
from hyperpolicy.recipes.amt_hyp.methods import METHODS, NearestDemonstration
from hyperpolicy.recipes.amt_hyp.presets import Preset

TOPS = (5, 10)
"""How many of a task's policies "the best" are."""
AUDITED = ("HypFormer", "HypLatent", "Make-An-Agent")
AUDITED_POLICIES = 10
"""Of each seen task."""
Cells = Mapping[str, Played]


def cells(b: Bench, half: str, names: Sequence[str], progress: Callable[[str], None]) -> Cells:
    """The cells of some methods on one half of the tasks."""
    chosen = [METHODS[name] for name in names if half in METHODS[name].cells]
    return {method.name: play(b, method, half, progress) for method in chosen}


# --- Tables I and III ---------------------------------------------------------------------
def per_task(found: Cells, half: str) -> str:
    """One half of the tasks under `strict`: a row a method, a column a task."""
    names = tasks_of(half)
    header = ["method", "average", "95 % CI", "IQM", "qualified", *names, "given", "seeds"]
    rows = [[name, *_strict_cells(one.strict)] for name, one in found.items()]
    for method, values in averages(printed(half)).items():
        tasks = [number(values.get(task), 0) for task in names]
        given = next(row.given for row in published("metaworld") if row.method == method)
        shown = [f"{method} (published)", number(values.get(half)), NONE, NONE, NONE, *tasks]
        rows.append([*shown, given, NONE])
    return markdown(header, rows)


def _strict_cells(score: Score) -> list[str]:
    rate = score.successes
    low, high = rate.interval
    return [
        _percent(rate.mean),
        interval_text((100 * low, 100 * high)),
        _percent(rate.iqm),
        _percent(score.qualified),
        *(number(100 * x, 0) for x in rate.task_means),
        score.given,
        str(score.num_seeds),
    ]


# --- Table II -----------------------------------------------------------------------------
def summary(found: Mapping[str, Cells]) -> str:
    """Both halves, average and best policies: chosen in other configurations (`strict`), and by the
    released order statistics (`legacy`)."""
    tops = [f"top {k}" for k in TOPS]
    columns = [f"{half} {what}" for half in HALVES for what in ("strict", *tops, "legacy", *tops)]
    rows = []
    for name in dict.fromkeys(name for half in HALVES for name in found[half]):
        parts = [_summary_cells(found[half].get(name)) for half in HALVES]
        rows.append([name, *parts[0], *parts[1]])
    both = {half: printed(half) for half in HALVES}
    for method in dict.fromkeys(method for half in HALVES for method in averages(both[half])):
        shown = [
            number(both[half].get(name, {}).get(half))
            for half in HALVES
            for name in ("", "", "", method, *(f"{method}, {top}" for top in tops))
        ]
        rows.append([f"{method} (published)", *shown])
    return markdown(["method", *columns], rows)


def _summary_cells(one: Played | None) -> list[str]:
    if one is None:
        return [NONE] * 2 * (1 + len(TOPS))
    draws = one.strict.returns.shape[1]
    best = [
        _percent(one.strict.best(k, one.choosing).successes.mean)
        if k <= draws and one.choosing is not None
        else NONE
        for k in TOPS
    ]
    names = ["average", *(f"top {k}" for k in TOPS)]
    means = [[task[name] for task in one.legacy.values()] for name in names]
    released = [_percent(float(np.mean(one))) if one else NONE for one in means]
    return [_percent(one.strict.successes.mean), *best, *released]


# --- What the tables rest on --------------------------------------------------------------
def experts(b: Bench) -> str:
    """The experts: success of their final rows, when they first succeeded, checkpoints kept."""
    zoo, gate = b.data.zoo, files.load_json(b.out / "data/gate.json")
    success, updates = np.array(gate["success"]), np.array(gate["updates"])
    steps = zoo.training.env_steps / zoo.training.updates
    shown, rows = f"{imitation.shown_steps(b.preset.data):,}", []
    for i, context in enumerate(zoo.contexts):
        own = slice(i, None, len(zoo.contexts))  # checkpoints lie task by task
        whole = updates[own][success[own] >= 1.0]
        first = f"{whole.min() * steps:,.0f}" if len(whole) else "never"
        kept = str((zoo.expert == i).sum())
        name = b.family.task_name(context)
        rows.append([name, _percent(success[own][-1]), first, kept, shown])
    header = ["task", "final row", "steps to a checkpoint that always succeeds", "rows kept"]
    return markdown([*header, "steps that the base was fitted on"], rows)


def embedding(b: Bench) -> str:
    """How often a test demonstration finds an ending of its own task, in one sentence a half."""
    lines = []
    for half in HALVES:
        demos = [b.data.test.of(context) for context in b.contexts(half)]
        opening = np.concatenate([d.opening for d in demos])
        ending = np.concatenate([d.ending for d in demos])
        task = np.repeat(np.arange(len(demos)), [len(d) for d in demos])
        found = jax.jit(retrieval)(b.embedding, Rows(opening, ending, task))
        share = _percent(float(found))
        lines.append(f"{half} tasks: {share} % (chance {number(100 / len(demos))} %)")
    return "; ".join(lines)


def neighbors(b: Bench) -> str:
    """Unseen tasks, and whose demonstrations lie nearest to theirs: shares of the seen tasks."""
    zoo, nearest, rows = b.data.zoo, NearestDemonstration(b.lesson()), []
    names = b.tasks("seen")
    for task, context in zip(b.tasks("unseen"), b.contexts("unseen"), strict=True):
        expert = zoo.expert[nearest.rows(b.data.test.of(context))]
        share = np.bincount(expert, minlength=len(zoo.contexts)) / len(expert)
        most = [f"{names[x]} {_percent(share[x])}" for x in np.argsort(-share) if share[x] > 0]
        rows.append([task, ", ".join(most)])
    return markdown(["unseen task", "tasks of the nearest training demonstrations, %"], rows)


def experts_elsewhere(b: Bench) -> str:
    """What the seen tasks' experts do on the unseen ones, and what choosing among them can do."""
    share = transfer(b)
    experts = [*b.tasks("seen"), "the best of them"]
    rows = [
        [name, _percent(own.mean()), *(number(100 * x, 0) for x in own)]
        for name, own in zip(experts, [*share, share.max(axis=0)], strict=True)
    ]
    return markdown(["expert of", "average", *b.tasks("unseen")], rows)


# --- Are they copies? ---------------------------------------------------------------------
def audits(b: Bench, names: Sequence[str] = AUDITED) -> dict[str, Audit]:
    """The memorization audit of each generator, first seed, told test demonstrations of the seen
    tasks; kept in `out/audits`."""
    return {
        name: memorization.kept(b.out / "audits" / f"{plain(name)}.json", partial(_audit, b, name))
        for name in names
    }


def _audit(b: Bench, name: str) -> Audit:
    maker, zoo = METHODS[name].fit(b)[0], b.data.zoo
    with stage.timed(b.minutes, "audits"):
        policies = maker.generate(b.data.first(b.contexts("seen"), AUDITED_POLICIES))
        return memorization.audit(policies, zoo, memorization.probe_states(zoo))


def copies(b: Bench, names: Sequence[str]) -> str:
    """The audits' table, of those of `names` that are audited."""
    audited = [name for name in AUDITED if name in names]
    if not audited:
        return f"Audited are {', '.join(AUDITED)}; none of them is in these tables."
    text = (
        f"Policies for {AUDITED_POLICIES} test demonstrations of each seen task, first seed, "
        f"beside the {len(b.data.zoo)} rows of the zoo. "
    )
    return text + memorization.compared(audits(b, audited)).strip()


# --- The page -----------------------------------------------------------------------------
def page(b: Bench, found: Mapping[str, Cells]) -> str:
    """Everything, as a Markdown page."""
    return f"""# AMT-Hyp on Meta-World

{protocol(b.preset)}

## Experts

{experts(b)}

Test demonstrations whose most likely ending is one of their own task: {embedding(b)}.

## Table I: seen tasks, strict

{per_task(found["seen"], "seen")}

## Table III: unseen tasks, strict

{per_task(found["unseen"], "unseen")}

{neighbors(b)}

Final experts of the seen tasks on the unseen ones, {b.preset.elsewhere} configurations each:

{experts_elsewhere(b)}

## Table II: summary, and the released evaluation

{summary(found)}

## Are they copies?

{copies(b, list(found["seen"]))}

## Minutes per stage

{stage.table(b.minutes)}
"""


def protocol(preset: Preset) -> str:
    """What the numbers are."""
    return (
        "Written by `hyperpolicy recipe amt-hyp`. Success in %, at any step of an episode. "
        f"*strict*: {preset.policies} policies a task, one a demonstration, each in "
        f"{preset.configurations} configurations nobody trained on, {len(preset.seeds)} training "
        "seeds; *qualified* are policies that succeed in all of them; the best ones were chosen in "
        "other configurations. *legacy*: the released scripts' evaluation, first seed. Scripted "
        "and plain rows have no training seeds."
    )


# --- Parts --------------------------------------------------------------------------------
def tasks_of(half: str) -> list[str]:
    """The names of the eight seen or the eight unseen tasks."""
    split = data.split_of(MetaWorld())
    return imitation.tasks_of(MetaWorld(), split.train if half == "seen" else split.test)


def _percent(share: float) -> str:
    return number(100 * share)


def printed(half: str) -> dict[str, dict[str, float]]:
    """method → task, or the half → what is published."""
    names = {*tasks_of(half), half}
    found: dict[str, dict[str, float]] = {}
    for row in published("metaworld"):
        if row.tasks in names:
            found.setdefault(row.method, {})[row.tasks] = row.value
    return found


def averages(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Those that are no means of the best policies."""
    return {method: values for method, values in rows.items() if ", top " not in method}
