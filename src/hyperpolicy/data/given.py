"""What a method is told of a test task, as a value that names itself.

A generator's reader declares which type it takes; the column "given" of every table prints
`column`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Family


class Given(ABC):
    """What a method is told of n tasks of one family."""

    name: ClassVar[str]
    """Its plural, for messages."""
    column: ClassVar[str]
    """What the column "given" of a table says where a method is told one of these."""
    family: Family
    contexts: Float[np.ndarray, "n c"]
    """The task of each row, which a method is told only where it reads contexts."""

    @property
    @abstractmethod
    def rows(self) -> Float[np.ndarray, "n r"]:
        """All numbers that a method is told, one row a task."""

    def __len__(self) -> int:
        return len(self.contexts)


@dataclass(frozen=True)
class Contexts(Given):
    """The true contexts [n, c] of n tasks, in the family's units; angles are wrapped.

    Raises:
        BadContext: a wrong shape, numbers that are not finite, or outside what physics allows.
    """

    name: ClassVar[str] = "contexts"
    column: ClassVar[str] = "true context"
    family: Family
    contexts: Float[np.ndarray, "n c"]

    def __post_init__(self):
        object.__setattr__(self, "contexts", self.family.context.check(self.contexts))

    @property
    def rows(self) -> Float[np.ndarray, "n c"]:
        return self.contexts
