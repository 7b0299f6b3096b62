"""AMT-Hyp's data on Meta-World: experts of eight tasks, checkpoints, demonstrations of sixteen.

    base            one policy for the eight tasks, conditioned on the task, cloned from the
                    package's scripted policies: on states they reach with noisy actions, then on
                    its own (DAgger, Ross et al. 2011, arXiv:1011.0686)
    experts         PPO from the base folded at each task; the network of Make-An-Agent (39-128-128,
                    ELU and ReLU). SAC, the published choice, spoils such a start
    zoo             the checkpoints that succeed, and each expert's final row
    demonstrations  of every row of the zoo, for training; 100 a task for testing, each in another
                    configuration: of the final experts on the tasks they were trained on, of noisy
                    scripted policies on the others, and where an expert fails

Every stage is saved when it is done and never computed twice; the same call goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import files, rollout, seeds
from hyperpolicy.data.demonstrations import Demonstrations, Layout
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.envs import Split
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Scripted
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import train
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.amt_hyp.imitation import base, shown_steps, tasks_of
from hyperpolicy.recipes.amt_hyp.presets import DataPreset
from hyperpolicy.recipes.stage import make_once, record_once, timed
from hyperpolicy.run.job import Output
from hyperpolicy.run.progress import Steps
from hyperpolicy.zoo import Zoo

GATE_SEED, TRAIN_SEED, TEST_SEED = 12, 13, 14
"""Of configurations; tables use others."""
LEAST_SHOWN = 0.5
"""Where an expert succeeds less often, its script shows the task: in tests alone, in training as
well as the expert's rows."""
MOST_TRIES = 5
"""Rounds of episodes in which enough demonstrations have to succeed."""


@dataclass(frozen=True)
class MetaWorldData:
    """What all generators on Meta-World are made and judged with."""

    zoo: Zoo
    train: Demonstrations
    rows: Int[np.ndarray, " d"]
    """Whom each training demonstration shows."""
    test: Demonstrations
    """Of all tasks, trained on or not."""
    whole: tuple[Demonstrations, Demonstrations] | None = None
    """Both kinds once more, of the same episodes in layout `whole`, where the preset wants them."""

    @property
    def as_whole(self) -> "MetaWorldData":
        """The same with demonstrations in layout `whole`."""
        assert self.whole is not None
        return replace(self, train=self.whole[0], test=self.whole[1], whole=None)

    def told(self, change: Callable[[Demonstrations], Demonstrations]) -> "MetaWorldData":
        """The same with every demonstration changed."""
        return replace(self, train=change(self.train), test=change(self.test), whole=None)

    def first(self, contexts: Float[np.ndarray, "k c"], count: int) -> Demonstrations:
        """The first `count` test demonstrations of each task."""
        return Demonstrations.joined([self.test.of(context)[:count] for context in contexts])


