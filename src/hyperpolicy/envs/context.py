"""Contexts: what the tasks of a family differ in, coordinate by coordinate."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from msgspec import Meta

from hyperpolicy.errors import BadContext

Numbers = Float[Any, "..."]
"""NumPy in the worlds, JAX in a learner's batches."""
Role = Literal["reward", "dynamics", "task"]


@dataclass(frozen=True)
class Coordinate:
    """One number of a context."""

    name: str
    unit: str
    """Empty for a number without one."""
    low: float
    high: float
    """What physics allows, both ends included; anything outside is an error."""
    role: Role = "reward"
    """What it changes. `reward`: the reward alone, so that transitions can be relabeled along it;
    `dynamics`: the body, each world has a model of its own; `task`: it is a choice among whole
    numbers from 0 to `high`, told to networks one-hot."""
    period: Annotated[float, Meta(gt=0)] | None = None
    """Of a circular coordinate: angles are taken modulo it."""

    def __post_init__(self):
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise BadContext(
                f"coordinate {self.name!r} has bounds [{self.low}, {self.high}]; "
                "give two finite numbers, the lower one first"
            )
        if self.role == "task" and (self.low != 0 or self.high != round(self.high)):
            raise BadContext(f"coordinate {self.name!r} is a choice; its bounds are 0 and a whole")

    @property
    def label(self) -> str:
        """Name and unit: 'velocity in m/s'."""
        return f"{self.name} in {self.unit}" if self.unit else self.name

    @property
    def encoded_size(self) -> int:
        """Numbers that tell a network of it: one, two on a circle, one for each choice."""
        if self.role == "task":
            return int(self.high) + 1
        return 1 if self.period is None else 2

    def encode(self, x: Numbers, xp) -> list[Numbers]:
        """The columns of `x` [...] as network input: scaled from the bounds to [−1, 1]; sine and
        cosine on a circle; one-hot for a choice."""
        if self.role == "task":
            return [(x == i) * 1.0 for i in range(self.encoded_size)]
        if self.period is None:
            return [2.0 * (x - self.low) / (self.high - self.low) - 1.0]
        angle = 2 * np.pi * x / self.period
        return [xp.sin(angle), xp.cos(angle)]

    def distance(self, gap: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Distances from absolute differences: the short way round on a circle, 0 or 1 between
        choices."""
        if self.role == "task":
            return (gap > 0) * 1.0
        return gap if self.period is None else np.minimum(gap, self.period - gap)


@dataclass(frozen=True)
class ContextSpace:
    """The c coordinates of a family's contexts."""

    coordinates: tuple[Coordinate, ...]

    @property
    def size(self) -> int:
        return len(self.coordinates)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(x.name for x in self.coordinates)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(x.unit for x in self.coordinates)

    @property
    def label(self) -> str:
        """All names with their units."""
        return ", ".join(x.label for x in self.coordinates)

    @property
    def low(self) -> Float[np.ndarray, " c"]:
        return np.array([x.low for x in self.coordinates], float)

    @property
    def high(self) -> Float[np.ndarray, " c"]:
        return np.array([x.high for x in self.coordinates], float)

    @property
    def period(self) -> tuple[float | None, ...]:
        return tuple(x.period for x in self.coordinates)

    @property
    def encoded_size(self) -> int:
        """Width of `encode`'s output."""
        return sum(x.encoded_size for x in self.coordinates)

    def check(self, contexts) -> Float[np.ndarray, "n c"]:
        """`contexts` as float64 [n, c], circular coordinates wrapped into their period.

        Raises:
            BadContext: wrong shape, not finite, outside the bounds, or no whole number where a
                coordinate is a choice.
        """
        try:
            array = np.array(contexts, np.float64)
        except (TypeError, ValueError):
            raise BadContext(f"contexts must be numbers, got {contexts!r}") from None
        if array.ndim != 2 or array.shape[1] != self.size or not len(array):
            raise BadContext(
                f"contexts have shape {array.shape}; give [n, {self.size}] with n ≥ 1: "
                f"one row a task, columns {self.label}"
            )
        if not np.isfinite(array).all():
            raise BadContext(f"contexts must be finite, got {array[~np.isfinite(array)][0]}")
        for i, period in enumerate(self.period):
            if period is not None:
                array[:, i] = np.mod(array[:, i], period)
        self._check_bounds(array)
        return array

    def _check_bounds(self, array: Float[np.ndarray, "n c"]) -> None:
        bad = (array < self.low) | (array > self.high)
        if bad.any():
            row, i = np.argwhere(bad)[0]
            x, value = self.coordinates[i], f"{array[row, i]:g}"
            kind = "the choices are" if x.role == "task" else "the family's bounds are"
            raise BadContext(
                f"{x.name} = {value} {x.unit}".rstrip()
                + f" is outside [{x.low:g}, {x.high:g}]; "
                f"{kind} {x.low:g} to {x.high:g} {x.unit}".rstrip()
            )
        for i, x in enumerate(self.coordinates):
            between = array[:, i] != np.round(array[:, i])
            if x.role == "task" and between.any():
                raise BadContext(f"a {x.name} is a whole number, got {array[between, i][0]:g}")

    def encode(self, contexts: Numbers, xp=np) -> Numbers:
        """Contexts [..., c] as network input [..., d], see `Coordinate.encode`; `xp` is numpy or
        jax.numpy."""
        columns = []
        for i, x in enumerate(self.coordinates):
            columns += x.encode(contexts[..., i], xp)
        return xp.stack(columns, axis=-1)

    def distance(
        self, a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "k c"]
    ) -> Float[np.ndarray, "n k"]:
        """Euclidean distance between contexts."""
        gap = np.abs(np.asarray(a, float)[:, None, :] - np.asarray(b, float)[None, :, :])
        for i, x in enumerate(self.coordinates):
            gap[..., i] = x.distance(gap[..., i])
        return np.sqrt((gap**2).sum(-1))


def line(
    name: str,
    unit: str,
    low: float | int,
    high: float | int,
    role: Role = "reward",
    period: float | None = None,
) -> ContextSpace:
    """A space of one coordinate."""
    return ContextSpace((Coordinate(name, unit, float(low), float(high), role, period),))
