"""Replay rows of what policies do."""

from itertools import islice

import numpy as np
from jaxtyping import Float

from hyperpolicy import seeds
from hyperpolicy.data.replay import pack
from hyperpolicy.envs import Family, Step, Worlds
from hyperpolicy.errors import BadSetting
from hyperpolicy.policies import Actor, Policies
from hyperpolicy.rollout.actors import actor_of, exploring
from hyperpolicy.rollout.loop import never, play


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
        BadContext, BadShape, BadSetting: as `rollout.returns`.
    """
    if steps < 1 or worlds < 1:
        raise BadSetting(f"steps={steps}, worlds={worlds}; give at least one of each")
    contexts = family.context.check(contexts)
    actor_of(policies, family, len(contexts))
    starts = seeds.worlds_of_learners(np.array([seeds.small(seed)]), len(policies) * worlds)
    run = family.worlds(np.repeat(contexts, worlds, axis=0), starts)
    return collect(exploring(policies, seed), run, worlds, steps)


def collect(actor: Actor, worlds: Worlds, e: int, steps: int) -> Float[np.ndarray, "n k d"]:
    """k = steps·e transitions of each of n policies in e worlds each, as replay rows."""
    rows = [
        transitions(
            moment.obs.reshape(len(worlds), -1),
            np.asarray(moment.action).reshape(len(worlds), -1),
            moment.step,
            worlds.contexts,
            e,
        )
        for moment in islice(play(actor, worlds, e, never), steps)
    ]
    return np.concatenate(rows, axis=1)
