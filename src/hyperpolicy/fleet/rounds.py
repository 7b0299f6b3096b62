"""The loop that trains a fleet on policy: in every round its worlds take some steps, which are
learned from once. Worlds on the host, learners on the device, snapshots on disk, as in `loop.py`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import files, jobs, seeds
from hyperpolicy.bounds import Bounded, Count, PartialShare
from hyperpolicy.devices import expert_mesh
from hyperpolicy.envs import Family, Worlds
from hyperpolicy.fleet import disk
from hyperpolicy.fleet.disk import METRICS, SNAPSHOT, Tasks
from hyperpolicy.fleet.member import EXPERTS, SAME, place
from hyperpolicy.progress import FleetProgress
from hyperpolicy.provenance import library_versions
from hyperpolicy.rl import ppo


@dataclass(frozen=True)
class RoundSchedule(Bounded):
    num_rounds: Count = 600
    """Rounds of steps, each learned from once."""
    num_envs: Count = 360
    """Worlds of each learner; for a base best a multiple of its training contexts."""
    round_steps: Count = 32
    """Steps of the worlds in a round."""
    average_from: PartialShare = 0.9
    """Share of the rounds after which the actor's weights are averaged; the average is the
    result."""
    num_checkpoints: Count = 10
    """Actors kept along the way, evenly spaced over the averaged part."""
    num_evaluations: Count = 20
    """Deterministic evaluations of the averaged weights, evenly spaced; the learning curve."""
    episodes: Count = 2
    """Episodes of each evaluation."""
    num_states: Count = 256
    """Observations kept of each expert."""

    @property
    def env_steps(self) -> int:
        """Environment steps each learner spends."""
        return self.num_rounds * self.round_steps * self.num_envs

    @property
    def averaged_from(self) -> int:
        """The first round whose weights are averaged, counted from 0."""
        return int(self.average_from * self.num_rounds)

    def due(self, count: int, start: int = 0) -> list[int]:
        """`count` numbers of rounds done, evenly spaced after `start`."""
        span = self.num_rounds - start
        return sorted({max(1, start + int(span * (i + 1) / count)) for i in range(count)})


class Run(NamedTuple):
    """A run in progress: what a snapshot holds beside the worlds."""

    learner: ppo.PpoState
    """Of n learners, every leaf leading with axis n."""
    mean: Float[np.ndarray | jax.Array, "n p"]
    """Averaged weights of the plain actors."""
    died_at: Int[np.ndarray | jax.Array, " n"]
    """Updates done when a learner's numbers stopped being finite; −1 for the healthy."""
    episode_return: Float[np.ndarray, "n e"]
    """Of the episodes in progress."""
    last_return: Float[np.ndarray, "n e"]
    """Of the last finished episodes; NaN before the first."""
    checkpoints: list[Float[np.ndarray | jax.Array, "n p"]]


class Trained(NamedTuple):
    weights: Float[np.ndarray, "n p"]
    """Averaged weights of the plain actors."""
    checkpoints: Float[np.ndarray, "k n p"]
    checkpoint_updates: Int[np.ndarray, " k"]
    states: Float[np.ndarray, "n s o"]
    """Observations of the last round."""
    died_at: Int[np.ndarray, " n"]


