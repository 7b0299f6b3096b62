"""Ctrl-C ends the command with "interrupted" and 130: while modules load, and where Python itself
swallows it. Imports little, as it comes first.
"""

import os
import signal
import sys

AGAIN_S = 0.05
"""Seconds until an interrupt that was swallowed is tried once more."""


def prepare() -> None:
    """If this process is the command `hyperpolicy`, and still loads it: end quietly on Ctrl-C."""
    called = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    if called in ("hyperpolicy", "hyperpolicy.exe") or sys.orig_argv[1:3] == ["-m", "hyperpolicy"]:
        try:  # contextlib would be slow to load
            signal.signal(signal.SIGINT, _end)
        except ValueError:  # not the main thread
            return


def _end(*_) -> None:
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(130)


class Heard:
    """Within it, Ctrl-C raises KeyboardInterrupt, and again if it came while a callback ran, whose
    errors Python only prints; `swallowed` has a timer for each that did."""

    def __enter__(self) -> "Heard":
        self.swallowed: list = []
        self.before, self.hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
        if self.before is _end:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = self._unraisable
        return self

    def _unraisable(self, found) -> None:
        import threading

        if not issubclass(found.exc_type, KeyboardInterrupt):
            self.hook(found)
            return
        timer = threading.Timer(AGAIN_S, signal.raise_signal, (signal.SIGINT,))
        timer.daemon = True
        timer.start()
        self.swallowed.append(timer)

    def __exit__(self, *_) -> None:
        sys.unraisablehook = self.hook
        for timer in self.swallowed:
            timer.cancel()
        if self.before is _end:
            signal.signal(signal.SIGINT, _end)
