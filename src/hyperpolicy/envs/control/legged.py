"""Legged bodies in a plane: cheetah, walker, hopper (Tassa et al. 2018, arXiv:1801.00690), with the
signed target speeds and torso lengths of the Contextual Control Suite (Rezaei-Shoshtari et al.
2023, arXiv:2211.15457).

What is rewarded by default are that paper's experiments: linear, 0.1 at rest. Departures: a
walker's thighs stay at the lower end of its torso, and it stands as high above its hips, whatever
the length (`published_body` leaves both as they were); a hopper's direction and height count.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hyperpolicy.envs.context import ContextSpace, Grid
from hyperpolicy.envs.control import grids
from hyperpolicy.envs.control.reward import Component
from hyperpolicy.envs.control.suite import (
    TOUCHING,
    ControlFamily,
    Coordinate,
    find,
    length,
    place,
    random_joints,
    speed,
)
from hyperpolicy.envs.family import Seconds, Size
from hyperpolicy.envs.mujoco import Beginning, Skip


class Legged(ControlFamily):
    """What the three share: random joints at the start, speeds for names."""

    def begin(self, rng, model, data):
        return Beginning(random_joints(rng, model), np.zeros(model.nv))

    def outcome_name(self, outcome):
        return f"{outcome[-1]:.2f} m/s"


# --- Cheetah ------------------------------------------------------------------------------
CHEETAH_LENGTH = length(0.2, 0.8, 0.5)
CHEETAH_MOTORS = "bthigh bshin bfoot fthigh fshin ffoot".split()
CHEETAH_SPEEDS = grids.signed(0.5, 10.0)
CHEETAH_LENGTHS = grids.between(0.3, 0.7, 0.01)


@dataclass(frozen=True, kw_only=True)
class Cheetah(Legged):
    """Run with a speed. Observation (17): qpos[1:], qvel. Outcome: the forward speed of the center
    of mass, m/s."""

    domain: ClassVar[str] = "cheetah"
    observations: ClassVar[dict[str, int]] = {"position": 8, "velocity": 9}
    settle_steps: ClassVar[int] = 200

    name: str = "cheetah-run"
    context: ContextSpace = ContextSpace((speed(12.0, 0.1, 10.0), CHEETAH_LENGTH, *TOUCHING))
    grids: tuple[Grid, ...] = ()
    components: tuple[Component, ...] = (
        Component("speed", "linear", 0.1, coordinate="speed", directed=True),
    )
    obs_size: Size = 17
    action_size: Size = 6
    outcome_size: Size = 1
    dt_s: Seconds = 0.01
    frame_skip: Skip = 1
    fields: tuple[str, ...] = ("qpos", "qvel", "sensordata")
    camera: str = "side"

    def build(self, root, body):
        """Half the torso's length moves its ends, the head and the thighs; the mass stays 14 kg."""
        half = body["length"]
        place(find(root, "geom", "torso"), fromto=(-half, 0, 0, half, 0, 0))
        place(find(root, "geom", "head"), pos=(half + 0.1, 0, 0.1))
        place(find(root, "body", "bthigh"), pos=(-half, 0, 0))
        place(find(root, "body", "fthigh"), pos=(half, 0, 0))

    def begin(self, rng, model, data):
        qpos, limited = model.qpos0.copy(), model.jnt_limited == 1
        qpos[limited] = rng.uniform(*model.jnt_range[limited].T)
        return Beginning(qpos, np.zeros(model.nv))

    def observe(self, view):
        return np.concatenate([view["qpos"][:, 1:], view["qvel"]], axis=1, dtype=np.float32)

    def outcome(self, before, after):
        return after["sensordata"][:, :1]

    def reward(self, action, outcome, context, xp=np):
        return self.part("speed", outcome[..., 0], context, xp)


LEGS = Coordinate("legs", "×", 0.3, 2.0, "dynamics", default=1.0)
"""A factor on the length of every leg."""
SIGN = Coordinate("sign", "", -1.0, 1.0, "dynamics", default=1.0, least=1.0)
"""On all actions."""


@dataclass(frozen=True, kw_only=True)
class CheetahMorph(Cheetah):
    """The Actuator Inversion Benchmark's cheetah (arXiv:2602.06550): legs of other lengths, and all
    actions with one sign."""

    name: str = "cheetah-run-morph"
    context: ContextSpace = ContextSpace((LEGS, SIGN))
    components: tuple[Component, ...] = (
        Component("speed", "linear", 0.0, margin=10.0, directed=True),
    )

    def build(self, root, body):
        """Geoms of the legs grow, and their bodies move, with the factor."""
        times = body["legs"]
        for name in CHEETAH_MOTORS:
            geom = find(root, "geom", name)
            x, y, z = map(float, geom.attrib["pos"].split())
            radius, half = map(float, geom.attrib["size"].split())
            place(geom, pos=(x * times, y, z * times), size=(radius, half * times))
        for name in ("bshin", "bfoot", "fshin", "ffoot"):
            limb = find(root, "body", name)
            x, y, z = map(float, limb.attrib["pos"].split())
            place(limb, pos=(x * times, y, z * times))


