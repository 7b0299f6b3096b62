"""Meta-World (package metaworld 3.0.0, tasks "-v3"): one arm, 50 tasks; a context is a task.

Observation (39): hand xyz, gripper opening, 14 numbers of objects; the same of the step before; the
goal's xyz. Action (4): the hand's displacement in centimeters, and the gripper's effort. 500 steps
of 0.0125 s; an episode never ends early. A reset draws a *configuration*: where object and goal
are. Outcome (2): the reward, which is the package's own (`v2`, 0 to 10 a step), and success (0
or 1).

AMT-Hyp trains on eight tasks and tests on eight others: split `seen` of grid `amt-hyp`.

Worlds are arms in worker processes, one a core: a third of a step is Python, so threads would help
little. With one thread the arms live in this process, where they can be drawn. Snapshots hold the
actions of the episodes in progress, which are played again: the package keeps state in places that
cannot be copied.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import engine
from hyperpolicy.envs.context import ContextSpace, Grid, line
from hyperpolicy.envs.family import Advance, Family, Seconds, Size, Steps, Worlds
from hyperpolicy.envs.metaworld import crews
from hyperpolicy.envs.metaworld.arm import Configurations
from hyperpolicy.errors import BadSetting, MissingExtra, UnknownTask, WorkerDied, unknown

VERSION = "3.0.0"
"""Later ones ask for a MuJoCo that is older than ours."""
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
"""AMT-Hyp's sixteen."""
MT10 = (
    "reach push pick-place door-open drawer-open drawer-close button-press-topdown "
    "peg-insert-side window-open window-close"
).split()
MT25 = [
    *MT10,
    *(
        "coffee-pull pick-out-of-hole disassemble pick-place-wall basketball stick-pull "
        "button-press-wall faucet-open door-lock lever-pull sweep-into faucet-close coffee-button "
        "button-press-topdown-wall dial-turn"
    ).split(),
]
ML10 = (
    "reach push pick-place door-open drawer-close button-press-topdown peg-insert-side "
    "window-open sweep basketball drawer-open door-close shelf-place sweep-into lever-pull"
).split()
"""Ten to train on, and five others."""
ML45_UNSEEN = "bin-picking box-close hand-insert door-lock door-unlock".split()
"""Meta-World's own lists; MT50 is all of them."""


def contexts_of(tasks) -> Float[np.ndarray, "k 1"]:
    """The contexts of named tasks, e.g. ["window-open"]: their places. Raises UnknownTask: no such
    task; the message suggests one."""
    plain = [str(task).removesuffix("-v3").removesuffix("-v2") for task in tasks]
    for name in plain:
        if name not in TASKS:
            raise unknown(UnknownTask, "Meta-World task", "Tasks", name, TASKS)
    return np.array([TASKS.index(name) for name in plain], float)[:, None]


def _folds(count: int, k: int) -> dict:
    """`all`: all of them for training and, in other configurations, for tests. `fold-0`, …: each
    leaves out its own `count / k` of them, in an order that was drawn once."""
    order, every = np.random.default_rng(0).permutation(count), range(count)
    left = np.sort(order.reshape(k, -1), axis=1)
    folds = {f"fold-{i}": (np.setdiff1d(every, out), out) for i, out in enumerate(left)}
    return {"all": (every, every)} | folds


