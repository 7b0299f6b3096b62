"""Minari's data sets ⇄ episodes (Farama's format of offline data; extra `[minari]`).

A data set holds an episode's observations, actions, rewards and how it ended. Ours say beside
these, as infos of every step, its context and its outcome, so that every step comes back as it was;
seeds and names of policies do not. A data set of others says neither: the context is told when it
is read, and outcomes are 0, so do not relabel such episodes with other contexts.

Data sets lie in Minari's own directory (MINARI_DATASETS_PATH, else ~/.minari/datasets), or in the
one that is given. Nothing is downloaded.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.envs import Family
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape, MissingExtra

VARIABLE = "MINARI_DATASETS_PATH"


def write(
    episodes: Episodes, name: str, place: str | Path | None = None, about: str | None = None
) -> str:
    """The name of a new data set with these episodes, such as 'cheetah-vel/experts-v0'; `about` is
    its description.

    Raises:
        MissingExtra: Minari is not installed.
        AlreadyExists: there is a data set of this name.
        BadSetting: no episodes, or a name that Minari does not take.
    """
    minari = _minari()
    if not len(episodes):
        raise BadSetting("no episodes to write")
    from gymnasium.spaces import Box
    from minari.data_collector import EpisodeBuffer

    family = episodes.family
    buffers = [
        EpisodeBuffer(
            id=i,
            seed=one.seed,
            observations=one.obs,
            actions=one.action,
            rewards=one.reward.tolist(),
            terminations=_at_end(one, one.terminated),
            truncations=_at_end(one, one.truncated),
            infos=_infos(one),
        )
        for i, one in enumerate(episodes)
    ]
    with _root(place):
        if name in minari.list_local_datasets():
            raise AlreadyExists(f"there is a data set {name} of Minari; choose another name")
        try:
            with warnings.catch_warnings():  # of what it is not told, such as an author's address
                warnings.simplefilter("ignore")
                minari.create_dataset_from_buffers(
                    name,
                    buffers,
                    observation_space=Box(-np.inf, np.inf, (family.obs_size,), np.float32),
                    action_space=Box(-1.0, 1.0, (family.action_size,), np.float32),
                    algorithm_name=", ".join(sorted(set(episodes.index.made_by.tolist()))[:5]),
                    description=about or f"episodes of {family.name}, written by hyperpolicy",
                )
        except ValueError as error:
            raise BadSetting(f"{name}: {error}") from None
    return name


def read(
    name: str,
    family: Family,
    context: Float[np.ndarray, " c"] | None = None,
    place: str | Path | None = None,
) -> Episodes:
    """The episodes of a local data set, of `family`; those that do not say their context have
    `context`.

    Raises:
        MissingExtra: Minari is not installed.
        BadFile: there is no such data set, or it holds no plain arrays.
        BadSetting: it does not say its contexts and none is given, or an episode has no end.
        BadShape: observations or actions of other widths than the family's.
    """
    minari = _minari()
    told = None if context is None else family.context.check(np.atleast_2d(context))[0]
    with _root(place):
        if name not in minari.list_local_datasets():
            known = ", ".join(sorted(minari.list_local_datasets())) or "none"
            raise BadFile(f"there is no local data set {name!r} of Minari; there are: {known}")
        found = list(minari.load_dataset(name).iterate_episodes())
    return Episodes.of(
        family, [_episode(family, name, i, one, told) for i, one in enumerate(found)]
    )


# --- Parts --------------------------------------------------------------------------------
def _at_end(one: Episode, ended: bool) -> list[bool]:
    return [False] * (len(one.reward) - 1) + [ended]


def _infos(one: Episode) -> dict[str, np.ndarray]:
    """One row more than steps: what is known before the first one."""
    t = len(one.reward)
    outcome = np.concatenate([np.zeros((1, one.outcome.shape[1]), np.float32), one.outcome])
    return {"context": np.tile(np.asarray(one.context, float), (t + 1, 1)), "outcome": outcome}


def _episode(family: Family, name: str, i: int, one, told) -> Episode:
    if isinstance(one.observations, dict | tuple) or isinstance(one.actions, dict | tuple):
        raise BadFile(f"{name}: observations and actions of episode {i} are no plain arrays")
    infos = one.infos if isinstance(one.infos, dict) else {}
    context = infos["context"][0] if "context" in infos else told
    if context is None:
        raise BadSetting(
            f"{name} does not say the context of episode {i}; give context=[{family.context.label}]"
        )
    t = len(one.rewards)
    outcome = np.zeros((t, family.outcome_size), np.float32)
    if "outcome" in infos:
        outcome = np.asarray(infos["outcome"], np.float32)[1:]
    obs, action = (np.asarray(x, np.float32) for x in (one.observations, one.actions))
    wanted = (t + 1, family.obs_size), (t, family.action_size)
    if (obs.shape, action.shape) != wanted:
        raise BadShape(
            f"{name}, episode {i}: observations {obs.shape} and actions {action.shape}; "
            f"{family.name} takes {list(wanted[0])} and {list(wanted[1])}"
        )
    return Episode(
        context=np.asarray(context, float),
        obs=obs,
        action=action,
        reward=np.asarray(one.rewards, np.float32),
        outcome=outcome,
        terminated=bool(one.terminations[-1]),
        truncated=bool(one.truncations[-1]),
        seed=0,
        policy=0,
        made_by=name,
    )


def _minari():
    try:
        import minari
    except ImportError:
        raise MissingExtra("Minari is not installed; pip install 'hyperpolicy[minari]'") from None
    return minari


@contextmanager
def _root(place: str | Path | None) -> Iterator[None]:
    """A block in which Minari's directory is `place`."""
    old = os.environ.get(VARIABLE)
    if place is not None:
        os.environ[VARIABLE] = str(Path(place).absolute())
    try:
        yield
    finally:
        if place is not None:
            os.environ.pop(VARIABLE)
            if old is not None:
                os.environ[VARIABLE] = old
