"""A family as a page needs it: the MuJoCo model as text, what is seen and paid as programs, starts
of episodes, and how a body changes with its context.
"""

import warnings
from itertools import product
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Family
from hyperpolicy.envs.mujoco import MujocoFamily, MujocoWorlds, compile_model, quiet_engine
from hyperpolicy.errors import BadSetting
from hyperpolicy.page.pack import Pack
from hyperpolicy.page.trace import Program, run, trace
from hyperpolicy.rollout import paired

STARTS = 100
NOTCHES = {0: 1, 1: 31, 2: 9}
"""Bodies along a coordinate, by how many coordinates change the body."""
CHECKED = 25
"""Steps on which programs are compared with the functions they were written down from."""


def of(
    family: Family, usual: Float[np.ndarray, " c"], varied: list[int], pack: Pack
) -> dict[str, Any]:
    """The record of a family whose coordinates `varied` can be chosen, the others being as in
    `usual`.

    Raises BadSetting: it is not MuJoCo's, needs files beside its model, or computes what cannot be
    written down.
    """
    if not isinstance(family, MujocoFamily):
        raise BadSetting(f"{family.name} is no family of MuJoCo's own; pages show those only")
    if family.reshapes:
        raise BadSetting(f"the ground of {family.name} changes with every episode; pages cannot")
    model = family.model(usual)
    text = _xml(family)
    programs = _programs(family, model)
    _compare(family, usual, programs)
    dynamics = [i for i in varied if family.context.coordinates[i].role == "dynamics"]
    return {
        "name": family.name,
        "xml": text,
        "fields": _fields(family),
        "programs": {name: one.record() for name, one in programs.items()},
        "bodies": _bodies(family, usual, dynamics, text, pack),
        "starts": _starts(family, usual, pack),
        "frame_skip": family.frame_skip,
        "settle_steps": family.settle_steps,
        "current": int(family.stage) != mujoco.mjtStage.mjSTAGE_NONE.value,
        "horizon_steps": family.horizon_steps,
        "dt_s": family.dt_s,
        "ctrl": model.actuator_ctrlrange.tolist(),
        "obs_size": family.obs_size,
        "action_size": family.action_size,
        "planar": model.nv < 12 and not (model.jnt_type == mujoco.mjtJoint.mjJNT_FREE).any(),
        "extent": float(model.stat.extent),
    }


