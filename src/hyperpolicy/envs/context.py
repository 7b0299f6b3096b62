"""Contexts: what the tasks of a family differ in, coordinate by coordinate; and grids, a family's
named contexts, with their splits into training and test contexts."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int
from msgspec import Meta

from hyperpolicy.errors import BadContext, UnknownSplit, unknown

Numbers = Float[Any, "..."]
"""NumPy in the worlds, JAX in a learner's batches."""
Role = Literal["reward", "dynamics", "task"]
RANDOM_SPLIT = re.compile(r"random-(\d{1,6})-(\d{1,6})")
Ids = tuple[Annotated[int, Meta(ge=0)], ...]
"""Rows of a grid."""


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
    default: float | None = None
    """Where nothing else is asked for; None: the middle of the bounds, a choice's first."""
    least: Annotated[float, Meta(ge=0)] = 0.0
    """Smallest absolute value; a speed of zero, say, has no direction."""

    def __post_init__(self):
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise BadContext(
                f"coordinate {self.name!r} has bounds [{self.low}, {self.high}]; "
                "give two finite numbers, the lower one first"
            )
        if self.role == "task" and (self.low != 0 or self.high != round(self.high)):
            raise BadContext(f"coordinate {self.name!r} is a choice; its bounds are 0 and a whole")

    @property
    def usual(self) -> float:
        """The value where nothing else is asked for."""
        if self.default is not None:
            return self.default
        return 0.0 if self.role == "task" else (self.low + self.high) / 2

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

    def decode(self, columns: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The numbers whose `encode` is nearest to these columns, within the bounds."""
        if self.role == "task":
            return columns.argmax(axis=1).astype(float)
        if self.period is None:
            x = self.low + 0.5 * (columns[:, 0] + 1.0) * (self.high - self.low)
        else:
            angle = np.arctan2(columns[:, 0], columns[:, 1])
            x = np.mod(angle * self.period / (2 * np.pi), self.period)
        x = np.clip(x, self.low, self.high)
        return np.where(np.abs(x) < self.least, np.where(x < 0, -self.least, self.least), x)

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
        """All names with their units: 'velocity in m/s'."""
        return ", ".join(f"{x.name} in {x.unit}" if x.unit else x.name for x in self.coordinates)

    @property
    def low(self) -> Float[np.ndarray, " c"]:
        return np.array([x.low for x in self.coordinates], float)

    @property
    def high(self) -> Float[np.ndarray, " c"]:
        return np.array([x.high for x in self.coordinates], float)

    @property
    def usual(self) -> Float[np.ndarray, " c"]:
        """The context where nothing else is asked for."""
        return np.array([x.usual for x in self.coordinates], float)

    @property
    def period(self) -> tuple[float | None, ...]:
        return tuple(x.period for x in self.coordinates)

    def where(self, role: Role) -> Int[np.ndarray, " k"]:
        """The columns of the coordinates with this role."""
        return np.flatnonzero([x.role == role for x in self.coordinates])

    @property
    def encoded_size(self) -> int:
        """Width of `encode`'s output."""
        return sum(x.encoded_size for x in self.coordinates)

    def check(self, contexts) -> Float[np.ndarray, "n c"]:
        """`contexts` as float64 [n, c], circular coordinates wrapped into their period; columns
        left out at the end have their defaults. Raises BadContext: wrong shape, not finite, outside
        the bounds, or no whole number where a coordinate is a choice."""
        try:
            array = np.array(contexts, np.float64)
        except (TypeError, ValueError):
            raise BadContext(f"contexts must be numbers, got {contexts!r}") from None
        if array.ndim == 2 and 0 < array.shape[1] < self.size:
            rest = self.coordinates[array.shape[1] :]
            if all(x.default is not None for x in rest):
                usual = np.tile([x.usual for x in rest], (len(array), 1))
                array = np.concatenate([array, usual], axis=1)
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
            little = np.abs(array[:, i]) < x.least
            if little.any():
                raise BadContext(
                    f"{x.name} = {array[little, i][0]:g} {x.unit}".rstrip()
                    + f" is too near to zero; give an absolute value of {x.least:g} or more"
                )

    def encode(self, contexts: Numbers, xp=np) -> Numbers:
        """Contexts [..., c] as network input [..., d], see `Coordinate.encode`; `xp` is numpy or
        jax.numpy."""
        columns = []
        for i, x in enumerate(self.coordinates):
            columns += x.encode(contexts[..., i], xp)
        return xp.stack(columns, axis=-1)

    def decode(self, encoded: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """The contexts whose `encode` is nearest to these rows, within the bounds: what a network's
        guess at an encoded context stands for."""
        ends = np.cumsum([x.encoded_size for x in self.coordinates])
        parts = np.split(np.asarray(encoded, float), ends[:-1], axis=1)
        found = [x.decode(part) for x, part in zip(self.coordinates, parts, strict=True)]
        return np.stack(found, axis=1)

    def distance(
        self, a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "k c"]
    ) -> Float[np.ndarray, "n k"]:
        """Euclidean distance between contexts: in the unit of the one coordinate, or, where there
        are several, each measured by its bounds, for meters and meters per second do not add."""
        gap = np.abs(np.asarray(a, float)[:, None, :] - np.asarray(b, float)[None, :, :])
        for i, x in enumerate(self.coordinates):
            gap[..., i] = x.distance(gap[..., i])
        if self.size > 1:
            gap /= self.high - self.low
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


# --- Grids --------------------------------------------------------------------------------
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
    divisions: tuple[Division, ...] = field(default=(), compare=False)
    """Its splits; a grid with more of them is the same one, so that older files stay usable."""

    def __post_init__(self):
        for one in self.divisions:
            last = max((*one.train, *one.test), default=0)
            if last >= len(self.points):
                raise BadContext(
                    f"split {one.name!r} of grid {self.name!r} names row {last}; the grid has "
                    f"{len(self.points)}"
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

        `random-<k>-<draw>` trains on k tasks of `full`'s training tasks and has its test tasks. The
        subsets of one draw are nested: the 10 of draw 0 are among its 15. Raises UnknownSplit: no
        such split on this grid.
        """
        known = self.splits
        if name in known:
            train, test = np.array(known[name].train, int), np.array(known[name].test, int)
        elif (match := RANDOM_SPLIT.fullmatch(name)) and "full" in known:
            k, draw = map(int, match.groups())
            train, test = np.array(known["full"].train, int), np.array(known["full"].test, int)
            if not 1 <= k <= len(train):
                raise UnknownSplit(
                    f"split {name!r} of {self.family}'s grid {self.name!r} asks for {k} training "
                    f"tasks; give 1 to {len(train)}"
                )
            train = np.sort(np.random.default_rng(draw).permutation(train)[:k])
        else:
            kind = f"split of {self.family}'s grid {self.name!r} called"
            names = [*known, "random-10-0"] if "full" in known else list(known)
            raise unknown(UnknownSplit, kind, "Splits", name, names)
        all_ = self.contexts
        return Split(self.family, self.name, name, all_[train], all_[test], train, test)
