"""Who steps arms: worker processes, or this one.

Workers start with the first worlds, are kept for the next ones, and end with this process.
"""

import atexit
import json
import subprocess
import sys
import tempfile
from contextlib import suppress

from hyperpolicy.envs.metaworld.worker import OK, Crew
from hyperpolicy.errors import WorkerDied

MODULE = "hyperpolicy.envs.metaworld.worker"
MOST_DEATHS = 3
"""A worker that dies so often in a row is given up."""

_idle: list["Worker"] = []


class Local:
    """A crew in this process."""

    def __init__(self, opening: dict):
        self.crew = Crew()
        self.crew.open(**opening)

    def hold(self, tasks: dict[str, str]) -> None:
        """Put rows on other tasks."""
        self.crew.hold(tasks)

    def tell(self, command: str) -> None:
        self.crew.do(command)

    def wait(self) -> list[int]:
        """Nobody died."""
        return []


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

    def open(self, opening: dict) -> None:
        """Take over these worlds; `wait` for it."""
        self.opening, self.deaths = opening, 0
        self.tell({"open": opening})

    def hold(self, tasks: dict[str, str]) -> None:
        """Put rows on other tasks; `wait` for it."""
        self.opening["tasks"] |= tasks
        self.tell({"hold": {"tasks": tasks}})

    def tell(self, command) -> None:
        """Give a command, to be waited for."""
        assert self._process.stdin is not None
        with suppress(OSError):  # of a dead one, as `wait` will find
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def wait(self) -> list[int]:
        """The rows whose state was lost: none, or all of them where the worker died and another
        took over.

        Raises:
            WorkerDied: it died again and again; its last words.
        """
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
            self.tell({"open": self.opening})
            if self._answered():
                return [int(row) for row in self.opening["tasks"]]
        raise WorkerDied(f"a process that steps Meta-World died {self.deaths} times: {last}")

    def _answered(self) -> bool:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip() == OK

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self._process.kill()
        self._process.wait()
        self._words.close()


def hire(opening: dict) -> Worker:
    """A worker on its way to hold these worlds; an idle one where there is one."""
    while _idle:
        worker = _idle.pop()
        if worker.alive:
            break
        worker.stop()
    else:
        worker = Worker()
    worker.open(opening)
    return worker


def release(crews: list) -> None:
    """Keep the workers for the next worlds."""
    _idle.extend(crew for crew in crews if isinstance(crew, Worker))


@atexit.register
def dismiss() -> None:
    """End all idle workers."""
    while _idle:
        _idle.pop().stop()
