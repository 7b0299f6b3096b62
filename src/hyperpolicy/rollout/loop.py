"""The loop that steps Worlds with an Actor, the only one.

Each world has a job: an episode of one policy in one context. Where there are more jobs than
worlds, a world whose job is over is given the next one.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import seeds
from hyperpolicy.envs import Family, Step, Worlds
from hyperpolicy.errors import BadSetting
from hyperpolicy.policies import Actor, Carry, Policies, actor_of

IDLE = 8
"""Worlds that wait together for their next jobs: to begin is as slow for one as for several."""


class Jobs(NamedTuple):
    """j episodes to play."""

    policy: Int[np.ndarray, " j"]
    """The row of the policy that plays each one."""
    contexts: Float[np.ndarray, "j c"]
    starts: Int[np.ndarray, " j"]
    """Seeds of their worlds."""


class Moment(NamedTuple):
    """One step of n policies in e worlds each; arrays without the axes n and e have n·e rows,
    policy by policy."""

    job: Int[np.ndarray, " ne"]
    """The number of each world's job."""
    t: Int[np.ndarray, " ne"]
    """Steps of the episode before this one; 0 again where a broken job is played once more."""
    obs: Float[np.ndarray, "n e o"]
    """What the policies saw."""
    action: Float[np.ndarray, "n e a"]
    step: Step
    alive: Bool[np.ndarray, " ne"]
    """Where the step belongs to the world's job; elsewhere the job was over before."""
    over: Bool[np.ndarray, " ne"]
    """Where the step is the job's last."""


# --- When a job is over -------------------------------------------------------------------
Over = Callable[[Step], Bool[np.ndarray, " ne"]]


def at_its_end(step: Step) -> Bool[np.ndarray, " ne"]:
    """Where an episode ended."""
    return step.terminated | step.truncated


def never(step: Step) -> Bool[np.ndarray, " ne"]:
    """Nowhere: episodes follow one another in every world, and the caller says when to stop."""
    return np.zeros(len(step.reward), bool)


def at_first_success(family: Family) -> Over:
    """The condition that an episode ended or had a success.

    Raises:
        BadSetting: the family knows no success.
    """
    if family.success(np.zeros((1, family.outcome_size), np.float32)) is None:
        raise BadSetting(f"{family.name} knows returns and no success; ask for its returns")
    return lambda step: at_its_end(step) | (family.success(step.outcome) & ~step.broken)


# --- The loop -----------------------------------------------------------------------------
class Queue:
    """Jobs that wait for a world. One whose simulation broke is played once more."""

    def __init__(self, jobs: Jobs, num_worlds: int):
        """The first `num_worlds` jobs are in the worlds already."""
        self.jobs = jobs
        self._waiting = deque(range(num_worlds, len(jobs.policy)))
        self._again: set[int] = set()

    def seat(self, worlds: Worlds, job, t, alive, broken: Int[np.ndarray, " k"]):
        """The idle worlds, none while fewer than `IDLE` are, put at the start of the next jobs; and
        then the job of every world, its steps so far, and whether it is at work. Jobs that are
        `broken` go to the end of the queue, unless they are for the second time."""
        fresh = [job for job in broken.tolist() if job not in self._again]
        self._again.update(fresh)
        self._waiting.extend(fresh)
        idle = np.flatnonzero(~alive)[: len(self._waiting)]
        if len(idle) < min(IDLE, len(self._waiting), len(alive)):
            idle = idle[:0]
        job, t, alive = job.copy(), t.copy(), alive.copy()
        job[idle] = [self._waiting.popleft() for _ in idle]
        t[idle], alive[idle] = 0, True
        if len(idle):
            worlds.recast(idle, self.jobs.contexts[job[idle]], self.jobs.starts[job[idle]])
        return idle, job, t, alive


def play(
    who: Actor | Policies,
    worlds: Worlds,
    e: int = 1,
    over: Over = at_its_end,
    seed: int = 0,
    queue: Queue | None = None,
) -> Iterator[Moment]:
    """The steps of every job; the worlds' own ones, unless a `queue` says more, are an episode in
    each: job i·e + j is policy i's in world i·e + j. `seed` is the first half of the actors' keys.

    With a queue there is one world a policy, e = 1, and the actor has to `take` rows.

    Raises:
        BadShape: the policies do not fit the family.
    """
    n, seed = len(worlds) // e, seeds.small(seed)
    everyone = actor_of(who, worlds.family, n if queue is None else None)
    job, t, alive = np.arange(len(worlds)), np.zeros(len(worlds), int), np.ones(len(worlds), bool)
    actor = everyone if queue is None else _taken(everyone, queue, job)
    obs, carry = worlds.reset(), actor.start(n, e)
    for number in count():
        wide = obs.reshape(n, e, -1)
        action, carry = actor.act(carry, wide, np.array([seed, number], np.uint32))
        step = worlds.step(np.asarray(action).reshape(len(worlds), -1))
        wide_step = Step(*(x.reshape(n, e, *x.shape[1:]) for x in step))
        carry = actor.observe(carry, wide_step)
        ends = alive & over(step)
        yield Moment(job, t, wide, action, step, alive, ends)
        obs, t = step.obs, np.where(at_its_end(step), 0, t + 1)
        broken, alive = job[alive & step.broken], alive & ~ends
        if alive.all():
            continue
        worlds.rest(np.flatnonzero(~alive))
        if queue is not None:
            idle, job, t, alive = queue.seat(worlds, job, t, alive, broken)
            if len(idle):
                actor, obs = _taken(everyone, queue, job), worlds.obs.copy()
                carry = _restarted(carry, actor.start(n, e), idle)
        if not alive.any():
            return


def play_in_turn(who: Actor | Policies, family: Family, jobs: Jobs, over: Over) -> Iterator[Moment]:
    """The steps of all jobs, as many at a time as the family has worlds."""
    num = min(len(jobs.policy), family.most_worlds or len(jobs.policy))
    worlds = family.worlds(jobs.contexts[:num], jobs.starts[:num])
    return play(who, worlds, over=over, queue=Queue(jobs, num))


def takes_turns(who: Actor | Policies, family: Family) -> bool:
    """Whether the family bounds its worlds and the actor's policies can be told apart."""
    if family.most_worlds is None:
        return False
    return isinstance(who, Policies) or who.take(np.zeros(1, int)) is not None


def _taken(actor: Actor, queue: Queue, job: Int[np.ndarray, " n"]) -> Actor:
    found = actor.take(queue.jobs.policy[job])
    if found is None:
        raise BadSetting(f"{type(actor).__name__} acts for all policies at once; give it no queue")
    return found


def _restarted(carry: Carry, fresh: Carry, rows: Int[np.ndarray, " k"]) -> Carry:
    """A memory whose `rows` are a fresh one's."""

    def one(old, new):
        if isinstance(old, jax.Array):
            return old.at[rows].set(jnp.asarray(new)[rows])
        old = np.array(old)
        old[rows] = np.asarray(new)[rows]
        return old

    return jax.tree.map(one, carry, fresh)
