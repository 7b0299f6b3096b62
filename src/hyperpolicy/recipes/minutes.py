"""How long the stages of a recipe took, in minutes, in a file that goes on where it was stopped."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperpolicy import files
from hyperpolicy.evaluate.tables import markdown, number

EVERY_S = 60.0
"""Seconds between two notes: what a kill hides at most."""


@contextmanager
def timed(path: Path, stage: str, result: Path | None = None) -> Iterator[None]:
    """Adds what the block takes to the stage's minutes in `path`, whether or not it ends well.

    Nothing is added where `result` is there already: the block only reads it. Blocks on one file
    do not nest.
    """
    if result is not None and result.exists():
        yield
        return
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(path, stage, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(path: Path, stage: str, over: threading.Event) -> None:
    since, last = time.monotonic(), False
    while not last:
        last = over.wait(EVERY_S)
        now, record = time.monotonic(), read(path)
        record[stage] = record.get(stage, 0.0) + (now - since) / 60.0
        files.save_json(path, record, overwrite=True)
        since = now


def read(path: Path) -> dict[str, float]:
    """stage → minutes; none before the first note."""
    return files.load_json(path) if path.exists() else {}


def table(path: Path) -> str:
    """Markdown: a line a stage, and all of them; stages alike up to a colon are one."""
    spent: dict[str, float] = {}
    for stage, minutes in read(path).items():
        name = stage.partition(":")[0]
        spent[name] = spent.get(name, 0.0) + minutes
    rows = [*spent.items(), ("**all**", sum(spent.values(), 0.0))]
    return markdown(["stage", "minutes"], [[name, number(minutes)] for name, minutes in rows])
