"""Policies as layers: named arrays, ONNX chains, normalizers and ranges of actions folded in, and
what is refused."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

import hyperpolicy as hp
from hyperpolicy import imports
from hyperpolicy.errors import BadFile, BadSetting, BadShape
from hyperpolicy.export import onnx_file
from hyperpolicy.export.contract import Contract
from hyperpolicy.imports.layers import Hints, Layers

OBS = np.random.default_rng(0).normal(0, 2, (50, 5))


def layers(**what) -> Layers:
    rng = np.random.default_rng(1)
    sizes = ((5, 7), (7, 6), (6, 2))
    weights = tuple(rng.normal(0, 0.6, size) for size in sizes)
    biases = tuple(rng.normal(0, 0.3, o) for _, o in sizes)
    return replace(Layers(weights, biases, ("tanh", "relu")), **what)


def named(found: Layers, pattern: str, turned: bool = True) -> dict[str, np.ndarray]:
    """Arrays as PyTorch keeps them, or as flax does."""
    arrays = {}
    for n, (weight, bias) in enumerate(zip(found.weights, found.biases, strict=True)):
        name = pattern.format(n=2 * n if turned else n)
        matrix = np.ascontiguousarray(weight.T if turned else weight, np.float32)
        arrays[f"{name}.{'weight' if turned else 'kernel'}"] = matrix
        arrays[f"{name}.bias"] = bias.astype(np.float32)
    return arrays


CASES = {
    "tanh": layers(),
    "clip": layers(output="clip"),
    "a range": layers(output="clip", low=-2.0, high=5.0),
    "normalized": layers(mean=np.arange(5.0), scale=np.full(5, 0.5)),
    "centered": layers(output="clip", mean=np.arange(5.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_policies_act_as_the_layers_do(name):
    found = CASES[name]
    made = imports.policies([found])
    np.testing.assert_allclose(made.act(OBS[None].astype(np.float32))[0], found.act(OBS), atol=3e-5)
    assert made.spec.output == found.output and made.spec.head == "deterministic"


def test_a_policy_that_cuts_is_the_same_when_read_back(tmp_path):
    made = imports.policies([CASES["clip"]])
    again = hp.Policies.load(made.save(tmp_path / "p.safetensors"))
    assert again.spec == made.spec
    obs = 9 * OBS[None].astype(np.float32)
    np.testing.assert_array_equal(again.act(obs), made.act(obs))
    assert np.abs(made.act(obs)).max() == 1.0


# --- Named arrays -------------------------------------------------------------------------
def test_known_names_are_found_among_others(tmp_path):
    for pattern, activation, output in (
        ("actor_mean.{n}", "tanh", "clip"),
        ("model_state_dict.actor.{n}", "elu", "clip"),
    ):
        arrays = named(layers(), pattern) | named(layers(), "critic.{n}")
        arrays["std"] = np.ones(2, np.float32)
        path = tmp_path / f"{activation}.safetensors"
        save_file(arrays, path)
        found = imports.read(path)
        wanted = layers(activations=(activation, activation), output=output)
        np.testing.assert_allclose(found.act(OBS), wanted.act(OBS), atol=1e-5)


def test_a_prefix_and_hints_say_what_names_do_not(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **named(layers(), "my/net.layer{n}"), **named(layers(), "other.{n}"))
    with pytest.raises(BadFile, match=r"no layers under names that are known .*give --prefix; mat"):
        imports.read(path)
    with pytest.raises(BadFile, match="no layers whose names begin with 'yours'"):
        imports.read(path, Hints(prefix="yours"))
    with pytest.raises(BadSetting, match="give --activation and --output"):
        imports.read(path, Hints(prefix="my/net"))
    with pytest.raises(BadSetting, match="give --output"):
        imports.read(path, Hints(prefix="my/net", activation="relu"))
    found = imports.read(path, Hints("relu", "tanh", prefix="my/net"))
    wanted = layers(activations=("relu", "relu"))
    np.testing.assert_allclose(found.act(OBS), wanted.act(OBS), atol=1e-5)


def test_flax_keeps_matrices_the_other_way_round(tmp_path):
    save_file(named(layers(), "params.Dense_{n}", turned=False), tmp_path / "p.safetensors")
    found = imports.read(tmp_path / "p.safetensors", Hints("tanh", "tanh"))
    wanted = layers(activations=("tanh", "tanh"))
    np.testing.assert_allclose(found.act(OBS), wanted.act(OBS), atol=1e-5)


def test_what_observations_were_normalized_by_is_told(tmp_path):
    save_file(named(layers(), "actor_mean.{n}"), tmp_path / "p.safetensors")
    hints = Hints(mean=np.arange(5.0), scale=np.full(5, 2.0), low=-3.0, high=1.0)
    found = imports.read(tmp_path / "p.safetensors", hints)
    wanted = layers(activations=("tanh", "tanh"), output="clip", low=-3.0, high=1.0)
    wanted = replace(wanted, mean=hints.mean, scale=hints.scale)
    np.testing.assert_allclose(found.act(OBS), wanted.act(OBS), atol=1e-4)
    with pytest.raises(BadShape, match=r"a normalizer of \(3,\) for observations of 5"):
        imports.read(tmp_path / "p.safetensors", Hints(mean=np.zeros(3)))
    with pytest.raises(BadSetting, match="give the lower end first"):
        imports.read(tmp_path / "p.safetensors", Hints(low=1.0))


# --- ONNX ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["tanh", "clip", "normalized"])
def test_our_own_files_come_back(name, tmp_path):
    pytest.importorskip("onnx")
    made = imports.policies([CASES[name]])
    family = replace(hp.family("cheetah-vel"), obs_size=5, action_size=2)
    contract = Contract(family, np.array([1.0]), "", -2.0, 4.0)
    found = imports.read(onnx_file.write(made, contract, tmp_path / "p.onnx"))
    np.testing.assert_allclose(imports.policies([found]).weights, made.weights, atol=1e-5)


def chain(nodes, held, path):
    """An ONNX file of a graph from x to y."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    made = [helper.make_node(op, list(given), list(out)) for op, given, out in nodes]
    arrays = [numpy_helper.from_array(x.astype(np.float32), name) for name, x in held.items()]
    port = helper.make_tensor_value_info
    ends = [port("x", TensorProto.FLOAT, [None, 5])], [port("y", TensorProto.FLOAT, [None, 2])]
    onnx.save(helper.make_model(helper.make_graph(made, "g", *ends, arrays)), path)
    return path


