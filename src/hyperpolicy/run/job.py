"""One long job in steps: what it is, snapshots it goes on from bit for bit, its metrics, its
progress, and Ctrl-C. Training of fleets and fits of generators are such jobs.

    run.json                what the job is: everything its result depends on
    snapshot.safetensors    the state after some step; gone when the result is safe
    metrics.jsonl           one record a report
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hyperpolicy import files, headers
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, OutOfTime
from hyperpolicy.run import directory
from hyperpolicy.run.trackers import Tracker

SNAPSHOT, METRICS, RUN = "snapshot.safetensors", "metrics.jsonl", "run.json"
SNAPSHOT_S = 120.0
"""Seconds between two snapshots."""


@dataclass(frozen=True)
class Output:
    """Where a job writes, and who watches."""

    path: Path
    track: tuple[str, ...] = ()
    """Names of trackers (`run.trackers`) that get each record of metrics too."""
    provenance: dict = field(default_factory=dict)
    """What files say of the job besides; it is never read back."""
    minutes: float | None = None
    """After which the job stops, with a snapshot."""

    @classmethod
    def of(cls, out: "str | Path | Output | None") -> "Output | None":
        """The output at a path; None stands for none."""
        return out if out is None or isinstance(out, Output) else cls(Path(out))


class SnapshotHeader(msgspec.Struct, frozen=True):
    """What stands beside the arrays of a snapshot."""

    step: headers.Count
    records: headers.Count
    """Lines of metrics written until then."""
    seconds: float


class Job:
    """A job of `total` steps, of which `step` are done.

    `identity` holds everything the result depends on, as JSON: it is compared with the one that
    is there before anything is loaded.
    """

    def __init__(self, identity: dict, total: int, out: Output | None, claimed: tuple = ()):
        """`claimed` are names in the directory that belong to the job's earlier stages.

        Raises:
            BadSetting: the directory holds another job; the message says which settings differ.
            AlreadyExists: it holds files and no job.
            BadFile, DiskFull: it cannot be written, or its record is damaged.
            MissingExtra, BadSetting: a tracker is not installed, or not known.
        """
        self.identity, self.total, self.out = identity, total, out
        self.step, self.records = 0, 0
        self.spent_s, self.began = 0.0, time.monotonic()
        self.saved = self.began
        self.trackers = [Tracker(name) for name in out.track] if out else []
        if out is not None:
            _identify(out.path, identity, claimed)

    @property
    def seconds(self) -> float:
        """Spent on the job, before a kill too."""
        return self.spent_s + time.monotonic() - self.began

    # --- Steps ----------------------------------------------------------------------------
    @contextmanager
    def running(self, progress: AbstractContextManager) -> Iterator[None]:
        """A block in which `advance` may be called; its progress is shown."""
        self.began = self.saved = time.monotonic()
        with progress, deferred_interrupt() as self._interrupted:
            yield

    def advance(self, steps: int, state: Callable[[], object]) -> None:
        """Say that `steps` more are done. Now and then, at Ctrl-C, and where its minutes are over,
        writes a snapshot of `state()`; after the last step the caller saves what came of it.

        Raises:
            KeyboardInterrupt: after the snapshot, where Ctrl-C asked for it.
            OutOfTime: after the snapshot, where the minutes are over.
            BadFile, DiskFull: the snapshot cannot be written; the last one is intact.
        """
        self.step += steps
        if self.step >= self.total:
            return
        stop, now = self._interrupted.is_set(), time.monotonic()
        minutes = None if self.out is None else self.out.minutes
        over = minutes is not None and now - self.began > 60.0 * minutes
        if self.out is not None and (stop or over or now - self.saved > SNAPSHOT_S):
            self.save(state())
        if stop:
            raise KeyboardInterrupt
        if over:
            assert self.out is not None
            raise OutOfTime(
                f"{minutes:.3g} minutes are over after {self.step} of {self.total} steps; the same "
                f"call goes on from {self.out.path}"
            )

    # --- Snapshots ------------------------------------------------------------------------
    def save(self, tree) -> None:
        """Write a snapshot of the state after `step` steps, over the last one."""
        if self.out is None:
            return
        directory.check(self.out.path)
        meta = SnapshotHeader(self.step, self.records, self.seconds)
        files.save_tree(self.out.path / SNAPSHOT, tree, msgspec.to_builtins(meta), overwrite=True)
        self.saved = time.monotonic()

    def resume(self, like: Callable[[int], object]):
        """The state in the snapshot, or None where there is none; `step` and the metrics are put
        where they were then. `like(step)` is a pytree of the state's shapes after that many steps.

        Raises:
            BadFile: the snapshot is damaged, or another version of this package wrote it.
        """
        if self.out is None:
            return None
        path = self.out.path / SNAPSHOT
        if not path.exists():
            self._cut_metrics(0)  # of a job killed before its first snapshot
            return None
        try:
            meta = msgspec.convert(files.read_meta(path), SnapshotHeader)
            tree, _ = files.load_tree(path, like(meta.step))
        except (BadFile, msgspec.ValidationError) as error:
            raise BadFile(
                f"this run cannot go on: its snapshot is damaged, or from another version of "
                f"hyperpolicy or number of devices ({error}); remove {path.parent} to begin again"
            ) from None
        self.step, self.records, self.spent_s = meta.step, meta.records, meta.seconds
        self._cut_metrics(self.records)
        return tree

    def finish(self, *, keep_record: bool = True) -> None:
        """Remove the snapshot, now that the result is safe; and `run.json`, unless a second call
        with the same settings shall find the result by it."""
        if self.out is not None:
            (self.out.path / SNAPSHOT).unlink(missing_ok=True)
            if not keep_record:
                (self.out.path / RUN).unlink(missing_ok=True)

    # --- Metrics --------------------------------------------------------------------------
    def log(self, record: dict) -> None:
        """Append a record to the metrics, with the seconds spent; the trackers get it too."""
        if self.out is None:
            return
        directory.check(self.out.path)
        record = {**record, "seconds": round(self.seconds, 2)}
        files.append_line(self.out.path / METRICS, record)
        self.records += 1
        for tracker in self.trackers:
            tracker(self.out.path, self.identity, record)

    def _cut_metrics(self, num_lines: int) -> None:
        """Drop the lines written after the snapshot; they come again."""
        assert self.out is not None
        path = self.out.path / METRICS
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[:num_lines]
            text = "".join(line + "\n" for line in lines)
            files.write(path, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)


# --- Identity -----------------------------------------------------------------------------
def _identify(path: Path, identity: dict, claimed: tuple) -> None:
    """Write what a job is, or compare with what is there."""
    record = json.loads(json.dumps(identity, default=files.plain))  # as it will be read back
    if not (path / RUN).exists():
        if not directory.is_free(path, claimed):
            raise AlreadyExists(f"{path} holds files and no run to resume; choose another name")
        files.save_json(path / RUN, record)
        return
    there = files.load_json(headers.regular(path / RUN))
    if not isinstance(there, dict):
        raise BadFile(f"{path / RUN} does not describe a run; choose another directory")
    for name in record | there:
        if there.get(name) != record.get(name):
            raise BadSetting(
                f"{path} holds a run with another {name}"
                f"{_difference(there.get(name), record.get(name))}; resume it with the settings "
                f"in {path / RUN}, or choose another directory"
            )


def _difference(was, value) -> str:
    """Which settings differ, where both sides have some; numbers and words with what they are."""
    if not isinstance(was, dict) or not isinstance(value, dict):
        return ""
    found = []
    for name in [k for k in {**was, **value} if was.get(k) != value.get(k)]:
        both = was.get(name), value.get(name)
        plain = all(isinstance(one, int | float | str) for one in both)
        found.append(f"{name} {both[0]}, here {both[1]}" if plain else name)
    return f" ({'; '.join(found)})"


# --- Ctrl-C -------------------------------------------------------------------------------
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
