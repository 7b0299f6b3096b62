"""train, fit and recipe by command: from nothing to a scored generator, stopped and resumed."""

import os
import shutil
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from hyperpolicy import cli
from hyperpolicy.fleet import runner
from hyperpolicy.run.job import SNAPSHOT, Job
from hyperpolicy.zoo import Training, Zoo

TINY = (  # the plan of tests/fleet, whose programs are compiled once
    "--hidden 8 8 --num-updates 12 --updates-per-step 2 --fill-steps 4 --batch 8 --num-envs 2 "
    "--episodes 1 --num-evaluations 2 --num-checkpoints 2 --num-states 8"
)


def run(line: str) -> int:
    return cli.main(line.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three tiny experts that was stopped by Ctrl-C and resumed by the same command."""
    out = tmp_path_factory.mktemp("train") / "run"
    command = f"train cheetah-vel --split sixteenth --out {out} {TINY}"
    original, count = Job.advance, [0]

    def interrupting(*args):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "advance", interrupting)
        assert run(command) == 130
    assert (out / SNAPSHOT).exists()
    assert run(command) == 0
    return out


def test_interrupted_training_says_how_to_resume(tmp_path, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", stop)
    command = f"train cheetah-vel --split sixteenth --out {tmp_path / 'run'} {TINY}"
    assert run(command) == 130
    assert f"resume with: hyperpolicy {command}" in capsys.readouterr().err


def test_experts_of_no_grid_are_all_used(trained, tmp_path, capsys):
    """As imported ones, which stand where somebody trained them."""
    zoo = Zoo.load(trained / "zoo")
    replace(zoo, contexts=zoo.contexts + 0.013).save(tmp_path / "zoo")
    assert run(f"fit {tmp_path}/zoo --out {tmp_path}/g regression --degree 1") == 0
    assert "all 3 experts are used" in capsys.readouterr().out
    score = f"score cheetah-vel --zoo {tmp_path}/zoo --policy {tmp_path}/g --episodes 1"
    assert run(score) == 0
    assert "nearest training expert" in capsys.readouterr().out
    assert run(f"fit {tmp_path}/zoo --out {tmp_path}/h --split sixteenth regression") == 2


def test_trained_zoo_is_whole(trained):
    assert Zoo.verify(trained / "zoo") == []
    zoo = Zoo.load(trained / "zoo")
    np.testing.assert_allclose(zoo.contexts[:, 0], [0.075, 1.275, 2.475])
    assert zoo.provenance["split"] == "sixteenth"
    assert not (trained / SNAPSHOT).exists()
    assert (trained / "curve.png").read_bytes()[1:4] == b"PNG"
    assert "3 experts of cheetah-vel" in (trained / "report.html").read_text()


@pytest.mark.parametrize(
    "kind",
    [
        "regression",
        "hyplatent --steps 100 --batch 4",
        "genhyper --steps 20 --batch 4 --dim 4",
        "distill --steps 100 --batch 4",
    ],
)
@pytest.mark.slow
def test_fit_then_generate(trained, tmp_path, kind, capsys):
    out = tmp_path / "generator"
    fit = f"fit {trained / 'zoo'} --split sixteenth --out {out} {kind}"
    assert run(fit) == 0
    assert "3 experts" in capsys.readouterr().out
    assert run(f"generate {out} --context 0.5 --out {tmp_path / 'p.safetensors'}") == 0
    assert run(fit) == 2
    assert "AlreadyExists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fit {zoo} --out {new} regression", "BadZoo: no expert at context"),
        ("train cheetah-vel --out {zoo}", "AlreadyExists: "),
        ("fit {zoo} --split sixteenth --out {new} residual", "BadFile: "),
        ("fit {zoo} --split sixteenth --out {new} regression --degree 9", "BadSetting: degree 9"),
        ("fit nowhere --out {new} regression", "BadZoo: nowhere is not a zoo"),
        ("train cheetah-vell --out {new}", "UnknownFamily"),
        ("train cheetah-vel --split ful --out {new}", "UnknownSplit"),
        ("recipe cheetah-vel-table --zoos nowhere --out {new}", "BadZoo: nowhere holds no"),
        ("demo --zoo nowhere --out {new}", "BadZoo: no zoo at nowhere"),
    ],
)
def test_bad_input_ends_with_2(trained, tmp_path, line, says, capsys):
    new = tmp_path / "new"
    assert run(line.format(zoo=trained / "zoo", new=new)) == 2
    error = capsys.readouterr().err
    assert error.startswith(says)
    assert error.count("\n") == 1
    assert not new.exists()


def test_a_directory_of_other_runs_is_not_taken(trained, tmp_path, capsys):
    """Whatever a fit might remove at its end is its own."""
    runs = tmp_path / "runs"
    for name in "ab":
        (runs / name).mkdir(parents=True)
        (runs / name / SNAPSHOT).touch()
    assert run(f"fit {trained / 'zoo'} --split sixteenth --out {runs} hyplatent --steps 10") == 2
    assert "runs exists and holds no run to resume" in capsys.readouterr().err
    assert len(list(runs.rglob("*"))) == 4


def test_a_zoo_of_a_shared_replay_serves_its_own_split_only(trained, tmp_path, capsys):
    zoo = Zoo.load(trained / "zoo")
    seen = tuple(map(tuple, zoo.family.grid("macaw").split("full").train.tolist()))
    replace(zoo, training=Training(seen=seen)).save(tmp_path / "zoo")
    assert run(f"fit {tmp_path / 'zoo'} --split sixteenth --out {tmp_path / 'x'} regression") == 2
    error = capsys.readouterr().err
    assert "learned from 35 contexts" in error and "give --split full, or" in error


def test_a_seed_below_zero_is_refused_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "run", lambda *a, **k: pytest.fail("trained"))
    new = tmp_path / "run"
    for command in (
        f"train cheetah-vel --seed -1 --out {new} {TINY}",
        f"tune cheetah-vel --context 1 --seed -1 --out {new}",
    ):
        assert run(command) == 2
        told = "BadSetting: seed=-1 (--seed); give a whole number, at least 0\n"
        assert capsys.readouterr().err == told
        assert not new.exists()


def test_a_tuned_policy_is_saved_before_anything_is_printed(trained, tmp_path, monkeypatch):
    """A closed pipe costs the table, nothing else; a video that is there is kept."""
    from hyperpolicy.cli.training import Tune
    from hyperpolicy.generate import tune

    class Closed(Console):
        def print(self, *args):
            raise BrokenPipeError

    zoo, out = Zoo.load(trained / "zoo"), tmp_path / "run"
    zoo = zoo.only(zoo.contexts[:1])
    returns = np.zeros((1, 2))

    def tuned(config, generator, contexts, known, seed, where):
        shutil.copy(trained / "metrics.jsonl", where / "metrics.jsonl")
        return tune.Tuned(zoo, zoo.finals, returns, returns)

    monkeypatch.setattr(tune, "tune", tuned)
    out.mkdir()
    for name in ("before", "after"):
        (out / f"{name}.mp4").write_text("recorded before")
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            Tune("cheetah-vel", (1.0,), out).run(Closed())
    made = ["after.mp4", "before.mp4", "better.safetensors", "curve.png", "metrics.jsonl"]
    assert sorted(p.name for p in out.iterdir()) == [*made, "start.safetensors"]
    assert (out / "before.mp4").read_text() == "recorded before"


def test_a_schedule_that_cannot_work_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(f"train cheetah-vel --out {tmp_path / 'x'} --num-updates ten")
    assert end.value.code == 2
    assert run(f"train cheetah-vel --out {tmp_path / 'x'} --num-updates 10") == 2
    assert "multiple of updates_per_step=8" in capsys.readouterr().err


def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    out = tmp_path / "run"
    assert run(f"train cheetah-vel --split sixteenth --out {out} {TINY} --track tensorboard") == 2
    error = capsys.readouterr().err
    assert error.startswith("MissingExtra: ")
    assert "pip install 'hyperpolicy[tensorboard]'" in error
    assert not out.exists()
