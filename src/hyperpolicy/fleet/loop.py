"""The loop that trains a fleet: worlds on the host, learners on the devices, snapshots on disk."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy.devices import expert_mesh
from hyperpolicy.envs import Family, Worlds
from hyperpolicy.fleet import disk
from hyperpolicy.fleet.disk import Run, Tasks
from hyperpolicy.fleet.member import Clock, Member, compile_fleet, place
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.view import Pool, View, layout
from hyperpolicy.progress import FleetProgress
from hyperpolicy.replay import pack
from hyperpolicy.rl import sac


class Trained(NamedTuple):
    """What a fleet leaves behind, one row a learner."""

    weights: Float[np.ndarray, "n p"]
    """Averaged actor weights."""
    critics: Float[np.ndarray, "n 2 q"]
    log_alpha: Float[np.ndarray, " n"]
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
) -> Trained:
    """Train n learners to the end of `schedule`; with `out`, go on from its snapshot if it has one.

    `metrics.jsonl` in `out` gets one line an evaluation, `tracker` the same record. Ctrl-C writes a
    snapshot, then raises KeyboardInterrupt.

    Raises:
        BadSetting: `out` holds a run with other settings.
        DiskFull: a snapshot could not be written; the last one is intact.
    """
    n = len(tasks.seeds)
    mesh = expert_mesh(n)
    tasks = _pad(tasks, mesh.size)
    contexts = place(jnp.asarray(tasks.worlds, jnp.float32), mesh)
    pool = Pool(jnp.asarray(tasks.pools, jnp.float32), jnp.asarray(tasks.pool_sizes, jnp.int32))
    pool = place(pool, mesh)
    act, advance, collect = compile_fleet(cfg, family, view, schedule, mesh)
    spec = sac.policy_spec(cfg, family.obs_size + view.extra_inputs(family), family.action_size)
    flatten = jax.jit(jax.vmap(spec.flatten))

    r = _begin(cfg, family, tasks, schedule, start, mesh)
    if out is not None:
        r = disk.resume(out, r, schedule, mesh) or r
    e = schedule.num_envs
    if r.step == 0:
        obs = r.worlds.reset()
        wide = obs.reshape(len(tasks.seeds), e, -1)
        r.action = np.asarray(act(r.fleet, wide, contexts, _clock(schedule, 0, fill_at_random)))

    marks = set(schedule.due(schedule.num_checkpoints, schedule.average_from))
    exams = set(schedule.due(schedule.num_evaluations))
    began, saved = time.monotonic() - r.seconds, time.monotonic()
    with FleetProgress(label, n, schedule) as progress, deferred_interrupt() as interrupted:
        while r.step < schedule.num_steps:
            obs, action = r.worlds.obs, r.action.reshape(len(r.worlds), -1)
            step = r.worlds.step(action)
            rows = _rows(obs, action, step, e)
            clock = _clock(schedule, r.step, fill_at_random)
            go = advance if r.step >= schedule.fill_steps else collect
            wide = step.obs.reshape(len(tasks.seeds), e, -1)
            r.fleet, action = go(r.fleet, pool, rows, wide, contexts, clock)
            r.action = np.asarray(action)
            _count_returns(r, step)
            r.step += 1
            r.seconds = time.monotonic() - began
            updates = schedule.updates_per_step * max(0, r.step - schedule.fill_steps)
            progress.step(updates, r.step, r.train_return(n, e))
            if go is advance and updates in marks:
                r.checkpoints.append(np.asarray(flatten(r.fleet.learner.actor)))
            if go is advance and updates in exams:
                returns = evaluate(np.asarray(r.fleet.mean)[:n])
                progress.evaluated(updates, returns)
                if out is not None:
                    record = disk.log(out, r, n, e, updates, returns)
                    if tracker is not None:
                        tracker(record)
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
    seeds = (tasks.seeds[:, None] * 1009 + np.arange(e)).ravel() % 2**31  # see rollout
    worlds = Worlds(family, tasks.worlds.reshape(n * e, c), seed=seeds)
    learner = start(jnp.asarray(tasks.seeds, jnp.uint32))
    # distinct from the learner's own stream, which starts from the same number
    keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(s), 7))(
        jnp.asarray(tasks.seeds, jnp.uint32)
    )
    o = learner.actor.hidden[0].weight.shape[1]
    flat = jax.vmap(sac.policy_spec(cfg, o, family.action_size).flatten)(learner.actor)
    ring = jnp.zeros((n, schedule.ring, layout(family).size), jnp.float32)
    fleet = Member(learner, flat, ring, keys, jnp.full(n, -1, jnp.int32))
    nothing = np.zeros((n, e, family.action_size), np.float32)
    zero, nan = np.zeros(n * e), np.full(n * e, np.nan)
    return Run(place(fleet, mesh), worlds, nothing, 0, zero, nan, [], 0, 0.0)


def _clock(schedule: Schedule, step: int, fill_at_random: bool) -> Clock:
    updates = schedule.updates_per_step * max(0, step - schedule.fill_steps)
    averaged = updates - schedule.average_from * schedule.num_updates
    count = max(0, int(averaged // schedule.updates_per_step))
    return Clock(
        step=np.int32(step),
        position=np.int32(step * schedule.num_envs % schedule.ring),
        size=np.int32(min((step + 1) * schedule.num_envs, schedule.ring)),
        updates=np.int32(updates),
        share=np.float32(1.0 / (count + 1)),
        random=np.bool_(fill_at_random and step < schedule.fill_steps),
    )


def _rows(obs, action, step, e: int) -> Float[np.ndarray, "n e d"]:
    """Replay rows; where a simulation broke, another world of its learner stands in."""
    rows = pack(obs, action, step.outcome, step.next_obs, step.terminated).reshape(
        -1, e, 2 * obs.shape[1] + action.shape[1] + step.outcome.shape[1] + 1
    )
    if step.broken.any():
        for i in np.flatnonzero(step.broken.reshape(-1, e).any(axis=1)):
            sound = np.flatnonzero(~step.broken.reshape(-1, e)[i])
            if len(sound):
                rows[i, step.broken.reshape(-1, e)[i]] = rows[i, sound[0]]
    return np.nan_to_num(rows)


def _count_returns(r: Run, step) -> None:
    r.episode_return += step.reward
    ended = step.terminated | step.truncated
    r.last_return[ended] = r.episode_return[ended]
    r.episode_return[ended] = 0.0


def _finish(cfg, family, view, r: Run, schedule: Schedule, tasks: Tasks, n: int) -> Trained:
    o = family.obs_size + view.extra_inputs(family)
    learner = r.fleet.learner
    mean, ring, died_at = (np.asarray(x) for x in (r.fleet.mean, r.fleet.ring, r.fleet.died_at))
    critics = jax.vmap(sac.critic_spec(cfg, o, family.action_size).flatten)(learner.targets)
    size = min(schedule.num_steps * schedule.num_envs, schedule.ring)
    states = [
        ring[i, np.random.default_rng(seed).integers(0, size, schedule.num_states)]
        for i, seed in enumerate(tasks.seeds[:n])
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


@contextmanager
def deferred_interrupt():
    """An event that Ctrl-C sets, so that the loop can stop between two steps.

    Only the main thread receives signals; elsewhere the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, old)
