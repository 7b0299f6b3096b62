"""Trackers, for who wants to watch: each gets the records that `metrics.jsonl` gets anyway.

A list in a record, one number an expert or seed, is shown as its median, lowest and highest.
"""

import hashlib
import importlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hyperpolicy.errors import BadSetting, MissingExtra

Write = Callable[[dict[str, float], int], None]
"""(numbers by name, step) → None."""


def tensorboard(module, out: Path, identity: dict) -> Write:
    """TensorBoard's event files, in `out/tensorboard`."""
    # a thread of its own writes and, after these seconds, flushes
    writer = module.SummaryWriter(str(out / "tensorboard"), flush_secs=1)

    def write(numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    return write


def hosted(module, out: Path, identity: dict) -> Write:
    """A run of project `hyperpolicy` at Weights & Biases, or in trackio, which has its interface.
    A resumed job goes on in the same run."""
    digest = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
    name = f"{out.name}-{digest}"
    extra = {"id": digest, "dir": str(out)} if module.__name__ == "wandb" else {}
    run = module.init(project="hyperpolicy", name=name, config=identity, resume="allow", **extra)
    return lambda numbers, step: run.log(numbers, step=step)


TRACKERS: dict[str, tuple[str, Callable[..., Write]]] = {
    "tensorboard": ("tensorboardX", tensorboard),
    "trackio": ("trackio", hosted),
    "wandb": ("wandb", hosted),
}
"""name → the package it needs, and what opens it; the extra has the tracker's name."""


class Tracker:
    """One tracker of a job; it opens at the first record."""

    def __init__(self, name: str):
        """Raises:
        BadSetting: no such tracker.
        MissingExtra: its package is not installed.
        """
        if name not in TRACKERS:
            raise BadSetting(f"track={name!r}; give one of {', '.join(TRACKERS)}")
        package, self.open = TRACKERS[name]
        self.name = name
        self.write: Write | None = None
        try:
            self.module = importlib.import_module(package)
        except ImportError:
            raise MissingExtra(
                f"--track {name} needs {package}: pip install 'hyperpolicy[{name}]'"
            ) from None

    def __call__(self, out: Path, identity: dict, record: dict) -> None:
        """Hand on a record, whose first number is its step. A failure is a warning: training goes
        on, and `metrics.jsonl` has the record."""
        try:
            write = self.write or self.open(self.module, out, identity)
            self.write = write
            write(numbers(record), int(next(iter(record.values()))))
        except Exception as error:
            warnings.warn(f"{self.name} did not take a record: {error}", stacklevel=2)


def numbers(record: dict) -> dict[str, float]:
    """The finite numbers of a record; a list's median, lowest and highest."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, list):
            finite = np.array(value, float)[np.isfinite(np.array(value, float))]
            if len(finite):  # before the first episode ends there is no return
                parts = {"median": np.median(finite), "lowest": finite.min()}
                parts["highest"] = finite.max()
                found |= {f"{name}/{part}": float(x) for part, x in parts.items()}
        elif isinstance(value, int | float):
            found[name] = float(value)
    return found
