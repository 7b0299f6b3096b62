"""Episodes: stored trajectories with their context and who made them.

Replay rows, segments for sequence models and demonstrations are cut from them. `rollout.record`
makes them; on disk they are shards that are read when an episode is asked for, see `shards`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import files
from hyperpolicy.data import shards
from hyperpolicy.data.replay import pack
from hyperpolicy.data.shards import Index, Read, Steps
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import AlreadyExists, BadContext, BadFile, BadSetting, BadShape

A_SHARD = 256
"""Episodes that a shard holds at most: to use one of them, all are checked."""


class Episode(NamedTuple):
    """One episode of t steps, from its start to its end."""

    context: Float[np.ndarray, " c"]
    obs: Float[np.ndarray, "t+1 o"]
    """Before each action, and after the last one."""
    action: Float[np.ndarray, "t a"]
    reward: Float[np.ndarray, " t"]
    outcome: Float[np.ndarray, "t m"]
    """What the reward depends on; of the state that the step leads to."""
    terminated: bool
    """Whether the task ended; its value after the last step is zero."""
    truncated: bool
    """Whether the time limit ended it."""
    seed: int
    """Of the world."""
    policy: int
    """The row of the policy among those that were recorded together."""
    made_by: str
    """The policy's digest, or a name."""


class Segments(NamedTuple):
    """s pieces of episodes, l steps each; zero behind an episode's end."""

    obs: Float[np.ndarray, "s l o"]
    action: Float[np.ndarray, "s l a"]
    reward: Float[np.ndarray, "s l"]
    return_to_go: Float[np.ndarray, "s l"]
    """The undiscounted sum of the rewards from this step to the episode's end."""
    t: Int[np.ndarray, "s l"]
    """Steps of the episode before this one."""
    alive: Bool[np.ndarray, "s l"]
    """Which steps are in the episode."""
    context: Float[np.ndarray, "s c"]
    episode: Int[np.ndarray, " s"]
    """The number of the episode that each one is of."""


