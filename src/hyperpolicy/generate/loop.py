"""The one training loop of the generators: seeds side by side.

`init(key)` and `step(state, key, i, own, shared)` are written for ONE fit; `vmap` runs the fits of
several seeds at once. `own` is each fit's data, `shared` all fits'. All randomness comes from the
seed and `i`, so a run that was killed and resumed equals one left alone. A record of
`metrics.jsonl` has a list for each metric, one number a seed.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from hyperpolicy import devices, seeds
from hyperpolicy.errors import AlreadyExists, BadSetting
from hyperpolicy.run import directory
from hyperpolicy.run.job import RUN, Job, Output
from hyperpolicy.run.progress import Steps
from hyperpolicy.types import Scalar

REPORT_STEPS = 100
"""Steps of one jitted call, and between two records of metrics."""
ENCODER = "encoder"
"""A directory in a run's own, where an earlier stage of the run is trained."""


@dataclass(frozen=True)
class FitJob:
    """What a run of fits is called, how long it is, where it writes, and what identifies it."""

    label: str
    seeds: tuple[int, ...]
    steps: int
    out: Path | Output | None
    identity: dict
    """Everything the result depends on besides: a snapshot resumes only under the same identity."""

    def __post_init__(self):
        """Raises BadSetting for a seed that is no whole number ≥ 0."""
        seeds.numbers(self.seeds)


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


def learn(run: FitJob, init: Callable, step: Callable, own, shared) -> Fits:
    """The fits of all seeds after `run.steps` steps; errors as `train`.

    A seed's first state is `init(key)`, and step i is drawn from a key of the seed and i.
    """
    numbers = jnp.asarray(seeds.numbers(run.seeds))
    start = jax.jit(jax.vmap(lambda seed: init(jax.random.key(seed))))(numbers)

    def one(state, own, shared, i):
        seed, mine = own
        return step(state, jax.random.fold_in(jax.random.key(seed), i), i, mine, shared)

    return Fits(*train(run, one, start, (numbers, own), shared))


def train(run: FitJob, step: Callable, state, own, shared) -> tuple[Any, Int[np.ndarray, " n"]]:
    """The state after `run.steps` steps, and the step at which each fit died (−1: it lives).

    A fit dies when one of its losses stops being finite; the others go on. Ctrl-C writes a
    snapshot, then raises KeyboardInterrupt.

    Raises:
        BadSetting: every fit died, or another run is in `run.out`.
        AlreadyExists: `run.out` holds other files.
        Busy: another process works in `run.out`.
        BadFile: somebody removed `run.out` meanwhile, or the snapshot is damaged.
    """
    out = Output.of(run.out)
    fits = state, jnp.full(len(run.seeds), -1)
    advance = jax.jit(partial(_advance, jax.vmap(step, (0, 0, None, None))), donate_argnums=0)
    size = sum(leaf.size for leaf in jax.tree.leaves(state)) // len(run.seeds)
    with directory.hold(out.path if out else None):
        identity = {**run.identity, "seeds": run.seeds, "steps": run.steps}
        job = Job(identity, run.steps, out, (ENCODER,))
        if out is not None:
            _jobs[out.path] = job
        fits = job.resume(lambda done: fits) or fits
        progress = Steps(run.label, run.steps, job.step)
        with devices.precision(size), job.running(progress):
            while job.step < run.steps:
                stop = min(job.step + REPORT_STEPS, run.steps)
                fits, means = advance(fits, own, shared, job.step, stop)
                means = {name: np.asarray(value) for name, value in means.items()}
                job.log({"step": stop} | {name: value.tolist() for name, value in means.items()})
                medians = (f"{name} {np.median(value):.4g}" for name, value in means.items())
                progress.update(stop, "  ".join(medians))
                job.advance(stop - job.step, lambda: fits)  # noqa: B023
                if job.step == run.steps:
                    job.save(fits)  # a later stage may be killed
    return fits[0], _report_dead(run, np.asarray(fits[1]))


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


def warm_restarts(rate: float, first_cycle: int, step: Int[Array, ""]) -> Scalar:
    """Step sizes in cosine cycles of lengths T, 2T, 4T …, each from `rate` down to 0."""
    cycle = jnp.floor(jnp.log2(step / first_cycle + 1.0))
    length = first_cycle * 2.0**cycle
    return 0.5 * rate * (1.0 + jnp.cos(jnp.pi * (step - (length - first_cycle)) / length))


def _report_dead(run: FitJob, died_at: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    dead = [f"seed {s} at step {i}" for s, i in zip(run.seeds, died_at, strict=True) if i >= 0]
    if dead:
        text = f"{run.label}: numbers stopped being finite for {', '.join(dead)}"
        if len(dead) == len(run.seeds):
            raise BadSetting(f"{text}; lower the rate or the loss weights")
        warnings.warn(f"{text}; the other seeds went on", stacklevel=3)
    return died_at


# --- Stages -------------------------------------------------------------------------------
_jobs: dict[Path, Job] = {}
"""The jobs of this process whose results are not safe yet, by their directories."""


def claim(out: Path | None) -> None:
    """Check that `out` is free, or holds a run to resume, before the first stage of a run. Raises
    AlreadyExists: it holds other files or directories."""
    if out is None:
        return
    for path in [path for path in _jobs if path.is_relative_to(out)]:
        del _jobs[path]
    if not directory.is_free(out, but=(ENCODER,)) and not (out / RUN).exists():
        raise AlreadyExists(f"{out} exists and holds no run to resume; choose another name")


def finish(out: Path | None) -> None:
    """Remove what the run in `out` and its earlier stages below go on from, now that the result is
    safe; that of other runs stays."""
    if out is not None:
        for path in [path for path in _jobs if path.is_relative_to(out)]:
            _jobs.pop(path).finish(keep_record=False)


def digest(tree) -> str:
    """A short checksum of training data."""
    state = hashlib.sha256()
    for array in jax.tree.leaves(tree):
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]