# --- The model ----------------------------------------------------------------------------
def _xml(family: MujocoFamily) -> str:
    """The model as one text. Raises BadSetting: it needs files beside it."""
    with quiet_engine(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settotalmass
        given = family.mjcf
        if isinstance(given, Path):
            spec = mujoco.MjSpec.from_file(str(given))
        else:
            spec = mujoco.MjSpec.from_string(given)
        spec.compile()
        text = spec.to_xml()
    if ' file="' in text:
        raise BadSetting(f"the model of {family.name} needs files beside it; pages cannot show it")
    return text


def _bodies(family, usual, dynamics: list[int], text: str, pack: Pack) -> dict[str, Any]:
    """What of the model changes with coordinates that change the body: fields, and their numbers at
    some contexts. Raises BadSetting: too many such coordinates, or models of unlike layout."""
    if len(dynamics) not in NOTCHES:
        raise BadSetting(f"{len(dynamics)} coordinates change the body; pages show two at most")
    base, space = compile_model(text), family.context
    axes = [
        np.linspace(space.coordinates[i].low, space.coordinates[i].high, NOTCHES[len(dynamics)])
        for i in dynamics
    ]
    contexts = [_with(usual, dynamics, point) for point in product(*axes)]
    models = [family.model(context) for context in contexts]
    found: dict[str, list[np.ndarray]] = {}
    for name in _arrays(base):
        rows = [np.asarray(getattr(model, name)) for model in models]
        if any(row.shape != getattr(base, name).shape for row in rows):
            raise BadSetting(f"bodies of {family.name} differ in their layout ({name})")
        if any((row != getattr(base, name)).any() for row in rows):
            found[name] = [row.ravel() for row in rows]
    return {
        "coordinates": dynamics,
        "axes": [axis.tolist() for axis in axes],
        "fields": {name: pack.add(np.stack(rows), "f8") for name, rows in found.items()},
    }


def _with(usual, where: list[int], values) -> Float[np.ndarray, " c"]:
    context = np.array(usual, float)
    context[where] = values
    return context


def _arrays(model: mujoco.MjModel) -> list[str]:
    """Names of the model's arrays of numbers."""
    found = []
    for name in dir(model):
        if name[0] != "_" and isinstance(getattr(model, name, None), np.ndarray):
            array = getattr(model, name)
            if np.issubdtype(array.dtype, np.floating) and array.size:
                found.append(name)
    return found


# --- What is seen and paid ----------------------------------------------------------------
def _fields(family: MujocoFamily) -> list[str]:
    return sorted({"qpos", "qvel", *family.fields})


def _programs(family: MujocoFamily, model: mujoco.MjModel) -> dict[str, Program]:
    data = mujoco.MjData(model)
    shapes = {name: (1, *np.shape(getattr(data, name))) for name in _fields(family)}
    shapes["drawn"] = (1, family.drawn_size)
    paid = {
        "action": (1, family.action_size),
        "outcome": (1, family.outcome_size),
        "context": (1, family.context.size),
    }
    both = shapes | {"before": shapes["qpos"]}
    return {
        "observe": trace(family.observe, shapes),
        "outcome": trace(lambda x: family.outcome({"qpos": x["before"]}, x), both),
        "reward": trace(lambda x: family.reward(x["action"], x["outcome"], x["context"]), paid),
        "terminated": trace(family.terminated, shapes),
    }


def _compare(family: MujocoFamily, usual, programs: dict[str, Program]) -> None:
    """Raises BadSetting where a program computes something else than its function, on steps of an
    episode."""
    rng = np.random.default_rng(0)
    model = family.model(usual)
    data = mujoco.MjData(model)
    start = family.begin(rng, model, data)
    mujoco.mj_resetData(model, data)
    data.qpos[:], data.qvel[:] = start.qpos, start.qvel
    context = np.array(usual, float)[None]

    def view() -> dict[str, np.ndarray]:
        found = {name: np.array(getattr(data, name), float)[None] for name in _fields(family)}
        return found | {"drawn": np.asarray(start.drawn, float).reshape(1, -1)}

    with quiet_engine():
        for _ in range(CHECKED):
            before = data.qpos.copy()[None]
            data.ctrl[:] = rng.uniform(*model.actuator_ctrlrange.T)
            for _ in range(family.frame_skip):
                mujoco.mj_step(model, data)
            now, action = view(), rng.uniform(-1, 1, (1, family.action_size))
            outcome = np.asarray(family.outcome({"qpos": before}, now))
            paid = {"action": action, "outcome": outcome, "context": context}
            both = now | {"before": before}
            pairs: dict[str, tuple[Any, dict]] = {
                "observe": (family.observe(now), now),
                "outcome": (outcome, both),
                "reward": (family.reward(action, outcome, context), paid),
                "terminated": (family.terminated(now), now),
            }
            for name, (wanted, given) in pairs.items():
                found = run(programs[name], given)
                if wanted is None and not found:
                    continue
                if not np.allclose(found[0], np.asarray(wanted, float).ravel(), 1e-4, 1e-5):
                    raise BadSetting(
                        f"{name} of {family.name} depends on more than its arguments; pages cannot "
                        "compute it"
                    )


# --- Starts -------------------------------------------------------------------------------
def _starts(family: MujocoFamily, usual, pack: Pack) -> dict[str, dict]:
    """How episodes begin, those that evaluations play with seed 0."""
    contexts = np.repeat(usual[None], STARTS, axis=0)
    worlds = MujocoWorlds(family, contexts, paired(1, STARTS, 0)[0])
    worlds.episode[:] = 0
    begun = [worlds._begin_one(i) for i in range(STARTS)]
    drawn = np.array([np.asarray(one.drawn, float) for one in begun]).reshape(STARTS, -1)
    return {
        "qpos": pack.add(np.array([one.qpos for one in begun]), "f8"),
        "qvel": pack.add(np.array([one.qvel for one in begun]), "f8"),
        "drawn": pack.add(drawn, "f8"),
    }
