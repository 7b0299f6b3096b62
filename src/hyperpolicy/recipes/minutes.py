"""How long the stages of a recipe took, in minutes, in a file that goes on where it was stopped."""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyperpolicy import files
from hyperpolicy.errors import BadFile, HyperpolicyError
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
    over, faults = threading.Event(), list[str]()
    watch = threading.Thread(target=_watch, args=(path, stage, over, faults), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        if faults:  # of the last note, which holds all minutes that are not noted yet
            warnings.warn(f"the minutes of {stage!r} are not noted: {faults[-1]}", stacklevel=3)


def _watch(path: Path, stage: str, over: threading.Event, faults: list[str]) -> None:
    since, last = time.monotonic(), False
    while not last:
        last = over.wait(EVERY_S)
        now = time.monotonic()
        faults.clear()
        try:
            record = read(path)
            record[stage] = record.get(stage, 0.0) + (now - since) / 60.0
            files.save_json(path, record, overwrite=True)
            since = now
        except HyperpolicyError as error:
            faults.append(str(error))


def read(path: Path) -> dict[str, float]:
    """stage → minutes; none before the first note.

    Raises:
        BadFile: the file holds something else.
    """
    record = files.load_json(path) if path.exists() else {}
    numbers = record.values() if isinstance(record, dict) else [None]
    if not all(isinstance(minutes, int | float) for minutes in numbers):
        raise BadFile(f"{path} does not hold minutes of stages; remove it")
    return record


def table(path: Path) -> str:
    """Markdown: a line a stage, and all of them; stages alike up to a colon are one."""
    spent: dict[str, float] = {}
    for stage, minutes in read(path).items():
        name = stage.partition(":")[0]
        spent[name] = spent.get(name, 0.0) + minutes
    rows = [*spent.items(), ("**all**", sum(spent.values(), 0.0))]
    return markdown(["stage", "minutes"], [[name, number(minutes)] for name, minutes in rows])