def run(
    cfg: ppo.PpoConfig,
    family: Family,
    tasks: Tasks,
    encoded: Float[np.ndarray, "n e d"],
    schedule: RoundSchedule,
    learner: ppo.PpoState,
    evaluate: Callable[[Float[np.ndarray, "n p"]], Float[np.ndarray, " n"]],
    out: Path | None = None,
    label: str = "experts",
    spent: int = 0,
) -> Trained:
    """Train n learners to the end of `schedule`; with `out`, go on from its snapshot if it has one.

    `encoded` is what the policies are told of their worlds' contexts, d = 0 numbers if nothing;
    `spent` are environment steps each of them has cost already. `metrics.jsonl` in `out` gets one
    line an evaluation, the first before any step. Ctrl-C writes a snapshot, then raises
    KeyboardInterrupt.
    """
    library_versions()  # of the code that trains, whatever becomes of the clone meanwhile
    i, a = family.obs_size + encoded.shape[2], family.action_size
    spec, told = ppo.policy_spec(cfg, i, a), jnp.asarray(encoded, jnp.float32)
    n, passes = len(tasks.seeds), cfg.epochs * cfg.minibatches
    mesh = expert_mesh(n)
    mesh = mesh if n % mesh.size == 0 else expert_mesh(1)
    ins = (EXPERTS, EXPERTS, EXPERTS, EXPERTS, SAME)
    shard = partial(jax.shard_map, mesh=mesh, in_specs=ins, out_specs=EXPERTS, check_vma=False)
    act, improve = jax.jit(jax.vmap(ppo.act)), jax.jit(shard(partial(_improve, cfg)))
    flat = jax.jit(jax.vmap(lambda state: spec.flatten(ppo.plain(state))))
    r, worlds = _begin(family, tasks, learner, np.asarray(flat(learner)))
    begun, past, lines = 0, 0.0, 0
    if out is not None:
        r, begun, past, lines = _resume(out, r, worlds)
    r = r._replace(learner=place(r.learner, mesh), died_at=place(jnp.asarray(r.died_at), mesh))
    told = place(told, mesh)
    began = saved = time.monotonic()
    marks = set(schedule.due(schedule.num_checkpoints, schedule.averaged_from))
    exams = set(schedule.due(schedule.num_evaluations))
    steps_a_round = schedule.round_steps * schedule.num_envs

    def examine(done: int, report: ppo.Report | None = None) -> None:
        returns = evaluate(np.asarray(r.mean))
        progress.evaluated(done * passes, returns)
        if out is not None:
            seconds = past + time.monotonic() - began
            env_steps = spent + done * steps_a_round if done else 0
            _log(out, done * passes, env_steps, seconds, returns, r, report)

    with (
        FleetProgress(label, n, schedule.num_rounds * passes, 1) as progress,
        jobs.deferred_interrupt() as interrupted,
    ):
        if begun == 0:
            examine(0)
            lines += 1
        for done in range(begun + 1, schedule.num_rounds + 1):
            found = _collect(partial(act, r.learner), worlds, told, schedule.round_steps, r)
            found = place(found, mesh)
            learner, died_at, report = improve(r.learner, r.died_at, found, told, done * passes)
            share = 1.0 / max(1, done - schedule.averaged_from)
            weights = flat(learner)
            mean = r.mean + share * (weights - r.mean)
            r = r._replace(learner=learner, died_at=died_at, mean=mean)
            if done in marks:
                r.checkpoints.append(np.asarray(weights))
            progress.step(done * passes, done * steps_a_round, r.last_return.ravel())
            if done in exams:
                examine(done, report)
                lines += 1
            if done == schedule.num_rounds:
                break  # the caller saves what came of it
            stop = interrupted.is_set()
            if out is not None and (stop or time.monotonic() - saved > SNAPSHOT_S):
                seconds = past + time.monotonic() - began
                meta = {"round": done, "lines": lines, "seconds": seconds}
                meta["checkpoints"] = len(r.checkpoints)
                jobs.check(out)
                files.save_tree(out / SNAPSHOT, (r, worlds.snapshot()), meta, overwrite=True)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
    return Trained(
        weights=np.asarray(r.mean),
        checkpoints=np.stack(r.checkpoints),
        checkpoint_updates=np.array(sorted(marks)) * passes,
        states=_some(np.asarray(found.obs), schedule.num_states, tasks.seeds),
        died_at=np.asarray(r.died_at),
    )


SNAPSHOT_S = 120.0
"""Seconds between snapshots."""


# --- The parts of a round -----------------------------------------------------------------
def _begin(family: Family, tasks: Tasks, learner, weights) -> tuple[Run, Worlds]:
    n, e, c = tasks.worlds.shape
    contexts = tasks.worlds.reshape(n * e, c)
    worlds = family.worlds(contexts, seed=seeds.worlds_of_learners(tasks.seeds, e))
    worlds.reset()
    # episodes shall end at all times, not all at once
    early = [np.random.default_rng(s).integers(0, family.horizon_steps, e) for s in tasks.seeds]
    worlds.elapsed_steps = np.concatenate(early)
    alive, zero = np.full(n, -1, np.int32), np.zeros((n, e))
    return Run(learner, weights, alive, zero, np.full((n, e), np.nan), []), worlds


