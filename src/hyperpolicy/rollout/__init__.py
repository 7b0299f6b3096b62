"""Rollouts: the only loop that steps Worlds with Policies.

Episodes are paired: episode j starts from the same random state for every policy and every
context, so that two policies differ by what they do, never by their luck.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import seeds
from hyperpolicy.data.replay import pack
from hyperpolicy.envs import Family, Step, Worlds
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.policies import Policies

Actor = Callable[[Float[np.ndarray, "n e o"], int], Float[np.ndarray, "n e a"]]
"""Observations of n policies in e worlds each, and the step's number → actions in [−1, 1]."""


IDLE = 8
"""Worlds that wait together for their next episodes in a `relay`."""


class Moment(NamedTuple):
    """One step of n policies in e worlds each, flattened to n·e rows, policy by policy."""

    obs: Float[np.ndarray, "n e o"]
    """What the policies saw."""
    action: Float[np.ndarray, "n e a"]
    step: Step
    alive: Bool[np.ndarray, " ne"]
    """Where the step still belongs to the first episode."""


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


# --- Actors -------------------------------------------------------------------------------
def greedy(policies: Policies) -> Actor:
    """Their deterministic actions tanh(μ)."""
    return lambda obs, t: policies.act(obs)


def exploring(policies: Policies, seed: int = 0) -> Actor:
    """Their stochastic actions, a function of seed and step."""
    return lambda obs, t: policies.sample(obs, (1_000_003 * seeds.small(seed) + t) % 2**31)


def zero(family: Family) -> Actor:
    """No torque at all."""
    return lambda obs, t: np.zeros((*obs.shape[:2], family.action_size), np.float32)


def uniform(family: Family, seed: int = 0) -> Actor:
    """Actions drawn from U(−1, 1), a function of seed and step."""

    def act(obs, t):
        rng = np.random.default_rng([seeds.check(seed), t])
        return rng.uniform(-1.0, 1.0, (*obs.shape[:2], family.action_size)).astype(np.float32)

    return act