def provide(
    preset: DataPreset,
    out: Path,
    family: MetaWorld | None = None,
    minutes: Path | None = None,
    split: Split | None = None,
    shown_in: MetaWorld | None = None,
) -> MetaWorldData:
    """All of it, from `out` where it is there already; the file `minutes`, by default
    `out/minutes.json`, says how long each stage took. Nothing is made of the split's test tasks but
    demonstrations; the split is AMT-Hyp's unless another is given. Test demonstrations are of
    `shown_in`, whose configurations may differ from `family`'s.

    Seen tasks are shown by their final expert, or by the noisy script where it succeeds too
    seldom (`LEAST_SHOWN`); unseen ones by the noisy script. Raises BadSetting: `out` holds data of
    other tasks.
    """
    family, minutes = family or MetaWorld(), minutes or out / "minutes.json"
    split = split or split_of(family)
    _claim(out, family, split)
    unseen = split.test[~np.isin(split.test, split.train).all(axis=1)]

    def at(name: str, result: str, make: Callable[[Path], object]) -> Path:
        return make_once(out / result, lambda: make(out / result), timed(minutes, name))

    def begin(path: Path) -> None:
        base(preset, family, split.train).save(path)

    def train(path: Path) -> None:
        experts(preset, family, split, start, path.parent)

    start = Policies.load(at("base", "base.safetensors", begin))
    trained = Zoo.load(at("experts", "experts/zoo", train))
    play = partial(gate, preset, family, trained, out / "gate")
    zoo = passed(trained, record_once(out / "gate.json", play, timed(minutes, "gate"))["success"])
    able = final_success(trained, out / "gate.json") >= LEAST_SHOWN

    def script(context, seed: int = TEST_SEED) -> rollout.Actor:
        return Scripted(tasks_of(family, context[None]), preset.noise, seed)

    scripts = {x: script(zoo.contexts[x], TRAIN_SEED) for x in np.flatnonzero(~able).tolist()}
    show = partial(training_demonstrations, preset, family, zoo, scripts)
    index = at("demonstrations, training", "demonstrations-train.json", show)

    def shows(task: int) -> rollout.Actor:
        return rollout.Greedy(zoo.finals[task]) if able[task] else script(zoo.contexts[task])

    def test(half: str, contexts, actors: list[rollout.Actor]) -> Path:
        def make(path: Path) -> None:
            each = (
                enough(preset, shown_in or family, c[None], actor)
                for c, actor in zip(contexts, actors, strict=True)
            )
            save_layouts(preset, [list(parts) for parts in zip(*each, strict=True)], path)

        name, result = f"demonstrations, {half} tasks", f"demonstrations-{half}.safetensors"
        return at(name, result, make)

    tests = []
    if "seen" in preset.tested:
        tests.append(test("seen", zoo.contexts, [shows(i) for i in range(len(zoo.contexts))]))
    if "unseen" in preset.tested and len(unseen):
        tests.append(test("unseen", unseen, [script(context) for context in unseen]))

    def read(layout: Layout) -> tuple[Demonstrations, Demonstrations]:
        known = Demonstrations.load(beside(index.with_suffix(".safetensors"), layout))
        return known, Demonstrations.joined([Demonstrations.load(beside(p, layout)) for p in tests])

    rows = np.array(files.load_json(index)["rows"], int)
    whole = read("whole") if "whole" in preset.layouts else None
    return MetaWorldData(zoo, read("opening")[0], rows, read("opening")[1], whole)


def final_success(trained: Zoo, gate: Path) -> Float[np.ndarray, " x"]:
    """How often each expert's final row succeeded in the gate's configurations."""
    return np.array(files.load_json(gate)["success"])[trained.final_rows]


def split_of(family: MetaWorld) -> Split:
    """AMT-Hyp's: eight tasks for training, eight others."""
    return family.grid("amt-hyp").split("seen")


def _claim(out: Path, family: MetaWorld, split: Split) -> None:
    """Write down whose tasks the data in `out` are of."""
    record = {"grid": split.grid, "split": split.name, "family": family.record()}
    record |= {name: tasks_of(family, getattr(split, name)) for name in ("train", "test")}
    there = record_once(out / "tasks.json", lambda: record)
    if (there["train"], there["test"]) != (record["train"], record["test"]):
        raise BadSetting(
            f"{out} holds data of grid {there['grid']!r}, split {there['split']!r}; choose another "
            "directory"
        )


# --- Experts ---------------------------------------------------------------------
def experts(preset: DataPreset, family: MetaWorld, split: Split, start: Policies, out: Path) -> Zoo:
    """One expert a training task, with all its checkpoints, from the policies `start`; in
    `out/zoo`."""
    which = "folded at each task" if preset.one_start else "one for each task"
    record: dict = {"start_is": f"a policy cloned from scripted policies, {which}"}
    record |= {"grid": split.grid, "split": split.name}
    record |= {"scripted_steps_per_expert": shown_steps(preset)}
    return train(preset.expert, family, split.train, start, out=Output(out, provenance=record))


def gate(preset: DataPreset, family: MetaWorld, zoo: Zoo, place: Path) -> dict:
    """How often each row succeeds in `gate_episodes` configurations, and its updates. A file for
    each expert in `place` lets a stopped call go on."""
    rate, k = np.zeros(len(zoo)), len(zoo.contexts)
    with Steps("gate, experts", k) as progress:
        for x in range(k):
            rows = np.flatnonzero(zoo.expert == x)
            who, contexts = zoo.policies[rows], zoo.row_contexts[rows]
            play = partial(rollout.success_rate, who, family, contexts, preset.gate_episodes)
            rate[rows] = record_once(place / f"{x}.json", partial(play, GATE_SEED))
            progress.update(x + 1)
    return {"success": rate, "updates": zoo.updates}


