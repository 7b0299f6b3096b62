"""Meta-World (package metaworld 3.0.0, tasks "-v3"): one arm, 50 tasks; a context is a task.

Observation (39): hand xyz, gripper opening, 14 numbers of objects; the same of the step before; the
goal's xyz. Action (4): the hand's displacement in centimeters, and the gripper's effort. 500 steps
of 0.0125 s; an episode never ends early. A reset draws a *configuration*: where object and goal
are. Outcome (2): the reward, which is the package's own (`v2`, 0 to 10 a step), and success (0
or 1).

AMT-Hyp trains on eight tasks and tests on eight others: split `seen` of grid `amt-hyp`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.context import ContextSpace, line
from hyperpolicy.envs.family import Family, Seconds, Size, Steps
from hyperpolicy.envs.grid import Grid
from hyperpolicy.envs.metaworld.tasks import SEEN, TASKS, UNSEEN, numbers
from hyperpolicy.envs.metaworld.worlds import ArmWorlds


def _grid(name: str, tasks, splits: dict[str, tuple[list[int], list[int]]]) -> Grid:
    return Grid.of("metaworld", name, numbers(tasks)[:, None].astype(float), splits)


@dataclass(frozen=True, kw_only=True)
class MetaWorld(Family):
    name: str = "metaworld"
    context: ContextSpace = line("task", "", 0, len(TASKS) - 1, "task")
    grids: tuple[Grid, ...] = (
        _grid("amt-hyp", [*SEEN, *UNSEEN], {"seen": (list(range(8)), list(range(8, 16)))}),
        _grid("all", TASKS, {}),
    )
    obs_size: Size = 39
    action_size: Size = 4
    outcome_size: Size = 2
    horizon_steps: Steps = 500
    dt_s: Seconds = 0.0125
    most_worlds: Size = 64
    camera: str = "corner"
    camera_turned: bool = True
    reward_version: Literal["v1", "v2"] = "v2"
    """The package's reward; the scale of the older one, v1, is not bounded."""
    frozen: bool = False
    """Whether a world's seed is that of the package's goal-observable environments, and every
    episode has the one configuration it gives."""

    def contexts(self, tasks) -> Float[np.ndarray, "k 1"]:
        """The contexts of named tasks, e.g. ["window-open"].

        Raises:
            UnknownTask: no such task; the message suggests one.
        """
        return numbers(tasks)[:, None].astype(float)

    def worlds(self, contexts, seed=0, num_threads: int = 0) -> ArmWorlds:
        kind = (self.reward_version, self.frozen)
        return ArmWorlds(self, kind, contexts, seed, num_threads)

    def reward(self, action, outcome, context, xp=np):
        return outcome[..., 0]

    def success(self, outcome):
        return np.asarray(outcome)[..., 1] > 0.5

    def task_name(self, context):
        return TASKS[int(context[0])]

    def outcome_name(self, outcome):
        return f"{'success' if outcome[1] > 0.5 else 'no success'}, reward {outcome[0]:.1f} a step"
