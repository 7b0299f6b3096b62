"""Ctrl-C ends the command with "interrupted" and 130: while modules load, and where Python itself
swallows it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath

AGAIN_S = 0.05
"""Seconds until an interrupt that was swallowed is tried once more."""


def prepare() -> None:
    """If this process is the command `hyperpolicy`, and still loads it: end quietly on Ctrl-C."""
    named = PurePath(sys.argv[0]).stem == "hyperpolicy" if getattr(sys, "argv", None) else False
    if named or sys.orig_argv[1:3] == ["-m", "hyperpolicy"]:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, _end)


def _end(*_) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(130)


@contextmanager
def heard() -> Iterator[list]:
    """Within it, Ctrl-C raises KeyboardInterrupt, and again if it came while a callback ran, whose
    errors Python only prints; the list holds those that did."""
    swallowed: list[threading.Timer] = []
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook

    def unraisable(found) -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            return hook(found)
        swallowed.append(threading.Timer(AGAIN_S, signal.raise_signal, (signal.SIGINT,)))
        swallowed[-1].daemon = True
        swallowed[-1].start()

    ours = before is _end and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = unraisable
    try:
        yield swallowed
    finally:
        sys.unraisablehook = hook
        for timer in swallowed:
            timer.cancel()
        if ours:
            signal.signal(signal.SIGINT, before)
