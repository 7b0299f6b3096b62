"""Demonstrations: what is told of a policy instead of a context; cut from episodes.

Make-An-Agent's layout (its `traj` and `task`): an *opening*, the first 60 steps as 20 blocks of one
state and the three actions that follow it, and an *ending*, three states from the first one that is
a success. On Meta-World these are 20 · (39 + 3 · 4) = 1020 and 3 · 39 = 117 numbers. Layout `whole`
is ours: the 20 blocks are spread evenly from the first step to the success.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

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
Layout = Literal["opening", "whole"]
"""Where blocks lie: in the first 60 steps, or spread until the success."""


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
    layout: Layout = "opening"
    starts: Int[np.ndarray, " d"] | None = None
    """Seeds of the worlds they were shown in, where they are known."""

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
        if self.starts is not None and np.shape(self.starts) != (d,):
            raise BadShape(f"{np.shape(self.starts)} starts of {d} demonstrations; give one each")
        if d:
            self.family.context.check(self.contexts)

    def __getitem__(self, rows) -> "Demonstrations":
        """Those at `rows` (an index, a slice or an array); always Demonstrations."""
        a, b, c = (np.atleast_2d(x[rows]) for x in (self.contexts, self.opening, self.ending))
        starts = None if self.starts is None else np.atleast_1d(self.starts[rows])
        return Demonstrations(self.family, a, b, c, self.layout, starts)

    @property
    def rows(self) -> Float[np.ndarray, "d h"]:
        """Opening and ending, one after the other: all a generator is told."""
        return np.concatenate([self.opening, self.ending], axis=1)

    def of(self, context: Float[np.ndarray, " c"]) -> "Demonstrations":
        """Those of one task."""
        return self[np.flatnonzero((self.contexts == np.asarray(context)[None]).all(axis=1))]

    @staticmethod
    def cut(episodes: Episodes, layout: Layout = "opening") -> "Cut":
        """A demonstration of each episode that succeeded early enough to show what comes after."""
        family = episodes.family
        pairs = ((i, _parts(family, one, layout)) for i, one in enumerate(episodes))
        found = [(i, *parts) for i, parts in pairs if parts]
        opening, ending = (
            np.array([row[k] for row in found], np.float32).reshape(len(found), width)
            for k, width in zip((1, 2), widths(family), strict=True)
        )
        number = np.array([row[0] for row in found], int)
        told, starts = episodes.index.context[number], episodes.index.seed[number]
        return Cut(Demonstrations(family, told, opening, ending, layout, starts), number)

    @staticmethod
    def joined(parts: Sequence["Demonstrations"]) -> "Demonstrations":
        """All of them, one after the other; starts only where all have some. Raises BadShape: they
        are of different layouts."""
        first = parts[0]
        if any(one.layout != first.layout for one in parts):
            raise BadShape("these demonstrations are of different layouts; join those of one")
        a, b, c = (
            np.concatenate([getattr(one, name) for one in parts])
            for name in ("contexts", "opening", "ending")
        )
        known = [one.starts for one in parts if one.starts is not None]
        starts = np.concatenate(known) if len(known) == len(parts) else None
        return Demonstrations(first.family, a, b, c, first.layout, starts)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, float16; an existing file is an error."""
        arrays = {"contexts": self.contexts, "opening": self.opening, "ending": self.ending}
        kept = {name: x.astype(np.float16) for name, x in arrays.items()}
        if self.starts is not None:
            kept["starts"] = np.asarray(self.starts, np.int64)
        header = DemonstrationsHeader(self.family.record(), self.layout)
        return headers.save_arrays(path, kept, header)

    @classmethod
    def load(cls, path: str | Path) -> "Demonstrations":
        """The demonstrations in a file.

        Raises:
            BadFile: it holds none, is damaged, or they do not fit their family.
        """
        parts = "contexts", "opening", "ending"
        arrays, header = headers.load_arrays(path, DemonstrationsHeader, parts)
        try:
            a, b, c = (arrays[x].astype(np.float32) for x in parts)
            family, starts = read_family(header.family), arrays.get("starts")
            return cls(family, a, b, c, header.layout, starts)
        except (BadShape, BadContext) as error:
            raise BadFile(f"{path}: {error}") from None


class Cut(NamedTuple):
    """What `Demonstrations.cut` made of episodes."""

    demonstrations: Demonstrations
    episode: Int[np.ndarray, " d"]
    """The number of the episode that each one is of."""


def _parts(family: Family, one: Episode, layout: Layout) -> tuple[np.ndarray, np.ndarray] | None:
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
    last = OPENING_STEPS - BLOCK_ACTIONS if layout == "opening" else max(first - BLOCK_ACTIONS, 0)
    at = np.linspace(0, last, NUM_BLOCKS).astype(int)
    actions = one.action[at[:, None] + np.arange(BLOCK_ACTIONS)].reshape(NUM_BLOCKS, -1)
    opening = np.concatenate([one.obs[at], actions], axis=1).ravel()
    return opening, one.obs[first : first + ENDING_STATES].ravel()
