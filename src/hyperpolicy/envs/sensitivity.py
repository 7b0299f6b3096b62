"""Whether every coordinate of a family's contexts counts.

Each is moved from its usual value to another one, with the same starts and the same random actions.
A body must then move differently, and a reward must differ, on what was visited or on outcomes that
are drawn: a hopper that lies down earns nothing, whatever its target.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.context import Coordinate, Role
from hyperpolicy.envs.family import Family
from hyperpolicy.errors import BadContext

STEPS, WORLDS, DRAWN = 60, 8, 512
"""Steps and worlds that are visited; outcomes that are drawn."""


@dataclass(frozen=True)
class Effect:
    """What changes with a coordinate."""

    name: str
    role: Role
    usual: float
    moved: float
    """Where it was moved to."""
    changed: tuple[str, ...]
    """Of `observations` and `reward`."""

    @property
    def counts(self) -> bool:
        """Whether it changes what its role says: a body what is observed, a reward the reward, a
        choice one of them."""
        needed = {"dynamics": {"observations"}, "reward": {"reward"}}
        return bool(needed.get(self.role, {"observations", "reward"}) & set(self.changed))


class Course(NamedTuple):
    """What some worlds did."""

    observations: Float[np.ndarray, "t n o"]
    reward: Float[np.ndarray, "t n"]


def insensitive(family: Family, seed: int = 0) -> list[str]:
    """The coordinates of the family that do nothing."""
    return [one.name for one in effects(family, seed) if not one.counts]


def effects(family: Family, seed: int = 0) -> list[Effect]:
    """What changes with each coordinate."""
    space, found = family.context, []
    usual = _course(family, space.usual, seed)
    for i, coordinate in enumerate(space.coordinates):
        context = space.usual.copy()
        context[i] = elsewhere(family, coordinate)
        moved = _course(family, context, seed)
        changed = [k for k, a, b in zip(Course._fields, usual, moved, strict=True) if _differ(a, b)]
        if coordinate.role == "reward" and "reward" not in changed:
            changed += ["reward"] if _relabeled(family, space.usual, context, seed) else []
        found.append(
            Effect(
                coordinate.name,
                coordinate.role,
                float(space.usual[i]),
                float(context[i]),
                tuple(changed),
            )
        )
    return found


def elsewhere(family: Family, coordinate: Coordinate) -> float:
    """A legal value that is not the usual one: halfway to a bound, or the negative one of a
    coordinate that has only that. Raises BadContext: there is none."""
    usual, space = coordinate.usual, family.context
    tries = [(usual + coordinate.high) / 2, (usual + coordinate.low) / 2]
    if coordinate.role == "task":
        tries = [coordinate.high, coordinate.low]
    for value in (*tries, -usual, coordinate.high, coordinate.low):
        try:
            replace(space, coordinates=(coordinate,)).check([[value]])
        except BadContext:
            continue
        if value != usual:
            return value
    raise BadContext(f"{coordinate.name} of {family.name} has no legal value but {usual:g}")


def _course(family: Family, context: Float[np.ndarray, " c"], seed: int) -> Course:
    """What worlds in one context do under random actions."""
    rng = np.random.default_rng(seed)
    worlds = family.worlds(np.tile(context, (WORLDS, 1)), seed)
    observations, reward = [worlds.reset()], []
    for _ in range(STEPS):
        step = worlds.step(rng.uniform(-1, 1, (WORLDS, family.action_size)).astype(np.float32))
        observations.append(step.next_obs)
        reward.append(step.reward)
    return Course(np.array(observations), np.array(reward))


def _relabeled(family: Family, one, other, seed: int) -> bool:
    """Whether the rewards of two contexts differ on drawn outcomes."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (DRAWN, family.action_size)).astype(np.float32)
    outcome = rng.uniform(-2, 2, (DRAWN, family.outcome_size)).astype(np.float32)
    both = (family.reward(action, outcome, np.tile(c, (DRAWN, 1))) for c in (one, other))
    return _differ(*both)


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    return not np.array_equal(a, b)
