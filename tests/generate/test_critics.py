"""Generators of critics: round trips, rows on their own, and ranking without an environment."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.generate import critics
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate.codecs import AutoencoderConfig, PcaConfig
from hyperpolicy.generate.writers import lookup
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.nets.mlp import CriticSpec
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies

CFG = HypLatentConfig(
    encoder=PcaConfig(3), generator_hidden=(6,), discriminator_hidden=(6,), batch=4, steps=20
)
SPEC, Q = PolicySpec(20, 6, (4, 4)), CriticSpec(20, 6, (4, 4))


@pytest.fixture(scope="module")
def judged_zoo(zoo):
    """The zoo with critics that are linear in the speed."""
    start, slope = np.random.default_rng(3).normal(size=(2, 2, Q.size))
    twins = start + zoo.contexts[:, :, None] * slope
    return replace(zoo, critics=twins.astype(np.float32))


@pytest.fixture(scope="module")
def fitted(judged_zoo):
    return critics.fit(CFG, judged_zoo)


@pytest.mark.parametrize("make", [None, critics.interpolated, critics.nearest])
def test_save_and_load_is_identity(make, fitted, judged_zoo, tmp_path):
    generator = make(judged_zoo) if make else fitted
    generator.save(tmp_path / "c")
    loaded, v = critics.load(tmp_path / "c"), np.array([[0.5], [1.7]])
    made = generator.generate(v, seed=3)
    assert made.shape == (2, 2, Q.size) and made.dtype == np.float32
    np.testing.assert_array_equal(loaded.generate(v, seed=3), made)
    assert (loaded.inside.spec, loaded.inside.family) == (SPEC, hp.family("cheetah-vel"))
    np.testing.assert_array_equal(loaded.inside.trained_contexts, judged_zoo.contexts)
    with pytest.raises(AlreadyExists):
        generator.save(tmp_path / "c")


def test_a_fit_is_saved_in_its_directory(judged_zoo, fitted, tmp_path):
    critics.fit(CFG, judged_zoo, out=tmp_path / "c")
    names = {p.name for p in (tmp_path / "c").iterdir()}
    assert names == {"config.json", "weights.safetensors", "provenance.json", "metrics.jsonl"}
    v, loaded = [[1.1]], critics.load(tmp_path / "c")
    np.testing.assert_array_equal(loaded.generate(v), fitted.generate(v))
    assert loaded.inside.provenance["seed"] == 0


def test_directories_of_critics_and_of_policies_are_told_apart(fitted, zoo, tmp_path):
    fitted.save(tmp_path / "critics")
    lookup.nearest(zoo).save(tmp_path / "policies")
    with pytest.raises(BadFile, match="writes policies"):
        critics.load(tmp_path / "policies")
    with pytest.raises(BadSetting, match=r"critics\.load"):
        generators.load(tmp_path / "critics").generate([[1.0]])


def test_rows_do_not_see_each_other(fitted):
    a = fitted.generate([[0.5], [1.7], [1.7]])
    b = fitted.generate([[2.1], [1.7], [1.7]])
    np.testing.assert_array_equal(a[1:], b[1:])
    assert np.abs(a[0] - b[0]).max() > 1e-6
    assert np.abs(a[1] - a[2]).max() > 1e-6  # their own noise


def test_interpolated_and_nearest(judged_zoo):
    v, twins = judged_zoo.contexts, judged_zoo.critics
    third = v[2] + (v[3] - v[2]) / 3
    mixed = critics.interpolated(judged_zoo).generate([third])[0]
    np.testing.assert_allclose(mixed, twins[2] * 2 / 3 + twins[3] / 3, atol=1e-4)
    np.testing.assert_array_equal(critics.nearest(judged_zoo).generate([third])[0], twins[2])
    with pytest.warns(UserWarning, match=r"\[2.9\].*an extrapolation"):
        critics.nearest(judged_zoo).generate([[2.9]])


@pytest.mark.slow
def test_learns_the_critics(judged_zoo):
    cfg = replace(CFG, dropout=0.0, generator_hidden=(16,), batch=16, steps=2000)
    written = critics.fit(cfg, judged_zoo).generate(judged_zoo.contexts)
    gap = np.abs(written - judged_zoo.critics).mean()
    assert gap < np.abs(np.diff(judged_zoo.critics, axis=0)).mean()


@pytest.mark.parametrize("make", [lambda z: critics.fit(CFG, z), critics.interpolated])
def test_bad_zoos(make, zoo, judged_zoo):
    with pytest.raises(BadZoo, match="no critics"):
        make(zoo)
    with pytest.raises(BadZoo, match="expected"):
        make(replace(judged_zoo, critics=judged_zoo.critics[:, :, 1:]))
    with pytest.raises(BadZoo, match="not finite"):
        make(replace(judged_zoo, critics=judged_zoo.critics * np.nan))


@pytest.mark.parametrize("change", [{"encoder": AutoencoderConfig()}, {"behavior": 1.0}])
def test_settings_for_policies_are_refused(change, judged_zoo):
    with pytest.raises(BadSetting, match="critics take a PcaConfig"):
        critics.fit(replace(CFG, **change), judged_zoo)


# --- Judging ------------------------------------------------------------------------------
def planted_critics() -> np.ndarray:
    """Twins with Q(s, a) = −|a₀ − 0.5|, the second one 0.1 lower."""
    (w1, b1), (w2, b2), (w3, b3) = (
        (np.zeros((2, i, o), np.float32), np.zeros((2, o), np.float32)) for i, o in Q.layers
    )
    w1[:, 20, 0], b1[:, 0] = 1.0, -0.5  # relu(a₀ − .5)
    w1[:, 20, 1], b1[:, 1] = -1.0, 0.5  # relu(.5 − a₀)
    w2[:, 0, 0] = w2[:, 1, 1] = 1.0
    w3[:, :2, 0], b3[1] = -1.0, -0.1
    parts = [w1, b1, w2, b2, w3, b3]
    return np.concatenate([part.reshape(2, -1) for part in parts], axis=1)


def constant_policies(actions) -> Policies:
    """Policies whose first action is constant; the others are 0."""
    weights = np.zeros((len(actions), SPEC.size), np.float32)
    start = sum(SPEC.layer_sizes[:2]) + 4 * 6  # the bias of μ
    weights[:, start] = np.arctanh(actions)
    return Policies(weights, SPEC)


def test_rank_puts_a_planted_better_policy_first():
    policies = constant_policies([-0.8, 0.0, 0.55, 0.9])
    states = np.random.default_rng(0).normal(size=(7, 20))
    worth = critics.values(planted_critics(), policies, states)
    np.testing.assert_allclose(worth, [-1.4, -0.6, -0.15, -0.5], atol=1e-5)
    order = critics.rank(planted_critics(), policies, states)
    np.testing.assert_array_equal(order, [2, 3, 1, 0])
    np.testing.assert_array_equal(critics.rank(planted_critics(), policies[::-1], states)[0], 1)


@pytest.mark.usefixtures("as_user")
def test_rank_explains_what_does_not_fit():
    policies, states = constant_policies([0.0]), np.zeros((7, 20), np.float32)
    with pytest.raises(BadShape, match=r"needs \(2, "):
        critics.rank(planted_critics()[:, 1:], policies, states)
    with pytest.raises(BadShape):
        critics.rank(planted_critics(), policies, states[:, 1:])
