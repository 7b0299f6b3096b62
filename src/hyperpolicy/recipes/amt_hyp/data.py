"""AMT-Hyp's data on Meta-World: experts of eight tasks, checkpoints, demonstrations of sixteen.

    base            one policy for the eight tasks, conditioned on the task, cloned from the
                    package's scripted policies: on states they reach with noisy actions, then on
                    its own (DAgger, Ross et al. 2011, arXiv:1011.0686)
    experts         PPO from the base folded at each task; the network of Make-An-Agent (39-128-128,
                    ELU and ReLU). SAC, the published choice, spoils such a start
    zoo             the checkpoints that succeed, and each expert's final row
    demonstrations  of every row of the zoo, for training; 100 a task for testing, each in another
                    configuration: of the final experts on the tasks they were trained on, of noisy
                    scripted policies on the others

Every stage is saved when it is done and never computed twice; the same call goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from hyperpolicy import files, rollout
from hyperpolicy.data.demonstrations import Demonstrations, Layout
from hyperpolicy.envs import Split
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Script, Scripted
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import train
from hyperpolicy.generate import loop
from hyperpolicy.generate.lesson import Pairs, action_gap
from hyperpolicy.nets.fold import fold_actor, fold_normalizer
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.amt_hyp.presets import DataPreset
from hyperpolicy.recipes.stage import make_once, record_once, timed
from hyperpolicy.run.job import Output
from hyperpolicy.zoo import Zoo

BASE_SEED, GATE_SEED, TRAIN_SEED, TEST_SEED = 11, 12, 13, 14
"""Of configurations; tables use others."""
BASE_WORLDS = 8
"""Of each task, in which scripted policies and the base collect states."""
SMALLEST_VARIANCE = 1e-3
"""Added to that of an observed number before it is normalized."""
LEAST_SHOWN = 0.5
"""An expert that succeeds less often does not show its task in tests: its script does."""
EACH_BATCH = 64
"""Pairs a step where each policy is cloned by itself."""
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
    play = partial(gate, preset, family, trained)
    zoo = passed(trained, record_once(out / "gate.json", play, timed(minutes, "gate"))["success"])
    show = partial(training_demonstrations, preset, family, zoo)
    index = at("demonstrations, training", "demonstrations-train.json", show)
    able = final_success(trained, out / "gate.json") >= LEAST_SHOWN

    def script(context) -> rollout.Actor:
        return Scripted(tasks_of(family, context[None]), preset.noise, TEST_SEED)

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


def tasks_of(family: MetaWorld, contexts: Float[np.ndarray, "k 1"]) -> list[str]:
    """Names of tasks."""
    return list(map(family.task_name, contexts))


# --- Base and experts ---------------------------------------------------------------------
def experts(preset: DataPreset, family: MetaWorld, split: Split, start: Policies, out: Path) -> Zoo:
    """One expert a training task, with all its checkpoints, from the policies `start`; in
    `out/zoo`."""
    which = "folded at each task" if preset.one_start else "one for each task"
    record: dict = {"start_is": f"a policy cloned from scripted policies, {which}"}
    record |= {"grid": split.grid, "split": split.name}
    record |= {"scripted_steps_per_expert": shown_steps(preset)}
    return train(preset.expert, family, split.train, start, out=Output(out, provenance=record))


def base(preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]) -> Policies:
    """The cloned policy at each task, which experts start from; it is fitted on what noisy scripted
    policies see, then on what it sees itself."""
    clone = clone_all if preset.one_start else clone_each
    states = scripted_states(preset, family, contexts)
    actions = scripted_actions(family, contexts, states)
    policies = clone(preset, family, contexts, states, actions)
    for i in range(1, preset.fits):
        reached = rollout.trace(policies, family, contexts, BASE_WORLDS, BASE_SEED + i).obs
        new = reached.reshape(len(contexts), -1, family.obs_size)
        states = np.concatenate([states, new], axis=1)
        actions = np.concatenate([actions, scripted_actions(family, contexts, new)], axis=1)
        policies = clone(preset, family, contexts, states, actions)
    return policies


def scripted_states(
    preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n s o"]:
    """What noisy scripted policies see, some tasks at a time."""
    names, parts = tasks_of(family, contexts), []
    seeds = BASE_SEED * 1009 + np.arange(len(names) * BASE_WORLDS).reshape(-1, BASE_WORLDS)
    turn = max(1, family.most_worlds // BASE_WORLDS)
    for first in range(0, len(names), turn):
        here = slice(first, first + turn)
        own = np.repeat(contexts[here], BASE_WORLDS, axis=0)
        actor = Scripted(names[here], preset.noise, BASE_SEED + first)
        worlds = family.worlds(own, seeds[here].ravel())
        rows = rollout.collect(actor, worlds, BASE_WORLDS, preset.prior_steps)
        parts.append(rows[:, :, : family.obs_size])
    return np.concatenate(parts)


def scripted_actions(
    family: MetaWorld, contexts: Float[np.ndarray, "n c"], states: Float[np.ndarray, "n s o"]
) -> Float[np.ndarray, "n s a"]:
    """What the tasks' scripts do in these states."""
    scripts = map(Script, tasks_of(family, contexts))
    return np.array([[s(row) for row in rows] for s, rows in zip(scripts, states, strict=True)])


