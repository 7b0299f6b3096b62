"""Meta-World's worlds: arms in worker processes, one a core, over shared memory.

A third of a step is Python, so threads would help little. With one thread the arms live in this
process, where they can be drawn. Snapshots hold the actions of the episodes in progress, which are
played again: the package keeps state in places that cannot be copied.
"""

import weakref
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import mujoco
import numpy as np
from jaxtyping import Int

from hyperpolicy.envs.family import Advance, Family, Worlds
from hyperpolicy.envs.metaworld import crews
from hyperpolicy.envs.metaworld.block import Memory
from hyperpolicy.envs.metaworld.tasks import TASKS
from hyperpolicy.errors import BadSetting, MissingExtra, WorkerDied

VERSION = "3.0.0"
"""Later ones ask for a MuJoCo that is older than ours."""


class ArmWorlds(Worlds):
    """n arms, each on the task of its context."""

    def __init__(
        self,
        family: Family,
        kind: tuple[str, bool],
        contexts,
        seed: int | Int[np.ndarray, " n"] = 0,
        num_threads: int = 0,
    ):
        """`kind` is the reward's version, and whether configurations are frozen.

        Raises MissingExtra without the package metaworld, and as `Worlds`.
        """
        check_package()
        super().__init__(family, contexts, seed, num_threads)
        self.kind = kind
        n, k = len(self), self.num_threads
        self._actions = np.zeros((n, family.horizon_steps, family.action_size), np.float32)
        self._memory = Memory(n)
        self._block = self._memory.block
        self._block.seed[:] = self.seeds
        openings = [self._opening(list(range(i, n, k))) for i in range(k)]
        self._crews: Sequence[crews.Local | crews.Worker]
        if k == 1:
            self._crews = [crews.Local(openings[0])]
        else:
            self._crews = [crews.hire(opening) for opening in openings]
            for crew in self._crews:
                crew.wait()
            weakref.finalize(self, crews.release, self._crews)

    def _opening(self, rows: list[int]) -> dict:
        """What a crew needs to know of its worlds."""
        return {
            "path": self._memory.path,
            "n": len(self),
            "tasks": _tasks(rows, self.contexts[rows]),
            "reward_version": self.kind[0],
            "frozen": self.kind[1],
        }

    def recast(self, ids, contexts, seeds):
        tasks = _tasks(ids.tolist(), self.family.context.check(contexts))
        self._block.seed[ids] = seeds
        for i, crew in enumerate(self._crews):
            crew.hold(
                {row: task for row, task in tasks.items() if int(row) % len(self._crews) == i}
            )
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
        playing these again: what a worker that died took with it comes back bit for bit.

        Raises:
            WorkerDied: workers die again and again at it.
        """
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
        if not isinstance(crew, crews.Local):
            raise BadSetting("arms in worker processes cannot be drawn; give num_threads=1")
        _, arm = crew.crew.arms[i]
        mujoco.mj_forward(arm.model, arm.data)  # a step computes positions only
        return arm.model, arm.data


def _tasks(rows: Sequence[int], contexts) -> dict[str, str]:
    """row → task; JSON wants keys of text."""
    return {str(row): TASKS[int(c[0])] for row, c in zip(rows, contexts, strict=True)}


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
