"""The one training loop of the generators: seeds side by side, metrics, snapshots, resuming.

`init(key)` and `step(state, key, i, own, shared)` are written for ONE fit; `vmap` runs the fits of
several seeds at once. `own` is each fit's data, `shared` all fits'. All randomness comes from the
seed and `i`, so a run that was killed and resumed equals one left alone.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from hyperpolicy import devices, files, seeds
from hyperpolicy.errors import AlreadyExists, BadSetting
from hyperpolicy.run import directory
from hyperpolicy.run.interrupt import deferred_interrupt
from hyperpolicy.run.job import load_snapshot
from hyperpolicy.run.progress import Steps

REPORT_STEPS = 100
"""Steps of one jitted call, and between two lines of metrics."""
SNAPSHOT, METRICS = "snapshot.safetensors", "metrics.jsonl"
SNAPSHOT_S = 60.0
"""Seconds between snapshots."""
ENCODER = "encoder"
"""A directory in a run's own, where an earlier stage of the run is trained."""


@dataclass(frozen=True)
class Run:
    """What a run is called, how long it is, where it writes, and what identifies it."""

    label: str
    seeds: tuple[int, ...]
    steps: int
    out: Path | None
    signature: dict
    """Everything the result depends on: a snapshot resumes only under the same signature."""

    def __post_init__(self):
        """Raises BadSetting for a seed that is no whole number ≥ 0."""
        seeds.numbers(self.seeds)

    @property
    def numbers(self) -> Int[np.ndarray, " n"]:
        """What the fits' keys are made of."""
        return seeds.numbers(self.seeds)


class Fits(NamedTuple):
    """What the fits of a run came to."""

    state: Any
    """Their last states, on axis n."""
    died_at: Int[np.ndarray, " n"]
    """The step at which each one's numbers stopped being finite; −1: it lives."""

    def living(self, tree) -> dict[int, Any]:
        """The part of each fit that lived, by its place in the run's seeds, of a tree on axis n."""
        alive = np.flatnonzero(np.asarray(self.died_at) < 0)
        return {int(n): jax.tree.map(lambda leaf, n=n: np.asarray(leaf[n]), tree) for n in alive}


def learn(run: Run, init: Callable, step: Callable, own, shared) -> Fits:
    """The fits of all seeds after `run.steps` steps; errors as `train`.

    A seed's first state is `init(key)`, and step i is drawn from a key of the seed and i.
    """
    numbers = jnp.asarray(run.numbers)
    start = jax.jit(jax.vmap(lambda seed: init(jax.random.key(seed))))(numbers)

    def one(state, own, shared, i):
        seed, mine = own
        return step(state, jax.random.fold_in(jax.random.key(seed), i), i, mine, shared)

    return Fits(*train(run, one, start, (numbers, own), shared))


def train(run: Run, step: Callable, state, own, shared) -> tuple[Any, Int[np.ndarray, " n"]]:
    """The state after `run.steps` steps, and the step at which each fit died (−1: it lives).

    A fit dies when one of its losses stops being finite; the others go on. Ctrl-C writes a
    snapshot, then raises KeyboardInterrupt.

    Raises:
        BadSetting: every fit died, or the snapshot in `run.out` is of another run.
        Busy: another process works in `run.out`.
        BadFile: somebody removed `run.out` meanwhile.
    """
    with directory.hold(run.out):
        state, died_at = _train(run, step, state, own, shared)
    return state, _mourn(run, np.asarray(died_at))


def _train(run: Run, step: Callable, state, own, shared):
    fits = (state, jnp.full(len(run.seeds), -1))
    start, fits = resume(run, fits)
    advance = jax.jit(partial(_advance, jax.vmap(step, (0, 0, None, None))), donate_argnums=0)
    saved = time.monotonic()
    size = sum(leaf.size for leaf in jax.tree.leaves(state)) // len(run.seeds)
    with (
        devices.precision(size),
        Steps(run.label, run.steps, start) as progress,
        deferred_interrupt() as interrupted,
    ):
        while start < run.steps:
            stop = min(start + REPORT_STEPS, run.steps)
            fits, means = advance(fits, own, shared, start, stop)
            start = stop
            means = {name: np.asarray(value) for name, value in means.items()}
            _log(run, start, means)
            progress.update(start, _line(means))
            stopped = interrupted.is_set()
            if time.monotonic() - saved >= SNAPSHOT_S or start == run.steps or stopped:
                snapshot(run, start, fits)
                saved = time.monotonic()
            if stopped:
                raise KeyboardInterrupt
    return fits


