"""What a table is made of: cells, on which methods are compared, and methods, a row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Grid, Split, family


@dataclass(frozen=True)
class Cell:
    """The split of a grid that methods learn from, the kind of experts they learn from, and on
    which half of the split they are scored."""

    family: str
    grid: str
    split: str
    """A split's name; `random-<k>` stands for its three draws."""
    kind: str = "specialized"
    scored: Literal["test", "train"] = "test"

    @property
    def tasks(self) -> Grid:
        """The grid.

        Raises:
            UnknownFamily, UnknownGrid: there is none.
        """
        return family(self.family).grid(self.grid)

    @property
    def splits(self) -> list[Split]:
        """The splits it is about: one, or the draws of a random one; they test the same contexts.

        Raises:
            UnknownSplit: there is none.
        """
        name = self.split
        draws = name.startswith("random-") and name.count("-") == 1
        names = [f"{name}-{draw}" for draw in range(3)] if draws else [name]
        return [self.tasks.split(one) for one in names]

    @property
    def contexts(self) -> Float[np.ndarray, "k c"]:
        """Contexts on which methods are scored."""
        return getattr(self.splits[0], self.scored)

    @property
    def file(self) -> str:
        """Its name in files."""
        return f"{self.kind}-{self.split}"


@dataclass(frozen=True)
class Method:
    """A row of a table: how it is fitted, what it is given of a test task, and where it has a
    meaning."""

    name: str
    fit: Callable[[Any], Sequence[Any]]
    """Its makers, one a training seed or pipeline, from what the recipe's methods share; fits that
    are there already are read."""
    given: str | None = None
    """What it is given; by default what rows of its name are given."""
    cells: tuple[str, ...] = ()
    """Where it has a meaning, by name; everywhere if none is named."""
    draws: int = 1
    """Policies that are drawn for each test task."""

    def serves(self, cell: str) -> bool:
        """Whether it has a meaning in the cell of that name."""
        return not self.cells or cell in self.cells