# --- Episodes -----------------------------------------------------------------------------
def play(actor: Actor | Policies, worlds: Worlds, episodes: int = 1) -> Iterator[Moment]:
    """The steps of one episode in every world; world i·episodes + j is policy i's episode j.

    Stops when every episode has ended.

    Raises:
        BadShape: the policies do not fit the family.
    """
    family = worlds.family
    if isinstance(actor, Policies):
        actor = greedy(_fitting(actor, family, len(worlds) // episodes))
    obs = worlds.reset()
    alive = np.ones(len(worlds), bool)
    for t in range(family.horizon_steps):
        wide = obs.reshape(-1, episodes, family.obs_size)
        action = actor(wide, t)
        step = worlds.step(np.asarray(action).reshape(len(worlds), -1))
        yield Moment(wide, action, step, alive.copy())
        obs = step.obs
        alive &= ~(step.terminated | step.truncated)
        if not alive.any():
            return


def returns(
    actor: Actor | Policies,
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
    return results(actor, family, contexts, episodes, seed).returns


def results(
    actor: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int = 10,
    seed: int = 0,
    until_success: bool = False,
) -> Results:
    """As `returns`, with success. Policies of a family that bounds its worlds take turns.

    With `until_success` an episode is over at its first success, and returns are NaN; policies of
    a family that bounds its worlds then take turns episode by episode, see `relay`.

    Raises:
        BadContext, BadShape, BadSetting: as `returns`.
    """
    contexts = _checked(family, contexts, episodes, seed)
    turn = len(contexts)
    if isinstance(actor, Policies):
        _fitting(actor, family, len(contexts))
        if family.most_worlds and until_success:
            jobs = np.repeat(np.arange(len(contexts)), episodes)
            starts = np.tile(seeds.episodes(seed, episodes), len(contexts))
            found = relay(actor, family, jobs, contexts[jobs], starts)
            return Results(*(x.reshape(-1, episodes) for x in found))
        if family.most_worlds:
            turn = max(1, family.most_worlds // episodes)
    parts = []
    for start in range(0, len(contexts), turn):
        rows = slice(start, start + turn)
        who = actor[rows] if isinstance(actor, Policies) else actor
        worlds = _worlds(family, contexts[rows], episodes, seed)
        parts.append(tally(who, worlds, episodes, until_success))
    return Results(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def tally(
    actor: Actor | Policies, worlds: Worlds, episodes: int, until_success: bool = False
) -> Results:
    """What policies reach in the next episode of every world; see `results`."""
    family, n = worlds.family, len(worlds)
    total, first = np.zeros(n), np.full(n, family.horizon_steps)
    succeeded, last = np.zeros(n, bool), np.zeros(n, bool)
    for t, moment in enumerate(play(actor, worlds, episodes)):
        total += np.where(moment.alive, _reward(moment.step), 0.0)
        success = family.success(moment.step.outcome)
        if success is None:
            continue
        now = success & moment.alive & ~moment.step.broken
        first = np.where(now & ~succeeded, t, first)
        succeeded |= now
        last = np.where(moment.alive, now, last)
        if until_success:
            worlds.rest(np.flatnonzero(succeeded))
            if succeeded.all():
                break
    if until_success:
        total, last = np.full(n, np.nan), succeeded
    return Results(*(x.reshape(-1, episodes) for x in (total, succeeded, last, first)))


def relay(
    policies: Policies,
    family: Family,
    who: Int[np.ndarray, " j"],
    contexts: Float[np.ndarray, "j c"],
    starts: Int[np.ndarray, " j"],
) -> Results:
    """j episodes until their first success, `family.most_worlds` at a time: as soon as some are
    over, their worlds begin the next ones. Episode j is policy `who[j]`'s in `contexts[j]`, from
    the world's seed `starts[j]`; one whose simulation broke is played once more.

    The results have one axis, j; returns are NaN.
    """
    assert family.most_worlds is not None
    success, steps = np.zeros(len(who), bool), np.full(len(who), family.horizon_steps)
    waiting, again = deque(range(len(who))), set()
    job = np.array([waiting.popleft() for _ in range(min(len(who), family.most_worlds))], int)
    worlds = family.worlds(contexts[job], starts[job])
    obs, actor = worlds.reset(), policies[who[job]]
    busy, t = np.ones(len(job), bool), np.zeros(len(job), int)
    while busy.any():
        step = worlds.step(actor.act(obs))
        obs = step.obs
        now = family.success(step.outcome) & busy & ~step.broken
        success[job[now]], steps[job[now]] = True, t[now]
        for broke in job[busy & step.broken]:
            if broke not in again:
                again.add(broke)
                waiting.append(broke)
        busy &= ~(now | step.terminated | step.truncated)
        worlds.rest(np.flatnonzero(~busy))
        t += 1
        idle = np.flatnonzero(~busy)[: len(waiting)]
        if len(idle) >= min(IDLE, len(waiting), len(job)) > 0:
            job[idle] = [waiting.popleft() for _ in idle]
            obs = worlds.recast(idle, contexts[job[idle]], starts[job[idle]])
            busy[idle], t[idle], actor = True, 0, policies[who[job]]
    return Results(np.full(len(who), np.nan), success, success, steps)


def trace(
    actor: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int = 1,
    seed: int = 0,
) -> Trace:
    """As `returns`, with everything that happened: velocities, observations, actions.

    Raises:
        BadContext, BadShape, BadSetting: as `returns`.
    """
    worlds = _worlds(family, contexts, episodes, seed)
    n, horizon = len(worlds) // episodes, family.horizon_steps

    def empty(*shape, dtype=np.float32):
        return np.zeros((n, episodes, horizon, *shape), dtype)

    obs, action = empty(family.obs_size), empty(family.action_size)
    reward, outcome, alive = empty(), empty(family.outcome_size), empty(dtype=bool)
    for t, moment in enumerate(play(actor, worlds, episodes)):
        here = alive[:, :, t] = moment.alive.reshape(n, episodes)
        outcomes = moment.step.outcome.reshape(n, episodes, -1)
        obs[:, :, t] = np.where(here[..., None], moment.obs, 0.0)
        action[:, :, t] = np.where(here[..., None], moment.action, 0.0)
        reward[:, :, t] = np.where(here, _reward(moment.step).reshape(n, episodes), 0.0)
        outcome[:, :, t] = np.where(here[..., None], outcomes, 0.0)
    return Trace(obs, action, reward, outcome, alive, reward.sum(axis=-1, dtype=float))


# --- Experience ---------------------------------------------------------------------------
def transitions(
    obs, action, step: Step, contexts: Float[np.ndarray, "ne c"], worlds: int
) -> Float[np.ndarray, "n e d"]:
    """Replay rows of one step; where a simulation broke, another world of its policy stands in."""
    rows = pack(obs, action, step.outcome, step.next_obs, step.terminated, contexts)
    rows, broken = rows.reshape(-1, worlds, rows.shape[1]), step.broken.reshape(-1, worlds)
    for i in np.flatnonzero(broken.any(axis=1)):
        sound = np.flatnonzero(~broken[i])
        if len(sound):
            rows[i, broken[i]] = rows[i, sound[0]]
    return np.nan_to_num(rows)


def experience(
    policies: Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    steps: int = 400,
    worlds: int = 10,
    seed: int = 0,
) -> Float[np.ndarray, "n k d"]:
    """k = steps·worlds transitions of each policy acting stochastically at its context, as replay
    rows; episodes follow one another.

    Raises:
        BadContext, BadShape, BadSetting: as `returns`.
    """
    if steps < 1 or worlds < 1:
        raise BadSetting(f"steps={steps}, worlds={worlds}; give at least one of each")
    contexts = family.context.check(contexts)
    n = len(_fitting(policies, family, len(contexts)))
    starts = seeds.worlds_of_learners(np.array([seeds.small(seed)]), n * worlds)
    run = family.worlds(np.repeat(contexts, worlds, axis=0), starts)
    return collect(exploring(policies, seed), run, worlds, steps)


def collect(actor: Actor, run: Worlds, worlds: int, steps: int) -> Float[np.ndarray, "n k d"]:
    """k = steps·worlds transitions of each of n policies in `worlds` worlds, as replay rows."""
    obs, rows = run.reset(), []
    for t in range(steps):
        action = np.asarray(actor(obs.reshape(-1, worlds, obs.shape[1]), t)).reshape(len(run), -1)
        step = run.step(action)
        rows.append(transitions(obs, action, step, run.contexts, worlds))
        obs = step.obs
    return np.concatenate(rows, axis=1)


# --- Parts --------------------------------------------------------------------------------
def _worlds(family: Family, contexts, episodes: int, seed: int) -> Worlds:
    contexts = _checked(family, contexts, episodes, seed)
    starts = np.tile(seeds.episodes(seed, episodes), len(contexts))
    return family.worlds(np.repeat(contexts, episodes, axis=0), starts)


def _checked(family: Family, contexts, episodes: int, seed: int) -> Float[np.ndarray, "n c"]:
    seeds.check(seed)
    if episodes < 1:
        raise BadSetting(f"episodes={episodes}; give at least one")
    return family.context.check(contexts)


def _reward(step: Step) -> Float[np.ndarray, " ne"]:
    """A broken simulation has no return: standing still would score well on a slow target."""
    return np.where(step.broken, np.nan, step.reward)


def _fitting(policies: Policies, family: Family, n: int) -> Policies:
    spec = policies.spec
    if (spec.obs, spec.action) != (family.obs_size, family.action_size):
        raise BadShape(
            f"policies take {spec.obs} observations and give {spec.action} actions; {family.name} "
            f"has {family.obs_size} and {family.action_size}"
        )
    if len(policies) != n:
        raise BadShape(f"{len(policies)} policies for {n} contexts; give one policy a context")
    return policies
