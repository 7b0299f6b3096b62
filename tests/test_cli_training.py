"""train, fit and recipe by command: from nothing to a scored generator, stopped and resumed."""

import os
import signal
import sys

import numpy as np
import pytest

from hyperpolicy import cli
from hyperpolicy.fleet import disk, loop
from hyperpolicy.zoo import Zoo

TINY = (
    "--width 8 --num-updates 8 --updates-per-step 4 --fill-steps 2 --batch 8 --num-envs 1 "
    "--episodes 1 --num-evaluations 1 --num-checkpoints 2 --num-states 8"
)


def run(line: str) -> int:
    return cli.main(line.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three tiny experts that was stopped by Ctrl-C and resumed by the same command."""
    out = tmp_path_factory.mktemp("train") / "run"
    command = f"train cheetah-vel --split sixteenth --out {out} {TINY}"
    original, count = loop._count_returns, [0]

    def interrupting(*args):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_count_returns", interrupting)
        assert run(command) == 130
    assert (out / disk.SNAPSHOT).exists()
    assert run(command) == 0
    return out


def test_interrupted_training_says_how_to_resume(tmp_path, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "run", stop)
    command = f"train cheetah-vel --split sixteenth --out {tmp_path / 'run'} {TINY}"
    assert run(command) == 130
    assert f"resume with: hyperpolicy {command}" in capsys.readouterr().err


def test_trained_zoo_is_whole(trained):
    assert Zoo.verify(trained / "zoo") == []
    zoo = Zoo.load(trained / "zoo")
    np.testing.assert_allclose(zoo.contexts[:, 0], [0.075, 1.275, 2.475])
    assert zoo.provenance["split"] == "sixteenth"
    assert not (trained / disk.SNAPSHOT).exists()


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


def test_a_schedule_that_cannot_work_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(f"train cheetah-vel --out {tmp_path / 'x'} --num-updates ten")
    assert end.value.code == 2
    assert run(f"train cheetah-vel --out {tmp_path / 'x'} --num-updates 10") == 2
    assert "multiple of updates_per_step=8" in capsys.readouterr().err


def test_tensorboard_logs(tmp_path):
    """Two evaluations, each as median, lowest and highest over the experts."""
    out = tmp_path / "run"
    assert run(f"train cheetah-vel --split sixteenth --out {out} {TINY} --track") == 0
    assert [path.stat().st_size > 100 for path in (out / "tensorboard").iterdir()] == [True]


def test_a_missing_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    out = tmp_path / "run"
    assert run(f"train cheetah-vel --split sixteenth --out {out} {TINY} --track") == 2
    error = capsys.readouterr().err
    assert error.startswith("MissingExtra: ")
    assert "pip install 'hyperpolicy[track]'" in error
    assert not out.exists()