def passed(zoo: Zoo, success: Sequence[float]) -> Zoo:
    """The rows that always succeeded, and all final ones."""
    return zoo.take(np.flatnonzero(zoo.final | (np.array(success) >= 1.0)))


# --- Demonstrations -----------------------------------------------------------------------
def training_demonstrations(
    preset: DataPreset,
    family: MetaWorld,
    zoo: Zoo,
    scripts: dict[int, rollout.Actor],
    index: Path,
) -> None:
    """Demonstrations of every row that succeeds, each in a configuration of its own, beside the
    file `index`, which says what row each one shows. Every task has `shown_task` episodes at least,
    however few its rows are; final rows of the tasks in `scripts` are shown by these as well."""
    parts: list[list[Demonstrations]] = [[] for _ in preset.layouts]
    rows = []

    def show(who, contexts, starts, row) -> None:
        shown = record(preset, who, family, contexts, starts, TRAIN_SEED)
        for found, layout in zip(parts, preset.layouts, strict=True):
            made = Demonstrations.cut(shown, layout)
            found.append(made.demonstrations)
        rows.append(row[shown.index.policy[made.episode]])

    each = np.maximum(preset.shown, -(-preset.shown_task // np.bincount(zoo.expert)))
    turns = np.repeat(np.arange(len(zoo)), each[zoo.expert])
    episodes = max(preset.shown, preset.shown_task)
    starts = seeds.episodes(TRAIN_SEED, len(turns) + len(scripts) * episodes)
    own, scripted = starts[: len(turns), None], starts[len(turns) :].reshape(-1, 1, episodes)
    for first in range(0, len(turns), family.most_worlds):
        here = slice(first, first + family.most_worlds)
        row = turns[here]
        show(zoo.policies[row], zoo.row_contexts[row], own[here], row)
    for (task, script), start in zip(scripts.items(), scripted, strict=True):
        show(script, zoo.contexts[task][None], start, zoo.final_rows[task][None])
    save_layouts(preset, parts, index.with_suffix(".safetensors"))
    files.save_json(index, {"rows": np.concatenate(rows)})


def record(
    preset: DataPreset,
    who,
    family: MetaWorld,
    contexts,
    episodes: int | Int[np.ndarray, "n e"],
    seed: int,
) -> Episodes:
    """Episodes of `shown_steps` steps at most."""
    short = replace(family, horizon_steps=min(preset.shown_steps, family.horizon_steps))
    return replace(rollout.record(who, short, contexts, episodes, seed), family=family)


def enough(
    preset: DataPreset,
    family: MetaWorld,
    context: Float[np.ndarray, "1 c"],
    actor: rollout.Actor,
) -> list[Demonstrations]:
    """`test` successful episodes, each in another configuration, in each layout; BadZoo where too
    few of `MOST_TRIES` times as many succeed."""
    parts: list[list[Demonstrations]] = [[] for _ in preset.layouts]
    most, tried = family.most_worlds, 0
    while (found := sum(map(len, parts[0]))) < preset.test:
        if tried >= MOST_TRIES * preset.test:
            raise BadZoo(
                f"{found} of {tried} episodes on {family.task_name(context[0])} "
                f"succeeded, {preset.test} demonstrations are wanted; train its expert longer"
            )
        episodes = min(most, preset.test)
        shown = record(preset, actor, family, context, episodes, TEST_SEED + 1000 * tried)
        for own, layout in zip(parts, preset.layouts, strict=True):
            own.append(Demonstrations.cut(shown, layout).demonstrations)
        tried += episodes
    return [Demonstrations.joined(own)[: preset.test] for own in parts]


def save_layouts(preset: DataPreset, parts: list[list[Demonstrations]], path: Path) -> None:
    """A file for each layout, that of the opening, `path`, last."""
    for layout, own in reversed(list(zip(preset.layouts, parts, strict=True))):
        place = beside(path, layout)
        place.unlink(missing_ok=True)  # of a call that was killed between two files
        Demonstrations.joined(own).save(place)


def beside(path: Path, layout: Layout) -> Path:
    """Where demonstrations of a layout lie, beside those of the opening."""
    return path if layout == "opening" else path.with_stem(f"{path.stem}-{layout}")