def clone_all(
    preset: DataPreset,
    family: MetaWorld,
    contexts: Float[np.ndarray, "n c"],
    states: Float[np.ndarray, "n s o"],
    actions: Float[np.ndarray, "n s a"],
) -> Policies:
    """One policy, conditioned on the task, that does these actions in these states; folded at each
    task. It learns from normalized observations: a goal moves by centimeters."""
    cfg = preset.expert.cfg
    spec = cfg.learner.policy(cfg, family.obs_size, family.action_size)
    mean = states.mean(axis=(0, 1))
    scale = 1.0 / np.sqrt(states.var(axis=(0, 1)) + SMALLEST_VARIANCE)
    encoded = jnp.asarray(family.context.encode(contexts), jnp.float32)
    seen = jnp.asarray((states - mean) * scale)
    none = jnp.zeros((len(encoded), spec.size))
    shown = Pairs(none, jnp.arange(len(encoded)), encoded, seen, jnp.asarray(actions))
    run = loop.FitJob("base", (0,), preset.clone.steps, None, {})
    model, _ = preset.clone.train(run, shown, spec, None)[0]

    @jax.jit
    @jax.vmap
    def fold(row):
        actor = fold_actor(model.spec.unflatten(jnp.asarray(model.weights)), row)
        return spec.flatten(fold_normalizer(actor, jnp.asarray(mean), jnp.asarray(scale)))

    return Policies(np.asarray(fold(encoded)), spec)


def clone_each(
    preset: DataPreset,
    family: MetaWorld,
    contexts: Float[np.ndarray, "n c"],
    states: Float[np.ndarray, "n s o"],
    actions: Float[np.ndarray, "n s a"],
) -> Policies:
    """As `clone_all`, but a policy for each task alone, all from different starts."""
    cfg = preset.expert.cfg
    spec = cfg.learner.policy(cfg, family.obs_size, family.action_size)
    mean = states.mean(axis=(0, 1))
    scale = 1.0 / np.sqrt(states.var(axis=(0, 1)) + SMALLEST_VARIANCE)
    seen, done = jnp.asarray((states - mean) * scale), jnp.asarray(actions)
    tx = optax.adam(optax.cosine_decay_schedule(preset.clone.rate, preset.clone.steps))

    def init(key):
        actor = spec.init(key)
        return actor, tx.init(actor)

    def step(state, key, i, own, data):
        (actor, adam), (seen, done) = state, own
        rows = jax.random.randint(key, (EACH_BATCH,), 0, len(seen))
        loss, grads = jax.value_and_grad(action_gap)(actor, seen[rows], done[rows])
        updates, adam = tx.update(grads, adam)
        return (optax.apply_updates(actor, updates), adam), {"loss/behavior": loss}

    n = len(contexts)
    run = loop.FitJob("clones", tuple(range(n)), preset.clone.steps, None, {})
    actors = loop.learn(run, init, step, (seen, done), None).state[0]

    @jax.jit
    @jax.vmap
    def fold(actor):
        return spec.flatten(fold_normalizer(actor, jnp.asarray(mean), jnp.asarray(scale)))

    return Policies(np.asarray(fold(actors)), spec)


def shown_steps(preset: DataPreset) -> int:
    """Environment steps of each task that the base was fitted on, the scripts' and its own."""
    own = (preset.fits - 1) * MetaWorld.horizon_steps
    return BASE_WORLDS * (preset.prior_steps + own)


def gate(preset: DataPreset, family: MetaWorld, zoo: Zoo) -> dict:
    """How often each row succeeds in `gate_episodes` configurations, and its updates."""
    episodes = preset.gate_episodes
    rate = rollout.success_rate(zoo.policies, family, zoo.row_contexts, episodes, GATE_SEED)
    return {"success": rate, "updates": zoo.updates}


def passed(zoo: Zoo, success: Sequence[float]) -> Zoo:
    """The rows that always succeeded, and all final ones."""
    return zoo.take(np.flatnonzero(zoo.final | (np.array(success) >= 1.0)))


# --- Demonstrations -----------------------------------------------------------------------
def training_demonstrations(preset: DataPreset, family: MetaWorld, zoo: Zoo, index: Path) -> None:
    """Demonstrations of every row that succeeds, beside the file `index`, which says what row each
    one shows."""
    parts: list[list[Demonstrations]] = [[] for _ in preset.layouts]
    rows = []
    turn = max(1, family.most_worlds // preset.shown)
    for start in range(0, len(zoo), turn):
        here = slice(start, start + turn)
        who, contexts = zoo.policies[here], zoo.row_contexts[here]
        shown = record(preset, who, family, contexts, preset.shown, TRAIN_SEED)
        for found, layout in zip(parts, preset.layouts, strict=True):
            made = Demonstrations.cut(shown, layout)
            found.append(made.demonstrations)
        rows.append(shown.index.policy[made.episode] + start)
    save_layouts(preset, parts, index.with_suffix(".safetensors"))
    files.save_json(index, {"rows": np.concatenate(rows)})


def record(preset: DataPreset, who, family: MetaWorld, contexts, episodes: int, seed: int):
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