# --- Steps --------------------------------------------------------------------------------
def _advance(step: Callable, fits, own, shared, start, stop):
    """Steps `start` … `stop` of all fits, and the mean of each metric over them."""
    shapes = jax.eval_shape(step, fits[0], own, shared, start)[1]
    sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def body(i, carry):
        (state, died_at), sums = carry
        state, metrics = step(state, own, shared, i)
        finite = jnp.isfinite(sum(metrics.values()))
        died_at = jnp.where(finite | (died_at >= 0), died_at, i)
        return (state, died_at), jax.tree.map(jnp.add, sums, metrics)

    fits, sums = jax.lax.fori_loop(start, stop, body, (fits, sums))
    return fits, jax.tree.map(lambda s: s / (stop - start), sums)


def _mourn(run: Run, died_at: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    dead = [f"seed {s} at step {i}" for s, i in zip(run.seeds, died_at, strict=True) if i >= 0]
    if dead:
        text = f"{run.label}: numbers stopped being finite for {', '.join(dead)}"
        if len(dead) == len(run.seeds):
            raise BadSetting(f"{text}; lower the rate or the loss weights")
        warnings.warn(f"{text}; the other seeds went on", stacklevel=3)
    return died_at


# --- Snapshots ----------------------------------------------------------------------------
_used: set[Path] = set()
"""Snapshots that runs of this process wrote or went on from, and that are not done with."""


def resume(run: Run, fits):
    """Where to go on: the snapshot in `run.out`, or step 0 in a new directory.

    Raises:
        BadSetting: the snapshot belongs to another configuration, zoo or list of seeds.
        AlreadyExists: `run.out` holds other files.
        BadFile: the snapshot is damaged, or of another version of this package.
    """
    if run.out is None:
        return 0, fits
    _check_claim(run.out)
    path = run.out / SNAPSHOT
    if not path.exists():
        snapshot(run, 0, fits)
        return 0, fits
    meta = files.read_meta(path)
    if meta.get("signature") != _signature(run):
        raise BadSetting(
            f"{run.out} holds a snapshot of another run (its configuration, zoo or seeds differ); "
            "choose another directory or remove it"
        )
    fits, step = load_snapshot(path, fits), meta.get("step", 0)
    _used.add(path)
    _trim_log(run.out / METRICS, step)
    return step, fits


def claim(out: Path | None) -> None:
    """Check that `out` is free, or holds a run to resume, before the first stage of a run.

    Raises:
        AlreadyExists: it holds other files or directories.
    """
    if out is not None:
        _used.difference_update({path for path in _used if path.is_relative_to(out)})
        _check_claim(out)


def _check_claim(out: Path) -> None:
    if directory.is_free(out, but=(ENCODER,)) or (out / SNAPSHOT).exists():
        return
    raise AlreadyExists(f"{out} exists and holds no run to resume; choose another name")


def snapshot(run: Run, step: int, fits) -> None:
    """Write everything needed to go on from `step`."""
    if run.out is not None:
        directory.check(run.out)
        meta = {"step": step, "signature": _signature(run)}
        _used.add(files.save_tree(run.out / SNAPSHOT, fits, meta, overwrite=True))


def finish(out: Path | None) -> None:
    """Remove the snapshots of the run in `out` and of its earlier stages below, now that the
    result is safe; those of other runs stay."""
    if out is not None:
        for path in [path for path in _used if path.is_relative_to(out)]:
            path.unlink(missing_ok=True)
            _used.discard(path)


def digest(tree) -> str:
    """A short checksum of training data."""
    state = hashlib.sha256()
    for array in jax.tree.leaves(tree):
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def _signature(run: Run) -> dict:
    record = {**run.signature, "seeds": run.seeds, "steps": run.steps}
    return json.loads(json.dumps(record))  # as it will be read back


# --- Metrics ------------------------------------------------------------------------------
def _log(run: Run, step: int, means: dict[str, np.ndarray]) -> None:
    if run.out is None:
        return
    lines = []
    for n, seed in enumerate(run.seeds):
        values = {name: float(value[n]) for name, value in means.items()}
        plain = {name: v if np.isfinite(v) else None for name, v in values.items()}
        lines.append(json.dumps({"step": step, "seed": seed, **plain}))
    directory.check(run.out)
    try:
        with open(run.out / METRICS, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise files.fault(run.out / METRICS, error) from None


def _trim_log(path: Path, step: int) -> None:
    """Drop the lines a killed run wrote after its last snapshot."""
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = "".join(line + "\n" for line in lines if 0 <= _step_of(line) <= step)
        files.write(path, lambda p: p.write_text(kept, encoding="utf-8"), overwrite=True)


def _step_of(line: str) -> int:
    """The step of a line of metrics; −1 of a line that was cut off."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return -1


def _line(means: dict[str, np.ndarray]) -> str:
    return "  ".join(f"{name} {np.median(value):.4g}" for name, value in means.items())
