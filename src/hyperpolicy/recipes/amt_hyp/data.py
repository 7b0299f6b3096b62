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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import files, rollout
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Script, Scripted
from hyperpolicy.errors import BadZoo
from hyperpolicy.fleet import train
from hyperpolicy.generate import loop
from hyperpolicy.generate.lesson import Pairs
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
    """Of all sixteen tasks."""

    def first(self, contexts: Float[np.ndarray, "k c"], count: int) -> Demonstrations:
        """The first `count` test demonstrations of each task."""
        return joined([self.test.of(context)[:count] for context in contexts])


def provide(
    preset: DataPreset, out: Path, family: MetaWorld | None = None, minutes: Path | None = None
) -> MetaWorldData:
    """All of it, from `out` where it is there already; the file `minutes`, by default
    `out/minutes.json`, says how long each stage took."""
    family, minutes = family or MetaWorld(), minutes or out / "minutes.json"
    split = family.grid("amt-hyp").split("seen")

    def at(name: str, result: str, make: Callable[[Path], object]) -> Path:
        return make_once(out / result, lambda: make(out / result), timed(minutes, name))

    def begin(path: Path) -> None:
        base(preset, family, split.train).save(path)

    def train(path: Path) -> None:
        experts(preset, family, start, path.parent)

    start = Policies.load(at("base", "base.safetensors", begin))
    trained = Zoo.load(at("experts", "experts/zoo", train))
    play = partial(gate, preset, family, trained)
    zoo = passed(trained, record_once(out / "gate.json", play, timed(minutes, "gate"))["success"])
    show = partial(training_demonstrations, preset, family, zoo)
    index = at("demonstrations, training", "demonstrations-train.json", show)

    def expert(task: int) -> rollout.Actor:
        return rollout.Greedy(zoo.finals[task])

    def script(task: int) -> rollout.Actor:
        return Scripted([family.task_name(split.test[task])], preset.noise, TEST_SEED)

    def test(half: str, contexts, actor: Callable[[int], rollout.Actor]) -> Demonstrations:
        def make(path: Path) -> None:
            tasks = enumerate(contexts)
            joined([enough(preset, family, c[None], actor(i)) for i, c in tasks]).save(path)

        name, result = f"demonstrations, {half} tasks", f"demonstrations-{half}.safetensors"
        return Demonstrations.load(at(name, result, make))

    return MetaWorldData(
        zoo,
        Demonstrations.load(index.with_suffix(".safetensors")),
        np.array(files.load_json(index)["rows"], int),
        joined([test("seen", zoo.contexts, expert), test("unseen", split.test, script)]),
    )


# --- Base and experts ---------------------------------------------------------------------
def experts(preset: DataPreset, family: MetaWorld, start: Policies, out: Path) -> Zoo:
    """One expert a task, with all its checkpoints, from the policies `start`; in `out/zoo`."""
    record: dict = {"start_is": "a policy cloned from scripted policies, folded at each task"}
    record |= {"grid": "amt-hyp", "scripted_steps_per_expert": shown_steps(preset)}
    contexts = family.grid("amt-hyp").split("seen").train
    return train(preset.expert, family, contexts, start, out=Output(out, provenance=record))


def base(preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]) -> Policies:
    """The cloned policy at each task, which experts start from; it is fitted on what noisy scripted
    policies see, then on what it sees itself."""
    names = [family.task_name(context) for context in contexts]
    seeds = BASE_SEED * 1009 + np.arange(len(names) * BASE_WORLDS)
    worlds = family.worlds(np.repeat(contexts, BASE_WORLDS, axis=0), seeds)
    actor = Scripted(names, preset.noise, BASE_SEED)
    rows = rollout.collect(actor, worlds, BASE_WORLDS, preset.prior_steps)
    states = rows[:, :, : family.obs_size]
    policies = clone(preset, family, contexts, states)
    for i in range(1, preset.fits):
        reached = rollout.trace(policies, family, contexts, BASE_WORLDS, BASE_SEED + i).obs
        states = np.concatenate([states, reached.reshape(len(contexts), -1, 39)], axis=1)
        policies = clone(preset, family, contexts, states)
    return policies


def clone(
    preset: DataPreset,
    family: MetaWorld,
    contexts: Float[np.ndarray, "n c"],
    states: Float[np.ndarray, "n s o"],
) -> Policies:
    """One policy, conditioned on the task, that does what the tasks' scripts do in these states;
    folded at each task. It learns from normalized observations: a goal moves by centimeters."""
    cfg = preset.expert.cfg
    spec = cfg.learner.policy(cfg, family.obs_size, family.action_size)
    scripts = [Script(family.task_name(context)) for context in contexts]
    actions = np.array([[s(row) for row in rows] for s, rows in zip(scripts, states, strict=True)])
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
    parts, rows = [], []
    turn = max(1, family.most_worlds // preset.shown)
    for start in range(0, len(zoo), turn):
        here = slice(start, start + turn)
        who, contexts = zoo.policies[here], zoo.row_contexts[here]
        shown = rollout.record(who, family, contexts, preset.shown, TRAIN_SEED)
        made = Demonstrations.cut(shown)
        parts.append(made.demonstrations)
        rows.append(shown.index.policy[made.episode] + start)
    path = index.with_suffix(".safetensors")
    path.unlink(missing_ok=True)  # of a call that was killed between the two files
    joined(parts).save(path)
    files.save_json(index, {"rows": np.concatenate(rows)})


def enough(
    preset: DataPreset,
    family: MetaWorld,
    context: Float[np.ndarray, "1 c"],
    actor: rollout.Actor,
) -> Demonstrations:
    """`test` successful episodes, each in another configuration; BadZoo where too few of
    `MOST_TRIES` times as many succeed."""
    parts: list[Demonstrations] = []
    most, tried = family.most_worlds, 0
    while sum(map(len, parts)) < preset.test:
        if tried >= MOST_TRIES * preset.test:
            raise BadZoo(
                f"{sum(map(len, parts))} of {tried} episodes on {family.task_name(context[0])} "
                f"succeeded, {preset.test} demonstrations are wanted; train its expert longer"
            )
        episodes = min(most, preset.test)
        shown = rollout.record(actor, family, context, episodes, TEST_SEED + 1000 * tried)
        parts.append(Demonstrations.cut(shown).demonstrations)
        tried += episodes
    return joined(parts)[: preset.test]


def joined(parts: list[Demonstrations]) -> Demonstrations:
    """All of them, one after the other."""
    arrays = ((p.contexts, p.opening, p.ending) for p in parts)
    stacked = (np.concatenate(column) for column in zip(*arrays, strict=True))
    return Demonstrations(parts[0].family, *stacked)
