"""Episodes task by task, as arrays that sequence models and meta-learners draw from.

`trajectories` keeps episodes apart and pads them to one length; `transitions` lays a task's steps
one after the other, as a replay buffer holds them, each with what its episode still earned.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting

NEAR = 1e-6
"""Distance below which two contexts are one task."""


class Trajectories(NamedTuple):
    """n episodes of each of k tasks; zero behind an episode's end, and where a task has fewer."""

    obs: Float[Array | np.ndarray, "k n l o"]
    """Before each of at most t actions and after the last one: l = t + 1."""
    action: Float[Array | np.ndarray, "k n t a"]
    reward: Float[Array | np.ndarray, "k n t"]
    to_go: Float[Array | np.ndarray, "k n t"]
    """Return-to-go: the undiscounted sum of rewards from this step to the episode's end."""
    length: Int[Array | np.ndarray, "k n"]
    """Steps; 0 where there is no episode."""


class TaskRows(NamedTuple):
    """The steps of each of k tasks in the order in which they were made; r of them at most."""

    obs: Float[Array | np.ndarray, "k r o"]
    action: Float[Array | np.ndarray, "k r a"]
    reward: Float[Array | np.ndarray, "k r"]
    next_obs: Float[Array | np.ndarray, "k r o"]
    terminated: Float[Array | np.ndarray, "k r"]
    """1 where the task ended for good."""
    earned: Float[Array | np.ndarray, "k r"]
    """The discounted sum of rewards from this step to the episode's end."""
    left: Float[Array | np.ndarray, "k r"]
    """γ to the power of the steps until the episode's end; 0 where the task ended there."""
    last_obs: Float[Array | np.ndarray, "k r o"]
    """The observation at the episode's end."""
    filled: Int[Array | np.ndarray, " k"]
    """Rows that are filled."""


def trajectories(episodes: Episodes, contexts: Float[np.ndarray, "k c"]) -> Trajectories:
    """The episodes of each task. Raises BadSetting: a task without episodes, or no rewards."""
    own = grouped(episodes, contexts)
    k, n = len(own), max(map(len, own))
    t = max(len(one.reward) for some in own for one in some)
    o, a = episodes.family.obs_size, episodes.family.action_size
    obs, action = np.zeros((k, n, t + 1, o), np.float32), np.zeros((k, n, t, a), np.float32)
    reward, to_go = np.zeros((k, n, t), np.float32), np.zeros((k, n, t), np.float32)
    length = np.zeros((k, n), np.int32)
    for i, some in enumerate(own):
        for j, one in enumerate(some):
            steps = len(one.reward)
            obs[i, j, : steps + 1], action[i, j, :steps] = one.obs, one.action
            reward[i, j, :steps], to_go[i, j, :steps] = one.reward, returns_to_go(one.reward)
            length[i, j] = steps
    return Trajectories(obs, action, reward, to_go, length)


def transitions(
    episodes: Episodes, contexts: Float[np.ndarray, "k c"], discount: float, every: int = 1
) -> TaskRows:
    """The steps of each task, of which every `every`-th is kept. Raises BadSetting: a task without
    episodes, or no rewards."""
    own = grouped(episodes, contexts)
    rows = [[_rows(one, discount) for one in some] for some in own]
    joined = [[np.concatenate(x)[::every] for x in zip(*some, strict=True)] for some in rows]
    count = np.array([len(some[2]) for some in joined], np.int32)
    most = int(count.max())
    parts = (np.stack([_padded(x, most) for x in part]) for part in zip(*joined, strict=True))
    return TaskRows._make([*parts, count])


def grouped(episodes: Episodes, contexts: Float[np.ndarray, "k c"]) -> list[list[Episode]]:
    """The episodes of each task, in their order. Raises BadSetting: a task without episodes, or
    episodes whose rewards are all zero."""
    family = episodes.family
    contexts = family.context.check(contexts)
    if not len(episodes):
        raise BadSetting("no episodes; record some of every task")
    near = family.context.distance(episodes.index.context, contexts) < NEAR
    for i in np.flatnonzero(~near.any(axis=0)):
        raise BadSetting(
            f"no episodes of {family.task_name(contexts[i])}; record some, or leave the task out"
        )
    own = [[episodes.episode(int(i)) for i in np.flatnonzero(here)] for here in near.T]
    if not any(one.reward.any() for some in own for one in some):
        raise BadSetting("these episodes have no rewards; record them anew, with rewards")
    return own


def check_family(family: Family, episodes: Episodes) -> None:
    """Raises BadSetting: episodes of another family."""
    if episodes.family.name != family.name:
        raise BadSetting(
            f"episodes of {episodes.family.name} for a method that was fitted on {family.name}"
        )


def returns_to_go(reward: Float[np.ndarray, " t"], discount: float = 1.0):
    """Σ_{j ≥ i} γ^{j − i} r_j for each step i."""
    found = np.zeros(len(reward))
    later = 0.0
    for i in range(len(reward) - 1, -1, -1):
        later = found[i] = reward[i] + discount * later
    return found.astype(np.float32)


def _rows(one: Episode, discount: float) -> tuple[np.ndarray, ...]:
    """The parts of an episode's rows."""
    t = len(one.reward)
    terminated = np.zeros(t, np.float32)
    terminated[-1] = one.terminated
    left = 0.0 if one.terminated else discount ** np.arange(t, 0, -1.0)
    return (
        one.obs[:-1],
        one.action,
        one.reward,
        one.obs[1:],
        terminated,
        returns_to_go(one.reward, discount),
        np.broadcast_to(np.asarray(left, np.float32), t),
        np.broadcast_to(one.obs[-1], (t, one.obs.shape[1])),
    )


def _padded(x: Float[np.ndarray, "k ..."], r: int) -> Float[np.ndarray, "r ..."]:
    out = np.zeros((r, *x.shape[1:]), np.float32)
    out[: len(x)] = x
    return out
