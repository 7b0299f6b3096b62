"""AMT-Hyp's data on Meta-World: experts of eight tasks, checkpoints, demonstrations of sixteen.

    base            one policy for the eight tasks, told which, cloned from the package's scripted
                    policies on states that these reach with noisy actions
    experts         SAC from the base folded at each task, the network of Make-An-Agent (39-128-128,
                    ELU and ReLU); half of each batch are transitions of scripted policies
    zoo             the checkpoints that succeed, and each expert's final row
    demonstrations  of every row of the zoo, for training; 100 a task for testing, each in another
                    configuration: of the final experts on the tasks they were trained on, of noisy
                    scripted policies on the others

Every stage is saved when it is done and never computed twice; the same call goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import files, fleet, rollout
from hyperpolicy.demonstrations import Demonstrations, cut
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Script, scripted
from hyperpolicy.errors import BadZoo
from hyperpolicy.fleet import Schedule
from hyperpolicy.generate import conditioned, loop
from hyperpolicy.generate.conditioned import DistillConfig, Shown
from hyperpolicy.nets.policy import Policies
from hyperpolicy.recipes.presets import TINY
from hyperpolicy.rl import sac
from hyperpolicy.rl.td_sac import TdSacConfig
from hyperpolicy.zoo import Zoo

PRIOR_SEED, GATE_SEED, TRAIN_SEED, TEST_SEED = 11, 12, 13, 14
"""Of configurations; tables use others."""
PRIOR_WORLDS = 4
"""Of each task, in which scripted policies collect what experts learn from."""
MOST_TRIES = 5
"""Rounds of episodes in which enough demonstrations have to succeed."""


@dataclass(frozen=True)
class DataPreset:
    """How long experts train, what is kept of them, and how much is shown."""

    clone: DistillConfig = field(default_factory=lambda: DistillConfig(steps=10_000))
    """The base's."""
    sac: TdSacConfig = field(
        default_factory=lambda: TdSacConfig(
            width=128,
            activations=("elu", "relu"),
            actor_rate=1e-4,
            initial_alpha=0.05,
            td=0.0,
            warmup_updates=4_000,
            ramp_updates=16_000,
        )
    )
    """The experts'; the actor rests while critics learn to judge it."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            num_updates=120_000,
            num_envs=2,
            updates_per_step=2,
            fill_steps=500,
            capacity=200_000,
            num_checkpoints=60,
            num_evaluations=24,
            episodes=2,
        )
    )
    prior_steps: int = 1_000
    """Of each world in which a scripted policy collects transitions."""
    noise: float = 0.3
    """Standard deviation of the noise on scripted policies' actions."""
    gate_episodes: int = 4
    """A checkpoint is kept if it succeeds in all of these."""
    shown: int = 2
    """Episodes from which a row's demonstrations are cut, for training."""
    test: int = 100
    """Demonstrations a task, for testing."""


SMALL = DataPreset()
PAPER = DataPreset(
    schedule=replace(SMALL.schedule, num_updates=1_000_000, num_checkpoints=500, batch=128)
)
"""Make-An-Agent's length; 500 checkpoints a task."""
SMOKE = DataPreset(
    clone=DistillConfig(steps=5, batch=8),
    sac=TdSacConfig(width=8, activations=("elu", "relu"), warmup_updates=2),
    schedule=TINY,
    prior_steps=20,
    gate_episodes=1,
    shown=1,
    test=3,
)
"""Minutes, most of them episodes; for tests."""


@dataclass(frozen=True)
class Data:
    """What all generators on Meta-World are made and judged with."""

    zoo: Zoo
    train: Demonstrations
    rows: Int[np.ndarray, " d"]
    """Whom each training demonstration shows."""
    test: Demonstrations
    """Of all sixteen tasks."""


