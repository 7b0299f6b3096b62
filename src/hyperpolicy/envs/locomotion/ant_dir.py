"""Ant-Dir: run in a target direction (MACAW's environment, as Prompt-DT uses it).

Observation (27): qpos[2:15], qvel[0:14]. Reward: ⟨Δp/0.05 s, (cos θ, sin θ)⟩ − 0.5 Σa² + 1, the
contact cost being zero as in the software of record. The task ends where the torso's height leaves
[0.2, 1.0] or the state is not finite. 200 steps.
"""

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

from hyperpolicy.envs.context import ContextSpace, line
from hyperpolicy.envs.family import Seconds, Size, Steps
from hyperpolicy.envs.grid import Grid
from hyperpolicy.envs.mujoco import MujocoFamily, Noise, Skip
from hyperpolicy.symmetry import Signed, Symmetry

TEST = [6, 17, 23, 30, 41]
TRAIN = [i for i in range(50) if i not in TEST]


def _macaw_directions() -> np.ndarray:
    """MACAW's 50 directions: its constructor eats two draws of the same generator."""
    return np.random.RandomState(17).uniform(0.0, 2 * np.pi, 52)[2:, None]


def _grid(family: str, name: str, angles: np.ndarray) -> Grid:
    """MACAW's ids of Cheetah-Vel's splits, carried on to 50 tasks; `extrapolation` trains on the
    smaller two thirds of the angles and tests the others, an arc of about 2 rad."""
    order = np.mod(angles[:, 0], 2 * np.pi).argsort(kind="stable").tolist()
    splits = {
        "full": (TRAIN, TEST),
        "half": ([i for i in range(0, 50, 2) if i not in TEST], TEST),
        "quarter": ([i for i in range(0, 50, 4) if i not in TEST], TEST),
        "eighth": ([i for i in range(0, 50, 8) if i not in TEST], TEST),
        "sixteenth": ([i for i in range(0, 50, 16) if i not in TEST], TEST),
        "extrapolation": (sorted(order[:33]), sorted(order[33:])),
    }
    return Grid.of(family, name, angles, splits)


# --- The eight symmetries of a square -----------------------------------------------------
def _legs(origin: list[int], hip: int, ankles: list[int]) -> Signed:
    """Hip and ankle of legs 1 to 4, each leg taken from its `origin`."""
    index = [2 * leg + joint for leg in origin for joint in range(2)]
    return Signed(tuple(index), tuple(s for ankle in ankles for s in (hip, ankle)))


def _symmetry(turn: Signed, spin: Signed, legs: Signed, scale: float, shift: float) -> Symmetry:
    """From what it does to a vector, to a rotation's axis, to the legs and to the direction."""
    one = Signed.identity(1)
    obs = one + one + spin + legs + turn + spin + legs  # z, quaternion, joints; the velocities
    first = Signed((6, 7, 0, 1, 2, 3, 4, 5), (1,) * 8)  # the motors begin with leg 4
    last = Signed((2, 3, 4, 5, 6, 7, 0, 1), (1,) * 8)
    return Symmetry(obs, first @ legs @ last, scale, shift)


IDENTITY = Symmetry(Signed.identity(27), Signed.identity(8))
QUARTER_TURN = _symmetry(
    Signed((1, 0, 2), (-1, 1, 1)),
    Signed((1, 0, 2), (-1, 1, 1)),
    _legs([3, 0, 1, 2], 1, [1, -1, 1, -1]),
    1.0,
    np.pi / 2,
)
"""By 90° to the left, each leg taking the place of the next."""
REFLECTION = _symmetry(
    Signed((0, 1, 2), (1, -1, 1)),
    Signed((0, 1, 2), (-1, 1, -1)),
    _legs([3, 2, 1, 0], -1, [1, 1, 1, 1]),
    -1.0,
    0.0,
)
"""Left for right."""


def _square() -> tuple[Symmetry, ...]:
    turns = [IDENTITY]
    for _ in range(3):
        turns.append(QUARTER_TURN @ turns[-1])
    return (*turns, *(turn @ REFLECTION for turn in turns))


def _grids(family: str) -> tuple[Grid, ...]:
    around = np.linspace(0.0, 2 * np.pi, 50)[:, None]
    return _grid(family, "macaw", _macaw_directions()), _grid(family, "authors", around)


@dataclass(frozen=True, kw_only=True)
class AntDir(MujocoFamily):
    name: str = "ant-dir"
    context: ContextSpace = line("direction", "rad", 0.0, 2 * np.pi, period=2 * np.pi)
    grids: tuple[Grid, ...] = _grids("ant-dir")
    obs_size: Size = 27
    action_size: Size = 8
    outcome_size: Size = 2
    horizon_steps: Steps = 200
    frame_skip: Skip = 5
    dt_s: Seconds = 0.05
    qpos_noise: Noise = 0.1
    qvel_noise: Noise = 0.1
    symmetries: tuple[Symmetry, ...] = _square()

    @property
    def mjcf(self) -> Path:
        return Path(gymnasium.__file__).parent / "envs/mujoco/assets/ant.xml"

    def observe(self, view):
        return np.concatenate([view["qpos"][:, 2:], view["qvel"]], axis=1, dtype=np.float32)

    def outcome(self, before, after):
        """The mean horizontal velocity of the step, m/s."""
        return (after["qpos"][:, :2] - before["qpos"][:, :2]) / self.dt_s

    def outcome_name(self, outcome):
        heading = np.arctan2(outcome[1], outcome[0]) % (2 * np.pi)
        return f"{heading:.2f} rad at {np.hypot(*outcome):.1f} m/s"

    def reward(self, action, outcome, context, xp=np):
        angle = context[..., 0]
        forward = outcome[..., 0] * xp.cos(angle) + outcome[..., 1] * xp.sin(angle)
        return forward - 0.5 * (action**2).sum(axis=-1) + 1.0

    def terminated(self, view):
        height = view["qpos"][:, 2]
        healthy = (height >= 0.2) & (height <= 1.0) & np.isfinite(view["qpos"]).all(axis=1)
        return ~(healthy & np.isfinite(view["qvel"]).all(axis=1))


ANT_DIR_RADIANS = AntDir(
    name="ant-dir-radians",
    context=line("direction", "rad", 0.0, 2 * np.pi),
    grids=_grids("ant-dir-radians"),
    symmetries=(),  # they do not map its range to itself
)
"""The same tasks with the direction as a plain number, as GenHyper gives it to its generator: 0 and
2π are its two ends."""
