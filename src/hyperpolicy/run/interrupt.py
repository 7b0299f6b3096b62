"""Ctrl-C that waits for a good moment: between two steps of a long job."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Deferred:
    """A handler of Ctrl-C that only remembers it, and says so."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, *_) -> None:
        if not self.event.is_set():
            with suppress(OSError):
                os.write(2, b"\nstopping after this step\n")
        self.event.set()


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that a loop can stop between two steps and save.

    Where nothing inside raises KeyboardInterrupt, the end of the block does: an interruption is
    never lost. Inner blocks share the event of the outermost. Only the main thread receives
    signals; elsewhere, and where Ctrl-C is ignored, the event is never set.
    """
    old = signal.getsignal(signal.SIGINT)
    if isinstance(old, Deferred):
        yield old.event
        return
    if threading.current_thread() is not threading.main_thread() or old is signal.SIG_IGN:
        yield threading.Event()
        return
    handler = Deferred()
    signal.signal(signal.SIGINT, handler)
    try:
        yield handler.event
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if old is None else old)
    if handler.event.is_set():
        raise KeyboardInterrupt
