"""The loop of the fits, on a toy: nothing of other runs is touched, and Ctrl-C loses nothing."""

import json
import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.run import directory

SIZE = 3


def step(state, own, shared, i):
    key = jax.random.fold_in(jax.random.key(own), i)
    state = 0.9 * state + shared * jax.random.normal(key, state.shape)
    return state, {"loss": jnp.sum(state**2)}


def fit(out=None, steps=30, seeds=(0, 1), size=SIZE, **signature):
    run = loop.Run("toy", seeds, steps, out, {"size": size, **signature})
    start = jnp.ones((len(seeds), size))
    return loop.train(run, step, start, jnp.asarray(seeds), jnp.float32(0.5))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(loop, "REPORT_STEPS", 10)
    monkeypatch.setattr(loop, "SNAPSHOT_S", 0.0)


def interrupt_at(monkeypatch, call: int) -> None:
    original, calls = loop._log, []

    def log(*args):
        calls.append(args)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(loop, "_log", log)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_interrupted_fit_goes_on_bit_for_bit(tmp_path, monkeypatch, call):
    """Also where Ctrl-C comes in the last steps; it always is an interruption."""
    whole, _ = fit(tmp_path / "whole")
    monkeypatch.setattr(loop, "SNAPSHOT_S", 1e9)  # Ctrl-C alone writes one
    interrupt_at(monkeypatch, call)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run")
    monkeypatch.undo()
    assert files.read_meta(tmp_path / "run" / loop.SNAPSHOT)["step"] in (10 * call, 30, 100 * call)
    resumed, _ = fit(tmp_path / "run")
    np.testing.assert_array_equal(resumed, whole)


def test_a_fit_without_a_directory_is_interrupted(monkeypatch):
    interrupt_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        fit()


def test_snapshots_of_other_runs_stay(tmp_path):
    """A directory that holds stopped runs is not taken for a free one; the end of a run removes
    its own snapshot and those of its stages, and no other."""
    runs = tmp_path / "runs"
    for name in "ab":
        fit(runs / name)
    with pytest.raises(AlreadyExists, match="runs exists and holds no run to resume"):
        fit(runs)
    out = tmp_path / "mine"
    loop.claim(out)
    fit(out / loop.ENCODER)
    fit(out)
    fit(out / "elsewhere", seeds=(5,))
    loop._used.discard(out / "elsewhere" / loop.SNAPSHOT)  # as another process's
    loop.finish(out)
    left = sorted(str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob(loop.SNAPSHOT))
    assert left == ["mine/elsewhere", "runs/a", "runs/b"]


def test_the_snapshot_of_a_stage_of_another_run_stays(tmp_path):
    """A run without an encoder's training does not remove what another one left there."""
    out = tmp_path / "run"
    fit(out / loop.ENCODER)
    loop.claim(out)
    fit(out)
    loop.finish(out)
    assert [p.parent.name for p in out.rglob(loop.SNAPSHOT)] == [loop.ENCODER]


def test_another_run_is_named_before_its_sizes_are_compared(tmp_path):
    fit(tmp_path / "run")
    for other in ({"size": 5}, {"seeds": (0, 1, 2)}, {"steps": 40}, {"width": 8}):
        with pytest.raises(BadSetting, match="holds a snapshot of another run"):
            fit(tmp_path / "run", **other)
    files.save_arrays(tmp_path / "run" / loop.SNAPSHOT, {"x": np.zeros(3)}, {}, overwrite=True)
    with pytest.raises(BadSetting, match="holds a snapshot of another run"):
        fit(tmp_path / "run")


def test_a_damaged_snapshot_is_explained(tmp_path):
    fit(tmp_path / "run")
    path = tmp_path / "run" / loop.SNAPSHOT
    meta = files.read_meta(path)
    files.save_arrays(path, {"0000": np.zeros((2, SIZE), np.float32)}, meta, overwrite=True)
    with pytest.raises(BadFile, match=r"cannot go on: .*1 arrays, 2 were expected.*; remove"):
        fit(tmp_path / "run")
    path.write_bytes(b"cut")
    with pytest.raises(BadFile, match="not a whole safetensors file"):
        fit(tmp_path / "run")


def test_a_kill_before_the_first_snapshot_is_resumed(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in (f".{loop.SNAPSHOT}.999999999.tmp", directory.LOCK):
        (out / name).write_text("")
    fit(out)
    assert sorted(p.name for p in out.iterdir()) == ["metrics.jsonl", loop.SNAPSHOT]


def test_lines_of_metrics_that_were_cut_off_are_dropped(tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", seeds=(0,))
    monkeypatch.undo()
    log = tmp_path / "run" / "metrics.jsonl"
    with open(log, "a") as file:
        file.write('{"step": 25}\n[1]\n{"loss": 1}\n{"step": {"a": 1}}\n{"step": 3')
    fit(tmp_path / "run", seeds=(0,))
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()][:2] == [10, 20]


def test_a_directory_removed_while_fitting_is_said(tmp_path, monkeypatch):
    import shutil

    original = loop._log

    def log(*args):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return original(*args)

    monkeypatch.setattr(loop, "_log", log)
    with pytest.raises(BadFile, match="was removed while its run went on"):
        fit(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_fit_in_use_is_refused_before_work(tmp_path, monkeypatch):
    """By another process; `tests/run/test_job.py` has the lock itself."""
    import subprocess

    hold = "import sys, time; from hyperpolicy.run.directory import hold\nwith hold(sys.argv[1]):\n"
    hold += "    print(flush=True); time.sleep(100)"
    command = [sys.executable, "-c", hold, tmp_path / "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        monkeypatch.setattr(loop, "_train", lambda *a: pytest.fail("worked"))
        with pytest.raises(directory.Busy, match=f"process {process.pid}"):
            fit(tmp_path / "run")
        process.kill()