@dataclass(frozen=True)
class Episodes:
    """n whole episodes of one family."""

    family: Family
    index: Index
    """What is known of each without reading its steps."""
    parts: tuple[Read, ...]
    """What reads the steps, shard by shard."""
    place: Int[np.ndarray, "n 3"]
    """Of each episode: its part, its number there, and its first step there."""

    @classmethod
    def of(cls, family: Family, episodes: Sequence[Episode]) -> "Episodes":
        """Episodes in memory.

        Raises:
            BadShape: arrays that do not fit the family or each other, or are not finite.
            BadContext: a context that is not the family's.
            BadSetting: an episode that has not ended.
        """
        for i, one in enumerate(episodes):
            _check(family, i, one)
        index, steps = _flat(family, episodes)
        if len(episodes):
            index = index._replace(context=family.context.check(index.context))

        def read(name: str, first: int, count: int) -> Float[np.ndarray, "t ..."]:
            return steps[name][first : first + count]

        return cls(family, index, (read,), _places(0, index.length))

    def __len__(self) -> int:
        return len(self.index.length)

    def __getitem__(self, rows) -> "Episodes":
        """The episodes at `rows` (an index, a slice or an array); always Episodes."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        index = Index._make(x[rows] for x in self.index)
        return Episodes(self.family, index, self.parts, self.place[rows])

    def episode(self, i: int) -> Episode:
        """Episode i, read now.

        Raises:
            BadFile: its shard is damaged.
        """
        about = self.index
        part, number, first = self.place[i].tolist()
        read, t = self.parts[part], int(about.length[i])
        return Episode(
            context=about.context[i],
            obs=read("obs", first + number, t + 1),
            action=read("action", first, t),
            reward=read("reward", first, t),
            outcome=read("outcome", first, t),
            terminated=bool(about.terminated[i]),
            truncated=bool(about.truncated[i]),
            seed=int(about.seed[i]),
            policy=int(about.policy[i]),
            made_by=str(about.made_by[i]),
        )

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(i) for i in range(len(self)))

    @property
    def returns(self) -> Float[np.ndarray, " n"]:
        """Undiscounted returns."""
        return np.array([one.reward.sum(dtype=float) for one in self])

    @property
    def success(self) -> Bool[np.ndarray, " n"] | None:
        """Which have a success at any step; None where the family knows none."""
        found = [self.family.success(one.outcome) for one in self]
        if any(x is None for x in found):
            return None
        return np.array([x.any() for x in found if x is not None], bool)

    # --- Cuts -----------------------------------------------------------------------------
    def transitions(self) -> Float[np.ndarray, "k d"]:
        """All steps as replay rows, one episode after the other."""
        if not len(self):
            raise BadSetting("no episodes, so no transitions")
        return np.concatenate([_rows(one) for one in self])

    def segments(self, length: int, every: int | None = None) -> Segments:
        """Pieces of `length` steps; the first begins with its episode, each further one `every`
        steps later, `length` unless that is given.

        Raises:
            BadSetting: a length below one, or no episodes.
        """
        every = length if every is None else every
        if length < 1 or every < 1 or not len(self):
            raise BadSetting(
                f"length={length}, every={every} of {len(self)} episodes; give 1 or more of each"
            )
        pieces = [_pieces(i, one, length, every) for i, one in enumerate(self)]
        return Segments._make(np.concatenate(part) for part in zip(*pieces, strict=True))

    # --- On disk --------------------------------------------------------------------------
    def save(self, path: str | Path) -> Path:
        """Write a new directory; it appears whole or not at all.

        Raises:
            AlreadyExists: something is at `path`.
            BadSetting: no episodes.
            DiskFull: not enough space; nothing is left behind.
        """
        path = Path(path)
        if path.exists():
            raise AlreadyExists(f"{path} exists; choose another name, or append to it")
        with files.directory(path) as new:
            self._write(new)
        return path

    def append(self, path: str | Path) -> Path:
        """Add these episodes to those at `path`.

        Raises:
            BadFile: no episodes there.
            BadSetting: those are of another family, or these are none.
        """
        path = Path(path)
        there = read_family(shards.read_header(path).family)
        if there != self.family:
            raise BadSetting(
                f"{path} holds episodes of {there.name}, of its own settings; only episodes "
                f"of an equal family can be appended, these are of {self.family.name}"
            )
        self._write(path)
        return path

    def _write(self, path: Path) -> None:
        if not len(self):
            raise BadSetting("no episodes to write")
        for first in range(0, len(self), A_SHARD):
            index, steps = _flat(self.family, list(self[first : first + A_SHARD]))
            old = shards.read_header(path) if (path / shards.HEADER).exists() else None
            shards.write(path, self.family, index, steps, old)

    @classmethod
    def load(cls, path: str | Path) -> "Episodes":
        """The episodes at `path`; their steps are read when they are asked for.

        Raises:
            BadFile: none there, damaged, or they do not fit their family.
        """
        path = Path(path)
        header = shards.read_header(path)
        family = read_family(header.family)
        found = [shards.read_shard(path, header, shard, family) for shard in header.shards]
        index = Index(*map(np.concatenate, zip(*(one for one, _ in found), strict=True)))
        if not (index.terminated | index.truncated).all():
            raise BadFile(f"{path} holds episodes without an end")
        try:
            family.context.check(index.context)
        except BadContext as error:
            raise BadFile(f"{path}: {error}") from None
        places = [_places(i, one.length) for i, (one, _) in enumerate(found)]
        return cls(family, index, tuple(part for _, part in found), np.concatenate(places))


# --- Parts --------------------------------------------------------------------------------
def _check(family: Family, i: int, one: Episode) -> None:
    t = len(one.reward)
    for name, width in shards.widths(family).items():
        x, want = getattr(one, name), (t + (name == "obs"), *width)
        if t < 1 or np.shape(x) != want:
            raise BadShape(
                f"episode {i}: {name} has shape {np.shape(x)}; {t} steps of {family.name} take "
                f"{list(want)}, and one step is the least"
            )
        if not np.isfinite(x).all():
            raise BadShape(f"episode {i}: {name} holds numbers that are not finite")
    if np.shape(one.context) != (family.context.size,):
        raise BadShape(f"episode {i}: context {one.context} is none of {family.name}")
    if not (one.terminated or one.truncated):
        raise BadSetting(
            f"episode {i} has no end: it must be terminated or truncated; leave out what was cut "
            "short"
        )


def _flat(family: Family, episodes: Sequence[Episode]) -> tuple[Index, Steps]:
    """Index and steps of episodes, one after the other."""
    steps = {
        name: np.concatenate(
            [np.zeros((0, *width), np.float32), *(getattr(one, name) for one in episodes)],
            dtype=np.float32,
        )
        for name, width in shards.widths(family).items()
    }
    contexts = np.array([one.context for one in episodes], float)
    index = Index(
        np.array([len(one.reward) for one in episodes], np.int64),
        contexts.reshape(len(episodes), family.context.size),
        np.array([one.terminated for one in episodes], bool),
        np.array([one.truncated for one in episodes], bool),
        np.array([one.seed for one in episodes], np.int64),
        np.array([one.policy for one in episodes], np.int64),
        np.array([one.made_by for one in episodes], object),
    )
    return index, steps


def _places(part: int, length: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 3"]:
    number = np.arange(len(length))
    return np.stack([np.full(len(length), part), number, np.cumsum(length) - length], axis=1)


def _rows(one: Episode) -> Float[np.ndarray, "t d"]:
    """Replay rows of an episode."""
    t = len(one.reward)
    terminated = np.zeros(t, bool)
    terminated[-1] = one.terminated
    context = np.broadcast_to(one.context, (t, len(one.context)))
    return pack(one.obs[:-1], one.action, one.outcome, one.obs[1:], terminated, context)


def _pieces(i: int, one: Episode, length: int, every: int) -> Segments:
    t = len(one.reward)
    at = np.arange(0, t, every)[:, None] + np.arange(length)
    alive, at = at < t, np.minimum(at, t - 1)
    to_go = np.cumsum(one.reward[::-1], dtype=float)[::-1].astype(np.float32)

    def cut(x):
        picked = x[at]
        return np.where(alive.reshape(*alive.shape, *(1,) * (picked.ndim - 2)), picked, 0)

    steps = [cut(x) for x in (one.obs, one.action, one.reward, to_go, np.arange(t))]
    context = np.tile(one.context, (len(at), 1))
    return Segments._make([*steps, alive, context, np.full(len(at), i)])
