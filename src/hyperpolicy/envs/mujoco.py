"""Families on MuJoCo, and their worlds on MuJoCo's native threads.

A user's own robot is thirty lines: a model, what is observed, what the reward depends on, the
reward. Where a context changes the body, `model` compiles one for it.
"""

import ctypes
import math
import warnings
from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from msgspec import Meta
from mujoco.batch import Batch as Simulations

from hyperpolicy import engine, seeds
from hyperpolicy.envs.family import Advance, Family, Worlds
from hyperpolicy.errors import BadFile, BadSetting

Noise = Annotated[float, Meta(ge=0, le=1e6)]
Skip = Annotated[int, Meta(ge=1, le=10_000)]
View = dict[str, Any]
"""MuJoCo's fields by name, arrays [n, …], or what stands for them as functions are written down for
a page."""


class Beginning(NamedTuple):
    """How an episode begins."""

    qpos: Float[np.ndarray, " q"]
    qvel: Float[np.ndarray, " v"]
    drawn: Float[np.ndarray, " k"] | tuple[()] = ()
    """What is drawn for the episode beside the state, such as a target's place."""


@dataclass(frozen=True, kw_only=True)
class MujocoFamily(Family):
    """Tasks on MuJoCo models of one layout: the same joints, motors, sensors."""

    frame_skip: Skip
    """MuJoCo sub-steps per environment step."""
    qpos_noise: Noise = 0.0
    """Initial positions are qpos0 + U(±qpos_noise)."""
    qvel_noise: Noise = 0.0
    """Initial velocities are qvel_noise · N(0, 1)."""
    fields: tuple[str, ...] = ("qpos", "qvel")
    """MjData fields that `observe`, `outcome` and `terminated` read; `drawn` is there always."""

    stage: ClassVar[int] = mujoco.mjtStage.mjSTAGE_NONE.value
    """What MuJoCo computes anew after a step. As it is, fields that derive from the state are one
    sub-step old, as `mj_step` leaves them; mjSTAGE_VEL makes them current, as dm_control does."""
    drawn_size: ClassVar[int] = 0
    """Numbers that are drawn for an episode beside the state."""
    settle_steps: ClassVar[int] = 0
    """Sub-steps without action before an episode begins."""
    reshapes: ClassVar[bool] = False
    """Whether `begin` changes the model, so that each world needs one of its own."""

    def worlds(self, contexts, seed=0, num_threads: int = 0) -> Worlds:
        make = engine.worlds() or MujocoWorlds
        return make(self, contexts, seed, num_threads)

    @property
    @abstractmethod
    def mjcf(self) -> Path | str:
        """The MuJoCo model: an XML file, or its text."""

    def model(self, context: Float[np.ndarray, " c"]) -> mujoco.MjModel:
        """The model of a context. Raises BadContext: MuJoCo cannot build such a body."""
        return compile_model(self.mjcf)

    def scenery(self, context: Float[np.ndarray, " c"], drawn) -> mujoco.MjModel:
        """The model that shows a world of the context, where an episode drew `drawn`."""
        return self.model(context)

    def begin(
        self, rng: np.random.Generator, model: mujoco.MjModel, data: mujoco.MjData
    ) -> Beginning:
        """The start of an episode, drawn from `rng`; `data` is free to compute with."""
        uniform, normal = rng.uniform(-1.0, 1.0, model.nq), rng.standard_normal(model.nv)
        return Beginning(model.qpos0 + self.qpos_noise * uniform, self.qvel_noise * normal)

    @abstractmethod
    def observe(self, view: View) -> Float[np.ndarray, "n o"]:
        """Observations from MuJoCo's fields, each [n, …]."""

    @abstractmethod
    def outcome(self, before: View, after: View) -> Float[np.ndarray, "n m"]:
        """What `reward` needs of a step, from the fields before (qpos alone) and after it."""

    def terminated(self, view: View) -> Bool[np.ndarray, " n"] | None:
        """Where the task has ended for good; None where it never does."""
        return None