# --- Walker -------------------------------------------------------------------------------
WALKER_LENGTH = length(0.08, 0.6, 0.3)
WALKER_MOTORS = [
    f"{side}_{joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle")
]
WALKER_SPEEDS = grids.signed(0.25, 5.0)
WALKER_LENGTHS = grids.between(0.1, 0.5, 0.01)
STANDING = 1.2
"""Height of the torso's middle above the floor that counts as standing, m."""


@dataclass(frozen=True, kw_only=True)
class Walker(Legged):
    """Stand, and walk or run with a speed. Observation (24): the orientation of each body (cosine
    and sine), the torso's height, qvel. Outcome: height (m), uprightness, forward speed (m/s)."""

    domain: ClassVar[str] = "walker"
    observations: ClassVar[dict[str, int]] = {"orientations": 14, "height": 1, "velocity": 9}

    name: str = "walker-walk"
    context: ContextSpace = ContextSpace((speed(6.0, 0.05, 0.5), WALKER_LENGTH, *TOUCHING))
    grids: tuple[Grid, ...] = ()
    components: tuple[Component, ...] = (
        Component("horizontal_velocity", "linear", 0.1, coordinate="speed", directed=True),
    )
    obs_size: Size = 24
    action_size: Size = 6
    outcome_size: Size = 3
    dt_s: Seconds = 0.025
    frame_skip: Skip = 10
    fields: tuple[str, ...] = ("qpos", "qvel", "sensordata", "xmat", "xpos")
    camera: str = "side"

    def build(self, root, body):
        """Half the torso's length; the thighs begin at its lower end, and the feet stay where they
        were, unless the body is the published one."""
        half = body["length"]
        place(find(root, "geom", "torso"), size=(0.07, half))
        if not self.published_body:
            place(find(root, "body", "torso"), pos=(0, 0, 1.0 + half))
            place(find(root, "body", "right_thigh"), pos=(0, -0.05, -half))
            place(find(root, "body", "left_thigh"), pos=(0, 0.05, -half))

    def observe(self, view):
        n = len(view["qpos"])
        turned = view["xmat"].reshape(n, -1, 9)[:, 1:, [0, 2]].reshape(n, -1)
        parts = turned, view["xpos"].reshape(n, -1, 3)[:, 1, 2:], view["qvel"]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def outcome(self, before, after):
        n = len(after["qpos"])
        height = after["xpos"].reshape(n, -1, 3)[:, 1, 2]
        upright = after["xmat"].reshape(n, -1, 9)[:, 1, 8]
        return np.stack([height, upright, after["sensordata"][:, 0]], axis=1)

    def reward(self, action, outcome, context, xp=np):
        longer = 0.0
        if not self.published_body:
            longer = context[..., self.context.names.index("length")] - WALKER_LENGTH.usual
        tall = STANDING + longer
        height, upright, velocity = (outcome[..., i] for i in range(3))
        shape = Component("height", margin=STANDING / 2, low=0.0, high=None)
        standing = shape(height - tall, shape.margin, False, xp)
        stand = (3 * standing + (1 + upright) / 2) / 4
        if not self.components:
            return stand
        move = self.part("horizontal_velocity", velocity, context, xp)
        return stand * (5 * move + 1) / 6


# --- Hopper -------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Hopper(Legged):
    """Stand with little effort, or hop with a speed. Observation (15): qpos[1:], qvel, log(1 +
    touch) of toe and heel. Outcome: the torso's height above the foot (m), forward speed (m/s)."""

    domain: ClassVar[str] = "hopper"
    observations: ClassVar[dict[str, int]] = {"position": 6, "velocity": 7, "touch": 2}

    name: str = "hopper-hop"
    context: ContextSpace = ContextSpace((speed(4.0, 0.05, 1.0), *TOUCHING))
    components: tuple[Component, ...] = (
        Component("height", low=0.6, high=2.0),
        Component("speed", "linear", 0.5, coordinate="speed", directed=True),
    )
    obs_size: Size = 15
    action_size: Size = 4
    outcome_size: Size = 2
    dt_s: Seconds = 0.02
    frame_skip: Skip = 4
    fields: tuple[str, ...] = ("qpos", "qvel", "sensordata", "xipos")
    camera: str = "cam0"

    def observe(self, view):
        touch = np.log1p(view["sensordata"][:, 3:5])
        return np.concatenate([view["qpos"][:, 1:], view["qvel"], touch], axis=1, dtype=np.float32)

    def outcome(self, before, after):
        z = after["xipos"].reshape(len(after["qpos"]), -1, 3)[..., 2]
        return np.stack([z[:, 1] - z[:, 5], after["sensordata"][:, 0]], axis=1)

    def reward(self, action, outcome, context, xp=np):
        standing = self.part("height", outcome[..., 0], context, xp)
        if any(one.name == "speed" for one in self.components):
            return standing * self.part("speed", outcome[..., 1], context, xp)
        margins = context[..., None, :] + 0.0 * action[..., :, None]
        small = self.part("control", action, margins, xp).mean(axis=-1)
        return standing * (4 + small) / 5
