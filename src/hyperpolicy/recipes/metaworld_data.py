"""AMT-Hyp's data on Meta-World: experts of eight tasks, checkpoints, demonstrations of sixteen.

    base            one policy for the eight tasks, told which, cloned from the package's scripted
                    policies: on states they reach with noisy actions, then on its own (DAgger,
                    Ross et al. 2011, arXiv:1011.0686)
    experts         PPO from the base folded at each task; the network of Make-An-Agent (39-128-128,
                    ELU and ReLU). SAC, the published choice, spoils such a start
    zoo             the checkpoints that succeed, and each expert's final row
    demonstrations  of every row of the zoo, for training; 100 a task for testing, each in another
                    configuration: of the final experts on the tasks they were trained on, of noisy
                    scripted policies on the others

Every stage is saved when it is done and never computed twice; the same call goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import files, rollout
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Script, scripted
from hyperpolicy.errors import BadZoo
from hyperpolicy.fleet.on_policy import train_on_policy
from hyperpolicy.generate import conditioned, loop
from hyperpolicy.generate.conditioned import Shown
from hyperpolicy.nets.fold import fold_actor, fold_normalizer
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.metaworld_presets import DataPreset
from hyperpolicy.recipes.minutes import timed
from hyperpolicy.rl import ppo
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
class Data:
    """What all generators on Meta-World are made and judged with."""

    zoo: Zoo
    train: Demonstrations
    rows: Int[np.ndarray, " d"]
    """Whom each training demonstration shows."""
    test: Demonstrations
    """Of all sixteen tasks."""

    def few(self, contexts: Float[np.ndarray, "k c"], count: int) -> Demonstrations:
        """The first `count` test demonstrations of each task."""
        return joined([self.test.of(context)[:count] for context in contexts])


def provide(
    preset: DataPreset, out: Path, family: MetaWorld | None = None, minutes: Path | None = None
) -> Data:
    """All of it, from `out` where it is there already; the file `minutes`, by default
    `out/minutes.json`, says how long each stage took."""
    family, minutes = family or MetaWorld(), minutes or out / "minutes.json"
    split = family.grid("amt-hyp").split("seen")
    seen, unseen = (out / f"demonstrations-{half}.safetensors" for half in ("seen", "unseen"))
    with timed(minutes, "base", out / "base.safetensors"):
        base(preset, family, split.train, out)
    with timed(minutes, "experts", out / "experts/zoo"):
        trained = experts(preset, family, split.train, out)
    with timed(minutes, "gate", out / "gate.json"):
        zoo = gated(preset, family, trained, out)
    with timed(minutes, "demonstrations, training", out / "demonstrations-train.json"):
        train, rows = training_demonstrations(preset, family, zoo, out)
    with timed(minutes, "demonstrations, seen tasks", seen):
        by_experts = _kept(seen, lambda: of_experts(preset, family, zoo))
    with timed(minutes, "demonstrations, unseen tasks", unseen):
        by_scripts = _kept(unseen, lambda: of_scripts(preset, family, split.test))
    return Data(zoo, train, rows, joined([by_experts, by_scripts]))


# --- Base and experts ---------------------------------------------------------------------
def experts(preset: DataPreset, family: MetaWorld, contexts, out: Path) -> Zoo:
    """One expert a task, with all its checkpoints."""
    record = {"start_is": "a policy cloned from scripted policies, folded at each task"}
    return train_on_policy(
        preset.ppo,
        None,
        family,
        contexts,
        preset.schedule,
        base(preset, family, contexts, out),
        out=out / "experts",
        provenance=record | {"grid": "amt-hyp", "scripted_steps_per_expert": _shown_steps(preset)},
    )


def base(preset: DataPreset, family: MetaWorld, contexts, out: Path) -> Policies:
    """The cloned policy at each task: what experts start from."""
    path = out / "base.safetensors"
    if not path.exists():
        states = scripted_states(preset, family, contexts)
        policies = clone(preset, family, contexts, states)
        for i in range(1, preset.fits):
            reached = rollout.trace(policies, family, contexts, BASE_WORLDS, BASE_SEED + i).obs
            states = np.concatenate([states, reached.reshape(len(contexts), -1, 39)], axis=1)
            policies = clone(preset, family, contexts, states)
        policies.save(path)
    return Policies.load(path)


def scripted_states(
    preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n s o"]:
    """What noisy scripted policies see."""
    names = [family.task_name(context) for context in contexts]
    seeds = BASE_SEED * 1009 + np.arange(len(names) * BASE_WORLDS)
    worlds = family.worlds(np.repeat(contexts, BASE_WORLDS, axis=0), seeds)
    actor = scripted(names, preset.noise, BASE_SEED)
    rows = rollout.collect(actor, worlds, BASE_WORLDS, preset.prior_steps)
    return rows[:, :, : family.obs_size]


def clone(
    preset: DataPreset,
    family: MetaWorld,
    contexts: Float[np.ndarray, "n c"],
    states: Float[np.ndarray, "n s o"],
) -> Policies:
    """One policy, told the task, that does what the tasks' scripts do in these states; folded at
    each task. It learns from normalized observations: a goal moves by centimeters."""
    spec = ppo.policy_spec(preset.ppo, family.obs_size, family.action_size)
    scripts = [Script(family.task_name(context)) for context in contexts]
    actions = np.array([[s(row) for row in rows] for s, rows in zip(scripts, states, strict=True)])
    mean = states.mean(axis=(0, 1))
    scale = 1.0 / np.sqrt(states.var(axis=(0, 1)) + SMALLEST_VARIANCE)
    told = jnp.asarray(family.context.encode(contexts), jnp.float32)
    seen = jnp.asarray((states - mean) * scale)
    shown = Shown(seen, jnp.asarray(actions), told, jnp.arange(len(told)))
    run = loop.Run("base", (0,), preset.clone.steps, None, {})
    model = conditioned.train(preset.clone, run, shown, spec)[0]

    @jax.jit
    @jax.vmap
    def fold(row):
        actor = fold_actor(model.spec.unflatten(jnp.asarray(model.weights)), row)
        return spec.flatten(fold_normalizer(actor, jnp.asarray(mean), jnp.asarray(scale)))

    return Policies(np.asarray(fold(told)), spec)


def _shown_steps(preset: DataPreset) -> int:
    """Environment steps of each task that the base was fitted on, the scripts' and its own."""
    own = (preset.fits - 1) * MetaWorld.horizon_steps
    return BASE_WORLDS * (preset.prior_steps + own)