def test_a_normalizer_and_separate_sums_are_read(tmp_path):
    own = layers(activations=("elu", "elu"), mean=np.arange(5.0), scale=np.full(5, 0.25))
    held = {"m": own.mean, "s": 1.0 / own.scale}
    nodes, last = [("Sub", "xm", "a"), ("Div", "as", "b")], "b"
    for n, (weight, bias) in enumerate(zip(own.weights, own.biases, strict=True)):
        held |= {f"w{n}": weight, f"b{n}": bias}
        nodes += [("MatMul", (last, f"w{n}"), (f"p{n}",)), ("Add", (f"b{n}", f"p{n}"), (f"q{n}",))]
        last = f"h{n}"
        nodes.append(("Elu" if n < 2 else "Tanh", (f"q{n}",), (last,)))
    nodes.append(("Identity", (last,), ("y",)))
    found = imports.read(chain(nodes, held, tmp_path / "p.onnx"))
    np.testing.assert_allclose(found.act(OBS), own.act(OBS), atol=1e-5)


def test_other_graphs_are_refused(tmp_path):
    path = chain([("Sin", "x", "y")], {}, tmp_path / "sin.onnx")
    with pytest.raises(BadFile, match="has the operator Sin; taken are Gemm"):
        imports.read(path)
    path = chain(
        [("Tanh", "x", "a"), ("Relu", "x", "b"), ("Add", "ab", "y")], {}, tmp_path / "f.onnx"
    )
    with pytest.raises(BadFile, match="x goes 2 ways; only a chain"):
        imports.read(path)
    (tmp_path / "no.onnx").write_bytes(b"\x00nothing")
    with pytest.raises(BadFile, match="is no ONNX file, or damaged"):
        imports.read(tmp_path / "no.onnx")


# --- Checks and refusals ------------------------------------------------------------------
def test_recorded_actions_are_compared():
    found = CASES["a range"]
    action = 3.5 * found.act(OBS) + 1.5
    assert imports.check(found, OBS, action, "mine") < 1e-5
    with pytest.raises(BadFile, match=r"mine: its actions differ by up to .*in the same order"):
        imports.check(found, OBS[:, ::-1], action, "mine")
    with pytest.raises(BadShape, match=r"the policy takes \[n, 5\] and gives \[n, 2\]"):
        imports.check(found, OBS[:, :4], action, "mine")


def test_unequal_policies_and_layers_are_refused(as_user):
    with pytest.raises(BadShape, match=r"policy 1 is .*policies of one zoo are alike"):
        imports.policies([layers(), layers(output="clip")])
    with pytest.raises(BadSetting, match="activation 'gelu'; hidden layers here have one of relu"):
        layers(activations=("tanh", "gelu"))
    with pytest.raises(BadShape, match="are no chain"):
        layers(weights=layers().weights[:2])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.pkl", b"", "is a pickle, which runs code when it is opened"),
        ("p.h5", b"", r"no reader for '.h5'; .zip \(a Stable-Baselines3 model\)"),
        ("p.npz", b"no", "holds no plain arrays"),
        ("p.zip", b"no", "is no model of Stable-Baselines3, or damaged"),
        ("p.safetensors", b"no", "safetensors"),
    ],
)
def test_files_of_others_are_refused(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=said):
        imports.read(tmp_path / name)
    with pytest.raises(BadFile):
        imports.read(tmp_path / f"missing-{name}")


def test_a_zip_of_pickles_is_refused_with_the_safe_way(tmp_path):
    with zipfile.ZipFile(tmp_path / "sbx.zip", "w") as held:
        held.writestr("data", json.dumps({"policy": {":serialized:": "gASV"}}))
    with pytest.raises(BadFile, match=r"SBX's models keep their networks in a pickle.*safetensors"):
        imports.read(tmp_path / "sbx.zip")


def test_arrays_of_objects_are_not_opened(tmp_path):
    np.savez(tmp_path / "p.npz", x=np.array([{}], object))
    with pytest.raises(BadFile, match="holds no plain arrays"):
        imports.read(tmp_path / "p.npz")
