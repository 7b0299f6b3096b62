"""Generators as their users meet them: ranges, errors, directories."""

import json
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import envs, files
from hyperpolicy.errors import AlreadyExists, BadContext, BadFile, BadZoo, UnknownGenerator
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.writers import lookup, regression
from hyperpolicy.nets.policy import PolicySpec


@pytest.fixture(scope="module")
def fitted(zoo):
    return fit(regression.RegressionConfig(), zoo)


def test_writes_one_policy_a_context(fitted, zoo):
    policies = fitted.generate([[0.5], [1.7]])
    assert policies.weights.shape == (2, zoo.spec.size)
    assert policies.spec == zoo.spec
    assert policies.act(np.zeros((2, 20), np.float32)).shape == (2, 6)


@pytest.mark.parametrize(
    "contexts", [[0.5, 1.7], [[0.5, 1.0]], [[np.nan]], [[3.5]], [["fast"]], []]
)
def test_bad_contexts(fitted, contexts):
    with pytest.raises(BadContext):
        fitted.generate(contexts)


def test_warns_outside_the_trained_range_and_only_there(fitted):
    with pytest.warns(UserWarning, match=r"1 of 2 contexts.*\[2.9\]"):
        fitted.generate([[2.9], [1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.generate([[0.3], [2.7]])


def test_range_on_a_circle():
    space = envs.family("ant-dir").context
    ring = np.linspace(0, 2 * np.pi, 8, endpoint=False)[:, None]
    assert not generators.beyond(space, ring, np.array([[6.2], [0.1]])).any()
    half = np.array([[5.5], [0.2], [1.2]])  # an arc over 0, from 5.5 to 1.2 rad
    inside = generators.beyond(space, half, np.array([[6.0], [0.7], [1.2], [5.5]]))
    outside = generators.beyond(space, half, np.array([[3.0], [1.3], [5.4]]))
    assert not inside.any() and outside.all()


@pytest.mark.parametrize("make", [lookup.nearest, lookup.linear, None])
def test_save_and_load_is_identity(make, fitted, zoo, tmp_path):
    generator = make(zoo) if make else fitted
    generator.save(tmp_path / "g")
    loaded = generators.load(tmp_path / "g")
    contexts = np.array([[0.31], [1.0], [2.6]])
    np.testing.assert_array_equal(
        loaded.generate(contexts).weights, generator.generate(contexts).weights
    )
    np.testing.assert_array_equal(loaded.trained_contexts, generator.trained_contexts)
    assert (loaded.family, loaded.spec) == (generator.family, generator.spec)
    assert loaded.provenance["zoo"] == {"grid": "made up"}
    names = {p.name for p in (tmp_path / "g").iterdir()}
    assert names == {"config.json", "weights.safetensors", "provenance.json"}


def test_compact_matrices_are_halves_on_disk_and_singles_in_memory(fitted, tmp_path):
    fitted.save(tmp_path / "g", compact=True)
    arrays, _ = files.load_arrays(tmp_path / "g/weights.safetensors")
    stored = {x.ndim > 1: x.dtype for x in arrays.values()}
    assert stored == {True: np.float16, False: np.float32}
    loaded = generators.load(tmp_path / "g")
    leaves = jax.tree.leaves(loaded.model)
    assert all(np.asarray(leaf).dtype == np.float32 for leaf in leaves)
    contexts = np.array([[0.31], [1.0], [2.6]])
    made, wanted = (g.generate(contexts).weights for g in (loaded, fitted))
    np.testing.assert_allclose(made, wanted, atol=1e-2)
    assert (made != wanted).any()


def test_matrices_beyond_float16_stay(fitted, tmp_path):
    large = jax.tree.map(lambda leaf: 1e6 * np.asarray(leaf), fitted.model)
    replace(fitted, model=large).save(tmp_path / "g", compact=True)
    read = jax.tree.leaves(generators.load(tmp_path / "g").model)
    assert all(np.isfinite(leaf).all() for leaf in read)


def test_nothing_is_overwritten(fitted, tmp_path):
    fitted.save(tmp_path / "g")
    before = (tmp_path / "g/config.json").read_bytes()
    with pytest.raises(AlreadyExists):
        fitted.save(tmp_path / "g")
    assert (tmp_path / "g/config.json").read_bytes() == before


def test_shipped_generators_open_by_name(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(generators, "SHIPPED", tmp_path)
    fitted.save(tmp_path / "cheetah-vel")
    assert generators.shipped() == ["cheetah-vel"]
    assert generators.load("cheetah-vel").family.name == "cheetah-vel"
    with pytest.raises(UnknownGenerator, match="Did you mean 'cheetah-vel'"):
        generators.load("cheetah-vell")


def test_a_directory_without_config_is_no_generator(tmp_path):
    with pytest.raises(UnknownGenerator, match=r"no config\.json"):
        generators.load(tmp_path)


def test_damaged_directories(fitted, tmp_path):
    def broken(name):
        fitted.save(tmp_path / name)
        return tmp_path / name

    path = broken("truncated")
    whole = (path / "weights.safetensors").read_bytes()
    (path / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="does not match its checksum"):
        generators.load(path)

    for name, change, message in [
        ("kind", {"writer": {"kind": "oracle"}}, "no part 'oracle'"),
        ("format", {"format": "hyperpolicy-generator-9"}, "generator-9"),
        ("size", {"codec": {"kind": "pca", "components": 2}}, "does not fit"),
        ("settings", {"writer": {"kind": "regression"}}, "damaged"),
        ("policy", {"policy": {"hidden": 3}}, "damaged"),
    ]:
        path = broken(name)
        config = json.loads((path / "config.json").read_text()) | change
        files.save_json(path / "config.json", config, overwrite=True)
        with pytest.raises(BadFile, match=message):
            generators.load(path)


def test_bad_zoos(zoo):
    spec = PolicySpec(17, 6, (4, 4))
    with pytest.raises(BadZoo, match="17 observations"):
        narrow = replace(zoo, spec=spec, weights=np.zeros((len(zoo), spec.size), np.float32))
        lookup.nearest(narrow)
    with pytest.raises(BadZoo, match="ant-dir"):
        lookup.nearest(replace(zoo, family=hp.family("ant-dir")))
    with pytest.raises(BadZoo, match="not finite"):
        lookup.nearest(replace(zoo, weights=zoo.weights * np.nan))
    with pytest.raises(BadZoo, match="final rows"):
        lookup.nearest(replace(zoo, final=np.zeros(len(zoo), bool)))
    with pytest.raises(BadZoo, match="at least one row"):
        replace(
            zoo,
            **{name: getattr(zoo, name)[:0] for name in ("weights", "expert", "updates")},
            **{name: getattr(zoo, name)[:0] for name in ("final", "returns")},
        )


def test_only_the_given_zoo_is_seen(zoo):
    """A fit on some experts is the same whatever the others are."""
    train = zoo.contexts[[0, 2, 3, 5]]
    foreign = zoo.weights + np.where(np.isin(zoo.expert, [1, 4])[:, None], 9.0, 0.0)
    other = replace(zoo, weights=foreign.astype(np.float32))
    fits = [fit(regression.RegressionConfig(), z.only(train)) for z in (zoo, other)]
    a, b = (g.generate([[1.0]]).weights for g in fits)
    np.testing.assert_array_equal(a, b)
