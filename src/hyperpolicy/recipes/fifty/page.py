"""The tables as pages: rows over tasks, who reads the demonstration, experts elsewhere, minutes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperpolicy import files
from hyperpolicy.evaluate.plots import Shown, plot_rows
from hyperpolicy.evaluate.tables import NONE, interval_text, markdown, number
from hyperpolicy.recipes import stage
from hyperpolicy.recipes.amt_hyp.bench import Bench, Played, transfer
from hyperpolicy.recipes.amt_hyp.data import final_success
from hyperpolicy.recipes.amt_hyp.imitation import tasks_of
from hyperpolicy.recipes.fifty.rows import ONE_EXPERT, REPLAYED, WRONG, among
from hyperpolicy.recipes.fifty.study import Question, Rate, lead, rate
from hyperpolicy.zoo import Zoo

Found = Mapping[str, Sequence[Played]]
"""row → its cell in each bench."""


def page(question: Question, benches: Sequence[Bench], found: Found, left: Sequence[str]) -> str:
    """Everything of one question, as a Markdown page."""
    rates = {name: rate(cells) for name, cells in found.items()}
    parts = [
        f"# {question.name}\n\n{protocol(question, benches[0])}",
        f"## Rows\n\n{rows(found, rates)}",
        f"## Is the demonstration read?\n\n{reading(found)}",
        f"## Each task\n\n{per_task(benches, question.half, rates)}",
        f"## Experts\n\n{experts(benches)}",
        f"## Minutes\n\n{minutes(benches)}",
    ]
    if left:
        parts.append(f"Not begun yet: {', '.join(left)}.")
    return "\n\n".join(parts) + "\n"


def protocol(question: Question, b: Bench) -> str:
    """What the numbers are."""
    preset, folds = b.preset, len(question.benches)
    over = "over folds, each with all of its own" if folds > 1 else "of one pipeline"
    units = "folds" if folds > 1 else "tasks"
    drawn = "" if b.family.configurations == "all" else ", all of the region that was left out"
    return (
        f"Written by `hyperpolicy recipe {question.name}`. Success in % of episodes, at any step: "
        f"{preset.policies} policies a task, or as many as the row says, one a demonstration, each "
        f"in one configuration of its own that nobody trained on{drawn}. 95 % intervals are "
        f"{over}; leads are taken task by task, and their intervals are Student's t over {units}."
    )


def rows(found: Found, rates: Mapping[str, Rate]) -> str:
    """A line a row: success, and its lead over one expert that looks at nothing."""
    header = ["row", "told", "fits", "policies", "success", "95 % CI"]
    header += ["ahead of one expert", "95 % CI"]
    lines = []
    for name, one in rates.items():
        ahead, ends = NONE, NONE
        if ONE_EXPERT in found and name != ONE_EXPERT:
            gap, interval = lead(found[name], found[ONE_EXPERT])
            ahead, ends = number(gap), interval_text(interval)
        first = found[name][0].strict
        counts = str(one.num_fits), str(first.returns.shape[1])
        shown = number(one.mean), interval_text(one.interval)
        lines.append([name, first.given, *counts, *shown, ahead, ends])
    return markdown(header, lines)


def reading(found: Found) -> str:
    """Rows that were told a wrong task, or the very configuration, beside themselves."""
    header = ["row", "told rightly", "told another task", "lost", "95 % CI", "gained by replaying"]
    lines = []
    for name in found:
        wrong, same = name + WRONG, name + REPLAYED
        if wrong not in found:
            continue
        gap, interval = lead(found[name], found[wrong])
        gained = number(lead(found[same], found[name])[0]) if same in found else NONE
        means = (number(rate(found[n]).mean) for n in (name, wrong))
        lines.append([name, *means, number(gap), interval_text(interval), gained])
    return markdown(header, lines)


def per_task(benches: Sequence[Bench], half: str, rates: Mapping[str, Rate]) -> str:
    """Success of each row on each task, rows across."""
    tasks = [task for b in benches for task in b.tasks(half)]
    lines = [
        [task, *(number(one.per_task[i], 0) for one in rates.values())]
        for i, task in enumerate(tasks)
    ]
    return markdown(["task", *rates], lines)


def experts(benches: Sequence[Bench]) -> str:
    """The experts of each bench, and what they do elsewhere."""
    header = ["bench", "experts", "final rows", "below half", "rows kept"]
    header += ["one expert on training tasks", "the best on test tasks, in hindsight"]
    lines = []
    for b in benches:
        gate = final_success(Zoo.load(b.out / "data/experts/zoo"), b.out / "data/gate.json")
        share = among(b).mean(axis=1)
        best = int(share.argmax())
        name = tasks_of(b.family, b.data.zoo.contexts[best : best + 1])[0]
        there = NONE
        if len(b.contexts("unseen")):
            elsewhere = transfer(b).mean(axis=1)
            top = int(elsewhere.argmax())
            who = tasks_of(b.family, b.data.zoo.contexts[top : top + 1])[0]
            there = f"{who}, {number(100 * elsewhere[top])} %"
        kept = f"{len(b.data.zoo)}"
        own = number(100 * gate.mean()), str(int((gate < 0.5).sum()))
        chosen = f"{name}, {number(100 * share[best])} %"
        lines.append([b.out.name, str(len(gate)), f"{own[0]} %", own[1], kept, chosen, there])
    return markdown(header, lines)


def minutes(benches: Sequence[Bench]) -> str:
    """How long each stage of each bench took."""
    return "\n\n".join(f"{b.out.name}:\n\n{stage.table(b.minutes)}" for b in benches)


def draw(rates: Mapping[str, Rate], path: Path) -> Path:
    """A line a row, its interval, and each task."""
    rows = {name: Shown(one.mean, one.interval, one.per_task) for name, one in rates.items()}
    return plot_rows(rows, path, "success [%]", limits=(-2.0, 102.0))


def record(rates: Mapping[str, Rate], found: Found, path: Path) -> Path:
    """The numbers as a file, for who compares."""
    lines = {
        name: {
            "success": one.mean,
            "interval": one.interval,
            "fits": one.num_fits,
            "per_task": one.per_task.tolist(),
            "told": found[name][0].strict.given,
        }
        for name, one in rates.items()
    }
    return files.save_json(path, lines, overwrite=True)
