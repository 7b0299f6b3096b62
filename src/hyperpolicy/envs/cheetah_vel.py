"""Cheetah-Vel: run at a target speed (MACAW's environment, as Prompt-DT uses it).

Observation (20): qpos[1:9], qvel[0:9], torso xpos (3). The torso position is one sub-step old, as
MuJoCo leaves it after `mj_step`. Reward: −|Δx/0.05 s − v*| − 0.05 Σa². 200 steps, no termination.
"""

from pathlib import Path

import gymnasium
import numpy as np

from hyperpolicy.envs.family import ContextSpace, Grid, MujocoFamily

TEST = [2, 7, 15, 23, 26]


def _without(ids: list[int], count: int) -> list[int]:
    return [i for i in range(count) if i not in ids]


def _splits() -> dict[str, tuple[list[int], list[int]]]:
    """MACAW's splits of 40 tasks. Its `half` trains on test tasks 2 and 26, which are left out of
    that split's test tasks here."""
    half = list(range(0, 40, 2))
    return {
        "full": (_without(TEST, 40), TEST),
        "half": (half, [i for i in TEST if i not in half]),
        "quarter": (list(range(0, 40, 4)), TEST),
        "eighth": ([0, 8, 16, 24, 32], TEST),
        "sixteenth": ([0, 16, 32], TEST),
        "extrapolation": (list(range(26)), list(range(26, 40))),
    }


class CheetahVel(MujocoFamily):
    name = "cheetah-vel"
    context = ContextSpace(("velocity",), ("m/s",), (0.0,), (3.0,), (None,))
    obs_size, action_size, outcome_size = 20, 6, 1
    horizon_steps, frame_skip, dt_s = 200, 5, 0.05
    qpos_noise, qvel_noise = 0.1, 0.1
    fields = ("qpos", "qvel", "xpos")
    grids = {
        "macaw": Grid(name, "macaw", np.linspace(0.075, 3.0, 40)[:, None], _splits()),
        "authors": Grid(name, "authors", np.linspace(0.0, 3.0, 40)[:, None], _splits()),
    }

    @property
    def model_path(self) -> Path:
        return Path(gymnasium.__file__).parent / "envs/mujoco/assets/half_cheetah.xml"

    def observe(self, view):
        return np.concatenate([view["qpos"][:, 1:], view["qvel"], view["xpos"][:, 1]], axis=1)

    def outcome(self, before, after):
        """The mean forward speed of the step, m/s."""
        return (after["qpos"][:, :1] - before["qpos"][:, :1]) / self.dt_s

    def outcome_name(self, outcome):
        return f"{outcome[0]:.2f} m/s"

    def reward(self, action, outcome, context, xp=np):
        gap = xp.abs(outcome[..., 0] - context[..., 0])
        return -gap - 0.05 * xp.sum(action**2, axis=-1)
