"""Readers of contexts: the numbers as they are, and as networks take them."""

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float

from hyperpolicy.data.given import Contexts, Given
from hyperpolicy.envs import ContextSpace
from hyperpolicy.generate.parts import Frame


class PlainContext(eqx.Module):
    """The context as it is, in the family's units."""

    kind: ClassVar[str] = "context"
    takes: ClassVar[type[Given]] = Contexts
    column: ClassVar[str] = Contexts.column
    space: ContextSpace = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.space.size

    def read(self, given: Given) -> Float[np.ndarray, "n c"]:
        return given.rows

    def settings(self) -> dict:
        return {}

    @classmethod
    def blank(cls, settings: dict, frame: Frame):
        return cls(frame.family.context)


class EncodedContext(PlainContext):
    """The context as networks take it (`ContextSpace.encode`), each number in [−1, 1]."""

    kind: ClassVar[str] = "encoded-context"

    @property
    def size(self) -> int:
        return self.space.encoded_size

    def read(self, given: Given) -> Float[np.ndarray, "n d"]:
        return np.asarray(self.space.encode(given.rows))
