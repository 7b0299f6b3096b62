"""A family of a MuJoCo model and two functions, without a class of one's own.

    cart = hp.envs.from_mjcf(
        MODEL,
        name="my-cart",
        observe=lambda view: np.concatenate([view["qpos"], view["qvel"]], axis=1),
        outcome=lambda before, after: after["qpos"],
        reward=lambda action, outcome, context, xp: 1.0 - xp.abs(outcome[..., 0] - context[..., 0]),
        context={"target": (-1.0, 1.0), "body_mass[cart]": (0.5, 2.0)},
    )
    hp.envs.register(cart)

Coordinates that name a number of the model (`places.py` has the rules) change the body; the
others are the reward's, in the order in which they are named, and transitions can be labeled with
others of them. Worlds run on MuJoCo's native threads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from hyperpolicy.envs.context import ContextSpace, Coordinate, Role
from hyperpolicy.envs.gym_family import even
from hyperpolicy.envs.mujoco import MujocoFamily, compile_model
from hyperpolicy.envs.places import Place, model_place, write
from hyperpolicy.errors import BadSetting
from hyperpolicy.registration import PLAIN

MOST_MODELS = 512
"""Bodies that are kept compiled."""


def from_mjcf(
    mjcf: Path | str,
    *,
    name: str,
    observe: Callable,
    outcome: Callable,
    reward: Callable,
    context: Mapping[str, Sequence[float | int] | Coordinate],
    terminated: Callable | None = None,
    frame_skip: int = 5,
    horizon_steps: int = 200,
    qpos_noise: float = 0.0,
    qvel_noise: float = 0.0,
    fields: tuple[str, ...] = ("qpos", "qvel"),
    train: int = 20,
    test: int = 5,
    check: bool = True,
) -> MujocoFamily:
    """A family of the model in `mjcf`, an XML file or its text, whose grid `even` has `train` +
    `test` contexts.

    `observe(view)` gives observations [n, o] of MuJoCo's `fields`, each [n, …]; `outcome(before,
    after)` what the reward needs of a step, [n, m]; `reward(action, outcome, context, xp)` the
    reward of each row, with NumPy or JAX; `terminated(view)` where the task has ended for good.

    Raises:
        BadFile: MuJoCo cannot read the model.
        BadSetting: a name that is none, motors without ranges, functions that give other shapes,
            a coordinate that changes nothing.
    """
    if not PLAIN.fullmatch(name):
        raise BadSetting(f"family name {name!r}: give lower-case letters, digits and hyphens")
    model = compile_model(mjcf)
    places = {key: model_place(model, key) for key in context}
    coordinates = []
    for key, given in context.items():
        if not isinstance(given, Coordinate):
            if len(given) != 2:
                raise BadSetting(f"{key}: {given}; give its two bounds, or a Coordinate")
            role: Role = "reward" if places[key] is None else "dynamics"
            given = Coordinate(key, "", float(given[0]), float(given[1]), role)
        coordinates.append(given)
    if not coordinates:
        raise BadSetting("a family needs a coordinate; name one in context, with its bounds")
    space = ContextSpace(tuple(coordinates))
    view = _view(model, fields)
    kind = _kind(name, mjcf, (observe, outcome, reward, terminated), tuple(places.values()))
    family = kind(
        name=name,
        context=space,
        grids=(even(name, space, train, test),),
        obs_size=_width("observe", observe(view)),
        action_size=int(model.nu),
        outcome_size=_width("outcome", outcome({"qpos": view["qpos"]}, view)),
        horizon_steps=horizon_steps,
        frame_skip=frame_skip,
        dt_s=float(model.opt.timestep * frame_skip),
        qpos_noise=qpos_noise,
        qvel_noise=qvel_noise,
        fields=fields,
        camera=str(model.camera(0).name) if model.ncam else "",
    )
    family.worlds(space.usual[None])  # refused where facts and model do not fit
    if check:
        _check_effects(family)
    return family


def _kind(name: str, mjcf, functions, places: tuple[Place | None, ...]) -> Any:
    """The class of such a family."""
    observe, outcome, reward, terminated = functions

    @lru_cache(maxsize=MOST_MODELS)
    def built(context: tuple[float, ...]) -> mujoco.MjModel:
        if not any(places):
            return compile_model(mjcf)
        model = _fresh(mjcf)
        for place, x in zip(places, context, strict=True):
            if place is not None:
                write(model, place, x)
        mujoco.mj_setConst(model, mujoco.MjData(model))
        return model

    def paid(self, action, outcome, context, xp=np):
        return reward(action, outcome, context, xp)

    members = {
        "mjcf": mjcf,
        "model": lambda self, context: built(tuple(np.asarray(context, float).tolist())),
        "observe": lambda self, view: observe(view),
        "outcome": lambda self, before, after: outcome(before, after),
        "reward": paid,
        "terminated": lambda self, view: None if terminated is None else terminated(view),
        "__doc__": f"A family made by from_mjcf: {name}.",
        "__annotations__": {},
    }
    made = type("".join(map(str.capitalize, name.split("-"))), (MujocoFamily,), members)
    return dataclass(frozen=True, kw_only=True)(made)


def _fresh(mjcf: Path | str) -> mujoco.MjModel:
    """A model of its own, which may be changed."""
    return compile_model.__wrapped__(mjcf)


def _view(model: mujoco.MjModel, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
    """MuJoCo's fields of one world."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    found = {}
    for name in {"qpos", "qvel", *fields}:
        if not isinstance(getattr(data, name, None), np.ndarray):
            raise BadSetting(f"MuJoCo's data have no field {name!r}; see its manual, mjData")
        found[name] = np.array(getattr(data, name))[None]
    return found | {"drawn": np.zeros((1, 0))}


def _width(what: str, rows) -> int:
    shape = np.shape(rows)
    if len(shape) != 2 or shape[0] != 1:
        raise BadSetting(f"{what} gives shape {list(shape)} for one world; give [n, width]")
    return int(shape[1])


def _check_effects(family: MujocoFamily) -> None:
    from hyperpolicy.envs.sensitivity import effects

    for one in effects(family):
        if not one.changed:
            raise BadSetting(
                f"{one.name} changes neither what is seen nor what is paid ({one.usual:g} and "
                f"{one.moved:g} give the same episodes); name another coordinate"
            )
