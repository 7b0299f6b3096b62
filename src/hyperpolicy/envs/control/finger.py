"""A finger that spins a body on a hinge, at a signed speed, with its last link of any length.

Departures from the Contextual Control Suite: touch sites and the spinner's tip move with the link
(`published_body` leaves them where they were, so that touch and tip are observed wrongly).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hyperpolicy.envs.context import ContextSpace, Coordinate, Grid
from hyperpolicy.envs.control import grids
from hyperpolicy.envs.control.reward import Component
from hyperpolicy.envs.control.suite import (
    TOUCHING,
    ControlFamily,
    find,
    length,
    place,
    random_joints,
    without_contact,
)
from hyperpolicy.envs.family import Seconds, Size
from hyperpolicy.envs.mujoco import Beginning, Skip

SPIN = Coordinate("speed", "rad/s", -20.0, 20.0, default=15.0, least=0.1)
FINGER_LENGTH = length(0.08, 0.42, 0.16)
FINGER_SPEEDS = grids.signed(1.0, 15.0)
FINGER_LENGTHS = grids.between(0.1, 0.4, 0.01)
ATTEMPTS = 1000
TIP, SPINNER = 5, 11
"""Where their positions begin among the sensors' numbers."""


@dataclass(frozen=True, kw_only=True)
class Finger(ControlFamily):
    """Observation (9): two joint angles, the tip's x and z from the hinge, three velocities,
    log(1 + touch) of two sites. Outcome: the hinge's velocity, rad/s."""

    domain: ClassVar[str] = "finger"
    observations: ClassVar[dict[str, int]] = {"position": 4, "velocity": 3, "touch": 2}

    name: str = "finger-spin"
    context: ContextSpace = ContextSpace((SPIN, FINGER_LENGTH, *TOUCHING))
    grids: tuple[Grid, ...] = ()
    components: tuple[Component, ...] = (
        Component("spin", "linear", 0.1, coordinate="speed", directed=True),
    )
    obs_size: Size = 9
    action_size: Size = 2
    outcome_size: Size = 1
    dt_s: Seconds = 0.02
    frame_skip: Skip = 2
    fields: tuple[str, ...] = ("qpos", "qvel", "sensordata")
    camera: str = "cam0"

    def build(self, root, body):
        """The last link's length; the spinner moves away, and its caps grow, with it."""
        long = body["length"]
        place(find(root, "geom", "distal"), fromto=(0, 0, 0, 0, 0, -long))
        ends = (0, 0, -(long - 0.03), 0, 0, -(long + 0.001))
        place(find(root, "geom", "fingertip"), fromto=ends)
        place(find(root, "body", "spinner"), pos=(long + 0.04, 0, 0.4))
        for cap in ("cap1", "cap2"):
            place(find(root, "geom", cap), size=(0.04, long - 0.07))
        find(root, "joint", "hinge").set("damping", "0.03")  # as the spin task sets it
        if not self.published_body:
            place(find(root, "site", "touchtop"), pos=(0.01, 0, -(long + 0.01)))
            place(find(root, "site", "touchbottom"), pos=(-0.01, 0, -(long + 0.01)))
            place(find(root, "site", "tip"), pos=(0, 0, long - 0.03))

    def scenery(self, context, drawn):
        model = super().scenery(context, drawn)
        for site in ("target", "tip"):
            model.site(site).rgba[3] = 0.0
        return model

    def begin(self, rng, model, data):
        """Random joints that touch nothing."""
        tries = (random_joints(rng, model) for _ in range(ATTEMPTS))
        return Beginning(without_contact(model, data, tries), np.zeros(model.nv))

    def observe(self, view):
        seen = view["sensordata"]
        tip = seen[:, [TIP, TIP + 2]] - seen[:, [SPINNER, SPINNER + 2]]
        parts = seen[:, :2], tip, seen[:, 2:5], np.log1p(seen[:, 14:16])
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def outcome(self, before, after):
        return after["sensordata"][:, 4:5]

    def outcome_name(self, outcome):
        return f"{outcome[0]:.2f} rad/s"

    def reward(self, action, outcome, context, xp=np):
        return self.part("spin", outcome[..., 0], context, xp)