def provide(preset: DataPreset, out: Path, family: MetaWorld | None = None) -> Data:
    """All of it, from `out` where it is there already."""
    family = family or MetaWorld()
    split = family.grid("amt-hyp").split("seen")
    zoo = gated(preset, family, experts(preset, family, split.train, out), out)
    train, rows = training_demonstrations(preset, family, zoo, out)
    tests = [
        _kept(out / "demonstrations-seen.safetensors", lambda: of_experts(preset, family, zoo)),
        _kept(
            out / "demonstrations-unseen.safetensors",
            lambda: of_scripts(preset, family, split.test),
        ),
    ]
    return Data(zoo, train, rows, joined(tests))


# --- Base and experts ---------------------------------------------------------------------
def experts(preset: DataPreset, family: MetaWorld, contexts, out: Path) -> Zoo:
    """One SAC expert a task, with all its checkpoints."""
    path = out / "prior.safetensors"
    if not path.exists():
        files.save_arrays(path, {"rows": scripted_transitions(preset, family, contexts)}, {})
    prior = files.load_arrays(path)[0]["rows"]
    record = {
        "start_is": "a policy cloned from scripted policies, folded at each task",
        "prior": f"scripted policies, noise {preset.noise}",
        "grid": "amt-hyp",
    }
    return fleet.train(
        preset.sac,
        family,
        contexts,
        preset.schedule,
        base(preset, family, contexts, prior, out),
        out=out / "experts",
        provenance=record,
        prior=prior,
    )


def base(preset: DataPreset, family: MetaWorld, contexts, prior, out: Path) -> Policies:
    """The cloned policy at each task: what experts start from."""
    path = out / "base.safetensors"
    if not path.exists():
        spec = sac.policy_spec(preset.sac, family.obs_size, family.action_size)
        states = prior[:, :, : family.obs_size]
        scripts = [Script(family.task_name(context)) for context in contexts]
        told = np.asarray(family.context.encode(contexts), np.float32)
        actions = np.array(
            [[script(row) for row in rows] for script, rows in zip(scripts, states, strict=True)]
        )
        shown = Shown(*(jnp.asarray(x) for x in (states, actions, told, np.arange(len(told)))))
        run = loop.Run("base", (0,), preset.clone.steps, None, {})
        model = conditioned.train(preset.clone, run, shown, spec)[0]
        weights = [conditioned.generate(model, row, jax.random.key(0)) for row in jnp.asarray(told)]
        Policies(np.stack(weights), spec).save(path)
    return Policies.load(path)


def scripted_transitions(
    preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n j d"]:
    """Replay rows of noisy scripted policies."""
    names = [family.task_name(context) for context in contexts]
    seeds = PRIOR_SEED * 1009 + np.arange(len(names) * PRIOR_WORLDS)
    worlds = family.worlds(np.repeat(contexts, PRIOR_WORLDS, axis=0), seeds)
    actor = scripted(names, preset.noise, PRIOR_SEED)
    return rollout.collect(actor, worlds, PRIOR_WORLDS, preset.prior_steps)


def gated(preset: DataPreset, family: MetaWorld, zoo: Zoo, out: Path) -> Zoo:
    """The checkpoints that succeed in `gate_episodes` configurations, and all final rows.

    `out/gate.json` says how often each row succeeded.
    """
    path = out / "gate.json"
    if not path.exists():
        found = rollout.results(
            zoo.policies, family, zoo.row_contexts, preset.gate_episodes, GATE_SEED
        )
        record = {"success": found.success.mean(axis=1), "updates": zoo.updates}
        files.save_json(path, record | {"return": found.returns.mean(axis=1)})
    record = files.load_json(path)
    share, reached = np.array(record["success"]), np.array(record["return"], np.float32)
    keep = zoo.final | (share >= 1.0)
    return replace(_rows(zoo, keep), returns=reached[keep])


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
            found = rollout.trace(who, family, contexts, preset.shown, TRAIN_SEED)
            made = cut(family, contexts, found.obs, found.action, found.outcome)
            parts.append(made.demonstrations)
            rows.append(made.policy + start)
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
        found = rollout.trace(actor, family, context, episodes, TEST_SEED + 1000 * tried)
        made = cut(family, context, found.obs, found.action, found.outcome)
        parts.append(made.demonstrations)
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