class MujocoWorlds(Worlds):
    """Worlds of MuJoCo models, on native threads."""

    family: MujocoFamily

    def __init__(self, family: MujocoFamily, contexts, seed=0, num_threads: int = 0):
        """Raises BadSetting where family and model do not fit each other, and as `Worlds`."""
        super().__init__(family, contexts, seed, num_threads)
        models = [family.model(context) for context in self.contexts]
        self.models = [copy(model) for model in models] if family.reshapes else models
        self.model = self.models[0]
        _check(family, self.model)
        current = family.stage != mujoco.mjtStage.mjSTAGE_NONE.value
        n = len(self)
        self._sims = Simulations(self.model, nsim=n, nthread=self.num_threads, persistent=current)
        self._set_models()
        self._view = {name: self._sims.bind(name) for name in {"qpos", "qvel", *family.fields}}
        self._view["drawn"] = np.zeros((n, family.drawn_size))
        self._ctrl, self._warning = self._sims.bind("ctrl"), self._sims.warning
        self._scale = _scale(self.model)
        self._scratch: dict[int, mujoco.MjData] = {}
        _check_widths(family, self._view, n)

    def _set_models(self) -> None:
        """Hand the models over, where the worlds do not share one."""
        if any(model is not self.model for model in self.models):
            self._sims.set_models(self.models)

    def recast(self, ids, contexts, seeds):
        for i, context in zip(ids, self.family.context.check(contexts), strict=True):
            model = self.family.model(context)
            self.models[i] = copy(model) if self.family.reshapes else model
        self._set_models()
        return super().recast(ids, contexts, seeds)

    def _advance(self, action):
        family, view = self.family, self._view
        before, warned = {"qpos": view["qpos"].copy()}, self._warning.tobytes()
        self._ctrl[:] = action if self._scale is None else self._scale[0] + self._scale[1] * action
        with quiet_engine():
            self._sims.step(nstep=family.frame_skip, stage=family.stage)
        outcome = family.outcome(before, view).astype(np.float32)
        next_obs = family.observe(view).astype(np.float32, copy=False)
        terminated = family.terminated(view)
        if terminated is None:
            terminated = np.zeros(len(outcome), bool)
        broken = np.zeros(len(outcome), bool)
        if warned != self._warning.tobytes() or not (_finite(next_obs) and _finite(action)):
            before_warned = np.frombuffer(warned, self._warning.dtype).reshape(self._warning.shape)
            broken |= (self._warning != before_warned).any(axis=(1, 2))
            broken |= ~(np.isfinite(next_obs).all(axis=1) & np.isfinite(action).all(axis=1))
            outcome[broken], next_obs[broken] = 0.0, self.obs[broken]
            action = np.where(broken[:, None], np.float32(0), action)
            terminated = terminated & ~broken
        reward = np.asarray(family.reward(action, outcome, self.contexts), np.float32)
        return Advance(next_obs, reward, outcome, terminated, broken)

    def _reset(self, ids):
        family, none = self.family, mujoco.mjtStage.mjSTAGE_NONE.value
        self._sims.reset(ids, stage=none)
        for i in ids.tolist():
            start = self._begin_one(i)
            self._view["qpos"][i], self._view["qvel"][i] = start.qpos, start.qvel
            self._view["drawn"][i] = start.drawn
        if family.reshapes:
            self._sims.set_models(self.models)
        with quiet_engine():
            if family.settle_steps:
                self._sims.step(ids, nstep=family.settle_steps, stage=none)
            self._sims.forward(ids)
        return family.observe(self._view)[ids]

    def _begin_one(self, i: int) -> Beginning:
        """How world i begins its episode."""
        model = self.models[i]
        if id(model) not in self._scratch:
            self._scratch[id(model)] = mujoco.MjData(model)
        data = self._scratch[id(model)]
        return start_of(self.family, model, data, self.seeds[i], self.episode[i])

    def _state(self):
        return np.concatenate([self._sims.state, self._view["drawn"]], axis=1)

    def _set_state(self, state):
        wide = self._sims.state.shape[1]
        if self.family.reshapes:
            for i in range(len(self)):
                self._begin_one(i)
            self._sims.set_models(self.models)
        self._sims.state[:], self._view["drawn"][:] = state[:, :wide], state[:, wide:]
        if self.family.stage != mujoco.mjtStage.mjSTAGE_NONE.value:
            self._sims.forward(stage=self.family.stage)

    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self.family.scenery(self.contexts[i], self._view["drawn"][i])
        if self.family.reshapes:
            model = copy(model)
            model.hfield_data[:] = self.models[i].hfield_data
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = self._view["qpos"][i], self._view["qvel"][i]
        mujoco.mj_forward(model, data)  # positions of bodies may be one sub-step old
        return model, data