def _collect(act, worlds: Worlds, told, num_steps: int, r: Run) -> ppo.Round:
    """Some steps of the worlds; returns are counted in `r`. Rounds lead with axis n."""
    n, e = r.last_return.shape
    # `update` splits a learner's key; acting folds other numbers into it
    keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 1), num_steps))(
        r.learner.key
    )
    steps = []
    for t in range(num_steps):
        obs = worlds.obs.reshape(n, e, -1)
        latent = np.asarray(act(obs, told, keys[:, t]))
        step = worlds.step(np.tanh(latent).reshape(n * e, -1))
        ended = step.terminated | step.truncated
        parts = (step.reward, step.next_obs, step.terminated, ended)
        reward, next_obs, terminated, over = (np.reshape(x, (n, e, *x.shape[1:])) for x in parts)
        steps.append((obs, latent, reward, next_obs, terminated, over))
        r.episode_return[:] += reward
        r.last_return[over] = r.episode_return[over]
        r.episode_return[over] = 0.0
    stacked = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
    return ppo.Round(*(jnp.asarray(part, jnp.float32) for part in stacked))


def _improve(cfg, learners, died_at, found: ppo.Round, told, updates):
    """Every learner after a round, or as it was if a number of it stopped being finite."""

    def one(old: ppo.PpoState, died_at, found, told):
        new, report = ppo.update(cfg, old, found, told)
        leaves = jax.tree.leaves(new._replace(key=jnp.zeros(())))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        alive = finite & (died_at < 0)
        died_at = jnp.where(finite | (died_at >= 0), died_at, updates)
        kept = jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, old)
        return kept, died_at, report

    return jax.vmap(one)(learners, died_at, found, told)


def _some(obs: Float[np.ndarray, "n t e o"], num: int, seeds) -> Float[np.ndarray, "n s o"]:
    rows = obs.reshape(len(obs), -1, obs.shape[-1])
    picks = [np.random.default_rng(s).integers(0, rows.shape[1], num) for s in seeds]
    return np.stack([own[pick] for own, pick in zip(rows, picks, strict=True)])


# --- On disk ------------------------------------------------------------------------------
def _log(out: Path, updates: int, env_steps: int, seconds: float, returns, r: Run, report) -> None:
    record = {
        "updates": updates,
        "env_steps": env_steps,
        "seconds": round(seconds, 2),
        "return": np.round(returns, 3).tolist(),
        "train_return": np.round(r.last_return.mean(axis=1), 3).tolist(),
        "died_at": np.asarray(r.died_at).tolist(),
    }
    for name, values in report._asdict().items() if report else ():
        record[name] = np.round(np.asarray(values, float), 5).tolist()
    jobs.check(out)
    files.append_line(out / METRICS, record)


def _resume(out: Path, fresh: Run, worlds: Worlds) -> tuple[Run, int, float, int]:
    """The run as its snapshot left it, the rounds and seconds it has had, and its metrics' lines;
    `fresh` where there is none. `worlds` are put where they were."""
    if not (out / SNAPSHOT).exists():
        (out / METRICS).unlink(missing_ok=True)  # of a run killed before its first snapshot
        return fresh, 0, 0.0, 0
    meta = disk.read_meta(out, "round", "seconds", "lines", "checkpoints")
    fresh = fresh._replace(checkpoints=[fresh.mean] * meta["checkpoints"])
    like = jax.eval_shape(lambda: (fresh, worlds.snapshot()))
    r, simulations = jobs.load_snapshot(out / SNAPSHOT, like)
    worlds.restore(simulations)
    disk.cut_metrics(out, meta["lines"])
    counts = {"episode_return": np.array(r.episode_return), "last_return": np.array(r.last_return)}
    return r._replace(**counts), meta["round"], meta["seconds"], meta["lines"]
