"""One Meta-World simulation, in less than half the package's own time and with its very numbers.

The package's classes are used as they are; each task's is extended by what may be cut around it:
body and site lookups are kept, a model is compiled once and copied, an observation is written into
place, the wrappers' checks and info dictionaries are left out, and rewards compute on plain numbers
(`arithmetic.py`). Of the two resets the package does, one after the other, the first
does not move the hand: all it is good for is the model's object and goal positions, which the
second starts from. After a step positions are computed anew, but no contacts and forces: the next
step does not start from them, and where a task reads them `touching_object` computes them. Nor are
the sites of goals moved by hand, as positions computed anew undo that, the package's too.
`tests/envs/metaworld/test_arm.py` compares every number of every task.
"""

import copy
import math
import warnings
import weakref
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.metaworld.arithmetic import quickened
from hyperpolicy.errors import MissingExtra

SETTLING_STEPS = 50
"""Of the hand, at a reset."""
MOCAP_QUAT = (1.0, 0.0, 1.0, 0.0)
"""The hand points down."""
WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)
"""Anchor, relative position, relative quaternion and torque scale of the hand's weld."""


Configurations = Literal["all", "inner", "outer"]
"""Which ones a reset draws. In `outer` ones the coordinate of objects and goal that varies most
lies in the upper quarter of its range; the others are `inner`."""
INNER = 0.75


class ArmStep(NamedTuple):
    obs: Float[np.ndarray, " o"]
    reward: float
    success: bool


class Arm:
    """One arm on one task. `reset` draws a configuration, `step` moves."""

    def __init__(
        self,
        task: str,
        reward_version: str = "v2",
        frozen: bool = False,
        configurations: Configurations = "all",
    ):
        """Raises MissingExtra without the package."""
        self.frozen, self.configurations = frozen, configurations
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's, of Gymnasium's spaces
            self.env = _class_of(task)(reward_function_version=reward_version)
        self.env._set_task_called = True
        self.env._partially_observable = False
        self.env.__dict__.pop("sawyer_observation_space", None)  # of a hidden goal
        space = self.env.sawyer_observation_space
        self._low, self._high = space.low.copy(), space.high.copy()
        ends = self.env.mocap_low.tolist(), self.env.mocap_high.tolist()
        self._mocap_bounds = list(zip(*ends, strict=True))
        self.model: mujoco.MjModel = self.env.model
        self.data: Data = self.env.data
        self._hand, self._hand_quat = self.data.mocap_pos, self.data.mocap_quat
        self._effort = self.data.ctrl
        weakref.finalize(self, self.data.forget).atexit = False

    def reset(self, seed: int, episode: int) -> Float[np.ndarray, " o"]:
        """Start the episode that seed and number name; the observation."""
        return self.reset_to(_frozen(self, seed) if self.frozen else self.draw(seed, episode))

    def draw(self, seed: int, episode: int) -> Float[np.ndarray, " v"]:
        """A configuration the task accepts, a function of seed and episode alone."""
        env = self.env
        env._freeze_rand_vec, env.seeded_rand_vec = False, True
        env.np_random = np.random.default_rng([seed, episode])
        self._place()
        while self.configurations not in ("all", self._region()):
            self._place()  # the same generator goes on
        return env._last_rand_vec.copy()

    def _region(self) -> Configurations:
        """Where the configuration lies that was drawn last."""
        space, drawn = self.env._random_reset_space, self.env._last_rand_vec
        width = space.high - space.low
        widest = int(width.argmax())
        share = (drawn[widest] - space.low[widest]) / width[widest]
        return "outer" if share > INNER else "inner"

    def reset_to(self, configuration: Float[np.ndarray, " v"]) -> Float[np.ndarray, " o"]:
        """Start an episode in a given configuration; the observation."""
        env = self.env
        env._freeze_rand_vec, env._last_rand_vec = True, np.array(configuration)
        env.curr_path_length = 0
        self._place()
        mujoco.mj_resetData(self.model, self.data)
        with silent():
            obs = env.reset_model()
        env._prev_obs = obs[:18].copy()
        obs[18:36] = env._prev_obs
        return obs

    def _place(self) -> None:
        """Move the model's objects and goal, without settling the hand."""
        env = self.env
        env.settling_steps = 0
        with silent():
            env.reset_model()
        env.settling_steps = SETTLING_STEPS

    def step(self, action: Float[np.ndarray, " a"]) -> ArmStep:
        """Advance by one environment step, to be done within `silent`; the action is in [−1, 1]."""
        env, data = self.env, self.data
        self._pull(action)
        mujoco.mj_step(self.model, data, env.frame_skip)
        env.curr_path_length += 1
        mujoco.mj_kinematics(self.model, data)  # of `mj_forward`, all that most tasks read
        obs = np.minimum(np.maximum(env._get_obs(), self._low), self._high)
        env._last_stable_obs = obs
        reward, info = env.evaluate_state(obs, action)
        return ArmStep(obs, float(reward), bool(info["success"]))

    def _pull(self, action: Float[np.ndarray, " a"]) -> None:
        """Move what the hand is welded to, and close the gripper; in plain numbers, which are
        rounded where the package rounds them: to the action's type after scaling."""
        x, y, z, effort = action.tolist()
        shift = action[:3]
        if not (-1 <= x <= 1 and -1 <= y <= 1 and -1 <= z <= 1):
            shift = np.minimum(np.maximum(shift, -1.0), 1.0)
        shift = (shift * self.env.action_scale).tolist()
        (hand,) = self._hand.tolist()
        for i, (low, high) in enumerate(self._mocap_bounds):
            place = hand[i] + shift[i]
            hand[i] = low if place < low else high if place > high else place
        self._hand[0] = hand
        self._hand_quat[0] = MOCAP_QUAT
        self._effort[:] = effort, -effort


