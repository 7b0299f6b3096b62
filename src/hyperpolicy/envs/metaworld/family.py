"""Meta-World (package metaworld 3.0.0, tasks "-v3"): one arm, 50 tasks; a context is a task.

Observation (39): hand xyz, gripper opening, 14 numbers of objects; the same of the step before; the
goal's xyz. Action (4): the hand's displacement in centimeters, and the gripper's effort. 500 steps
of 0.0125 s; an episode never ends early. A reset draws a *configuration*: where object and goal
are. Outcome (2): the reward, which is the package's own (`v2`, 0 to 10 a step), and success (0
or 1).

AMT-Hyp trains on eight tasks and tests on eight others: split `seen` of grid `amt-hyp`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from hyperpolicy.envs.family import ContextSpace, Family, Grid
from hyperpolicy.errors import BadContext, UnknownTask, unknown

TASKS = (
    "assembly basketball bin-picking box-close button-press button-press-topdown "
    "button-press-topdown-wall button-press-wall coffee-button coffee-pull coffee-push dial-turn "
    "disassemble door-close door-lock door-open door-unlock drawer-close drawer-open faucet-close "
    "faucet-open hammer hand-insert handle-press handle-press-side handle-pull handle-pull-side "
    "lever-pull peg-insert-side peg-unplug-side pick-out-of-hole pick-place pick-place-wall "
    "plate-slide plate-slide-back plate-slide-back-side plate-slide-side push push-back push-wall "
    "reach reach-wall shelf-place soccer stick-pull stick-push sweep sweep-into window-close "
    "window-open"
).split()
"""In alphabetical order; a task's place is its context."""
SEEN = (
    "window-open door-open drawer-open dial-turn plate-slide button-press handle-press faucet-close"
).split()
UNSEEN = (
    "drawer-close handle-press-side door-lock window-close reach-wall coffee-button "
    "button-press-wall faucet-open"
).split()


def numbers(tasks) -> Int[np.ndarray, " k"]:
    """The places of named tasks.

    Raises:
        UnknownTask: no such task; the message suggests one.
    """
    plain = [str(task).removesuffix("-v3").removesuffix("-v2") for task in tasks]
    for name in plain:
        if name not in TASKS:
            raise unknown(UnknownTask, "Meta-World task", "Tasks", name, TASKS)
    return np.array([TASKS.index(name) for name in plain], int)


@dataclass(frozen=True)
class TaskSpace(ContextSpace):
    """Contexts that are whole numbers, each a task; a network is told one-hot."""

    def check(self, contexts) -> Float[np.ndarray, "n c"]:
        array = super().check(contexts)
        if (array != np.round(array)).any():
            raise BadContext(f"a task is a whole number, got {array[array != np.round(array)][0]}")
        return array

    def encode(self, contexts, xp=np):
        return (contexts == xp.arange(self.encoded_size)) * 1.0

    @property
    def encoded_size(self) -> int:
        return int(self.high[0]) + 1

    def distance(self, a, b):
        return (np.asarray(a) != np.asarray(b)[:, 0]).astype(float)


def _grid(name: str, tasks, splits: dict[str, tuple[list[int], list[int]]]) -> Grid:
    return Grid("metaworld", name, numbers(tasks)[:, None].astype(float), splits)


class MetaWorld(Family):
    name = "metaworld"
    context = TaskSpace(("task",), ("",), (0.0,), (len(TASKS) - 1.0,), (None,))
    obs_size, action_size, outcome_size = 39, 4, 2
    horizon_steps, dt_s = 500, 0.0125
    relabels = False
    most_worlds = 64
    camera, camera_turned = "corner", True
    grids = {
        "amt-hyp": _grid(
            "amt-hyp", [*SEEN, *UNSEEN], {"seen": (list(range(8)), list(range(8, 16)))}
        ),
        "all": _grid("all", TASKS, {}),
    }

    reward_version = "v2"

    def __init__(self, frozen: bool = False):
        """With `frozen`, a world's seed is that of the package's goal-observable environments, and
        every episode has the one configuration it gives."""
        self.frozen = frozen

    def contexts(self, tasks) -> Float[np.ndarray, "k 1"]:
        """The contexts of named tasks, e.g. ["window-open"].

        Raises:
            UnknownTask: no such task; the message suggests one.
        """
        return numbers(tasks)[:, None].astype(float)

    def worlds(self, contexts, seed=0, num_threads: int = 0):
        from hyperpolicy.envs.metaworld.worlds import ArmWorlds

        return ArmWorlds(self, contexts, seed, num_threads)

    def reward(self, action, outcome, context, xp=np):
        return outcome[..., 0]

    def success(self, outcome):
        return np.asarray(outcome)[..., 1] > 0.5

    def task_name(self, context):
        return TASKS[int(context[0])]

    def outcome_name(self, outcome):
        return f"{'success' if outcome[1] > 0.5 else 'no success'}, reward {outcome[0]:.1f} a step"


class MetaWorldV1(MetaWorld):
    """The same tasks under the package's older reward, whose scale is not bounded."""

    name = "metaworld-v1"
    reward_version = "v1"
