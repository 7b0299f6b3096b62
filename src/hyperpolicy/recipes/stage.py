"""Stages of a recipe: what each leaves is made once and read from then on, and how long it took is
noted, in minutes, in a file that goes on where it was stopped."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hyperpolicy import files
from hyperpolicy.errors import BadFile, HyperpolicyError
from hyperpolicy.evaluate.tables import markdown, number

EVERY_S = 60.0
"""Seconds between two notes: what a kill hides at most."""


def make_once(
    result: Path, make: Callable[[], object], clock: AbstractContextManager | None = None
) -> Path:
    """The path of a file or directory that `make` leaves, made where it is missing; `clock` notes
    how long that takes (`timed`).

    What takes long resumes by itself: `make` goes on from what a stopped call left.
    """
    if not result.exists():
        with clock or nullcontext():
            make()
    return result


def record_once(
    path: Path, make: Callable[[], Any], clock: AbstractContextManager | None = None
) -> Any:
    """What `make` returned when it ran, as the JSON file `path` holds it."""
    return files.load_json(make_once(path, lambda: files.save_json(path, make()), clock))


def write_page(path: Path, text: str) -> Path:
    """A page of text, written over what is there."""
    return files.write(path, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)


def slug(name: str) -> str:
    """A row's name as the name of a file."""
    return name.replace(",", "").replace(" ", "-").lower()


# --- Minutes ------------------------------------------------------------------------------
@contextmanager
def timed(path: Path, stage: str) -> Iterator[None]:
    """Adds what the block takes to the stage's minutes in `path`, whether or not it ends well.

    Blocks on one file do not nest.
    """
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
    """stage → minutes, none before the first note; BadFile where the file holds something else."""
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
