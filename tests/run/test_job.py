"""One process a directory, Ctrl-C that is never lost, and kills at every rename."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists, BadFile, Busy
from hyperpolicy.run import directory
from hyperpolicy.run.job import deferred_interrupt

HOLD = """
import sys, time
from hyperpolicy.run import directory
with directory.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds `tmp_path/run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_directory_has_one_process(other, tmp_path):
    """The second one is told who works there; a kill frees the directory."""
    out, entered = tmp_path / "run", []
    with (
        pytest.raises(Busy, match=f"run is in use by process {other.pid}; wait"),
        directory.hold(out),
    ):
        entered.append(out)
    other.kill()
    other.wait()
    assert (out / directory.LOCK).exists() and directory.is_free(out)
    with directory.hold(out):
        entered.append(out)
    assert len(entered) == 1 and list(out.iterdir()) == []


def test_blocks_of_one_process_nest(tmp_path):
    with (
        directory.hold(tmp_path / "a"),
        directory.hold(tmp_path / "a" / "b"),
        directory.hold(str(tmp_path / "a")),
    ):
        directory.check(tmp_path / "a")
        assert (tmp_path / "a" / directory.LOCK).read_text() == str(os.getpid())
    with directory.hold(None):
        pass


def test_nothing_is_left_where_nothing_came_of_it(tmp_path):
    with pytest.raises(ValueError, match="no"), directory.hold(tmp_path / "new" / "run"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
    with directory.hold(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run" / "result").touch()
    assert [p.name for p in (tmp_path / "new" / "run").iterdir()] == ["result"]


def test_only_a_directory_can_be_held(tmp_path):
    (tmp_path / "file").touch()
    for path, error in (
        ("file", AlreadyExists),
        ("file/run", BadFile),
        ("a/" + "x" * 300, BadFile),
    ):
        with pytest.raises(error), directory.hold(tmp_path / path):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_without_locks_work_goes_on(tmp_path, monkeypatch):
    """As on file systems that have none, or in a directory that can only be read."""
    import fcntl

    def refuse(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with directory.hold(tmp_path / "run"):
        directory.check(tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == []
    assert not (tmp_path / "run").exists()


def test_a_removed_directory_is_noticed(tmp_path):
    """Also where another process has made it anew."""
    out = tmp_path / "run"
    with directory.hold(out):
        directory.check(out)
        shutil.rmtree(out)
        with pytest.raises(BadFile, match="was removed while its run went on"):
            directory.check(out)
        out.mkdir()
        (out / directory.LOCK).write_text("1")
        with pytest.raises(BadFile, match="was removed while its run went on"):
            directory.check(out)
    assert (out / directory.LOCK).read_text() == "1"  # not ours to remove


def test_the_argument_called_out_is_held(tmp_path):
    @directory.alone
    def job(number, out=None):
        return number, out is not None and (out / directory.LOCK).exists()

    assert job(1) == (1, False)
    assert job(2, tmp_path / "run") == job(2, out=tmp_path / "run") == (2, True)
    assert job.__name__ == "job"


def test_what_killed_processes_left_is_swept(tmp_path):
    """Files and directories of dead processes; nothing else."""
    dead, living = "999999999", str(os.getppid())
    (tmp_path / f".zoo.{dead}.tmp").mkdir()
    (tmp_path / f".zoo.{dead}.tmp" / "part").touch()
    mine = [f".run.json.{living}.tmp", ".hidden", "run.json.1.tmp", ".x.tmp", ".x.0.tmp", "a"]
    for name in (f".run.json.{dead}.tmp", *mine):
        (tmp_path / name).touch()
    with directory.hold(tmp_path):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(mine)


# --- Ctrl-C -------------------------------------------------------------------------------
def test_an_interruption_waits_and_is_never_lost():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as outer:
        with deferred_interrupt() as inner:
            os.kill(os.getpid(), signal.SIGINT)
            assert inner is outer and inner.is_set()
        done.append("saved")
    assert done == ["saved"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_ignored_signals_are_left_alone():
    def work():
        with deferred_interrupt() as event:
            seen.append(event.is_set())

    seen: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupt() as event:
            os.kill(os.getpid(), signal.SIGINT)
            assert not event.is_set()
    finally:
        signal.signal(signal.SIGINT, old)
    assert seen == [False]


# --- Kills --------------------------------------------------------------------------------
def test_every_rename_can_be_the_last(tmp_path):
    """A file is whole before and after; what is half written is hidden and goes with the next."""
    script = """
import os, signal, sys
from hyperpolicy import files
def kill(*names):
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = kill
files.save_json(sys.argv[1], {"new": 1}, overwrite=True)
"""
    path = files.save_json(tmp_path / "record.json", {"old": 1})
    ended = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert files.load_json(path) == {"old": 1}
    assert len(list(tmp_path.iterdir())) == 2
    files.save_json(path, {"newer": 1}, overwrite=True)
    assert list(tmp_path.iterdir()) == [path]


JOB = """
import os, signal, sys, warnings
import numpy as np
from hyperpolicy import fleet
from hyperpolicy.envs import family
from hyperpolicy.generate import loop as fits
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.writers import hyplatent
from hyperpolicy.generate.codecs import AutoencoderConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.zoo import Zoo

kind, out, zoo, at = *sys.argv[1:4], int(sys.argv[4])
rename, renames = os.replace, [0]

def replace(*names):
    renames[0] += 1
    if renames[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*names)

os.replace = replace
from hyperpolicy.run import job
job.SNAPSHOT_S = -1.0
fits.REPORT_STEPS = 4
CHEETAH, CONTEXTS = family("cheetah-vel"), np.array([[0.5], [1.0], [1.5]])
few = dict(num_checkpoints=1, num_evaluations=1, episodes=1, num_states=8, num_envs=2)
if kind == "train":
    schedule = fleet.Schedule(num_updates=8, updates_per_step=2, batch=8, fill_steps=6, **few)
    plan = fleet.OffPolicy(SacConfig(hidden=(8, 8)), schedule)
    fleet.train(plan, CHEETAH, CONTEXTS, seed=3, out=out)
elif kind == "ppo":
    schedule = fleet.RoundSchedule(num_rounds=6, round_steps=8, **few)
    plan = fleet.OnPolicy(PpoConfig(hidden=(8, 8), value_hidden=(8, 8)), schedule)
    fleet.train(plan, CHEETAH, CONTEXTS, seed=3, out=out)
else:
    encoder = AutoencoderConfig(steps=12, batch=4, dim=4)
    config = HypLatentConfig(steps=12, batch=4, generator_hidden=(8,), encoder=encoder)
    fit(config, Zoo.load(zoo), 1, out)
"""
KILLS = {"train": (1, 2, 4, 9), "ppo": (1, 2, 3, 7), "fit": (1, 2, 3, 8)}
"""The renames, counted from each start, before which the job is killed: the first is that of
run.json, or of a fit's first snapshot; the last that of the result, about."""


def start(kind, out, zoo, at) -> int:
    command = [sys.executable, "-c", JOB, kind, out, zoo, str(at)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KILLS))
def test_a_job_killed_again_and_again_ends_as_one_left_alone(kind, tmp_path):
    zoo = tmp_path / "alone-train" / "zoo"
    for job in dict.fromkeys(["train", kind]):
        assert start(job, tmp_path / f"alone-{job}", zoo, 0) == 0
    for at in KILLS[kind]:
        assert start(kind, tmp_path / "killed", zoo, at) == -signal.SIGKILL, at
    assert start(kind, tmp_path / "killed", zoo, 0) == 0
    alone, killed = tmp_path / f"alone-{kind}", tmp_path / "killed"
    names = [sorted(str(p.relative_to(out)) for p in out.rglob("*")) for out in (alone, killed)]
    assert names[0] == names[1]
    for path in alone.rglob("*.safetensors"):
        ours, theirs = (
            files.load_arrays(out / path.relative_to(alone))[0] for out in (alone, killed)
        )
        for name, array in ours.items():
            assert np.array_equal(array, theirs[name], equal_nan=array.dtype.kind == "f"), (
                path,
                name,
            )
