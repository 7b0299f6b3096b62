"""A family of any Gymnasium environment: some of its constructor's arguments, attributes or MuJoCo
numbers become the coordinates of a context.

    hopper = hp.envs.from_gymnasium(
        "Hopper-v5",
        context={"forward_reward_weight": (0.5, 2.0), "body_mass[torso]": (2.0, 6.0)},
    )
    hp.envs.register(hopper)

`places.py` says what a name stands for, `gym_worlds.py` who steps the environments.

Its reward is the environment's own, so a transition holds for its own context only: nothing is
relabeled. Observations are numbers in one row, actions numbers within bounds, scaled from [−1, 1].
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np

from hyperpolicy import engine
from hyperpolicy.envs.context import ContextSpace, Coordinate, Grid
from hyperpolicy.envs.family import Family
from hyperpolicy.envs.gym_worlds import GymnasiumWorlds
from hyperpolicy.envs.places import place_of
from hyperpolicy.errors import BadSetting
from hyperpolicy.registration import PLAIN

Json = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class GymnasiumFamily(Family):
    """Tasks of one Gymnasium environment. The outcome of a step is its reward."""

    env_id: str
    arguments: tuple[tuple[str, Json], ...] = ()
    """Of the constructor, the same in every task."""
    outcome_size: int = 1
    most_worlds: int | None = 256

    def worlds(self, contexts, seed=0, num_threads: int = 0) -> "GymnasiumWorlds":
        engine.only_native(self.name)
        return GymnasiumWorlds(self, contexts, seed, num_threads)

    def reward(self, action, outcome, context, xp=np):
        return outcome[..., 0]

    def outcome_name(self, outcome):
        return f"{outcome[0]:.3g} a step"

    def make(self, **more: Any) -> gymnasium.Env:
        """A bare environment."""
        return make(self.env_id, dict(self.arguments) | more)


def make(env_id: str, arguments: dict[str, Any]) -> gymnasium.Env:
    """An environment without its time limit and order checks. Raises BadSetting: Gymnasium cannot
    make it."""
    try:
        return gymnasium.make(env_id, **arguments).unwrapped
    except Exception as error:  # an environment's constructor may raise anything
        said = " ".join(str(error).split())[:200]
        raise BadSetting(f"Gymnasium cannot make {env_id!r}: {said}") from None


def from_gymnasium(
    env_id: str,
    context: Mapping[str, Sequence[float | int] | Coordinate],
    name: str | None = None,
    arguments: dict[str, Json] | None = None,
    horizon_steps: int | None = None,
    train: int = 20,
    test: int = 5,
    check: bool = True,
) -> GymnasiumFamily:
    """A family of a Gymnasium environment, whose grid `even` has `train` contexts for training and
    `test` others, spread over the bounds.

    `context` names the coordinates with their bounds; a `Coordinate` has a unit and a usual value
    besides. `name` is the environment's own in small letters unless given. With `check`, every
    coordinate is moved once: one that changes neither what is seen nor what is paid is refused.

    Raises:
        BadSetting: Gymnasium cannot make the environment, its observations are not numbers in one
            row, its actions not numbers within bounds, it has no end, or it has no such argument,
            attribute or number; a coordinate that changes nothing.
    """
    arguments = dict(arguments or {})
    env = make(env_id, arguments)
    _check_spaces(env_id, env)
    coordinates = []
    for key, given in context.items():
        place_of(key, env_id, env)
        if not isinstance(given, Coordinate):
            if len(given) != 2:
                raise BadSetting(f"{key}: {given}; give its two bounds, or a Coordinate")
            given = Coordinate(key, "", float(given[0]), float(given[1]), "dynamics")
        coordinates.append(given)
    if not coordinates:
        raise BadSetting("a family needs a coordinate; name one in context, with its bounds")
    spec = gymnasium.spec(env_id.rpartition(":")[2])  # its module is imported by now
    horizon = horizon_steps or spec.max_episode_steps
    if horizon is None:
        raise BadSetting(f"{env_id} says no longest episode; give horizon_steps")
    name = name or re.sub(r"[^a-z0-9]+", "-", re.split("[/:]", env_id)[-1].lower()).strip("-")
    if not PLAIN.fullmatch(name):
        raise BadSetting(f"family name {name!r}: give lower-case letters, digits and hyphens")
    space = ContextSpace(tuple(coordinates))
    family = GymnasiumFamily(
        name=name,
        context=space,
        grids=(even(name, space, train, test),),
        obs_size=_width(env.observation_space),
        action_size=_width(env.action_space),
        horizon_steps=int(horizon),
        dt_s=float(getattr(env, "dt", 1.0)),
        env_id=env_id,
        arguments=tuple(sorted(arguments.items())),
        camera=_camera(env),
    )
    env.close()
    if check:
        _check_effects(family)
    return family


def _camera(env: gymnasium.Env) -> str:
    """The first camera of its model; empty where there is none."""
    model: Any = getattr(env.unwrapped, "model", None)
    known = isinstance(model, mujoco.MjModel) and model.ncam
    return str(model.camera(0).name) if known else ""


def _width(space: Any) -> int:
    return int(space.shape[0])


def even(family: str, space: ContextSpace, train: int, test: int) -> Grid:
    """`train` + `test` contexts spread over the bounds: evenly along one coordinate, by a Sobol
    sequence in several; every few of them is for testing, none at an end of one coordinate."""
    n = train + test
    if train < 2 or test < 1:
        raise BadSetting(f"train={train}, test={test}; give 2 and 1, or more")
    if space.size == 1:
        unit = np.linspace(0.0, 1.0, n)[:, None]
    else:
        from scipy.stats import qmc  # slow, and loads JAX

        unit = qmc.Sobol(space.size, scramble=False).random(2 ** int(np.ceil(np.log2(n))))[:n]
    contexts = space.low + unit * (space.high - space.low)
    rows = np.unique(np.linspace(1, n - 2, test).round().astype(int))
    rest = np.setdiff1d(np.arange(n), rows)
    splits = {"full": (rest.tolist(), rows.tolist())}
    return Grid.of(family, "even", contexts, splits)


def _check_spaces(env_id: str, env: gymnasium.Env) -> None:
    spaces = gymnasium.spaces
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        plain = isinstance(space, spaces.Box) and len(space.shape) == 1
        if not plain or not np.issubdtype(space.dtype, np.floating):
            raise BadSetting(
                f"{what} of {env_id} are {space}; supported are Box spaces of one row of numbers "
                "(no dictionaries, images or discrete choices)"
            )
    action: Any = env.action_space
    if not np.isfinite([action.low, action.high]).all():
        raise BadSetting(f"actions of {env_id} have no bounds; give the environment some")


def _check_effects(family: GymnasiumFamily) -> None:
    from hyperpolicy.envs.sensitivity import effects

    for one in effects(family):
        if not one.changed:
            raise BadSetting(
                f"{one.name} changes neither what {family.env_id} shows nor what it pays "
                f"({one.usual:g} and {one.moved:g} give the same episodes); name another coordinate"
            )