def silent():
    """Where NumPy does not warn: some rewards divide by distances of zero, as the package does."""
    return np.errstate(all="ignore")


def _frozen(arm: Arm, seed: int) -> Float[np.ndarray, " v"]:
    """The configuration of the package's goal-observable environment of that seed: the second one
    its constructor draws from NumPy's global generator."""
    env = arm.env
    before = np.random.get_state()
    np.random.seed(seed)
    env._freeze_rand_vec, env.seeded_rand_vec = False, False
    try:
        arm._place()
        arm._place()
    finally:
        np.random.set_state(before)
    return env._last_rand_vec.copy()


# --- The package's classes ----------------------------------------------------------------
class Data(mujoco.MjData):
    """State whose views by name are made once."""

    def __init__(self, model: mujoco.MjModel):
        super().__init__(model)
        for kind in ("body", "site", "geom", "joint"):  # over the methods: `data.body("hand")`
            setattr(self, kind, _Views(getattr(super(), kind)).__getitem__)

    def forget(self) -> None:
        """Let go of the views, which hold what they view: nothing else would free either."""
        self.__dict__.clear()


class _Views(dict):
    """Views by name."""

    def __init__(self, make):
        self._make = make

    def __missing__(self, name):
        view = self[name] = _View(self._make(name))
        return view


class _View:
    """The arrays of a body, site, geom or joint: they lie where they lay."""

    def __init__(self, made):
        object.__setattr__(self, "_made", made)

    def __getattr__(self, name):
        value = self.__dict__[name] = getattr(self._made, name)
        return value

    def __setattr__(self, name, value):
        setattr(self._made, name, value)


class _Quick:
    """What is cut around a task's class."""

    model: mujoco.MjModel
    data: mujoco.MjData
    fullpath: str
    _get_pos_objects: Callable
    _get_quat_objects: Callable
    settling_steps = SETTLING_STEPS

    def _initialize_simulation(self):
        model = copy.copy(_compiled(self.fullpath))
        return model, Data(model)

    def _reset_hand(self, steps: int = SETTLING_STEPS) -> None:
        super()._reset_hand(min(steps, self.settling_steps))  # type: ignore[misc]

    def do_simulation(self, ctrl, n_frames: int) -> None:
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, n_frames)

    def touching_object(self, object_geom_id: int) -> bool:
        """Whether both pads press on it. Only here are forces read, so here they are computed."""
        data = self.data
        mujoco.mj_forward(self.model, data)
        pairs, row = data.contact.geom.tolist(), data.contact.efc_address.tolist()
        for pad in data.geom("leftpad_geom").id, data.geom("rightpad_geom").id:
            both = [k for k, pair in enumerate(pairs) if pad in pair and object_geom_id in pair]
            if not sum(data.efc_force[row[k]] for k in both) > 0:
                return False
        return True

    def _get_obs(self):
        obs = np.empty(39)
        current = self._get_curr_obs_combined_no_goal()
        obs[:18], obs[18:36], obs[36:] = current, self._prev_obs, self._target_pos
        self._prev_obs = current
        return obs

    def _get_curr_obs_combined_no_goal(self):
        body, obs = self.data.body, np.zeros(18)
        gap = body("rightclaw").xpos - body("leftclaw").xpos
        obs[:3] = body("hand").xpos
        obs[3] = min(math.sqrt(gap.dot(gap)) / 0.1, 1.0)
        position, rotation = self._get_pos_objects(), self._get_quat_objects()
        for i in range(len(position) // 3):
            start = 4 + 7 * i
            obs[start : start + 3] = position[3 * i : 3 * i + 3]
            obs[start + 3 : start + 7] = rotation[4 * i : 4 * i + 4]
        return obs

    def reset_mocap_welds(self) -> None:
        """As the package's, which writes rows of eleven numbers; MuJoCo's have had twelve since
        3.17."""
        if self.model.nmocap:
            welds = self.model.eq_type == mujoco.mjtEq.mjEQ_WELD
            self.model.eq_data[welds, : len(WELD)] = WELD


@cache
def _compiled(path: str) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(path)


@cache
def _class_of(task: str):
    """The package's class of a task, quickened."""
    kind = package().env_dict.ALL_V3_ENVIRONMENTS[f"{task}-v3"]
    return type(f"Quick{kind.__name__}", (_Quick, quickened(kind)), {})


def package():
    """The package metaworld. Raises MissingExtra: it is not installed."""
    try:
        import metaworld.env_dict
        import metaworld.policies
    except ImportError as error:
        raise MissingExtra(
            f"Meta-World is missing ({error}); pip install 'hyperpolicy[metaworld]'"
        ) from None
    return metaworld
