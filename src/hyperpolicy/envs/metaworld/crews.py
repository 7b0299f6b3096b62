"""Crews: who steps arms, in this process or in worker processes over shared memory.

Workers start with the first worlds, are kept for the next ones, and end with this process. A worker
(`python -m hyperpolicy.envs.metaworld.crews`) is told what to do by lines of JSON on its standard
input, answers each with a line, and ends when that input does, so with its parent. Simulations it
has made are kept for the next worlds.

    ["open", {"path", "n", "tasks", "kind"}]    hold these worlds, row → task
    ["hold", {"tasks"}]     put some of them on other tasks
    ["step", {}]            one step of the marked ones
    ["reset", {}]           the marked ones begin their episodes
"""

import atexit
import json
import mmap
import os
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from types import SimpleNamespace

import numpy as np

from hyperpolicy.envs.metaworld.arm import Arm, silent
from hyperpolicy.envs.mujoco import quiet_engine
from hyperpolicy.errors import WorkerDied

MODULE = "hyperpolicy.envs.metaworld.crews"
OK = "ok"
MOST_DEATHS = 3
"""A worker that dies so often in a row is given up."""
MOST_IDLE = 2
"""Simulations kept that nobody steps, for each that is; one is some 24 MB. The tasks used last
stay."""


# --- Shared memory ------------------------------------------------------------------------
COLUMNS: dict[str, tuple[tuple[int, ...], type]] = {
    "action": ((4,), np.float32),
    "obs": ((39,), np.float32),
    "outcome": ((2,), np.float32),
    "broken": ((), np.int64),
    "seed": ((), np.int64),
    "episode": ((), np.int64),
    "marked": ((), np.int64),
}
"""Shape and type of a row in each column; `marked` says for which rows the next command is."""
LINE = 64
"""Bytes of a cache line; each column begins one."""


class Memory:
    """Nameless memory behind a block: gone when the last process lets go of it. Linux only."""

    def __init__(self, n: int):
        handle = os.memfd_create("hyperpolicy")
        weakref.finalize(self, os.close, handle)
        bytes_of = (n * np.dtype((kind, row)).itemsize for row, kind in COLUMNS.values())
        os.ftruncate(handle, sum(LINE + size for size in bytes_of))
        self.path = f"/proc/{os.getpid()}/fd/{handle}"
        """Where this process's children open it."""
        self.block = attach(self.path, n)


