"""Policies that leave: the same actions in onnxruntime and in NumPy, what they say of themselves,
and what is refused."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape, MissingExtra
from hyperpolicy.export import numpy_runtime, onnx_file, parity
from hyperpolicy.export.contract import Contract, layers
from hyperpolicy.export.onnx_file import OnnxActor

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
FAMILY = replace(hp.family("cheetah-vel"), horizon_steps=20)
CONTEXT = np.array([1.7])
SPECS = {
    "relu": hp.PolicySpec(20, 6, (9, 7)),
    "swish": hp.PolicySpec(20, 6, (6, 5), ("swish", "relu")),
    "elu, tanh": hp.PolicySpec(20, 6, (5, 4, 3), ("elu", "tanh", "relu"), head="deterministic"),
}


def policy(name: str) -> hp.Policies:
    spec = SPECS[name]
    weights = np.random.default_rng(0).normal(0, 0.7, (1, spec.size)).astype(np.float32)
    return hp.Policies(weights, spec)


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def program(path):
    """An exported program, run by another process that knows nothing of this package."""

    def act(obs):
        text = "\n".join(" ".join(map(repr, row.tolist())) for row in obs)
        made = subprocess.run(
            [sys.executable, "-I", path], input=text, capture_output=True, text=True, check=True
        )
        return np.array([[float(x) for x in line.split()] for line in made.stdout.splitlines()])

    return act


# --- ONNX ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SPECS)
def test_actions_are_the_same_in_onnxruntime(name, tmp_path):
    own = policy(name)
    path = onnx_file.write(own, Contract(FAMILY, CONTEXT), tmp_path / "policy.onnx")
    for n in (1, 5):
        obs = np.random.default_rng(n).normal(0, 2, (n, 20)).astype(np.float32)
        found = session(path).run(None, {"observation": obs})[0]
        np.testing.assert_allclose(found, own.act(obs[None])[0], atol=1e-5)
    found = parity.compare(own, OnnxActor(path, FAMILY), FAMILY, CONTEXT, "onnx", 2)
    assert found.holds and found.step_ms > 0
    np.testing.assert_allclose(found.theirs, found.ours, rtol=1e-3)


def test_only_plain_operators_and_single_precision(tmp_path):
    path = onnx_file.write(policy("relu"), Contract(FAMILY, CONTEXT), tmp_path / "policy.onnx")
    graph = onnx.load(path).graph
    assert {node.op_type for node in graph.node} <= {"Gemm", "Relu", "Tanh", "Mul", "Add"}
    assert {one.data_type for one in graph.initializer} == {onnx.TensorProto.FLOAT}


def test_it_says_what_it_is_for(tmp_path):
    contract = Contract(FAMILY, CONTEXT, "generator", -2.0, 4.0)
    path = onnx_file.write(policy("relu"), contract, tmp_path / "policy.onnx")
    said = {one.key: one.value for one in onnx.load(path).metadata_props}
    assert said["family"] == "cheetah-vel" and said["task"] == "1.7 m/s"
    assert json.loads(said["context"]) == {"velocity": {"value": 1.7, "unit": "m/s"}}
    assert json.loads(said["action"])["high"] == 4.0 and float(said["dt_s"]) == 0.05
    assert "qpos[1:9]" in json.loads(said["observation"])["what"]
    assert "jax" in json.loads(said["versions"])


def test_outputs_are_scaled_to_the_robots_actions(tmp_path):
    own, obs = policy("relu"), np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    contract = Contract(FAMILY, CONTEXT, "", -2.0, 4.0)
    path = onnx_file.write(own, contract, tmp_path / "policy.onnx")
    wanted = 3.0 * own.act(obs[None])[0] + 1.0
    np.testing.assert_allclose(session(path).run(None, {"observation": obs})[0], wanted, atol=1e-5)
    made = numpy_runtime.write(own, contract, tmp_path / "policy.npz")
    np.testing.assert_allclose(program(made[1])(obs), wanted, atol=1e-5)
    for actor in (OnnxActor(path, FAMILY), parity.numpy_actor(made[1], -2.0, 4.0)):
        assert parity.compare(own, actor, FAMILY, CONTEXT, "it", 1).holds
    with pytest.raises(BadSetting, match="give the lower end first"):
        Contract(FAMILY, CONTEXT, "", 1.0, 1.0)


# --- NumPy --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SPECS)
def test_a_program_acts_with_numpy_alone(name, tmp_path):
    own = policy(name)
    npz, made = numpy_runtime.write(own, Contract(FAMILY, CONTEXT), tmp_path / "fast")
    assert npz.name == "fast.npz" and made.name == "fast.py"
    obs = np.random.default_rng(1).normal(0, 2, (4, 20)).astype(np.float32)
    np.testing.assert_allclose(program(made)(obs), own.act(obs[None])[0], atol=1e-6)
    lines = made.read_text().splitlines()
    assert len(lines) < 50 and "hyperpolicy" not in "\n".join(lines[18:])
    assert parity.compare(own, parity.numpy_actor(made), FAMILY, CONTEXT, "numpy", 2).holds


def test_programs_have_names_that_can_be_imported(tmp_path, monkeypatch):
    _, made = numpy_runtime.write(policy("relu"), Contract(FAMILY, CONTEXT), tmp_path / "1.7-fast")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module(made.stem).act(np.zeros(20)).shape == (6,)


def test_layers_are_those_of_the_policy():
    own = policy("elu, tanh")
    found = layers(own)
    assert [(w.shape, b.shape, name) for w, b, name in found] == [
        ((20, 5), (5,), "elu"),
        ((5, 4), (4,), "tanh"),
        ((4, 3), (3,), "relu"),
        ((3, 6), (6,), "tanh"),
    ]


# --- Refusals -----------------------------------------------------------------------------
def test_nothing_is_overwritten_and_nothing_left_half_written(tmp_path, monkeypatch):
    own, contract = policy("relu"), Contract(FAMILY, CONTEXT)
    path = onnx_file.write(own, contract, tmp_path / "policy.onnx")
    with pytest.raises(AlreadyExists):
        onnx_file.write(own, contract, path)
    (tmp_path / "other.py").write_text("mine")
    with pytest.raises(AlreadyExists, match=r"other\.py exists"):
        numpy_runtime.write(own, contract, tmp_path / "other.npz")
    assert not (tmp_path / "other.npz").exists()
    from hyperpolicy import files

    write = files.write

    def full(path, *rest):
        if path.suffix == ".py":
            raise OSError("no space")
        return write(path, *rest)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(OSError):
        numpy_runtime.write(own, contract, tmp_path / "third.npz")
    assert not list(tmp_path.glob("third*"))


def test_policies_of_others_are_refused(tmp_path):
    several = hp.Policies(np.repeat(policy("relu").weights, 2, axis=0), SPECS["relu"])
    with pytest.raises(BadShape, match="2 policies of 20 observations and 6 actions; one of"):
        onnx_file.write(several, Contract(FAMILY, CONTEXT), tmp_path / "p.onnx")
    with pytest.raises(BadShape, match="27 and 8"):
        onnx_file.write(
            policy("relu"), Contract(hp.family("ant-dir"), CONTEXT), tmp_path / "p.onnx"
        )


def test_files_of_others_are_told_apart(tmp_path):
    path = onnx_file.write(policy("relu"), Contract(FAMILY, CONTEXT), tmp_path / "policy.onnx")
    with pytest.raises(BadShape, match="takes observations of 20 numbers; ant-dir has 27"):
        ant = hp.family("ant-dir")
        hp.rollout.returns(OnnxActor(path, ant), ant, np.array([[0.3]]), 1)
    (tmp_path / "no.onnx").write_text("no model")
    with pytest.raises(BadFile, match="no ONNX model that onnxruntime reads"):
        hp.rollout.returns(OnnxActor(tmp_path / "no.onnx", FAMILY), FAMILY, CONTEXT[None], 1)


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hyperpolicy\[export\]'"):
        onnx_file.write(policy("relu"), Contract(FAMILY, CONTEXT), tmp_path / "p.onnx")


# --- The command --------------------------------------------------------------------------
def test_the_command_exports_and_play_plays(tmp_path, capsys, made):
    source = ["--policy", str(made / "generator")]
    for runtime, name in (("onnx", "p.onnx"), ("numpy", "p.npz")):
        out = str(tmp_path / name)
        words = ["export", "cheetah-vel", "--context", "1.7", "--out", out, "--runtime", runtime]
        assert cli.main([*words, *source]) == 0
        assert "largest difference of an action" in capsys.readouterr().out
    assert (
        cli.main(["play", "cheetah-vel", "--context", "1.7", "--policy", str(tmp_path / "p.onnx")])
        == 0
    )
    assert "1.7 m/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--context 1 2", "2 contexts; a file holds one policy"),
        ("--context 1 --policy zero", "--policy zero has no weights to export"),
        ("--context 1 --action-low 2", "give the lower end first"),
        ("--context 9", "outside [0, 3]"),
    ],
)
def test_the_command_refuses_in_one_line(words, said, tmp_path, capsys):
    out = tmp_path / "p.onnx"
    assert cli.main(["export", "cheetah-vel", "--out", str(out), *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1 and not out.exists()
