"""Demonstrations: what is told of a policy instead of a context; cut from episodes.

Make-An-Agent's layout (its `traj` and `task`): an *opening*, the first 60 steps as 20 blocks of one
state and the three actions that follow it, and an *ending*, three states from the first one that is
a success. On Meta-World these are 20 · (39 + 3 · 4) = 1020 and 3 · 39 = 117 numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import headers
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.data.given import Given
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadContext, BadFile, BadShape
from hyperpolicy.headers import DemonstrationsHeader

NUM_BLOCKS, BLOCK_ACTIONS = 20, 3
OPENING_STEPS = NUM_BLOCKS * BLOCK_ACTIONS
ENDING_STATES = 3


def widths(family: Family) -> tuple[int, int]:
    """Numbers in an opening and in an ending."""
    block = family.obs_size + BLOCK_ACTIONS * family.action_size
    return NUM_BLOCKS * block, ENDING_STATES * family.obs_size


@dataclass(frozen=True)
class Demonstrations(Given):
    """d demonstrations of one family's tasks."""

    name: ClassVar[str] = "demonstrations"
    column: ClassVar[str] = "one demonstration of the test task"
    family: Family
    contexts: Float[np.ndarray, "d c"]
    """The task each one solves; generators are not told."""
    opening: Float[np.ndarray, "d f"]
    ending: Float[np.ndarray, "d g"]

    def __post_init__(self):
        wanted = widths(self.family)
        opening, ending = (np.asarray(x, np.float32) for x in (self.opening, self.ending))
        d = len(self.contexts)
        if opening.shape != (d, wanted[0]) or ending.shape != (d, wanted[1]):
            raise BadShape(
                f"openings {opening.shape} and endings {ending.shape} of {d} demonstrations; "
                f"{self.family.name} takes [{d}, {wanted[0]}] and [{d}, {wanted[1]}]: the first "
                f"{OPENING_STEPS} steps, and {ENDING_STATES} states from the first success on"
            )
        for name, rows in (("opening", opening), ("ending", ending)):
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                raise BadShape(
                    f"the {name} of demonstration {bad[0]} holds numbers that are not finite"
                )
            object.__setattr__(self, name, rows)
        if d:
            self.family.context.check(self.contexts)

    def __getitem__(self, rows) -> "Demonstrations":
        """Those at `rows` (an index, a slice or an array); always Demonstrations."""
        parts = (np.atleast_2d(x[rows]) for x in (self.contexts, self.opening, self.ending))
        return Demonstrations(self.family, *parts)

    @property
    def rows(self) -> Float[np.ndarray, "d h"]:
        """Opening and ending, one after the other: all a generator is told."""
        return np.concatenate([self.opening, self.ending], axis=1)

    def of(self, context: Float[np.ndarray, " c"]) -> "Demonstrations":
        """Those of one task."""
        return self[np.flatnonzero((self.contexts == np.asarray(context)[None]).all(axis=1))]

    @staticmethod
    def cut(episodes: Episodes) -> "Cut":
        """A demonstration of each episode that succeeded early enough to show what comes after."""
        family = episodes.family
        found = [(i, *parts) for i, one in enumerate(episodes) if (parts := _parts(family, one))]
        opening, ending = (
            np.array([row[k] for row in found], np.float32).reshape(len(found), width)
            for k, width in zip((1, 2), widths(family), strict=True)
        )
        number = np.array([row[0] for row in found], int)
        made = Demonstrations(family, episodes.index.context[number], opening, ending)
        return Cut(made, number)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, float16; an existing file is an error."""
        arrays = {"contexts": self.contexts, "opening": self.opening, "ending": self.ending}
        half = {name: x.astype(np.float16) for name, x in arrays.items()}
        return headers.save_arrays(path, half, DemonstrationsHeader(self.family.record()))

    @classmethod
    def load(cls, path: str | Path) -> "Demonstrations":
        """The demonstrations in a file.

        Raises:
            BadFile: it holds none, is damaged, or they do not fit their family.
        """
        parts = "contexts", "opening", "ending"
        arrays, header = headers.load_arrays(path, DemonstrationsHeader, parts)
        try:
            return cls(read_family(header.family), *(arrays[x].astype(np.float32) for x in parts))
        except (BadShape, BadContext) as error:
            raise BadFile(f"{path}: {error}") from None


class Cut(NamedTuple):
    """What `Demonstrations.cut` made of episodes."""

    demonstrations: Demonstrations
    episode: Int[np.ndarray, " d"]
    """The number of the episode that each one is of."""


def _parts(family: Family, one: Episode) -> tuple[np.ndarray, np.ndarray] | None:
    """Opening and ending of an episode; None without a success, or with one at its very end.

    The outcome of step t is that of the state it leads to, obs[t + 1].
    """
    success: Bool[np.ndarray, " t"] | None = family.success(one.outcome)
    t = len(one.reward)
    if success is None or t < OPENING_STEPS or not success.any():
        return None
    first = int(success.argmax()) + 1
    if first + ENDING_STATES > t:
        return None
    states = one.obs[:OPENING_STEPS:BLOCK_ACTIONS]
    actions = one.action[:OPENING_STEPS].reshape(NUM_BLOCKS, -1)
    opening = np.concatenate([states, actions], axis=1).ravel()
    return opening, one.obs[first : first + ENDING_STATES].ravel()