def attach(path: str, n: int) -> SimpleNamespace:
    """The block in a file: live views of the columns' n rows, the same memory in every process."""
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    block, start = SimpleNamespace(), 0
    for name, (row, kind) in COLUMNS.items():
        view = np.ndarray((n, *row), kind, memory, start)
        setattr(block, name, view)
        start += -(-view.nbytes // LINE) * LINE
    return block


# --- In this process ----------------------------------------------------------------------
class Crew:
    """The arms of some rows of a block, in this process."""

    def __init__(self) -> None:
        self.idle: dict[tuple, list[Arm]] = {}
        """By task and kind, the last one used last."""
        self.arms: dict[int, tuple[tuple, Arm]] = {}
        self.block: SimpleNamespace
        self.kind: tuple
        """Of all arms, beside the task: the reward's version, whether they are frozen, and which
        configurations they draw."""

    def tell(self, command: str, **arguments) -> None:
        """Do what a command says."""
        getattr(self, command)(**arguments)

    def wait(self) -> list[int]:
        """Nobody died."""
        return []

    def open(self, path: str, n: int, tasks: dict[str, str], kind) -> None:
        """Hold the rows of the block in `path` that `tasks` names, and no others."""
        self._let_go(list(self.arms))
        self.block, self.kind = attach(path, n), tuple(kind)
        self.hold(tasks)

    def hold(self, tasks: dict[str, str]) -> None:
        """Put rows on other tasks."""
        self._let_go([int(row) for row in tasks if int(row) in self.arms])
        for row, task in tasks.items():
            key = (task, *self.kind)
            self.arms[int(row)] = key, self.idle[key].pop() if self.idle.get(key) else Arm(*key)
        # one task's arms follow one another, so that its code stays warm
        self.arms = dict(sorted(self.arms.items(), key=lambda item: (item[1][0], item[0])))

    def _let_go(self, rows: list[int]) -> None:
        """Keep the arms of some rows for others, but not too many."""
        most, kept = MOST_IDLE * len(self.arms), 0
        for row in rows:
            key, arm = self.arms.pop(row)
            self.idle[key] = [*self.idle.pop(key, []), arm]
        for key in reversed(list(self.idle)):
            self.idle[key] = self.idle[key][: most - kept]
            kept += len(self.idle[key])

    def reset(self) -> None:
        """Begin the marked worlds' episodes."""
        block = self.block
        for row, (_, arm) in self.arms.items():
            if block.marked[row]:
                block.obs[row] = arm.reset(int(block.seed[row]), int(block.episode[row]))

    def step(self) -> None:
        """One step of the marked worlds."""
        block = self.block
        marked = block.marked.tolist()
        rows = [row for row in self.arms if marked[row]]
        if not rows:
            return
        with silent():
            steps = [self.arms[row][1].step(block.action[row]) for row in rows]
        obs = np.array([step.obs for step in steps])
        outcome = np.array([(step.reward, step.success) for step in steps])
        block.broken[rows] = ~(np.isfinite(obs).all(axis=1) & np.isfinite(outcome[:, 0]))
        block.obs[rows], block.outcome[rows] = obs, outcome


# --- In other processes -------------------------------------------------------------------
idle: list["Worker"] = []
"""Kept for the next worlds."""


class Worker:
    """A crew in a process of its own, which is replaced when it dies."""

    def __init__(self) -> None:
        self.deaths = 0
        self.opening: dict = {}
        self._start()

    def _start(self) -> None:
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )

    def open(self, **opening) -> None:
        """Take over these worlds; `wait` for it."""
        self.opening, self.deaths = opening, 0
        self.tell("open", **opening)

    def hold(self, tasks: dict[str, str]) -> None:
        """Put rows on other tasks; `wait` for it."""
        self.opening["tasks"] |= tasks
        self.tell("hold", tasks=tasks)

    def tell(self, command: str, **arguments) -> None:
        """Give a command, to be waited for."""
        assert self._process.stdin is not None
        with suppress(OSError):  # of a dead one, as `wait` will find
            self._process.stdin.write(json.dumps([command, arguments]) + "\n")
            self._process.stdin.flush()

    def wait(self) -> list[int]:
        """The rows whose state was lost: none, or all of them where the worker died and another
        took over. Raises WorkerDied: it died again and again; its last words."""
        if self._answered():
            self.deaths = 0
            return []
        last = ""
        while self.deaths < MOST_DEATHS:
            self.deaths += 1
            self._process.wait()
            self._words.seek(0)
            last = (self._words.read().strip().splitlines() or [last])[-1]
            self.stop()
            self._start()
            self.tell("open", **self.opening)
            if self._answered():
                return [int(row) for row in self.opening["tasks"]]
        raise WorkerDied(f"a process that steps Meta-World died {self.deaths} times: {last}")

    def _answered(self) -> bool:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip() == OK

    def stop(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self._process.kill()
        self._process.wait()
        self._words.close()


def hire() -> Worker:
    """A worker: an idle one where there is one."""
    while idle:
        worker = idle.pop()
        if worker._process.poll() is None:
            return worker
        worker.stop()
    return Worker()


@atexit.register
def dismiss() -> None:
    """End all idle workers."""
    while idle:
        idle.pop().stop()


def main() -> None:
    """Answer commands until there are no more."""
    reply = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    crew = Crew()
    with quiet_engine():
        for line in sys.stdin:
            command, arguments = json.loads(line)
            crew.tell(command, **arguments)
            print(OK, file=reply)


if __name__ == "__main__":
    main()