def start_of(
    family: MujocoFamily, model: mujoco.MjModel, data: mujoco.MjData, seed, episode
) -> Beginning:
    """How an episode of a world with this seed begins; `data` is free to compute with."""
    mujoco.mj_resetData(model, data)
    rng = seeds.of_episode(int(seed), int(episode))
    with quiet_engine():
        return family.begin(rng, model, data)


def _finite(x: Float[np.ndarray, "n d"]) -> bool:
    """Whether all numbers are finite, and small enough that their squares are: one pass."""
    flat = x.ravel()
    return math.isfinite(flat.dot(flat))


def _check(family: MujocoFamily, model: mujoco.MjModel) -> None:
    """Raises BadSetting where a family states other facts than its model."""
    dt_s = model.opt.timestep * family.frame_skip
    limits = model.actuator_ctrlrange
    if model.nu != family.action_size:
        fault = f"has {model.nu} motors, the family an action_size of {family.action_size}"
    elif not (model.actuator_ctrllimited.all() and (limits[:, 0] < limits[:, 1]).all()):
        fault = 'takes controls without limits; give each motor a range, such as ctrlrange="-1 1"'
    elif not np.isclose(dt_s, family.dt_s):
        fault = (
            f"takes {family.frame_skip} sub-steps of {model.opt.timestep:g} s, so dt_s is "
            f"{dt_s:g} and not {family.dt_s:g}"
        )
    else:
        return
    raise BadSetting(f"the model of family {family.name} {fault}")


def _scale(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray] | None:
    """Middle and half width of the motors' ranges, to which actions in [−1, 1] are scaled; None
    where they need not be."""
    limits = model.actuator_ctrlrange
    if (limits == [-1, 1]).all():
        return None
    return limits.mean(axis=1), np.diff(limits, axis=1)[:, 0] / 2


def _check_widths(family: MujocoFamily, view: dict[str, np.ndarray], n: int) -> None:
    """Raises BadSetting where observations or outcomes have another shape than the family says."""
    sizes = {"observe": family.obs_size, "outcome": family.outcome_size}
    made = {"observe": family.observe(view), "outcome": family.outcome(view, view)}
    for name, size in sizes.items():
        found = list(np.shape(made[name]))
        if found != [n, size]:
            raise BadSetting(
                f"{name} of family {family.name} gives {found} for {n} worlds; its facts say "
                f"{[n, size]}"
            )


# --- MuJoCo's own habits, tamed -----------------------------------------------------------
@lru_cache(maxsize=1024)
def compile_model(mjcf: Path | str) -> mujoco.MjModel:
    """The compiled model of an XML file, or of XML text; MuJoCo 3.17's notice that `settotalmass`
    will go is kept quiet. Raises BadFile: MuJoCo cannot read it."""
    with warnings.catch_warnings(), quiet_engine():
        warnings.simplefilter("ignore")
        try:
            if isinstance(mjcf, Path):
                return mujoco.MjModel.from_xml_path(str(mjcf))
            return mujoco.MjModel.from_xml_string(mjcf)
        except ValueError as error:
            name = mjcf if isinstance(mjcf, Path) else "this model's XML"
            raise BadFile(f"MuJoCo cannot read {name}: {error}") from None


class _LogConfig(ctypes.Structure):
    """mjLogConfig of mujoco/mjtype.h."""

    _fields_ = [
        ("logto_console", ctypes.c_bool),
        ("logto_file", ctypes.c_bool),
        ("logfile", ctypes.c_char * 1024),
        ("topics", ctypes.c_int),
    ]


_QUIET = _LogConfig(False, False, b"", 0)


@cache
def _library() -> ctypes.CDLL | None:
    """The engine this process already runs on; None where its file has another name."""
    for path in sorted(Path(mujoco.__file__).parent.glob("libmujoco*")):
        library = ctypes.CDLL(str(path))
        if hasattr(library, "mju_setLogConfig"):
            library.mju_getLogConfig.restype = _LogConfig
            library.mju_setLogConfig.argtypes = [_LogConfig]
            library.mju_setLogConfig.restype = None
            return library
    return None


class quiet_engine:
    """Within it, MuJoCo neither prints warnings nor writes MUJOCO_LOG.TXT where the user stands.

    Worlds read the warning counters instead. A class, as it is entered at every step.
    """

    def __enter__(self) -> None:
        self.library = _library()
        if self.library is not None:
            self.theirs = self.library.mju_getLogConfig()
            self.library.mju_setLogConfig(_QUIET)

    def __exit__(self, *_) -> None:
        if self.library is not None:
            self.library.mju_setLogConfig(self.theirs)
