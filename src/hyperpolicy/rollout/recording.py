"""What policies do, as data to learn from: whole episodes for storage, and replay rows."""

from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import headers, seeds
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.data.replay import pack
from hyperpolicy.envs import Family, Step, Worlds
from hyperpolicy.errors import BadSetting
from hyperpolicy.policies import Actor, Greedy, Policies, actor_of, exploring
from hyperpolicy.rollout.loop import Moment, never, play
from hyperpolicy.rollout.result import moments, paired


def record(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int | Int[np.ndarray, "n e"] = 1,
    seed: int = 0,
    made_by: str | None = None,
) -> Episodes:
    """The paired episodes of policy i in context i, policy by policy, or those that begin in worlds
    of the given seeds; those whose simulation broke are left out. They are `made_by` that name, or
    by policies that bear their weights' SHA-256.

    Raises:
        BadContext, BadShape, BadSetting: as `returns`.
    """
    contexts = family.context.check(contexts)
    starts, makers = paired(len(contexts), episodes, seed), _makers(who, len(contexts), made_by)
    shown: list[Moment] = []
    found: dict[int, Episode] = {}
    for moment in moments(who, family, contexts, starts, seed):
        rows = len(moment.alive)
        obs, action = (np.asarray(x).reshape(rows, -1) for x in (moment.obs, moment.action))
        shown.append(moment._replace(obs=obs, action=action))
        for place in np.flatnonzero(moment.over & ~moment.step.broken).tolist():
            job = int(moment.job[place])
            policy, e = divmod(job, starts.shape[1])
            found[job] = Episode(
                **_steps(shown, place),
                context=contexts[policy],
                seed=int(starts[policy, e]),
                policy=policy,
                made_by=makers[policy],
            )
        if not (moment.alive & ~moment.over).any():
            shown.clear()
    return Episodes.of(family, [one for _, one in sorted(found.items())])


def _steps(shown: list[Moment], place: int) -> dict[str, Any]:
    """The steps of the episode that ends now in the world at `place`, and how it ends."""
    last = shown[-1]
    own, step = shown[-1 - int(last.t[place]) :], last.step
    return {
        "obs": np.array([*(m.obs[place] for m in own), step.next_obs[place]], np.float32),
        "action": np.array([m.action[place] for m in own], np.float32),
        "reward": np.array([m.step.reward[place] for m in own], np.float32),
        "outcome": np.array([m.step.outcome[place] for m in own], np.float32),
        "terminated": bool(step.terminated[place]),
        "truncated": bool(step.truncated[place]),
    }


def _makers(who: Actor | Policies, n: int, name: str | None) -> list[str]:
    policies = who.policies if isinstance(who, Greedy) else who
    if name is None and isinstance(policies, Policies):
        return [headers.digest({"weights": row}) for row in policies.weights]
    return [name or type(who).__name__] * n


# --- Replay rows --------------------------------------------------------------------------
def transitions(
    obs, action, step: Step, contexts: Float[np.ndarray, "ne c"], worlds: int
) -> Float[np.ndarray, "n e d"]:
    """Replay rows of one step; where a simulation broke, another world of its policy stands in."""
    obs, action = (np.asarray(x).reshape(len(contexts), -1) for x in (obs, action))
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
        transitions(moment.obs, moment.action, moment.step, worlds.contexts, e)
        for moment in islice(play(actor, worlds, e, never), steps)
    ]
    return np.concatenate(rows, axis=1)
