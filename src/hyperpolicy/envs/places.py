"""Where a coordinate's number goes: an argument of an environment's constructor, one of its
attributes, or a number of its MuJoCo model.

A name is looked for in this order. Fields of the model are `body_mass`, `geom_friction`,
`actuator_gear`, `opt.gravity`, …; brackets choose a body, a joint, a geom by name or number and
then a column (`geom_friction[floor, 0]`, `opt.gravity[2]`), and a star multiplies (`body_mass*`:
all).
"""

import inspect
import re
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np

from hyperpolicy.errors import BadSetting

FIELD = re.compile(r"((?:opt\.)?[a-z_0-9]+)(?:\[([^\]]+)\])?(\*?)")
OWNERS = {"body": "body", "geom": "geom", "jnt": "joint", "dof": "joint", "actuator": "actuator"}
"""First word of a field's name → what its rows are named after."""


class Place(NamedTuple):
    """Where a coordinate's number goes."""

    kind: str
    """argument, attribute or model."""
    field: str
    at: tuple[int, ...] = ()
    factor: bool = False
    """Whether the number multiplies what is there."""


def place_of(name: str, env_id: str, env: gymnasium.Env) -> Place:
    """Where the number called `name` goes. Raises BadSetting: nowhere."""
    plain: Any = env.unwrapped
    arguments = inspect.signature(type(plain).__init__).parameters
    if name in arguments and _is_number(arguments[name].default):
        return Place("argument", name)
    if isinstance(getattr(plain, name, None), int | float | np.number):
        return Place("attribute", name)
    model = getattr(plain, "model", None)
    if isinstance(model, mujoco.MjModel):
        place = model_place(model, name)
        if place is not None:
            return place
    told = {key for key, one in arguments.items() if _is_number(one.default)}
    known = sorted(told | set(_numbers(plain)))
    raise BadSetting(
        f"{env_id} has no argument, attribute or number of its model called {name!r}; arguments "
        f"and attributes: {', '.join(known)}"
    )


def model_place(model: mujoco.MjModel, name: str) -> Place | None:
    """Where a number of the model called `name` is; None where it has no such field. Raises
    BadSetting: brackets that choose nothing."""
    found = FIELD.fullmatch(name)
    if not found:
        return None
    field, inside, star = found.groups()
    array = _array(model, field)
    if array is None:
        return None
    return Place("model", field, _index(model, field, inside, array, bool(star)), bool(star))


def _is_number(value) -> bool:
    return type(value) in (int, float)


def _numbers(plain) -> list[str]:
    return [k for k, v in vars(plain).items() if k[0] != "_" and _is_number(v)]


def _array(model: mujoco.MjModel, field: str):
    """The model's array of that name; None where there is none."""
    holder, _, name = field.rpartition(".")
    found = getattr(model.opt if holder else model, name, None)
    return found if isinstance(found, np.ndarray | float) else None


def _index(model, field: str, inside: str | None, array, factor: bool) -> tuple[int, ...]:
    if inside is None:
        if factor or isinstance(array, float) or array.size == 1:
            return ()
        raise BadSetting(
            f"{field} holds {array.size} numbers; choose one, such as {field}[0], or all times a "
            f"factor: {field}*"
        )
    words = [word.strip() for word in inside.split(",")]
    found = []
    for axis, word in enumerate(words):
        if word.isdigit():
            found.append(int(word))
            continue
        owner = OWNERS.get(field.split("_")[0]) if axis == 0 else None
        if owner is None:
            raise BadSetting(f"{field}[{inside}]: {word!r} is no number")
        try:
            found.append(int(getattr(model, owner)(word).id))
        except KeyError as error:
            raise BadSetting(f"{field}[{inside}]: {' '.join(str(error).split())}") from None
    wanted = 1 if isinstance(array, float) else array.ndim
    if len(found) != wanted or any(i >= n for i, n in zip(found, np.shape(array), strict=False)):
        raise BadSetting(f"{field}[{inside}] is no place in an array of shape {np.shape(array)}")
    return tuple(found)


def write(model: mujoco.MjModel, place: Place, x: float) -> None:
    """Put a number into a model."""
    holder, _, name = place.field.rpartition(".")
    owner = model.opt if holder else model
    found = getattr(owner, name)
    if isinstance(found, float):
        setattr(owner, name, found * x if place.factor else x)
    elif place.factor:
        found[place.at or ...] *= x
    else:
        found[place.at or ...] = x
