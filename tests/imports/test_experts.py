"""Others' policies as a zoo: the command, its checks, and what interpolation is worth."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli, envs
from hyperpolicy.imports import experts
from hyperpolicy.imports.layers import Layers

SHAPES = (20, 6), (6, 6)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Episodes of ten steps."""
    family = replace(hp.family("cheetah-vel"), horizon_steps=10)
    monkeypatch.setitem(envs.FAMILIES, "cheetah-vel", family)
    return family


def network(seed: int) -> Layers:
    rng = np.random.default_rng(seed)
    weights = tuple(rng.normal(0, 0.5, shape) for shape in SHAPES)
    return Layers(weights, tuple(rng.normal(0, 0.2, o) for _, o in SHAPES), ("relu",))


def save(found: Layers, path):
    arrays = {f"net.{n}.weight": w.T for n, w in enumerate(found.weights)}
    arrays |= {f"net.{n}.bias": b for n, b in enumerate(found.biases)}
    np.savez(path, **arrays)
    return str(path)


def words(tmp_path, *more: str) -> list[str]:
    files = [save(network(i), tmp_path / f"{i}.npz") for i in (0, 1, 2)]
    plain = (
        "--family cheetah-vel --context 0.5 1.0 2.0 --prefix net --activation relu --output tanh"
    )
    return ["zoo", "import", *files, *plain.split(), "--out", str(tmp_path / "zoo"), *more]


def test_the_command_makes_a_zoo_that_acts_as_the_files(tmp_path, capsys):
    assert cli.main(words(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "no action was checked" in out and "half way between neighbors, mixed weights" in out
    zoo = hp.Zoo.load(tmp_path / "zoo")
    assert zoo.provenance["files"] == ["0.npz", "1.npz", "2.npz"]
    obs = np.random.default_rng(0).normal(size=(3, 5, 20)).astype(np.float32)
    for i in range(3):
        wanted = network(i).act(obs[i])
        np.testing.assert_allclose(zoo.finals.act(obs)[i], wanted, atol=5e-3)  # float16 in the zoo
    assert np.isfinite(zoo.returns).all() and zoo.contexts[:, 0].tolist() == [0.5, 1.0, 2.0]


def test_recorded_actions_are_checked_before_anything_is_written(tmp_path, capsys):
    obs = np.random.default_rng(3).normal(size=(9, 20))
    files = []
    for i in (0, 1, 2):
        files.append(str(tmp_path / f"r{i}.npz"))
        np.savez(files[-1], obs=obs, action=network(i).act(obs))
    assert cli.main(words(tmp_path, "--recorded", *files)) == 0
    assert "actions differ from the recorded ones by" in capsys.readouterr().out
    np.savez(files[1], obs=obs[:, ::-1], action=network(1).act(obs))
    again = words(tmp_path, "--recorded", *files)
    again[again.index("--out") + 1] = str(tmp_path / "other")
    assert cli.main(again) == 2
    error = capsys.readouterr().err
    assert "1.npz: its actions differ" in error and not (tmp_path / "other").exists()


def test_a_normalizer_is_folded_in(tmp_path):
    mean, var = np.linspace(-1, 1, 20), np.full(20, 4.0)
    np.savez(tmp_path / "n.npz", mean=mean, var=var)
    found = experts.hints("relu", "tanh", normalizer=tmp_path / "n.npz").onto(network(0))
    obs = np.random.default_rng(0).normal(size=(4, 20))
    np.testing.assert_allclose(found.act(obs), network(0).act((obs - mean) / 2.0), atol=1e-6)


def test_alignment_brings_the_same_units_together(short):
    """One network in another order of units: mixed half and half it is itself once aligned."""
    one = network(0)
    order = np.array([3, 1, 5, 0, 2, 4])
    other = replace(
        one,
        weights=(one.weights[0][:, order], one.weights[1][order]),
        biases=(one.biases[0][order], one.biases[1]),
    )
    zoo = experts.make_zoo([one, other], short, np.array([[1.0], [1.2]]), ["a", "b"])
    made, text = experts.aligned(zoo)
    finals = made.finals.weights
    np.testing.assert_allclose(finals[0], finals[1], atol=1e-5)
    assert "aligned" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--context", "0.5 1.0"), "3 files for 2 contexts"),
        (("--context", "0.5 0.5 1.0"), "two files for one context"),
        (("--family", "ant-dir"), "ant-dir has 27 and 8"),
        (("--activation", "gelu"), "hidden layers here have one of relu, elu, tanh"),
        (("--prefix", "nothing"), "no layers whose names begin with 'nothing'"),
        (("--normalizer", "missing.npz"), "holds no arrays mean and var"),
        (("--recorded", "missing.npz"), "1 recorded for 3 contexts"),
    ],
)
def test_the_command_refuses_in_one_line(change, said, tmp_path, capsys):
    option, value = change
    given = words(tmp_path)
    if option in given:
        i = given.index(option)
        j = next(k for k in range(i + 1, len(given) + 1) if k == len(given) or given[k][:2] == "--")
        given[i:j] = [option, *value.split()]
    else:
        given += [option, *value.split()]
    assert cli.main(given) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "zoo").exists()