def gated(preset: DataPreset, family: MetaWorld, zoo: Zoo, out: Path) -> Zoo:
    """The checkpoints that succeed in `gate_episodes` configurations, and all final rows.

    `out/gate.json` says how often each row succeeded.
    """
    path = out / "gate.json"
    if not path.exists():
        rate = rollout.success_rate(
            zoo.policies, family, zoo.row_contexts, preset.gate_episodes, GATE_SEED
        )
        files.save_json(path, {"success": rate, "updates": zoo.updates})
    return _rows(zoo, zoo.final | (np.array(files.load_json(path)["success"]) >= 1.0))


def _rows(zoo: Zoo, keep: Bool[np.ndarray, " r"]) -> Zoo:
    return replace(
        zoo,
        weights=zoo.weights[keep],
        expert=zoo.expert[keep],
        updates=zoo.updates[keep],
        final=zoo.final[keep],
        returns=zoo.returns[keep],
    )


# --- Demonstrations -----------------------------------------------------------------------
def training_demonstrations(
    preset: DataPreset, family: MetaWorld, zoo: Zoo, out: Path
) -> tuple[Demonstrations, Int[np.ndarray, " d"]]:
    """Demonstrations of every row that succeeds, and the row each one shows."""
    path, index = out / "demonstrations-train.safetensors", out / "demonstrations-train.json"
    if not index.exists():
        parts, rows = [], []
        turn = max(1, family.most_worlds // preset.shown)
        for start in range(0, len(zoo), turn):
            here = slice(start, start + turn)
            who, contexts = zoo.policies[here], zoo.row_contexts[here]
            shown = rollout.record(who, family, contexts, preset.shown, TRAIN_SEED)
            made = Demonstrations.cut(shown)
            parts.append(made.demonstrations)
            rows.append(shown.index.policy[made.episode] + start)
        path.unlink(missing_ok=True)  # of a call that was killed between the two files
        joined(parts).save(path)
        files.save_json(index, {"rows": np.concatenate(rows)})
    return Demonstrations.load(path), np.array(files.load_json(index)["rows"], int)


def of_experts(preset: DataPreset, family: MetaWorld, zoo: Zoo) -> Demonstrations:
    """`test` demonstrations of each task's final expert."""
    return joined(
        [
            enough(preset, family, context[None], rollout.greedy(zoo.finals[x]))
            for x, context in enumerate(zoo.contexts)
        ]
    )


def of_scripts(
    preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]
) -> Demonstrations:
    """`test` demonstrations of each task's noisy scripted policy."""
    return joined(
        [
            enough(
                preset,
                family,
                context[None],
                scripted([family.task_name(context)], preset.noise, TEST_SEED),
            )
            for context in contexts
        ]
    )


def enough(
    preset: DataPreset,
    family: MetaWorld,
    context: Float[np.ndarray, "1 c"],
    actor: rollout.Actor,
) -> Demonstrations:
    """`test` successful episodes, each in another configuration.

    Raises:
        BadZoo: too few of `MOST_TRIES` times as many episodes succeed.
    """
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


def _kept(path: Path, make: Callable[[], Demonstrations]) -> Demonstrations:
    """What is in the file; made and saved if there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make().save(path)
    return Demonstrations.load(path)
