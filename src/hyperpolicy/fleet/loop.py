"""The loop that trains a fleet: worlds on the host, learners on the devices, snapshots on disk."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import jobs, seeds
from hyperpolicy.devices import expert_mesh
from hyperpolicy.envs import Family
from hyperpolicy.fleet import disk
from hyperpolicy.fleet.disk import Run, Tasks
from hyperpolicy.fleet.member import Clock, Member, Rings, compile_fleet, place
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.view import Pool, View, layout
from hyperpolicy.progress import FleetProgress
from hyperpolicy.provenance import library_versions
from hyperpolicy.rl import sac
from hyperpolicy.rollout import transitions


class Trained(NamedTuple):
    """What a fleet leaves behind, one row a learner."""

    weights: Float[np.ndarray, "n p"]
    """Averaged actor weights."""
    critics: Float[np.ndarray, "n 2 q"] | None
    """Of the learners that have some."""
    log_alpha: Float[np.ndarray, " n"] | None
    checkpoints: Float[np.ndarray, "k n p"]
    checkpoint_updates: Int[np.ndarray, " k"]
    states: Float[np.ndarray, "n s o"]
    died_at: Int[np.ndarray, " n"]
    """Updates done when a learner's numbers stopped being finite; −1 for the healthy."""


Start = Callable[[jax.Array], sac.SacState]
"""seeds [n] → learners, every leaf leading with axis n."""


def run(
    cfg: sac.SacConfig,
    family: Family,
    view: View,
    tasks: Tasks,
    schedule: Schedule,
    start: Start,
    evaluate: Callable[[Float[np.ndarray, "n p"]], Float[np.ndarray, " n"]],
    fill_at_random: bool,
    out: Path | None = None,
    snapshot_every_s: float = 300.0,
    label: str = "experts",
    tracker: Callable[[dict], None] | None = None,
    prior: Float[np.ndarray, "n j d"] | None = None,
) -> Trained:
    """Train n learners to the end of `schedule`; with `out`, go on from its snapshot if it has one.

    `prior` holds transitions that fill half of each learner's batches.
    The worlds are filled by the learners' own policies, or at random. `metrics.jsonl` in `out` gets
    one line an evaluation, `tracker` the same record. Ctrl-C writes a snapshot, then raises
    KeyboardInterrupt.

    Raises:
        BadSetting: `out` holds a run with other settings.
        DiskFull: a snapshot could not be written; the last one is intact.
    """
    library_versions()  # of the code that trains, whatever becomes of the clone meanwhile
    n = len(tasks.seeds)
    mesh = expert_mesh(n)
    tasks = _pad(tasks, mesh.size)
    if prior is None:
        prior = np.zeros((n, 0, layout(family).size), np.float32)
    prior = prior[np.minimum(np.arange(len(tasks.seeds)), n - 1)]
    contexts = place(jnp.asarray(tasks.worlds, jnp.float32), mesh)
    sizes, pools = tasks.pool_sizes.astype(np.int32), tasks.pools.astype(np.float32)
    pool = place(Pool(*map(jnp.asarray, (pools, sizes, prior))), mesh)
    act, advance, collect = compile_fleet(cfg, family, view, schedule, mesh)
    spec = sac.policy_spec(cfg, family.obs_size + view.extra_inputs(family), family.action_size)
    flatten = jax.jit(jax.vmap(spec.flatten))

    r = _begin(cfg, family, tasks, schedule, start, mesh)
    if out is not None:
        r = disk.resume(out, r, schedule, mesh) or r
    e, rings = schedule.num_envs, Rings.of(schedule, len(tasks.seeds))
    clock_at = partial(_clock, schedule, rings, fill_at_random)
    if r.step == 0:
        obs = r.worlds.reset()
        wide = obs.reshape(len(tasks.seeds), e, -1)
        r.action = np.asarray(act(r.fleet, wide, contexts, clock_at(0)))

    def examine(updates: int, progress: FleetProgress) -> None:
        returns = evaluate(np.asarray(r.fleet.mean)[:n])
        progress.evaluated(updates, returns)
        if out is not None:
            record = disk.log(out, r, n, e, updates, returns)
            if tracker is not None:
                tracker(record)

    marks = set(schedule.due(schedule.num_checkpoints, schedule.average_from))
    exams = set(schedule.due(schedule.num_evaluations))
    began, saved = time.monotonic() - r.seconds, time.monotonic()
    with (
        FleetProgress(label, n, schedule.num_updates, e) as progress,
        jobs.deferred_interrupt() as interrupted,
    ):
        if r.step == 0:
            examine(0, progress)
        while r.step < schedule.num_steps:
            obs, action = r.worlds.obs, r.action.reshape(len(r.worlds), -1)
            step = r.worlds.step(action)
            rows = transitions(obs, action, step, r.worlds.contexts, e)
            clock = clock_at(r.step)
            go = advance if r.step >= schedule.fill_steps else collect
            wide = step.obs.reshape(len(tasks.seeds), e, -1)
            r.fleet, r.rings, action = go(r.fleet, r.rings, pool, rows, wide, contexts, clock)
            r.action = np.asarray(action)
            _count_returns(r, step)
            r.step += 1
            r.seconds = time.monotonic() - began
            updates = schedule.updates_per_step * max(0, r.step - schedule.fill_steps)
            progress.step(updates, r.step, r.train_return(n, e))
            if go is advance and updates in marks:
                r.checkpoints.append(np.asarray(flatten(r.fleet.learner.actor)))
            if go is advance and updates in exams:
                examine(updates, progress)
            if out is not None and (
                time.monotonic() - saved > snapshot_every_s or interrupted.is_set()
            ):
                disk.save(out, r, schedule)
                saved = time.monotonic()
            if interrupted.is_set():
                raise KeyboardInterrupt
    return _finish(cfg, family, view, r, schedule, tasks, n)


