"""Families whose tasks share one MuJoCo model, and their worlds on MuJoCo's native threads.

A user's own robot is thirty lines: a model, what is observed, what the reward depends on, the
reward.
"""

import ctypes
import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import mujoco
import numpy as np
from jaxtyping import Bool, Float
from msgspec import Meta
from mujoco.batch import Batch as Simulations

from hyperpolicy import seeds
from hyperpolicy.envs.family import Advance, Family, Worlds
from hyperpolicy.errors import BadFile, BadSetting

Noise = Annotated[float, Meta(ge=0, le=1e6)]
Skip = Annotated[int, Meta(ge=1, le=10_000)]


@dataclass(frozen=True, kw_only=True)
class MujocoFamily(Family):
    """Tasks on one MuJoCo model."""

    frame_skip: Skip
    """MuJoCo sub-steps per environment step."""
    qpos_noise: Noise = 0.0
    """Initial positions are qpos0 + U(±qpos_noise)."""
    qvel_noise: Noise = 0.0
    """Initial velocities are qvel_noise · N(0, 1)."""
    fields: tuple[str, ...] = ("qpos", "qvel")
    """MjData fields that `observe`, `outcome` and `terminated` read."""

    def worlds(self, contexts, seed=0, num_threads: int = 0) -> "MujocoWorlds":
        return MujocoWorlds(self, contexts, seed, num_threads)

    @property
    @abstractmethod
    def mjcf(self) -> Path | str:
        """The MuJoCo model: an XML file, or its text."""

    @abstractmethod
    def observe(self, view: dict[str, np.ndarray]) -> Float[np.ndarray, "n o"]:
        """Observations from MuJoCo's fields, each [n, …]."""

    @abstractmethod
    def outcome(self, before, after: dict[str, np.ndarray]) -> Float[np.ndarray, "n m"]:
        """What `reward` needs of a step, from the fields before (qpos alone) and after it."""

    def terminated(self, view: dict[str, np.ndarray]) -> Bool[np.ndarray, " n"] | None:
        """Where the task has ended for good; None where it never does."""
        return None


class MujocoWorlds(Worlds):
    """Worlds of one MuJoCo model, on native threads."""

    family: MujocoFamily

    def __init__(self, family: MujocoFamily, contexts, seed=0, num_threads: int = 0):
        """Raises BadSetting where family and model do not fit each other, and as `Worlds`."""
        super().__init__(family, contexts, seed, num_threads)
        self.model = compile_model(family.mjcf)
        _check(family, self.model)
        self._sims = Simulations(self.model, nsim=len(self), nthread=self.num_threads)
        self._view = {name: self._sims.bind(name) for name in {"qpos", "qvel", *family.fields}}
        self._ctrl, self._warning = self._sims.bind("ctrl"), self._sims.warning
        _check_widths(family, self._view, len(self))

    def _advance(self, action):
        family, view = self.family, self._view
        before, warned = {"qpos": view["qpos"].copy()}, self._warning.tobytes()
        self._ctrl[:] = action
        with quiet_engine():
            self._sims.step(nstep=family.frame_skip)
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
        family, model = self.family, self.model
        self._sims.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        for i in ids:
            draw = seeds.reset_noise(int(self.seeds[i]), int(self.episode[i]), model.nq, model.nv)
            self._view["qpos"][i] += family.qpos_noise * draw[0]
            self._view["qvel"][i] = family.qvel_noise * draw[1]
        self._sims.forward(ids)
        return family.observe(self._view)[ids]

    def _state(self):
        return self._sims.state.copy()

    def _set_state(self, state):
        self._sims.state[:] = state

    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        data = self._sims.get_data(i)
        mujoco.mj_forward(self.model, data)  # positions of bodies are one sub-step old
        return self.model, data


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
    elif not (model.actuator_ctrllimited.all() and (limits == [-1, 1]).all()):
        fault = 'takes controls in other ranges than [-1, 1]; give each motor ctrlrange="-1 1"'
    elif not np.isclose(dt_s, family.dt_s):
        fault = (
            f"takes {family.frame_skip} sub-steps of {model.opt.timestep:g} s, so dt_s is "
            f"{dt_s:g} and not {family.dt_s:g}"
        )
    else:
        return
    raise BadSetting(f"the model of family {family.name} {fault}")


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
@cache
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