@dataclass(frozen=True, kw_only=True)
class MetaWorld(Family):
    name: str = "metaworld"
    context: ContextSpace = line("task", "", 0, len(TASKS) - 1, "task")
    grids: tuple[Grid, ...] = (
        Grid.of(
            "metaworld",
            "amt-hyp",
            contexts_of([*SEEN, *UNSEEN]),
            {"seen": (range(8), range(8, 16))},
        ),
        Grid.of("metaworld", "mt10", contexts_of(MT10)),
        Grid.of("metaworld", "mt25", contexts_of(MT25)),
        Grid.of(
            "metaworld",
            "ml10",
            contexts_of(ML10),
            {"unseen": (range(10), range(10, 15))},
        ),
        Grid.of("metaworld", "all", contexts_of(TASKS)),
        Grid.of("metaworld", "mt50", contexts_of(TASKS), _folds(len(TASKS), 5)),
        Grid.of(
            "metaworld",
            "ml45",
            contexts_of([*(t for t in TASKS if t not in ML45_UNSEEN), *ML45_UNSEEN]),
            {"unseen": (range(45), range(45, 50))},
        ),
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
    configurations: Configurations = "all"
    """Which configurations resets draw, for tests inside tasks: train on `inner` ones, test on
    `outer` ones."""

    def __post_init__(self):
        super().__post_init__()
        if self.frozen and self.configurations != "all":
            raise BadSetting("frozen worlds have the package's configurations: leave these at all")

    contexts = staticmethod(contexts_of)

    def grid(self, name=None):
        """As of every family; `mt1:<task>` and `ml1:<task>` are grids of one task, whose training
        and test configurations differ in any case."""
        kind, colon, task = (name or "").partition(":")
        if colon and kind in ("mt1", "ml1"):
            return Grid.of(self.name, name, contexts_of([task]))
        return super().grid(name)

    def worlds(self, contexts, seed=0, num_threads: int = 0) -> "ArmWorlds":
        engine.only_native(self.name)
        return ArmWorlds(self, contexts, seed, num_threads)

    def reward(self, action, outcome, context, xp=np):
        return outcome[..., 0]

    def success(self, outcome):
        return np.asarray(outcome)[..., 1] > 0.5

    def task_name(self, context):
        return TASKS[int(context[0])]

    def outcome_name(self, outcome):
        return f"{'success' if outcome[1] > 0.5 else 'no success'}, reward {outcome[0]:.1f} a step"


class ArmWorlds(Worlds):
    """n arms, each on the task of its context."""

    family: MetaWorld

    def __init__(self, family: MetaWorld, contexts, seed=0, num_threads: int = 0):
        """Raises MissingExtra without the package metaworld, and as `Worlds`."""
        check_package()
        super().__init__(family, contexts, seed, num_threads)
        n, k = len(self), self.num_threads
        self._actions = np.zeros((n, family.horizon_steps, family.action_size), np.float32)
        self._memory = crews.Memory(n)
        self._block = self._memory.block
        self._block.seed[:] = self.seeds
        workers = [crews.hire() for _ in range(k)] if k > 1 else []
        weakref.finalize(self, crews.idle.extend, workers)
        self._crews: Sequence[crews.Crew | crews.Worker] = workers or [crews.Crew()]
        for i, crew in enumerate(self._crews):
            rows = np.arange(i, n, k)
            crew.open(
                path=self._memory.path,
                n=n,
                tasks=self._tasks(rows, self.contexts[rows]),
                kind=[family.reward_version, family.frozen, family.configurations],
            )
        for crew in self._crews:
            crew.wait()

    def _tasks(self, rows, contexts) -> dict[str, str]:
        """row → task; JSON wants keys of text."""
        names = map(self.family.task_name, contexts)
        return dict(zip(map(str, rows), names, strict=True))

    def recast(self, ids, contexts, seeds):
        tasks = self._tasks(ids, self.family.context.check(contexts))
        self._block.seed[ids] = seeds
        k = len(self._crews)
        for i, crew in enumerate(self._crews):
            crew.hold({row: task for row, task in tasks.items() if int(row) % k == i})
        lost = [row for crew in self._crews for row in crew.wait()]
        if lost:
            self._replay(np.setdiff1d(lost, ids), self.elapsed_steps)
        return super().recast(ids, contexts, seeds)

    def _tell(self, command: str, rows) -> list[int]:
        """All crews at work at once on `rows`; the rows of crews that died."""
        self._block.marked[:] = 0
        self._block.marked[rows] = 1
        for crew in self._crews:
            crew.tell(command)
        return [row for crew in self._crews for row in crew.wait()]

    def _advance(self, action):
        block = self._block
        finite = np.isfinite(action).all(axis=1)
        block.action[:] = np.where(finite[:, None], action, np.float32(0))
        self._actions[np.arange(len(self)), self.elapsed_steps] = block.action
        awake = ~self.resting
        lost = self._tell("step", awake)
        if lost:
            self._replay(np.array(lost), self.elapsed_steps + awake)
        broken = ((block.broken != 0) | ~finite) & awake
        obs, outcome = block.obs.copy(), block.outcome.copy()
        obs[broken], outcome[broken | ~awake] = self.obs[broken], 0.0
        return Advance(obs, outcome[:, 0].copy(), outcome, np.zeros(len(self), bool), broken)

    def _reset(self, ids):
        self._block.episode[:] = self.episode
        lost = self._tell("reset", ids)
        if lost:
            self._replay(np.union1d(lost, ids), self.elapsed_steps)
        return self._block.obs[ids].copy()

    def _replay(self, ids: Int[np.ndarray, " k"], steps: Int[np.ndarray, " n"]) -> None:
        """Bring worlds to where they were, or would be, after so many `steps` of their episodes, by
        playing these again: what a worker that died took with it comes back bit for bit. Raises
        WorkerDied: workers die again and again at it."""
        for _ in range(crews.MOST_DEATHS):
            ids = ids[self.episode[ids] >= 0]
            self._block.episode[:] = self.episode
            lost = self._tell("reset", ids)
            for t in range(steps[ids].max(initial=0)):
                if lost:
                    break
                self._block.action[:] = self._actions[:, t]
                lost = self._tell("step", ids[steps[ids] > t])
            if not lost:
                return
            ids = np.union1d(lost, ids)
        raise WorkerDied(
            f"processes that step Meta-World died {crews.MOST_DEATHS} times at the same steps; "
            "is memory running out?"
        )

    def _state(self):
        return self._actions.copy()

    def _set_state(self, state):
        self._actions = np.array(state)
        self._replay(np.arange(len(self)), self.elapsed_steps)

    def scene(self, i: int):
        crew = self._crews[0]
        if not isinstance(crew, crews.Crew):
            raise BadSetting("arms in worker processes cannot be drawn; give num_threads=1")
        _, arm = crew.arms[i]
        mujoco.mj_forward(arm.model, arm.data)  # a step computes positions only
        return arm.model, arm.data


def check_package() -> None:
    """Raises MissingExtra where the package is not there, or another version of it."""
    try:
        found = version("metaworld")
    except PackageNotFoundError:
        found = None
    if found != VERSION:
        there = f"version {found} is there" if found else "it is not installed"
        raise MissingExtra(
            f"this family needs metaworld {VERSION}, {there}; pip install 'hyperpolicy[metaworld]'"
        )
