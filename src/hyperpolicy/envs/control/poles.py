"""Poles to balance: on a cart, and on a hinge. The cart's pole has a mass, a size and a length."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hyperpolicy.envs.context import ContextSpace, Coordinate
from hyperpolicy.envs.control.reward import Component
from hyperpolicy.envs.control.suite import (
    FACTORS,
    GEAR,
    ControlFamily,
    find,
    length,
    margin,
    place,
)
from hyperpolicy.envs.family import Seconds, Size
from hyperpolicy.envs.mujoco import Beginning, Skip

POLE = (
    Coordinate("mass", "kg", 0.01, 1.0, "dynamics", default=0.1),
    Coordinate("size", "m", 0.01, 0.2, "dynamics", default=0.045),
    length(0.2, 2.0, 1.0),
)


@dataclass(frozen=True, kw_only=True)
class Cartpole(ControlFamily):
    """Hold a pole upright, beginning near it or hanging down. Observation (5): the cart's position,
    the pole's cosine and sine, qvel. Outcome: the pole's cosine, the cart's position (m), the
    pole's velocity (rad/s)."""

    domain: ClassVar[str] = "cartpole"
    observations: ClassVar[dict[str, int]] = {"position": 3, "velocity": 2}

    name: str = "cartpole-swingup"
    hanging: bool = True
    """Whether the pole hangs down at first."""
    context: ContextSpace = ContextSpace(
        (
            margin("centered", "m", 2.0),
            margin("control", "", 1.0),
            margin("velocity", "rad/s", 5.0),
            *POLE,
            GEAR,
        )
    )
    components: tuple[Component, ...] = (
        Component("centered", margin=2.0, coordinate="centered"),
        Component("small_control", "quadratic", 0.0, 1.0, coordinate="control"),
        Component("small_velocity", margin=5.0, coordinate="velocity"),
    )
    obs_size: Size = 5
    action_size: Size = 1
    outcome_size: Size = 3
    dt_s: Seconds = 0.01
    frame_skip: Skip = 1
    fields: tuple[str, ...] = ("qpos", "qvel", "xmat")
    camera: str = "fixed"

    def build(self, root, body):
        """The pole's mass, radius and length."""
        pole = find(root, "geom", "pole_1")
        place(
            pole, mass=(body["mass"],), size=(body["size"],), fromto=(0, 0, 0, 0, 0, body["length"])
        )

    def begin(self, rng, model, data):
        if self.hanging:
            qpos = np.array([0.0, np.pi]) + 0.01 * rng.standard_normal(2)
        else:
            qpos = rng.uniform(-1, 1, 2) * [0.1, 0.034]
        return Beginning(qpos, 0.01 * rng.standard_normal(2))

    def observe(self, view):
        pole = view["xmat"].reshape(len(view["qpos"]), -1, 9)[:, 2][:, [8, 2]]
        return np.concatenate([view["qpos"][:, :1], pole, view["qvel"]], axis=1, dtype=np.float32)

    def outcome(self, before, after):
        upright = after["xmat"].reshape(len(after["qpos"]), -1, 9)[:, 2, 8]
        return np.stack([upright, after["qpos"][:, 0], after["qvel"][:, 1]], axis=1)

    def outcome_name(self, outcome):
        return f"cosine {outcome[0]:.2f}"

    def reward(self, action, outcome, context, xp=np):
        cosine, x, velocity = (outcome[..., i] for i in range(3))
        centered = (1 + self.part("centered", x, context, xp)) / 2
        small = (4 + self.part("small_control", action[..., 0], context, xp)) / 5
        slow = (1 + self.part("small_velocity", velocity, context, xp)) / 2
        return (cosine + 1) / 2 * small * slow * centered


@dataclass(frozen=True, kw_only=True)
class Pendulum(ControlFamily):
    """Swing up and stand still. Observation (3): the pole's cosine and sine, its velocity. Outcome:
    (1 − cosine)/2, velocity (rad/s)."""

    domain: ClassVar[str] = "pendulum"
    observations: ClassVar[dict[str, int]] = {"orientation": 2, "velocity": 1}

    name: str = "pendulum-swingup"
    context: ContextSpace = ContextSpace(
        (margin("upright", "", 1.0), margin("velocity", "rad/s", 5.0), *FACTORS)
    )
    components: tuple[Component, ...] = (
        Component("upright", margin=1.0, coordinate="upright"),
        Component("small_velocity", margin=5.0, coordinate="velocity"),
    )
    obs_size: Size = 3
    action_size: Size = 1
    outcome_size: Size = 2
    dt_s: Seconds = 0.02
    frame_skip: Skip = 1
    fields: tuple[str, ...] = ("qpos", "qvel", "xmat")
    camera: str = "fixed"

    def begin(self, rng, model, data):
        return Beginning(rng.uniform(-np.pi, np.pi, 1), np.zeros(1))

    def observe(self, view):
        pole = view["xmat"].reshape(len(view["qpos"]), -1, 9)[:, 1][:, [8, 2]]
        return np.concatenate([pole, view["qvel"]], axis=1, dtype=np.float32)

    def outcome(self, before, after):
        cosine = after["xmat"].reshape(len(after["qpos"]), -1, 9)[:, 1, 8]
        return np.stack([(1 - cosine) / 2, after["qvel"][:, 0]], axis=1)

    def outcome_name(self, outcome):
        return f"cosine {1 - 2 * outcome[0]:.2f}"

    def reward(self, action, outcome, context, xp=np):
        upright = self.part("upright", outcome[..., 0], context, xp)
        slow = self.part("small_velocity", outcome[..., 1], context, xp)
        return upright * (1 + slow) / 2
