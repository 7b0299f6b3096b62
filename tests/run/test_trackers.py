"""Trackers get what metrics.jsonl gets, and never stop a training."""

import sys
import time
from types import ModuleType

import pytest

from hyperpolicy.errors import BadSetting, MissingExtra
from hyperpolicy.run.job import Job, Output
from hyperpolicy.run.trackers import TRACKERS, Tracker, numbers

RECORD = {"updates": 8, "return": [1.0, 3.0, float("nan")], "loss": 0.5, "text": "x"}
NUMBERS = {"updates": 8.0, "return/median": 2.0, "return/lowest": 1.0, "return/highest": 3.0}
NUMBERS["loss"] = 0.5


@pytest.fixture
def service(monkeypatch):
    """A stand-in for wandb and trackio, which share an interface: what it was given."""
    given = []

    def fake(name):
        module = ModuleType(name)
        module.init = lambda **settings: given.append(settings) or module
        module.log = lambda record, step: given.append((record, step))
        return module

    for name in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, fake(name))
    return given


def test_a_list_is_its_median_lowest_and_highest():
    assert numbers(RECORD) == NUMBERS


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_hosted_trackers_get_records_and_settings(name, service, tmp_path):
    """A resumed job goes on in the same run: its name is its directory's."""
    for _ in range(2):
        job = Job({"learner": "sac"}, 10, Output(tmp_path / "run", (name,)))
        job.log(RECORD)
    first, (record, step), second, _ = service
    assert first == second and first["config"] == {"learner": "sac"}
    assert first["project"] == "hyperpolicy" and first["resume"] == "allow"
    assert step == 8 and record.pop("seconds") >= 0 and record == NUMBERS


def test_tensorboard_writes_its_files(tmp_path):
    job = Job({}, 10, Output(tmp_path / "run", ("tensorboard",)))
    job.log(RECORD)
    (path,) = (tmp_path / "run/tensorboard").iterdir()
    ends = time.monotonic() + 60.0  # a thread of its own writes, every second
    while b"median" not in path.read_bytes():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_tracker_that_fails_is_a_warning(service, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: 1 / 0, raising=False)
    job = Job({}, 10, Output(tmp_path / "run", ("wandb",)))
    with pytest.warns(UserWarning, match="wandb did not take a record: division by zero"):
        job.log(RECORD)
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 1


def test_an_unknown_or_missing_tracker_is_refused(monkeypatch):
    with pytest.raises(BadSetting, match="track='wandbb'; give one of tensorboard, trackio, wandb"):
        Tracker("wandbb")
    for name, (package, _) in TRACKERS.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra, match=rf"pip install 'hyperpolicy\[{name}\]'"):
            Tracker(name)
