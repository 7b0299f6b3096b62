"""The loop of the fits, on a toy: nothing of other runs is touched, and Ctrl-C loses nothing."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists, BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.run import job, trackers
from hyperpolicy.run.job import Job, Output

SIZE = 3


def step(state, own, shared, i):
    key = jax.random.fold_in(jax.random.key(own), i)
    state = 0.9 * state + shared * jax.random.normal(key, state.shape)
    return state, {"loss": jnp.sum(state**2)}


def fit(out=None, steps=30, seeds=(0, 1), size=SIZE, **signature):
    run = loop.FitJob("toy", seeds, steps, out, {"size": size, **signature})
    start = jnp.ones((len(seeds), size))
    return loop.train(run, step, start, jnp.asarray(seeds), jnp.float32(0.5))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_STEPS", 10)
    monkeypatch.setattr(job, "SNAPSHOT_S", -1.0)


def interrupt_at(monkeypatch, call: int) -> None:
    original, calls = Job.log, []

    def log(*args):
        calls.append(args)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(Job, "log", log)


@pytest.mark.parametrize("call", [1, 3])
def test_an_interrupted_fit_goes_on_bit_for_bit(tmp_path, monkeypatch, call):
    """Also where Ctrl-C comes in the last steps; it always is an interruption."""
    whole, _ = fit(tmp_path / "whole")
    monkeypatch.setattr(job, "SNAPSHOT_S", 1e9)  # Ctrl-C alone writes one
    interrupt_at(monkeypatch, call)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run")
    monkeypatch.undo()
    assert files.read_meta(tmp_path / "run" / job.SNAPSHOT)["step"] == 10 * call
    resumed, _ = fit(tmp_path / "run")
    np.testing.assert_array_equal(resumed, whole)


def test_a_record_has_a_number_a_seed_and_trackers_get_it(tmp_path, monkeypatch):
    seen = []
    write = lambda module, out, identity: lambda numbers, step: seen.append((step, numbers))  # noqa: E731
    monkeypatch.setitem(trackers.TRACKERS, "own", ("json", write))
    fit(Output(tmp_path / "run", ("own",)))
    lines = (tmp_path / "run" / job.METRICS).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(r["step"], len(r["loss"])) for r in records] == [(10, 2), (20, 2), (30, 2)]
    assert [step for step, _ in seen] == [10, 20, 30]
    assert seen[0][1]["loss/highest"] == max(records[0]["loss"])


def test_snapshots_of_other_runs_stay(tmp_path):
    """A directory that holds stopped runs is not taken for a free one; the end of a run removes
    its own snapshot and those of its stages, and no other."""
    runs = tmp_path / "runs"
    for name in "ab":
        fit(runs / name)
    with pytest.raises(AlreadyExists, match="runs exists and holds no run to resume"):
        loop.claim(runs)
    out = tmp_path / "mine"
    loop.claim(out)
    fit(out / loop.ENCODER)
    fit(out)
    fit(out / "elsewhere", seeds=(5,))
    loop._jobs.pop(out / "elsewhere")  # as another process's
    loop.finish(out)
    left = sorted(str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob(job.SNAPSHOT))
    assert left == ["mine/elsewhere", "runs/a", "runs/b"]
    assert sorted(p.name for p in out.iterdir()) == ["elsewhere", "encoder", "metrics.jsonl"]


def test_the_snapshot_of_a_stage_of_another_run_stays(tmp_path):
    """A run without an encoder's training does not remove what another one left there."""
    out = tmp_path / "run"
    fit(out / loop.ENCODER)
    loop.claim(out)
    fit(out)
    loop.finish(out)
    assert [p.parent.name for p in out.rglob(job.SNAPSHOT)] == [loop.ENCODER]


@pytest.mark.parametrize("other", [{"size": 5}, {"seeds": (0, 1, 2)}, {"steps": 40}, {"width": 8}])
def test_another_run_is_named_before_its_sizes_are_compared(tmp_path, other):
    fit(tmp_path / "run")
    with pytest.raises(BadSetting, match=f"holds a run with another {next(iter(other))}"):
        fit(tmp_path / "run", **other)


def test_a_fit_that_dies_is_named_and_the_others_go_on():
    def spoiled(state, own, shared, i):
        state, metrics = step(state, own, shared, i)
        return state, {"loss": jnp.where((own == 1) & (i == 4), jnp.nan, metrics["loss"])}

    run = loop.FitJob("toy", (0, 1), 10, None, {})
    with pytest.warns(UserWarning, match="seed 1 at step 4; the other seeds went on"):
        _, died_at = loop.train(run, spoiled, jnp.ones((2, SIZE)), jnp.arange(2), jnp.float32(0.5))
    assert list(died_at) == [-1, 4]
