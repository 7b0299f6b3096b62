"""Generators as ONNX files: the same weights for any context."""

import json
from pathlib import Path

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli
from hyperpolicy.data.given import Contexts
from hyperpolicy.errors import AlreadyExists, BadSetting
from hyperpolicy.export import generator_file
from hyperpolicy.generate import fit
from hyperpolicy.generate.codecs import AutoencoderConfig
from hyperpolicy.generate.writers import lookup, residual
from hyperpolicy.generate.writers.conditioned import from_weights
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.policies import Policies

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def zoo(name: str, contexts) -> hp.Zoo:
    family = hp.family(name)
    spec = hp.PolicySpec(family.obs_size, family.action_size, (4, 3))
    contexts = family.context.check(contexts)
    n = len(contexts)
    return hp.Zoo(
        spec,
        family,
        np.random.default_rng(0).normal(0, 0.3, (n, spec.size)).astype(np.float32),
        expert=np.arange(n),
        updates=np.full(n, 10),
        final=np.ones(n, bool),
        returns=np.full(n, -9.0, np.float32),
        contexts=contexts,
    )


DEMONSTRATIONS = Path(__file__).parents[2] / "zoos/metaworld/amt-hyp/demonstrations.safetensors"
AUTOENCODED = HypLatentConfig(
    encoder=AutoencoderConfig(steps=2, dim=3),
    generator_hidden=(6,),
    discriminator_hidden=(6,),
    batch=4,
    steps=2,
)
SPEEDS = zoo("cheetah-vel", [[0.4], [2.5], [1.1], [1.7]])
DIRECTIONS = zoo("ant-dir", [[0.4], [5.9], [2.1], [3.7]])


def base(one: hp.Zoo):
    family = one.family
    wide = hp.PolicySpec(family.obs_size + family.context.encoded_size, family.action_size, (4, 3))
    weights = np.random.default_rng(1).normal(0, 0.3, wide.size).astype(np.float32)
    return from_weights(family, wide, weights, one.contexts, {})


MAKERS = {
    "nearest": lookup.nearest,
    "linear": lookup.linear,
    "conditioned": base,
    "residual": lambda one: residual.around(base(one), one),
    "regression": lambda one: fit(RegressionConfig(degree=2), one),
}


@pytest.mark.filterwarnings("ignore:(?s).*outside the trained range")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("one", [SPEEDS, DIRECTIONS], ids=["speeds", "directions"])
def test_weights_are_the_same_inside_and_outside_the_trained_range(one, name, tmp_path):
    made = MAKERS[name](one)
    path = generator_file.write(made, tmp_path / "generator.onnx")
    low, high = one.family.context.low[0], one.family.context.high[0]
    contexts = np.linspace(low, high * 0.9999, 41)[:, None]
    assert generator_file.gap(made, path, Contexts(made.family, contexts)) < 2e-5
    assert generator_file.gap(made, path, Contexts(made.family, one.contexts)) < 2e-5


def test_it_says_what_its_weights_are(tmp_path):
    path = generator_file.write(lookup.linear(SPEEDS), tmp_path / "g.onnx")
    said = {x.key: x.value for x in onnx.load(path).metadata_props}
    assert json.loads(said["layers"])[0] == [20, 4] and said["kind"] == "linear"
    assert json.loads(said["context"]) == [{"name": "velocity", "unit": "m/s"}]
    with pytest.raises(AlreadyExists):
        generator_file.write(lookup.linear(SPEEDS), path)


def test_the_nearest_in_several_coordinates(tmp_path):
    pytest.importorskip("dm_control")
    contexts = [[1.0, 0.4], [5.0, 0.4], [1.0, 0.6], [-5.0, 0.5]]
    one = zoo("cheetah-run", contexts)
    made = lookup.nearest(one)
    path = generator_file.write(made, tmp_path / "g.onnx")
    rng = np.random.default_rng(0)
    asked = np.stack([rng.uniform(1, 9, 30), rng.uniform(0.3, 0.7, 30)], axis=1)
    assert (
        generator_file.gap(made, path, Contexts(one.family, one.family.context.check(asked))) < 1e-6
    )
    with pytest.raises(BadSetting, match="interpolation in several coordinates is not exported"):
        generator_file.write(lookup.linear(one), tmp_path / "other.onnx")


def test_one_that_draws_noise_and_reads_demonstrations(tmp_path, capsys):
    """Demonstrations and noise are two inputs."""
    pytest.importorskip("metaworld")
    made, shown = hp.load("metaworld"), DEMONSTRATIONS
    out = tmp_path / "g.onnx"
    words = ["export", "metaworld", "--generator", "--demo", str(shown), "--out", str(out)]
    assert cli.main(words) == 0
    assert "demonstrations to" in capsys.readouterr().out
    given = hp.Demonstrations.load(shown)
    assert generator_file.gap(made, out, given[np.arange(3)], seed=5) < 1e-5
    assert generator_file.gap(made, out, given) < 1e-5
    ports = {x.name: x.type.tensor_type.shape.dim[1].dim_value for x in onnx.load(out).graph.input}
    assert ports == {"demonstration": given.rows.shape[1], "noise": 128}


def test_generators_with_other_parts_are_refused(tmp_path):
    made = fit(AUTOENCODED, SPEEDS)
    with pytest.raises(BadSetting, match="generators with a autoencoder are not exported whole"):
        generator_file.write(made, tmp_path / "g.onnx")


@pytest.mark.parametrize("name", ["cheetah-vel", "ant-dir"])
def test_shipped_generators_leave_by_the_command(name, tmp_path, capsys):
    out = tmp_path / "g.onnx"
    assert cli.main(["export", name, "--generator", "--out", str(out)]) == 0
    assert "largest difference of a weight" in capsys.readouterr().out
    from hyperpolicy.export.onnx_file import open_session

    family = hp.family(name)
    context = family.grid().split("full").test
    weights = open_session(out).run(None, {"context": context.astype(np.float32)})[0]
    made = hp.load(name)
    ours = made.generate(context)
    theirs = Policies(weights, made.spec)
    obs = np.random.default_rng(0).normal(size=(len(context), 20, family.obs_size))
    np.testing.assert_allclose(theirs.act(obs), ours.act(obs), atol=1e-4)


def test_what_has_no_effect_is_refused(tmp_path, capsys):
    words = ["export", "cheetah-vel", "--generator", "--out", str(tmp_path / "g.onnx")]
    assert cli.main([*words, "--context", "1"]) == 2
    assert "has no effect with --generator" in capsys.readouterr().err
