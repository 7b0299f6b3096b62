"""Tasks with a target that is drawn anew for each episode: a reacher's, a fish's.

dm_control moves a geom of the model; here the place is kept beside the state, for it touches
nothing. Departure from the Contextual Control Suite: a reacher's target has its size, so that easy
and hard are different tasks.
"""

from copy import copy
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hyperpolicy.envs.context import ContextSpace
from hyperpolicy.envs.control.reward import Component
from hyperpolicy.envs.control.suite import (
    FACTORS,
    GEAR,
    MASS,
    ControlFamily,
    find,
    length,
    margin,
    place,
    random_joints,
    random_quaternion,
)
from hyperpolicy.envs.family import Seconds, Size
from hyperpolicy.envs.mujoco import Beginning, Skip

FINGERTIP = 0.01
"""Radius of the reacher's finger, m."""


class Targeted(ControlFamily):
    """What the two share: the target's place."""

    def scenery(self, context, drawn):
        model = copy(super().scenery(context, drawn))  # scenes of one body share a model
        model.geom("target").pos[: len(drawn)] = drawn
        return model

    def outcome_name(self, outcome):
        return f"{outcome[0]:.3f} m away"


@dataclass(frozen=True, kw_only=True)
class Reacher(Targeted):
    """Touch a target with a two-link arm. Observation (6): qpos, the way from finger to target
    (x and y), qvel. Outcome: the distance, m."""

    domain: ClassVar[str] = "reacher"
    observations: ClassVar[dict[str, int]] = {"position": 2, "to_target": 2, "velocity": 2}
    drawn_size: ClassVar[int] = 2

    name: str = "reacher-easy"
    target: float = 0.05
    """The target's radius, m."""
    context: ContextSpace = ContextSpace((margin("distance", "m", 0.5), *FACTORS))
    components: tuple[Component, ...] = (
        Component("finger_to_target", margin=0.5, high=0.05 + FINGERTIP, coordinate="distance"),
    )
    obs_size: Size = 6
    action_size: Size = 2
    outcome_size: Size = 1
    dt_s: Seconds = 0.02
    frame_skip: Skip = 1
    fields: tuple[str, ...] = ("qpos", "qvel", "geom_xpos")
    camera: str = "fixed"

    def build(self, root, body):
        """The target's size, which only shows."""
        place(find(root, "geom", "target"), size=(self.target,))

    def begin(self, rng, model, data):
        qpos = random_joints(rng, model)
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.2)
        target = radius * np.array([np.sin(angle), np.cos(angle)])
        return Beginning(qpos, np.zeros(model.nv), target)

    def observe(self, view):
        parts = view["qpos"], self._way(view), view["qvel"]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def outcome(self, before, after):
        return np.linalg.norm(self._way(after), axis=1, keepdims=True)

    def _way(self, view):
        finger = view["geom_xpos"].reshape(len(view["qpos"]), -1, 3)[:, -1, :2]
        return view["drawn"] - finger

    def reward(self, action, outcome, context, xp=np):
        return self.part("finger_to_target", outcome[..., 0], context, xp)


TORSO, MOUTH = 1, 3
"""A body and a geom of the fish."""
SWIMMING = (replace(MASS, low=0.5), replace(GEAR, high=2.0))
"""The simulation of a lighter fish, or of one with stronger motors, becomes unstable."""


@dataclass(frozen=True, kw_only=True)
class Fish(Targeted):
    """Swim to a target. Observation (24): seven joint angles, uprightness, the way from mouth to
    target in the mouth's frame, qvel. Outcome: the distance (m), uprightness."""

    domain: ClassVar[str] = "fish"
    observations: ClassVar[dict[str, int]] = {
        "joint_angles": 7,
        "upright": 1,
        "target": 3,
        "velocity": 13,
    }
    drawn_size: ClassVar[int] = 3

    name: str = "fish-swim"
    context: ContextSpace = ContextSpace(
        (margin("distance", "m", 0.09), length(0.0003, 0.003, 0.001), *SWIMMING)
    )
    components: tuple[Component, ...] = (
        Component("swim", margin=0.09, high=0.045, coordinate="distance"),
    )
    obs_size: Size = 24
    action_size: Size = 5
    outcome_size: Size = 2
    dt_s: Seconds = 0.04
    frame_skip: Skip = 10
    fields: tuple[str, ...] = ("qpos", "qvel", "xmat", "geom_xpos", "geom_xmat")
    camera: str = "fixed_top"

    def build(self, root, body):
        """The pectoral fins: 20, 15 and 1 lengths wide, long and thick."""
        thick = body["length"]
        for name, side in (("finright", 1), ("finleft", -1)):
            fin = find(root, "geom", name)
            place(fin, size=(20 * thick, 15 * thick, thick), pos=(15 * thick * side, 0, 0))

    def begin(self, rng, model, data):
        qpos = model.qpos0.copy()
        qpos[3:7], qpos[7:] = random_quaternion(rng), rng.uniform(-0.2, 0.2, 7)
        target = rng.uniform([-0.4, -0.4, 0.1], [0.4, 0.4, 0.3])
        return Beginning(qpos, np.zeros(model.nv), target)

    def observe(self, view):
        parts = view["qpos"][:, 7:], self._upright(view), self._way(view), view["qvel"]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def outcome(self, before, after):
        away = np.linalg.norm(self._way(after), axis=1, keepdims=True)
        return np.concatenate([away, self._upright(after)], axis=1)

    def _upright(self, view):
        return view["xmat"].reshape(len(view["qpos"]), -1, 9)[:, TORSO, 8:]

    def _way(self, view):
        n = len(view["qpos"])
        way = view["drawn"] - view["geom_xpos"].reshape(n, -1, 3)[:, MOUTH]
        frame = view["geom_xmat"].reshape(n, -1, 3, 3)[:, MOUTH]
        return np.einsum("ni,nij->nj", way, frame)

    def reward(self, action, outcome, context, xp=np):
        inside = self.part("swim", outcome[..., 0], context, xp)
        return (7 * inside + (outcome[..., 1] + 1) / 2) / 8
