"""A family: tasks that share observation and action spaces and differ in a context.

A family knows its context space, named grids of contexts, named splits of each grid, its reward
(as a function of context where it is one, which allows relabelling), and makes the `Worlds` that
step it.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hyperpolicy.errors import BadContext, BadSetting, UnknownGrid, UnknownSplit, unknown
from hyperpolicy.types import Symmetry

Numbers = Float[np.ndarray | Array, "..."]
"""NumPy in the worlds, jax in a learner's batches."""


@dataclass(frozen=True)
class ContextSpace:
    """Names, units and physical bounds of a context's c numbers."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    period: tuple[float | None, ...]
    """A circular coordinate's period (angles are taken modulo it), None elsewhere."""

    @property
    def size(self) -> int:
        return len(self.names)

    def check(self, contexts) -> Float[np.ndarray, "n c"]:
        """`contexts` as float64 [n, c], circular coordinates wrapped into their period.

        Raises:
            BadContext: wrong shape, not finite, or outside the physical bounds.
        """
        try:
            array = np.asarray(contexts, np.float64)
        except (TypeError, ValueError):
            raise BadContext(f"contexts must be numbers, got {contexts!r}") from None
        if array.ndim != 2 or array.shape[1] != self.size or not len(array):
            names = ", ".join(f"{n} in {u}" for n, u in zip(self.names, self.units, strict=True))
            raise BadContext(
                f"contexts have shape {array.shape}; give [n, {self.size}] with n ≥ 1: "
                f"one row a task, columns {names}"
            )
        if not np.isfinite(array).all():
            raise BadContext(f"contexts must be finite, got {array[~np.isfinite(array)][0]}")
        for i, period in enumerate(self.period):
            if period is not None:
                array = array.copy()
                array[:, i] = np.mod(array[:, i], period)
        bad = (array < self.low) | (array > self.high)
        if bad.any():
            row, i = np.argwhere(bad)[0]
            raise BadContext(
                f"{self.names[i]} = {array[row, i]:g} {self.units[i]} is outside "
                f"[{self.low[i]:g}, {self.high[i]:g}]; physics of this family ends there"
            )
        return array

    def encode(self, contexts: Numbers, xp=np) -> Numbers:
        """Contexts [..., c] as network input [..., d]: each coordinate scaled from its bounds to
        [−1, 1]; a circular one becomes its sine and cosine. `xp` is numpy or jax.numpy."""
        columns = []
        for i, period in enumerate(self.period):
            x = contexts[..., i]
            if period is None:
                columns.append(2.0 * (x - self.low[i]) / (self.high[i] - self.low[i]) - 1.0)
            else:
                columns += [xp.sin(2 * np.pi * x / period), xp.cos(2 * np.pi * x / period)]
        return xp.stack(columns, axis=-1)

    @property
    def encoded_size(self) -> int:
        """Width of `encode`'s output."""
        return sum(1 if period is None else 2 for period in self.period)

    def distance(
        self, a: Float[np.ndarray, "n c"], b: Float[np.ndarray, "k c"]
    ) -> Float[np.ndarray, "n k"]:
        """Euclidean distance between contexts, the short way round on circles."""
        gap = np.abs(np.asarray(a)[:, None, :] - np.asarray(b)[None, :, :])
        for i, period in enumerate(self.period):
            if period is not None:
                gap[..., i] = np.minimum(gap[..., i], period - gap[..., i])
        return np.sqrt((gap**2).sum(-1))


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


RANDOM_SPLIT = re.compile(r"random-(\d+)-(\d+)")


