"""Cheetah-Vel: run at a target speed (MACAW's environment, as Prompt-DT uses it).

Observation (20): qpos[1:9], qvel[0:9], torso xpos (3). The torso position is one sub-step old, as
MuJoCo leaves it after `mj_step`. Reward: −|Δx/0.05 s − v*| − 0.05 Σa². 200 steps, no termination.
"""

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

from hyperpolicy.envs.context import ContextSpace, line
from hyperpolicy.envs.family import Seconds, Size, Steps
from hyperpolicy.envs.grid import Grid
from hyperpolicy.envs.mujoco import MujocoFamily, Noise, Skip

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


def _grid(name: str, slowest: float) -> Grid:
    return Grid.of("cheetah-vel", name, np.linspace(slowest, 3.0, 40)[:, None], _splits())


@dataclass(frozen=True, kw_only=True)
class CheetahVel(MujocoFamily):
    name: str = "cheetah-vel"
    context: ContextSpace = line("velocity", "m/s", 0.0, 3.0)
    grids: tuple[Grid, ...] = (_grid("macaw", 0.075), _grid("authors", 0.0))
    obs_size: Size = 20
    action_size: Size = 6
    outcome_size: Size = 1
    horizon_steps: Steps = 200
    frame_skip: Skip = 5
    dt_s: Seconds = 0.05
    qpos_noise: Noise = 0.1
    qvel_noise: Noise = 0.1
    fields: tuple[str, ...] = ("qpos", "qvel", "xpos")

    @property
    def mjcf(self) -> Path:
        return Path(gymnasium.__file__).parent / "envs/mujoco/assets/half_cheetah.xml"

    def observe(self, view):
        parts = view["qpos"][:, 1:], view["qvel"], view["xpos"][:, 1]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def outcome(self, before, after):
        """The mean forward speed of the step, m/s."""
        return (after["qpos"][:, :1] - before["qpos"][:, :1]) / self.dt_s

    def outcome_name(self, outcome):
        return f"{outcome[0]:.2f} m/s"

    def reward(self, action, outcome, context, xp=np):
        gap = abs(outcome[..., 0] - context[..., 0])
        return -gap - 0.05 * (action**2).sum(axis=-1)
