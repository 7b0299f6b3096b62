"""One part of a command's work: a command line of ours, run as a process somewhere.

A process of its own has its own devices and cores, may be killed at any time, and resumes from its
snapshot when it is run again. Its directory must be seen by all machines under one path.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FLAG = "--xla_force_host_platform_device_count"
PARENT = "HYPERPOLICY_PARENT"
REFUSED, TAIL = 2, 2_000
"""The exit code of what trying again does not mend; characters of a log's end that are read."""


class Task(NamedTuple):
    name: str
    arguments: tuple[str, ...]
    """Of `hyperpolicy`."""
    log: Path
    """What it prints is added here."""
    cores: int = 1


class Outcome(NamedTuple):
    """How a task ended."""

    code: int
    said: str
    """The last line it printed."""


def run(task: Task) -> Outcome:
    """Run a task here, and wait for it. It ends when this process does."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    kept = [f for f in os.environ.get("XLA_FLAGS", "").split() if not f.startswith(FLAG)]
    surroundings = {
        **os.environ,
        "HYPERPOLICY_CORES": str(task.cores),
        PARENT: str(os.getpid()),
        "XLA_FLAGS": " ".join([*kept, f"{FLAG}={task.cores}"]),
    }
    with open(task.log, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hyperpolicy", *task.arguments],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=surroundings,
        )
        code = process.wait()
    return Outcome(code, last_line(task.log))


def last_line(path: Path) -> str:
    """The last line of a log; '' where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def end_with_parent() -> None:
    """Arrange that this process ends when the one that began it for a task does, so that a killed
    worker leaves nobody who holds the directory. Nothing happens elsewhere, or but on Linux."""
    parent = os.environ.pop(PARENT, "")
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != int(parent):  # it has ended already
            os._exit(1)
