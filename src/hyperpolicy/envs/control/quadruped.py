"""A quadruped that walks or runs with a speed, or climbs out of a bowl of random ground.

The Contextual Control Suite's `escape` raised a NameError; here every world has ground of its own.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from hyperpolicy.envs.context import ContextSpace
from hyperpolicy.envs.control.reward import Component, tolerance
from hyperpolicy.envs.control.suite import (
    FRICTION,
    GEAR,
    MASS,
    ControlFamily,
    find,
    margin,
    place,
    random_quaternion,
    speed,
    without_contact,
)
from hyperpolicy.envs.family import Seconds, Size, Steps
from hyperpolicy.envs.mujoco import Beginning, Skip

FACTORS = (MASS, replace(GEAR, high=2.0), FRICTION)
"""The simulation of a quadruped with stronger motors becomes unstable."""
WALLS = "wall_px wall_py wall_nx wall_ny".split()
RISE_M, ATTEMPTS = 0.01, 10_000
"""How a start without contact is found: up in steps, from the ground."""
SMOOTHNESS, BUMP_M = 0.15, 2.0
"""Of the bowl's bumps: the least height, as a share, and their width."""


@dataclass(frozen=True, kw_only=True)
class Quadruped(ControlFamily):
    """Observation (78): sixteen joint angles and velocities, twelve activations, the torso's
    velocity and uprightness, accelerometer and gyroscope, arcsinh of forces and torques at the
    toes. Outcome: uprightness, the torso's forward speed (m/s)."""

    domain: ClassVar[str] = "quadruped"
    observations: ClassVar[dict[str, int]] = {
        "egocentric_state": 44,
        "torso_velocity": 3,
        "torso_upright": 1,
        "imu": 6,
        "force_torque": 24,
    }
    floor: ClassVar[tuple[str, ...]] = ("terrain",)
    """What of the model's ground is left out."""

    name: str = "quadruped-walk"
    half_size: float = 10.0
    """Of the floor, m."""
    context: ContextSpace = ContextSpace((speed(8.0, 0.05, 0.5), *FACTORS))
    components: tuple[Component, ...] = (
        Component("torso_velocity", "linear", 0.5, coordinate="speed", directed=True),
    )
    obs_size: Size = 78
    action_size: Size = 12
    outcome_size: Size = 2
    dt_s: Seconds = 0.02
    frame_skip: Skip = 4
    fields: tuple[str, ...] = ("qpos", "qvel", "act", "sensordata", "xmat")
    camera: str = "x"

    def build(self, root, body):
        """The scene without what other tasks need."""
        place(find(root, "geom", "floor"), size=(self.half_size, self.half_size, 0.5))
        unused = {*WALLS, *self.floor, "ball", "target"}
        for parent in list(root.iter()):
            for one in [
                x for x in parent if x.get("name") in unused and x.tag in ("geom", "body", "site")
            ]:
                parent.remove(one)
            if parent.tag == "sensor" and "terrain" in unused:
                for one in parent.findall("rangefinder"):
                    parent.remove(one)

    def begin(self, rng, model, data):
        """Any orientation, as low as it touches nothing."""
        start = model.qpos0.copy()
        start[:3], start[3:7] = 0.0, random_quaternion(rng)
        up = np.eye(model.nq)[2] * RISE_M
        tries = (start + attempt * up for attempt in range(ATTEMPTS))
        return Beginning(without_contact(model, data, tries), np.zeros(model.nv))

    def observe(self, view):
        seen = view["sensordata"]
        joints = view["qpos"][:, 7:], view["qvel"][:, 6:], view["act"]
        rest = seen[:, 6:9], self._upright(view), seen[:, :6], np.arcsinh(seen[:, 9:33])
        return np.concatenate([*joints, *rest], axis=1, dtype=np.float32)

    def outcome(self, before, after):
        return np.concatenate([self._upright(after), after["sensordata"][:, 6:7]], axis=1)

    def outcome_name(self, outcome):
        return f"{outcome[1]:.2f} m/s"

    def _upright(self, view):
        return view["xmat"].reshape(len(view["qpos"]), -1, 9)[:, 1, 8:]

    def reward(self, action, outcome, context, xp=np):
        moving = self.part("torso_velocity", outcome[..., 1], context, xp)
        return upright(outcome[..., 0], 0.0, xp) * moving


def upright(cosine, deviation_degrees: float, xp):
    """1 where the torso leans by less than the angle, 0 upside down, linear between."""
    least = np.cos(np.deg2rad(deviation_degrees))
    return tolerance(cosine, least, np.inf, 1 + least, "linear", 0.0, xp)


@dataclass(frozen=True, kw_only=True)
class Escape(Quadruped):
    """Climb out of a bowl. Observation (101): as above, then the origin in the torso's frame and
    tanh of twenty range finders. Outcome: uprightness, distance from the origin (m)."""

    observations: ClassVar[dict[str, int]] = Quadruped.observations | {
        "origin": 3,
        "rangefinder": 20,
    }
    floor: ClassVar[tuple[str, ...]] = ()
    reshapes: ClassVar[bool] = True

    name: str = "quadruped-escape"
    half_size: float = 40.0
    context: ContextSpace = ContextSpace((margin("distance", "m", 30.0), *FACTORS))
    components: tuple[Component, ...] = (
        Component(
            "origin_distance", "linear", 0.0, 30.0, low=30.0, high=None, coordinate="distance"
        ),
    )
    obs_size: Size = 101
    fields: tuple[str, ...] = ("qpos", "qvel", "act", "sensordata", "xmat", "xpos", "site_xpos")
    most_worlds: Size | None = 64
    """Each has a model of its own."""
    horizon_steps: Steps = 1000

    def begin(self, rng, model, data):
        ground = terrain(rng, int(model.hfield_nrow[0]), 2 * float(model.hfield_size[0, 0]))
        first = model.hfield_adr[0]
        model.hfield_data[first : first + ground.size] = ground.ravel()
        return super().begin(rng, model, data)

    def observe(self, view):
        n = len(view["qpos"])
        frame = view["xmat"].reshape(n, -1, 3, 3)[:, 1]
        origin = -np.einsum("ni,nij->nj", view["xpos"].reshape(n, -1, 3)[:, 1], frame)
        far = view["sensordata"][:, 36:56]
        seen = np.where(far == -1.0, 1.0, np.tanh(far))
        parts = super().observe(view), origin, seen
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def outcome(self, before, after):
        workspace = after["site_xpos"].reshape(len(after["qpos"]), -1, 3)[:, 2]
        away = np.linalg.norm(workspace, axis=1, keepdims=True)
        return np.concatenate([self._upright(after), away], axis=1)

    def outcome_name(self, outcome):
        return f"{outcome[1]:.1f} m away"

    def reward(self, action, outcome, context, xp=np):
        away = self.part("origin_distance", outcome[..., 1], context, xp)
        return upright(outcome[..., 0], 20.0, xp) * away


def terrain(rng: np.random.Generator, cells: int, wide_m: float) -> Float[np.ndarray, "k k"]:
    """A bowl with smooth bumps: heights in [0, 1] of cells × cells, over `wide_m` meters."""
    rows, columns = np.ogrid[-1 : 1 : cells * 1j, -1 : 1 : cells * 1j]
    radius = np.clip(np.sqrt(columns**2 + rows**2), 0.04, 1)
    bumps = rng.uniform(SMOOTHNESS, 1, (int(wide_m / BUMP_M),) * 2)
    return (0.5 - np.cos(2 * np.pi * radius) / 2) * ndimage.zoom(bumps, cells / len(bumps))
