"""Parts of a run on other machines: shards, their commands, lost workers."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hyperpolicy import cli, fleet
from hyperpolicy.cli.elsewhere import without
from hyperpolicy.cluster import driver, task
from hyperpolicy.cluster.pools import Pool, RayPool, SlurmPool
from hyperpolicy.cluster.task import Outcome, Task
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, BadZoo, NoCluster, WorkerDied
from hyperpolicy.fleet.shards import Shard, all_of, gather
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.zoo import Zoo

TINY = fleet.Schedule(
    num_updates=24, num_envs=1, fill_steps=60, num_checkpoints=1, num_evaluations=2, episodes=1
)
OPTIONS = (
    "--hidden 8 8 --num-updates 24 --num-envs 1 --fill-steps 60 --num-checkpoints 1 "
    "--num-evaluations 2 --episodes 1 --batch 16"
).split()


def test_rows_of_shards():
    assert [list(s.rows(7)) for s in all_of(3)] == [[0, 1, 2], [3, 4], [5, 6]]
    with pytest.raises(BadSetting, match="give 0 to 2"):
        Shard(3, 3).rows(7)
    with pytest.raises(BadSetting, match="at most one an expert"):
        Shard(0, 8).rows(7)


@pytest.fixture(scope="module")
def whole_and_parts(tmp_path_factory):
    """A fleet of three, and the same in two shards."""
    fam, out = family("cheetah-vel"), tmp_path_factory.mktemp("shards")
    contexts = np.array([[0.5], [1.0], [1.5]])
    plan = fleet.OffPolicy(SacConfig(hidden=(8, 8)), TINY)
    whole = fleet.train(plan, fam, contexts, "own", 3, out / "whole")
    for shard in all_of(2):
        fleet.train(plan, fam, contexts, "own", 3, shard.place(out / "parts"), shard)
    return whole, out


def test_shards_are_the_fleet_in_parts(whole_and_parts):
    whole, out = whole_and_parts
    joined = gather(out / "parts", 2)
    np.testing.assert_array_equal(joined.contexts, whole.contexts)
    np.testing.assert_allclose(joined.finals.weights, whole.finals.weights, atol=2e-3)
    assert np.abs(joined.finals.weights[0] - joined.finals.weights[1]).max() > 0.1
    lines = [
        [json.loads(x) for x in (out / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    for ours, theirs in zip(*lines, strict=True):
        assert ours.keys() == theirs.keys() and len(ours["return"]) == 3
        np.testing.assert_allclose(ours["return"], theirs["return"], rtol=0.02)
    assert gather(out / "parts", 2).contexts.tolist() == whole.contexts.tolist()


def test_a_missing_shard_is_named(whole_and_parts):
    place = whole_and_parts[1] / "three"
    for i in range(2):
        (place / f"shard-{i}-of-3" / "zoo").mkdir(parents=True)
    with pytest.raises(BadZoo, match="shards 2 of"):
        gather(place, 3)


def test_zoos_of_shards_are_joined_in_their_order(whole_and_parts, tmp_path, capsys):
    parts = [str(shard.place(whole_and_parts[1] / "parts")) for shard in all_of(2)]
    assert cli.main(["zoo", "join", *parts[::-1], "--out", str(tmp_path / "z")]) == 0
    np.testing.assert_array_equal(Zoo.load(tmp_path / "z").contexts, whole_and_parts[0].contexts)
    assert cli.main(["zoo", "join", parts[0], "--out", str(tmp_path / "y")]) == 2
    assert "shards 1 are not among these" in capsys.readouterr().err


def test_the_command_of_a_part():
    words = "train cheetah-vel --on ray --shards=2 --cluster a=1 b=2 --out o --cores 1 --seed 3"
    names = "on shards cores cluster".split()
    assert without(words.split(), names) == tuple("train cheetah-vel --out o --seed 3".split())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--shards 3", "--shards"),
        ("--on slurm --cluster nonsense", "name=value"),
        ("--on slurm --cluster cluster=local --shard 1 2", "leave --shard out"),
        ("--shard 2 2", "give 0 to 1"),
        ("--on slurm", "no Slurm here"),
    ],
)
def test_bad_input_leaves_nothing(line, said, tmp_path, capsys):
    out = tmp_path / "o"
    words = ["train", "cheetah-vel", "--split", "sixteenth", "--out", str(out), *OPTIONS]
    try:
        code = cli.main([*words, *line.split()])
    except SystemExit as end:
        code = end.code
    assert code == 2 and said in capsys.readouterr().err
    assert not out.exists()


# --- Lost workers -------------------------------------------------------------------------
class Pretended(Pool):
    """Tasks that end as they are told to."""

    extra = "none"

    def __init__(self, place, settings):
        self.left, self.submitted = dict(settings), []

    def submit(self, one):
        self.submitted.append(one.name)
        return self.left[one.name].pop(0)

    def outcome(self, handle):
        return handle

    def close(self):
        pass


def run_pretended(monkeypatch, outcomes, tmp_path, **more):
    monkeypatch.setattr(driver, "POLL_S", 0.0)
    pool = Pretended(tmp_path, outcomes)
    tasks = [Task(name, (), tmp_path / name) for name in outcomes]
    driver.complete(pool, tasks, **more)
    return pool.submitted


def test_lost_workers_are_tried_again(monkeypatch, tmp_path):
    lost, killed, done = Outcome(-1, "lost"), Outcome(-9, ""), Outcome(0, "")
    found = run_pretended(monkeypatch, {"a": [lost, killed, done], "b": [done]}, tmp_path)
    assert sorted(found) == ["a", "a", "a", "b"]


def test_what_fails_for_good_ends_the_run(monkeypatch, tmp_path):
    lost = Outcome(-1, "lost")
    with pytest.raises(WorkerDied, match="ended 3 times"):
        run_pretended(monkeypatch, {"a": [lost] * 5}, tmp_path, tries=3)
    with pytest.raises(WorkerDied, match="BadSetting: no"):
        run_pretended(monkeypatch, {"a": [Outcome(2, "BadSetting: no")]}, tmp_path)


def test_a_task_is_a_command_of_ours(tmp_path):
    found = task.run(Task("v", ("--version",), tmp_path / "logs" / "v.txt"))
    assert found.code == 0 and found.said.startswith("hyperpolicy ")
    found = task.run(Task("v", ("nonsense",), tmp_path / "w.txt", cores=2))
    assert found.code == 2 and "UnknownCommand" in found.said


def train(out: Path, *more: str) -> int:
    words = ["train", "cheetah-vel", "--split", "sixteenth", "--out", str(out), *OPTIONS]
    return cli.main([*words, *more])


def same(a: Path, b: Path) -> bool:
    one, two = Zoo.load(a / "zoo"), Zoo.load(b / "zoo")
    return np.array_equal(one.weights, two.weights) and np.array_equal(one.critics, two.critics)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("submitit") is None, reason="needs submitit")
def test_shards_under_submitit(tmp_path):
    """Its local executor, whose jobs are processes of this machine."""
    out = tmp_path / "o"
    assert train(out, "--on", "slurm", "--cluster", "cluster=local", "--shards", "2") == 0
    assert len(Zoo.load(out / "zoo").contexts) == 3 and (out / "report.html").exists()
    assert train(out, "--on", "slurm", "--cluster", "cluster=local", "--shards", "2") == 0
    words = ("--on", "slurm", "--cluster", "cluster=local", "--shards", "2", "--seed", "5")
    assert train(out, *words) == 2  # another run than the one that is there
    with pytest.raises(BadSetting, match="submitit"):
        SlurmPool(tmp_path, {"cluster": "local", "nonsense": "1"})


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="needs ray")
def test_a_killed_ray_worker_changes_no_bit(tmp_path):
    """One run loses the process of a shard, another the worker that waits for it."""
    for name, kills in (("left", 0), ("process", 1), ("worker", 2)):
        words = ["train", "cheetah-vel", "--split", "sixteenth", "--out", str(tmp_path / name)]
        words += [*OPTIONS, "--num-updates", "2400", "--on", "ray", "--shards", "3"]
        command = [sys.executable, "-m", "hyperpolicy", *words]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
            if kills:
                process = held_by(tmp_path / name / "shard-0-of-3")
                parent = int(
                    Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
                )
                os.kill(process if kills == 1 else parent, signal.SIGKILL)
            said = run.communicate()[1]
        assert run.returncode == 0 and said.count("lost") == (kills > 0), said
    assert same(tmp_path / "left", tmp_path / "process")
    assert same(tmp_path / "left", tmp_path / "worker")
    with pytest.raises(NoCluster, match="no Ray cluster at"):
        RayPool(tmp_path, {"address": "127.0.0.1:1"})


def held_by(place: Path) -> int:
    """The process that trains at `place`, once it has begun."""
    deadline = time.monotonic() + 120
    lock = place / ".hyperpolicy.lock"
    while time.monotonic() < deadline:
        if (place / "metrics.jsonl").exists() and lock.exists() and lock.read_text():
            return int(lock.read_text())
        time.sleep(0.01)
    raise AssertionError(f"nothing trained at {place}")