@dataclass(frozen=True)
class Grid:
    """Named contexts [k, c] of a family, and its splits into train and test rows."""

    family: str
    name: str
    contexts: Float[np.ndarray, "k c"]
    splits: dict[str, tuple[list[int], list[int]]]

    def split(self, name: str) -> Split:
        """The split called `name`.

        `random-<k>-<draw>` trains on k tasks of `full`'s training tasks and has its test tasks.
        The subsets of one draw are nested: the 10 of draw 0 are among its 15.

        Raises:
            UnknownSplit: no such split on this grid.
        """
        if name in self.splits:
            train, test = (np.array(ids) for ids in self.splits[name])
        elif (match := RANDOM_SPLIT.fullmatch(name)) and "full" in self.splits:
            train, test = self._random(name, *map(int, match.groups()))
        else:
            kind = f"split of {self.family}'s grid {self.name!r} called"
            raise unknown(UnknownSplit, kind, "Splits", name, [*self.splits, "random-10-0"])
        return Split(
            self.family, self.name, name, self.contexts[train], self.contexts[test], train, test
        )

    def _random(self, name: str, k: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
        train, test = (np.array(ids) for ids in self.splits["full"])
        if not 1 <= k <= len(train):
            raise UnknownSplit(
                f"split {name!r} of {self.family}'s grid {self.name!r} asks for {k} training "
                f"tasks; give 1 to {len(train)}"
            )
        return np.sort(np.random.default_rng(draw).permutation(train)[:k]), test


class Family(ABC):
    """What the worlds of one family share. Subclasses state facts; they hold no simulation."""

    name: ClassVar[str]
    context: ClassVar[ContextSpace]
    obs_size: ClassVar[int]
    action_size: ClassVar[int]
    outcome_size: ClassVar[int]
    """Width m of a step's outcome: what the reward depends on besides action and context."""
    horizon_steps: ClassVar[int]
    dt_s: ClassVar[float]
    """Seconds per environment step."""
    relabels: ClassVar[bool] = True
    """Whether `reward` holds for any context, so that transitions can be labeled with another."""
    symmetries: ClassVar[tuple[Symmetry, ...]] = ()
    """The robot's, all of them, the identity first; none are known by default."""
    most_worlds: ClassVar[int | None] = None
    """Worlds held in memory at once by an evaluation; None: as many as it wants."""
    camera: ClassVar[str] = "track"
    """The model's camera that shows the task."""
    camera_turned: ClassVar[bool] = False
    """Whether it hangs upside down."""
    grids: dict[str, Grid]

    @abstractmethod
    def worlds(self, contexts, seed: int | Int[np.ndarray, " n"] = 0, num_threads: int = 0):
        """`Worlds` of this family; arguments and errors as theirs."""

    @abstractmethod
    def reward(self, action: Numbers, outcome: Numbers, context: Numbers, xp=np) -> Numbers:
        """Reward [b] of actions [b,a] with outcomes [b,m] under any contexts [b,c]; `xp` is
        numpy or jax.numpy."""

    def task_name(self, context: Float[np.ndarray, " c"]) -> str:
        """A context with its units: '1.2 m/s'."""
        units = self.context.units
        return ", ".join(f"{x:.4g} {unit}" for x, unit in zip(context, units, strict=True))

    @abstractmethod
    def outcome_name(self, outcome: Float[np.ndarray, " m"]) -> str:
        """What a policy does, from the mean outcome of its last steps: '1.2 m/s'."""

    def success(self, outcome: Float[np.ndarray, "*b m"]) -> Bool[np.ndarray, "*b"] | None:
        """Where a step's outcome is a success; None for families that only know returns."""
        return None

    def check_relabels(self, what: str) -> None:
        """Raises BadSetting where `what` needs a reward that holds for any context, and this
        family's is its simulator's."""
        if not self.relabels:
            raise BadSetting(
                f"{what} labels transitions with other contexts; the reward of {self.name} is "
                "known for the context they were made in only"
            )

    def grid(self, name: str) -> Grid:
        """The grid of contexts called `name`.

        Raises:
            UnknownGrid: no such grid in this family.
        """
        if name not in self.grids:
            raise unknown(UnknownGrid, f"grid of {self.name} called", "Grids", name, self.grids)
        return self.grids[name]


class MujocoFamily(Family):
    """A family whose tasks share one MuJoCo model: what `Worlds` need to step it."""

    frame_skip: ClassVar[int]
    """MuJoCo sub-steps per environment step."""
    qpos_noise: ClassVar[float]
    """Initial positions are qpos0 + U(±qpos_noise)."""
    qvel_noise: ClassVar[float]
    """Initial velocities are qvel_noise · N(0, 1)."""
    fields: ClassVar[tuple[str, ...]]
    """MjData fields `observe` and `outcome` read."""

    def worlds(self, contexts, seed: int | Int[np.ndarray, " n"] = 0, num_threads: int = 0):
        from hyperpolicy.envs.worlds import MujocoWorlds  # which needs this page

        return MujocoWorlds(self, contexts, seed, num_threads)

    @property
    @abstractmethod
    def model_path(self) -> Path:
        """The MuJoCo XML, inside an installed package."""

    @abstractmethod
    def observe(self, view: dict[str, np.ndarray]) -> Float[np.ndarray, "n o"]:
        """Observations from MuJoCo's fields, each [n, …]."""

    @abstractmethod
    def outcome(self, before, after: dict[str, np.ndarray]) -> Float[np.ndarray, "n m"]:
        """What `reward` needs of a step, from the fields before and after it."""

    def terminated(self, view: dict[str, np.ndarray]) -> Bool[np.ndarray, " n"]:
        """Where the task has ended for good; nowhere by default."""
        return np.zeros(len(view["qpos"]), bool)
