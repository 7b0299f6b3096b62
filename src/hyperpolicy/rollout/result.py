"""What policies reach: returns, successes, and everything that happened on the way.

Episodes are paired: episode j starts from the same random state for every policy and every
context, so that two policies differ by what they do, never by their luck.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import seeds
from hyperpolicy.envs import Family, Step
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.policies import Actor, Policies, actor_of
from hyperpolicy.rollout.loop import Jobs, Moment, at_first_success, play, play_in_turn, takes_turns


class Results(NamedTuple):
    """What n policies reached in e episodes each."""

    returns: Float[np.ndarray, "n e"]
    """Undiscounted; NaN where the simulation broke."""
    success: Bool[np.ndarray, "n e"]
    """At any step; False in families without success."""
    last_success: Bool[np.ndarray, "n e"]
    """At the last step."""
    success_steps: Int[np.ndarray, "n e"]
    """Steps before the first success; the horizon where there is none."""


class Trace(NamedTuple):
    """All that happened in n policies' episodes; zero after an episode's end."""

    obs: Float[np.ndarray, "n e t o"]
    """Before the action."""
    action: Float[np.ndarray, "n e t a"]
    reward: Float[np.ndarray, "n e t"]
    outcome: Float[np.ndarray, "n e t m"]
    """What the reward depends on, e.g. velocity in m/s."""
    alive: Bool[np.ndarray, "n e t"]
    """Which steps belong to the episode; all, where nothing terminates early."""
    returns: Float[np.ndarray, "n e"]
    """Undiscounted; NaN where the simulation broke."""


def tally(steps: Iterable[Moment], family: Family, n: int, e: int) -> Results:
    """What n policies reached in e jobs each, policy by policy, once all `steps` are done."""
    total, first = np.zeros(n * e), np.full(n * e, family.horizon_steps)
    reached, last = np.zeros(n * e, bool), np.zeros(n * e, bool)
    for moment in steps:
        here, step = moment.alive, moment.step
        job, t = moment.job[here], moment.t[here]
        total[job[t == 0]] = 0.0  # a job that is played once more
        total[job] += _reward(step)[here]
        success = family.success(step.outcome)
        if success is None:
            continue
        now = (success & ~step.broken)[here]
        fresh = now & ~reached[job]
        first[job[fresh]] = t[fresh]
        reached[job[now]] = True
        last[job] = now
    return Results(*(x.reshape(n, e) for x in (total, reached, last, first)))


def _reward(step: Step) -> Float[np.ndarray, " ne"]:
    """A broken simulation has no return: standing still would score well on a slow target."""
    return np.where(step.broken, np.nan, step.reward)


# --- Whole episodes -----------------------------------------------------------------------
def returns(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int = 10,
    seed: int = 0,
) -> Float[np.ndarray, "n e"]:
    """Undiscounted returns of policy i in context i over `episodes` paired episodes.

    Policies act deterministically; NaN marks an episode whose simulation broke.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadShape: not one policy a context, or policies of another family.
        BadSetting: fewer than one episode.
    """
    return results(who, family, contexts, episodes, seed).returns


def results(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int | Int[np.ndarray, "n e"] = 10,
    seed: int = 0,
) -> Results:
    """Returns and successes; arguments and errors as of `returns`, but `episodes` may also be the
    seeds of the worlds."""
    starts = paired(len(contexts), episodes, seed)
    return tally(moments(who, family, contexts, starts, seed), family, *starts.shape)


def trace(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int = 1,
    seed: int = 0,
) -> Trace:
    """Everything that happened: velocities, observations, actions; arguments and errors as of
    `returns`."""
    starts, horizon = paired(len(contexts), episodes, seed), family.horizon_steps

    def empty(*shape, dtype=np.float32):
        return np.zeros((starts.size, horizon, *shape), dtype)

    obs, action = empty(family.obs_size), empty(family.action_size)
    reward, outcome, alive = empty(), empty(family.outcome_size), empty(dtype=bool)
    for moment in moments(who, family, contexts, starts, seed):
        here, step = moment.alive, moment.step
        at = moment.job[here], moment.t[here]
        obs[at] = moment.obs.reshape(len(here), -1)[here]
        action[at] = np.asarray(moment.action).reshape(len(here), -1)[here]
        reward[at], outcome[at], alive[at] = _reward(step)[here], step.outcome[here], True
    parts = obs, action, reward, outcome, alive, reward.sum(axis=-1, dtype=float)
    return Trace(*(x.reshape(*starts.shape, *x.shape[1:]) for x in parts))


def paired(n: int, episodes: int | Int[np.ndarray, "n e"], seed: int) -> Int[np.ndarray, "n e"]:
    """The same world seeds for each of n policies; seeds that are given as they are.

    Raises:
        BadSetting: fewer than one episode, or no seed.
    """
    seeds.check(seed)
    if isinstance(episodes, np.ndarray):
        return episodes
    if episodes < 1:
        raise BadSetting(f"episodes={episodes}; give at least one")
    return np.tile(seeds.episodes(seed, episodes), (n, 1))


def moments(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    starts: Int[np.ndarray, "n e"],
    seed: int = 0,
) -> Iterator[Moment]:
    """The steps of one episode for each start; job i·e + j is policy i's in world `starts[i, j]`.
    Policies of a family that bounds its worlds take turns.
    """
    contexts, actor = _checked(who, family, contexts, starts)
    n, e = starts.shape
    turn = max(1, (family.most_worlds or 0) // e) if takes_turns(actor, family) else n
    for first in range(0, n, turn):
        rows = np.arange(first, min(first + turn, n))
        acting = actor if len(rows) == n else actor.take(rows)
        assert acting is not None
        worlds = family.worlds(np.repeat(contexts[rows], e, axis=0), starts[rows].ravel())
        for moment in play(acting, worlds, e, seed=seed):
            yield moment._replace(job=moment.job + first * e)


def _checked(who, family: Family, contexts, starts) -> tuple[Float[np.ndarray, "n c"], Actor]:
    contexts = family.context.check(contexts)
    if len(starts) != len(contexts):
        raise BadShape(f"starts of {len(starts)} policies for {len(contexts)} contexts")
    return contexts, actor_of(who, family, len(contexts))


# --- Episodes until their first success ----------------------------------------------------
def success_rate(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int = 10,
    seed: int = 0,
) -> Float[np.ndarray, " n"]:
    """The share of paired episodes in which policy i has a success in context i; an episode is
    over at its first one. Errors as of `successes`."""
    starts = paired(len(contexts), episodes, seed)
    return successes(who, family, contexts, starts).success.mean(axis=1)


def successes(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    starts: Int[np.ndarray, "n e"],
) -> Results:
    """What policy i reaches in context i until its first success, in worlds with the seeds
    `starts[i]`.

    In a family that bounds its worlds, a world whose episode is over begins the next one, and one
    whose simulation broke is played once more.

    Raises:
        BadContext, BadShape: as `returns`.
        BadSetting: fewer than one episode, or a family that knows no success.
    """
    contexts, actor = _checked(who, family, contexts, starts)
    (n, e), over = starts.shape, at_first_success(family)
    each = np.repeat(contexts, e, axis=0)
    if takes_turns(actor, family):
        jobs = Jobs(np.repeat(np.arange(n), e), each, starts.ravel())
        return tally(play_in_turn(actor, family, jobs, over), family, n, e)
    return tally(play(actor, family.worlds(each, starts.ravel()), e, over), family, n, e)