# --- The parts of a run -------------------------------------------------------------------
def _pad(tasks: Tasks, devices: int) -> Tasks:
    """Tasks repeated at the end until they divide by the devices."""
    n = len(tasks.seeds)
    rows = np.minimum(np.arange(-(-n // devices) * devices), n - 1)
    return Tasks(*(np.asarray(leaf)[rows] for leaf in tasks))


def _begin(cfg, family: Family, tasks: Tasks, schedule: Schedule, start: Start, mesh) -> Run:
    n, e, c = tasks.worlds.shape
    contexts = tasks.worlds.reshape(n * e, c)
    worlds = family.worlds(contexts, seed=seeds.worlds_of_learners(tasks.seeds, e))
    learner = start(jnp.asarray(tasks.seeds, jnp.uint32))
    # distinct from the learner's own stream, which starts from the same number
    keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(s), 7))(
        jnp.asarray(tasks.seeds, jnp.uint32)
    )
    o = learner.actor.hidden[0].weight.shape[1]
    flat = jax.vmap(sac.policy_spec(cfg, o, family.action_size).flatten)(learner.actor)
    fleet = Member(learner, flat, keys, jnp.full(n, -1, jnp.int32))
    rings = Rings.of(schedule, n)
    none = np.zeros(((0,) if rings.shared else (n, 0)) + (layout(family).size,), np.float32)
    nothing = np.zeros((n, e, family.action_size), np.float32)
    zero, nan = np.zeros(n * e), np.full(n * e, np.nan)
    placed = place(fleet, mesh), rings.place(none, mesh)
    return Run(*placed, worlds, nothing, 0, zero, nan, [], 0, 0.0)


def _clock(schedule: Schedule, rings: Rings, fill_at_random: bool, step: int) -> Clock:
    updates = schedule.updates_per_step * max(0, step - schedule.fill_steps)
    averaged = updates - schedule.average_from * schedule.num_updates
    count = max(0, int(averaged // schedule.updates_per_step))
    return Clock(
        step=np.int32(step),
        position=np.int32(step * rings.block % rings.capacity),
        size=np.int32(min((step + 1) * rings.block, rings.capacity)),
        updates=np.int32(updates),
        share=np.float32(1.0 / (count + 1)),
        random=np.bool_(fill_at_random and step < schedule.fill_steps),
    )


def _count_returns(r: Run, step) -> None:
    r.episode_return += step.reward
    ended = step.terminated | step.truncated
    r.last_return[ended] = r.episode_return[ended]
    r.episode_return[ended] = 0.0


def _finish(cfg, family, view, r: Run, schedule: Schedule, tasks: Tasks, n: int) -> Trained:
    o = family.obs_size + view.extra_inputs(family)
    learner = r.fleet.learner
    mean, died_at = np.asarray(r.fleet.mean), np.asarray(r.fleet.died_at)
    critics = jax.vmap(sac.critic_spec(cfg, o, family.action_size).flatten)(learner.targets)
    rings = Rings.of(schedule, len(tasks.seeds))
    filled = min(schedule.num_steps * rings.block, rings.capacity)
    rows = rings.of_learners(r.rings, filled)
    states = [
        own[np.random.default_rng(seed).integers(0, len(own), schedule.num_states)]
        for own, seed in zip(rows[:n], tasks.seeds[:n], strict=True)
    ]
    return Trained(
        weights=mean[:n],
        critics=np.asarray(critics)[:n],
        log_alpha=np.asarray(learner.log_alpha)[:n],
        checkpoints=np.stack(r.checkpoints)[:, :n],
        checkpoint_updates=np.array(
            schedule.due(schedule.num_checkpoints, schedule.average_from)[: len(r.checkpoints)]
        ),
        states=np.stack(states)[:, :, : family.obs_size],
        died_at=died_at[:n],
    )
