"""Grids: named contexts of a family, and their splits into training and test contexts."""

import re
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from msgspec import Meta

from hyperpolicy.errors import BadContext, UnknownSplit, unknown

RANDOM_SPLIT = re.compile(r"random-(\d{1,6})-(\d{1,6})")
Ids = tuple[Annotated[int, Meta(ge=0)], ...]
"""Rows of a grid."""


@dataclass(frozen=True)
class Split:
    """Training and test contexts of a grid; the ids are rows of the grid."""

    family: str
    grid: str
    name: str
    train: Float[np.ndarray, "n c"]
    test: Float[np.ndarray, "k c"]
    train_ids: Int[np.ndarray, " n"]
    test_ids: Int[np.ndarray, " k"]


@dataclass(frozen=True)
class Division:
    """A split by the rows of its grid."""

    name: str
    train: Ids
    test: Ids


@dataclass(frozen=True)
class Grid:
    """Named contexts of a family, and how they are split; a value that is written as JSON."""

    family: str
    name: str
    points: tuple[tuple[float, ...], ...]
    """The contexts, one a row."""
    divisions: tuple[Division, ...] = ()

    def __post_init__(self):
        for one in self.divisions:
            if max((*one.train, *one.test), default=0) >= len(self.points):
                raise BadContext(
                    f"split {one.name!r} of grid {self.name!r} names row "
                    f"{max((*one.train, *one.test))}; the grid has {len(self.points)}"
                )

    @classmethod
    def of(cls, family: str, name: str, contexts: Float[np.ndarray, "k c"], splits=None) -> "Grid":
        """A grid of an array of contexts; `splits` name training and test rows: {"full": (train,
        test)}."""
        points = tuple(map(tuple, np.asarray(contexts, float).tolist()))
        ids = {k: [tuple(map(int, part)) for part in v] for k, v in (splits or {}).items()}
        return cls(family, name, points, tuple(Division(k, *v) for k, v in ids.items()))

    @property
    def contexts(self) -> Float[np.ndarray, "k c"]:
        return np.array(self.points, float)

    @property
    def splits(self) -> dict[str, Division]:
        """The named splits; `split` also knows the random ones."""
        return {one.name: one for one in self.divisions}

    def split(self, name: str) -> Split:
        """The split called `name`.

        `random-<k>-<draw>` trains on k tasks of `full`'s training tasks and has its test tasks.
        The subsets of one draw are nested: the 10 of draw 0 are among its 15.

        Raises:
            UnknownSplit: no such split on this grid.
        """
        known = self.splits
        if name in known:
            train, test = (np.array(ids, int) for ids in (known[name].train, known[name].test))
        elif (match := RANDOM_SPLIT.fullmatch(name)) and "full" in known:
            train, test = self._random(name, *map(int, match.groups()))
        else:
            kind = f"split of {self.family}'s grid {self.name!r} called"
            names = [*known, "random-10-0"] if "full" in known else list(known)
            raise unknown(UnknownSplit, kind, "Splits", name, names)
        all_ = self.contexts
        return Split(self.family, self.name, name, all_[train], all_[test], train, test)

    def _random(self, name: str, k: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
        full = self.splits["full"]
        train, test = np.array(full.train, int), np.array(full.test, int)
        if not 1 <= k <= len(train):
            raise UnknownSplit(
                f"split {name!r} of {self.family}'s grid {self.name!r} asks for {k} training "
                f"tasks; give 1 to {len(train)}"
            )
        return np.sort(np.random.default_rng(draw).permutation(train)[:k]), test
