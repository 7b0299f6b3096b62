"""The one loop that trains a fleet: worlds on the host, learners on the devices, snapshots on disk.

`off_policy.py` and `on_policy.py` say what one turn is.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from hyperpolicy import seeds
from hyperpolicy.devices import expert_mesh
from hyperpolicy.envs import Step
from hyperpolicy.fleet.plan import Exam, Plan, Work
from hyperpolicy.provenance import library_versions
from hyperpolicy.rl.learner import State
from hyperpolicy.run.job import Job
from hyperpolicy.run.progress import FleetProgress
from hyperpolicy.types import Batch, Key, Round

EXPERTS, SAME = PartitionSpec("expert"), PartitionSpec()
ACTING, DRAWING = 0, 1  # streams of a member's randomness


class Member(NamedTuple):
    """One expert of a fleet on the device."""

    learner: State
    mean: Float[Array, " p"]
    """Averaged actor weights."""
    key: Key
    died_at: Int[Array, ""]
    """Updates done when a number stopped being finite; −1 while it lives."""
    metrics: Float[Array, " k"]
    """What updates measured since the last report, summed over turns."""


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


class Runner(ABC):
    """n learners with their worlds, which advance turn by turn; padded to fill the devices."""

    def __init__(self, plan: Plan, work: Work):
        library_versions()  # of the code that trains, whatever becomes of the clone meanwhile
        self.plan, self.work, self.schedule = plan, work, plan.schedule
        self.cfg, self.learner = plan.cfg, plan.cfg.learner
        self.exams = self.schedule.evaluation_turns
        self.n = len(work.tasks.seeds)
        self.mesh = expert_mesh(self.n)
        # tasks are repeated at the end until they divide by the devices
        padded = -(-self.n // self.mesh.size) * self.mesh.size
        rows = np.minimum(np.arange(padded), self.n - 1)
        self.tasks = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], work.tasks)
        _, self.e, c = self.tasks.worlds.shape
        self.spec = plan.spec(work.spaces)
        self.worlds = work.family.worlds(
            self.tasks.worlds.reshape(padded * self.e, c),
            seed=self._starts(),
        )
        own = jnp.asarray(self.tasks.seeds, jnp.uint32)
        learners = work.start(own)
        one = jax.tree.map(lambda leaf: leaf[0], learners)
        update = partial(self.learner.update, self.cfg)
        self.names = list(jax.eval_shape(update, one, self.lesson(one), jnp.int32(0))[1])
        # distinct from the learner's own stream, which starts from the same number
        keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(s), 7))(own)
        self.flats = jax.jit(jax.vmap(self.flat))
        none = jnp.zeros((padded, len(self.names)))
        living = jnp.full(padded, -1, jnp.int32)
        fleet = Member(learners, self.flats(learners), keys, living, none)
        self.fleet: Member = place(fleet, self.mesh)
        self.episode_return = np.zeros((padded, self.e))
        self.last_return = np.full((padded, self.e), np.nan)
        self.reached = np.zeros((padded, self.e), bool)
        self.tried = np.zeros((padded, self.e, 2), int)  # successes and episodes since a report
        shape = (len(self.schedule.checkpoint_turns), padded, self.spec.size)
        self.checkpoints = np.zeros(shape, np.float32)

    # --- What a plan adds -----------------------------------------------------------------
    @abstractmethod
    def begin(self) -> None:
        """Make ready for the first turn; not called where a run is resumed."""

    @abstractmethod
    def turn(self, done: int) -> None:
        """One turn, after `done` others."""

    def own_state(self, turns: int) -> Any:
        """What a snapshot after `turns` holds beside the fleet and the worlds, as a pytree."""
        return ()

    def restore_own(self, state: Any) -> None:  # noqa: B027
        """Put `own_state` back."""

    @abstractmethod
    def observations(self) -> list[Float[np.ndarray, "k o"]]:
        """What each learner saw, for samples of it."""

    @abstractmethod
    def lesson(self, learner: State) -> Batch | Round:
        """What an update of one learner is given, in shapes."""

    # --- What all share -------------------------------------------------------------------
    def flat(self, state: State) -> Float[Array, " p"]:
        """The weights of one learner's actor."""
        return self.spec.flatten(self.learner.actor(state))

    def settle(self, old: Member, learner: State, metrics, share, updates) -> Member:
        """One member after a turn, with the average; as it was if a number is not finite."""
        leaves = jax.tree.leaves(learner._replace(key=jnp.zeros(())))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        alive = finite & (old.died_at < 0)
        died_at = jnp.where(finite | (old.died_at >= 0), old.died_at, updates)
        mean = old.mean + share * (self.flat(learner) - old.mean)
        keep = lambda new, before: jnp.where(alive, new, before)  # noqa: E731
        learner = jax.tree.map(keep, learner, old.learner)
        return Member(learner, keep(mean, old.mean), old.key, died_at, old.metrics + metrics)

    def _starts(self) -> Int[np.ndarray, " ne"]:
        """Seeds of the worlds."""
        if self.tasks.starts is None:
            return seeds.worlds_of_learners(self.tasks.seeds, self.e)
        return self.tasks.starts.ravel()

    def count(self, step: Step) -> None:
        """Add a step's rewards to the returns of the episodes, and its successes."""
        shape = self.episode_return.shape
        self.episode_return += step.reward.reshape(shape)
        ended = (step.terminated | step.truncated).reshape(shape)
        self.last_return[ended] = self.episode_return[ended]
        self.episode_return[ended] = 0.0
        success = self.work.family.success(step.outcome)
        if success is not None:
            self.reached |= (success & ~step.broken).reshape(shape)
            self.tried[ended] += np.stack([self.reached[ended], np.ones(ended.sum(), bool)], 1)
            self.reached[ended] = False

    def state(self, turns: int) -> Any:
        """Everything a run goes on from after `turns`."""
        own, worlds = self.own_state(turns), self.worlds.snapshot()
        counts = self.episode_return, self.last_return, self.reached, self.tried
        return self.fleet, worlds, *counts, self.checkpoints, own

    def restore(self, state: Any) -> None:
        """Put `state` back."""
        fleet, worlds, *counts, checkpoints, own = state
        self.fleet = place(fleet, self.mesh)
        self.worlds.restore(worlds)
        counts = map(np.array, counts)
        self.episode_return, self.last_return, self.reached, self.tried = counts
        self.checkpoints = np.array(checkpoints)
        self.restore_own(own)

    def report(self, turns: int, exam: Exam) -> dict:
        """A record of metrics; what updates measured is the mean since the last one."""
        n, schedule = self.n, self.schedule
        before = bisect_left(self.exams, turns)
        last = self.exams[before - 1] if before else 0
        learned = schedule.learned(turns) - schedule.learned(last)
        record = {
            "updates": self.plan.updates(turns),
            "env_steps": self.work.spent + schedule.steps(turns) if turns else 0,
            "return": np.round(exam.returns, 3).tolist(),
            "train_return": np.round(self.train_return, 3).tolist(),
            "died_at": np.asarray(self.fleet.died_at)[:n].tolist(),
            **exam.also,
        }
        good, num = self.tried[:n].sum(axis=1).T
        if num.all():
            record["train_success"] = np.round(good / num, 4).tolist()
        self.tried[:] = 0
        if learned:
            means = np.asarray(self.fleet.metrics)[:n] / learned
            for name, values in zip(self.names, means.T, strict=True):
                record[name] = [float(f"{x:.6g}") for x in values]
        none = place(np.zeros(self.fleet.metrics.shape, np.float32), self.mesh)
        self.fleet = self.fleet._replace(metrics=none)
        return record

    @property
    def train_return(self) -> Float[np.ndarray, " n"]:
        """Mean return of each learner's last finished training episodes."""
        return self.last_return.mean(axis=1)[: self.n]


