"""Bodies that run, Gymnasium's half-cheetah and ant, on MACAW's tasks as Prompt-DT uses them."""

import json
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

from hyperpolicy.envs.context import ContextSpace, Grid, line
from hyperpolicy.envs.family import Seconds, Size, Steps
from hyperpolicy.envs.mujoco import MujocoFamily, Noise, Skip
from hyperpolicy.symmetry import Signed, Symmetry

ASSETS = Path(gymnasium.__file__).parent / "envs/mujoco/assets"
CHEETAH_TEST, ANT_TEST = [2, 7, 15, 23, 26], [6, 17, 23, 30, 41]
"""MACAW's ids of test tasks."""


def _splits(count: int, test: list[int]) -> dict[str, tuple[list[int], list[int]]]:
    """MACAW's splits: training on all tasks, on every second one, every fourth, …"""
    names = "full half quarter eighth sixteenth".split()
    strides = {name: range(0, count, 2**k) for k, name in enumerate(names)}
    return {name: ([i for i in ids if i not in test], test) for name, ids in strides.items()}


# --- Cheetah-Vel --------------------------------------------------------------------------
def _cheetah_grid(name: str, slowest: float) -> Grid:
    """MACAW's `half` trains on test tasks 2 and 26, which are left out of that split's test tasks
    here."""
    half = list(range(0, 40, 2))
    splits = _splits(40, CHEETAH_TEST) | {
        "half": (half, [i for i in CHEETAH_TEST if i not in half]),
        "extrapolation": (list(range(26)), list(range(26, 40))),
    }
    return Grid.of("cheetah-vel", name, np.linspace(slowest, 3.0, 40)[:, None], splits)


@dataclass(frozen=True, kw_only=True)
class CheetahVel(MujocoFamily):
    """Run at a target speed.

    Observation (20): qpos[1:9], qvel[0:9], torso xpos (3). The torso position is one sub-step old,
    as MuJoCo leaves it after `mj_step`. Reward: −|Δx/0.05 s − v*| − 0.05 Σa². 200 steps, no
    termination.
    """

    name: str = "cheetah-vel"
    context: ContextSpace = line("velocity", "m/s", 0.0, 3.0)
    grids: tuple[Grid, ...] = (_cheetah_grid("macaw", 0.075), _cheetah_grid("authors", 0.0))
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
        return ASSETS / "half_cheetah.xml"

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


# --- Ant-Dir ------------------------------------------------------------------------------
def _ant_grids(family: str) -> tuple[Grid, ...]:
    """MACAW's 50 directions, whose constructor eats two draws of the same generator, and the
    authors'. MACAW's ids of Cheetah-Vel's splits are carried on to 50 tasks; `extrapolation` trains
    on the smaller two thirds of the angles and tests the others, an arc of about 2 rad."""
    macaw = np.random.RandomState(17).uniform(0.0, 2 * np.pi, 52)[2:]
    found = []
    for name, angles in (("macaw", macaw), ("authors", np.linspace(0.0, 2 * np.pi, 50))):
        order = np.mod(angles, 2 * np.pi).argsort(kind="stable").tolist()
        arc = {"extrapolation": (sorted(order[:33]), sorted(order[33:]))}
        found.append(Grid.of(family, name, angles[:, None], _splits(50, ANT_TEST) | arc))
    return tuple(found)


def _symmetry(turn: Signed, spin: Signed, legs: Signed, scale: float, shift: float) -> Symmetry:
    """From what it does to a vector, to a rotation's axis, to the legs and to the direction."""
    one = Signed.identity(1)
    obs = one + one + spin + legs + turn + spin + legs  # z, quaternion, joints; the velocities
    first = Signed((6, 7, 0, 1, 2, 3, 4, 5), (1,) * 8)  # the motors begin with leg 4
    last = Signed((2, 3, 4, 5, 6, 7, 0, 1), (1,) * 8)
    return Symmetry(obs, first @ legs @ last, scale, shift)


def _square() -> tuple[Symmetry, ...]:
    """The eight symmetries of a square: turns by 90° to the left, each leg (a hip and an ankle)
    taking the place of the next; and these after a reflection, left for right."""
    vector = Signed((1, 0, 2), (-1, 1, 1))
    legs = Signed((6, 7, 0, 1, 2, 3, 4, 5), (1, 1, 1, -1, 1, 1, 1, -1))
    turn = _symmetry(vector, vector, legs, 1.0, np.pi / 2)
    vector, axis = Signed((0, 1, 2), (1, -1, 1)), Signed((0, 1, 2), (-1, 1, -1))
    legs = Signed((6, 7, 4, 5, 2, 3, 0, 1), (-1, 1) * 4)
    reflection = _symmetry(vector, axis, legs, -1.0, 0.0)
    turns = [Symmetry(Signed.identity(27), Signed.identity(8))]
    for _ in range(3):
        turns.append(turn @ turns[-1])
    return (*turns, *(one @ reflection for one in turns))


@dataclass(frozen=True, kw_only=True)
class AntDir(MujocoFamily):
    """Run in a target direction.

    Observation (27): qpos[2:15], qvel[0:14]. Reward: ⟨Δp/0.05 s, (cos θ, sin θ)⟩ − 0.5 Σa² + 1, the
    contact cost being zero as in the software of record. The task ends where the torso's height
    leaves [0.2, 1.0] or the state is not finite. 200 steps.
    """

    name: str = "ant-dir"
    context: ContextSpace = line("direction", "rad", 0.0, 2 * np.pi, period=2 * np.pi)
    grids: tuple[Grid, ...] = _ant_grids("ant-dir")
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
        return ASSETS / "ant.xml"

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


def _t2da_grid(family: str) -> Grid:
    """The 50 directions of T2DA (arXiv:2504.15046) as they were released; the last five are its
    test tasks."""
    angles = np.array(json.loads(Path(__file__).with_name("t2da_directions.json").read_text()))
    full = {"full": (list(range(45)), list(range(45, 50)))}
    return Grid.of(family, "t2da", angles[:, None], full)


@dataclass(frozen=True, kw_only=True)
class AntDirEndless(AntDir):
    """Run in a target direction, and nothing ends the task: an ant on its back is paid on, as in
    T2DA's environment. 200 steps."""

    name: str = "ant-dir-endless"
    grids: tuple[Grid, ...] = (_t2da_grid("ant-dir-endless"), *_ant_grids("ant-dir-endless"))

    def terminated(self, view):
        return None


ANT_DIR_RADIANS = AntDir(
    name="ant-dir-radians",
    context=line("direction", "rad", 0.0, 2 * np.pi),
    grids=_ant_grids("ant-dir-radians"),
    symmetries=(),  # they do not map its range to itself
)
"""The same tasks with the direction as a plain number, as GenHyper gives it to its generator: 0 and
2π are its two ends."""
