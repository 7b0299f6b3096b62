"""The shared nouns.

Axes: n expert or policy, e environment of an expert, b batch, t time, o obs, a action, c context,
m outcome, p flat weight, z latent, k task.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Key = PRNGKeyArray
Scalar = Float[Array, ""]


class Batch(NamedTuple):
    """Transitions. `terminated` is 1.0 where the task ended and 0.0 at a time limit."""

    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    reward: Float[Array, " b"]
    next_obs: Float[Array, "b o"]
    terminated: Float[Array, " b"]


@dataclass(frozen=True)
class Signed:
    """A signed permutation of n numbers: (g x)_i = sign_i · x_{index_i}."""

    index: tuple[int, ...]
    sign: tuple[int, ...]

    def __call__(self, x: Float[np.ndarray, "*b n"]) -> Float[np.ndarray, "*b n"]:
        return np.asarray(self.sign) * np.asarray(x)[..., list(self.index)]

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
    """How a symmetry of a robot acts on observations, encoded contexts and actions: it takes a
    trajectory of one task to a trajectory, with the same rewards, of another."""

    obs: Signed
    context: Signed
    action: Signed

    def __matmul__(self, first: "Symmetry") -> "Symmetry":
        """`first`, then this."""
        return Symmetry(
            self.obs @ first.obs, self.context @ first.context, self.action @ first.action
        )
