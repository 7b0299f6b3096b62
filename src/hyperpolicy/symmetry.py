"""Symmetries of a robot, as signed permutations of its observation and action."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Numbers = Float[Any, "*b n"]
"""NumPy in the worlds, JAX in a learner's batches."""


@dataclass(frozen=True)
class Signed:
    """A signed permutation of n numbers: (g x)_i = sign_i · x_{index_i}."""

    index: tuple[int, ...]
    sign: tuple[int, ...]

    def __call__(self, x: Numbers) -> Numbers:
        """The numbers [..., n], NumPy's or JAX's, moved."""
        sign = np.array(self.sign, x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
        return sign * x[..., np.array(self.index)]

    def __matmul__(self, first: "Signed") -> "Signed":
        """`first`, then this."""
        index = tuple(first.index[i] for i in self.index)
        signs = zip(self.sign, self.index, strict=True)
        return Signed(index, tuple(sign * first.sign[i] for sign, i in signs))

    def __add__(self, other: "Signed") -> "Signed":
        """On the numbers of both, one after the other."""
        shifted = tuple(i + len(self.index) for i in other.index)
        return Signed(self.index + shifted, self.sign + other.sign)

    @property
    def unsigned(self) -> "Signed":
        return Signed(self.index, (1,) * len(self.index))

    @classmethod
    def identity(cls, n: int) -> "Signed":
        return cls(tuple(range(n)), (1,) * n)


@dataclass(frozen=True)
class Symmetry:
    """A symmetry of a robot: it takes a trajectory of one task to a trajectory, with the same
    rewards, of another."""

    obs: Signed
    action: Signed
    scale: float = 1.0
    shift: float = 0.0
    """The other task's context is scale · c + shift."""

    def context(self, contexts: Float[np.ndarray, "n 1"]) -> Float[np.ndarray, "n 1"]:
        return self.scale * contexts + self.shift

    def __matmul__(self, first: "Symmetry") -> "Symmetry":
        """`first`, then this."""
        return Symmetry(
            self.obs @ first.obs,
            self.action @ first.action,
            self.scale * first.scale,
            self.scale * first.shift + self.shift,
        )