def run(plan: Plan, work: Work, job: Job) -> Trained:
    """Train n learners to the end of the plan's schedule, going on from the job's snapshot if it
    has one. There is a record of metrics for each evaluation, the first before any turn. Ctrl-C
    writes a snapshot, then raises KeyboardInterrupt.

    Raises:
        BadFile: the snapshot is damaged.
        DiskFull: a snapshot could not be written; the last one is intact.
    """
    runner, schedule = plan.runner(work), plan.schedule
    checkpoints, exams = schedule.checkpoint_turns, set(runner.exams)
    n = runner.n
    progress = FleetProgress(work.label, n, plan.updates(job.total))

    def examine(turns: int) -> None:
        exam = work.evaluate(np.asarray(runner.fleet.mean)[:n])
        progress.evaluated(plan.updates(turns), exam.returns)
        job.log(runner.report(turns, exam))

    state = job.resume(lambda turns: jax.eval_shape(lambda: runner.state(turns)))
    if state is not None:
        runner.restore(state)
    with job.running(progress):
        if state is None:
            runner.begin()
            examine(0)
        for done in range(job.step + 1, job.total + 1):
            runner.turn(done - 1)
            progress.step(plan.updates(done), schedule.steps(done), runner.train_return)
            if done in checkpoints:
                runner.checkpoints[checkpoints.index(done)] = runner.flats(runner.fleet.learner)
            if done in exams:
                examine(done)
            job.advance(1, lambda: runner.state(job.step))
    return _finish(runner)


def _finish(r: Runner) -> Trained:
    n, spaces = r.n, r.work.spaces
    found = jax.vmap(r.learner.critics)(r.fleet.learner)
    twins, log_alpha = found or (None, None)
    if twins is not None:
        critic = r.learner.critic(r.cfg, spaces.inputs, spaces.action)
        twins = np.asarray(jax.vmap(critic.flatten)(twins))[:n]
    states = [
        own[np.random.default_rng(seed).integers(0, len(own), r.schedule.num_states)]
        for own, seed in zip(r.observations()[:n], r.tasks.seeds[:n], strict=True)
    ]
    return Trained(
        weights=np.asarray(r.fleet.mean)[:n],
        critics=twins,
        log_alpha=None if log_alpha is None else np.asarray(log_alpha)[:n],
        checkpoints=r.checkpoints[:, :n],
        checkpoint_updates=np.array([r.plan.updates(t) for t in r.schedule.checkpoint_turns]),
        states=np.stack(states),
        died_at=np.asarray(r.fleet.died_at)[:n],
    )


def place(tree, mesh: Mesh, spec: PartitionSpec = EXPERTS):
    """The fleet's arrays, each device holding its own experts, or with `SAME` all of them."""
    return jax.device_put(tree, NamedSharding(mesh, spec))
