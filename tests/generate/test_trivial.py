"""PCA, normalizers, regression, interpolation: against zoos whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy import envs
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import codecs, normalizer
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.writers import lookup, regression
from hyperpolicy.generate.writers.regression import RegressionConfig


def test_normalizers_round_trip_and_survive_constant_features():
    rows = np.random.default_rng(0).normal(size=(9, 3)) * [1.0, 5.0, 0.0] + [0.0, 2.0, 7.0]
    for make in (normalizer.limits, normalizer.pooled):
        norm = make(rows)
        np.testing.assert_allclose(norm.invert(norm(rows)), rows, atol=1e-5)
        np.testing.assert_allclose(norm(rows)[:, 2], 0.0, atol=1e-6)
    scaled = normalizer.limits(rows)(rows)[:, :2]
    np.testing.assert_allclose(scaled.min(axis=0), -1.0, atol=1e-5)
    np.testing.assert_allclose(scaled.max(axis=0), 1.0, atol=1e-5)
    a, b = normalizer.pooled(rows)(rows)[:2, :2]
    np.testing.assert_allclose(np.ptp(normalizer.pooled(rows)(rows), axis=0).max(), 2.0, rtol=1e-5)
    ratio = (a - b) / (rows[0, :2] - rows[1, :2])
    np.testing.assert_allclose(ratio[0], ratio[1], rtol=1e-4)


def test_pca_recovers_rows_of_its_rank(zoo):
    encoder = codecs.fit_pca(codecs.PcaConfig(2), zoo.weights)
    rebuilt = np.stack([encoder.decode(encoder.encode(w)) for w in zoo.weights])
    np.testing.assert_allclose(rebuilt, zoo.weights, atol=1e-4)
    np.testing.assert_allclose(encoder.basis @ encoder.basis.T, np.eye(2), atol=1e-5)
    assert codecs.fit_pca(codecs.PcaConfig(99), zoo.weights[:4]).size == 3


def test_regression_recovers_a_quadratic_and_its_degree(zoo):
    """θ is quadratic in v: leave-one-out chooses 2, and speeds never seen come out right."""
    generator = fit(RegressionConfig(), zoo)
    assert generator.model.writer.degree == 2
    v = np.array([[0.5], [2.2]])
    finals = zoo.finals.weights
    powers = np.concatenate([zoo.contexts**0, zoo.contexts, zoo.contexts**2], axis=1)
    true = np.concatenate([v**0, v, v**2], axis=1) @ np.linalg.lstsq(powers, finals, rcond=None)[0]
    np.testing.assert_allclose(generator.generate(v).weights, true, atol=1e-3)
    np.testing.assert_array_equal(
        generator.generate(v, seed=1).weights, generator.generate(v, seed=2).weights
    )


def test_checkpoints_are_used_only_when_asked_for(make_zoo):
    clean, noisy = make_zoo(noise=0.0), make_zoo(noise=0.3)
    v = np.array([[1.0]])

    def write(zoo, checkpoints):
        config = RegressionConfig(degree=2, checkpoints=checkpoints)
        return fit(config, zoo).generate(v).weights

    np.testing.assert_array_equal(write(clean, False), write(noisy, False))
    assert np.abs(write(clean, True) - write(noisy, True)).max() > 0.01


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_contexts(make_zoo, count):
    zoo = make_zoo(num_experts=count)
    generator = fit(RegressionConfig(), zoo)
    assert generator.model.writer.degree <= max(count - 2, min(count - 1, 1))
    assert np.isfinite(generator.generate(zoo.contexts).weights).all()
    for trivial in (lookup.nearest(zoo), lookup.linear(zoo)):
        np.testing.assert_allclose(
            trivial.generate(zoo.contexts).weights, zoo.finals.weights, atol=1e-6
        )
    with pytest.raises(BadSetting, match="degree"):
        fit(RegressionConfig(degree=count), zoo)


def test_regression_on_a_circle(make_ant_zoo):
    """Angles enter as sine and cosine: 0 and 2π are one context, the gap is bridged."""
    zoo = make_ant_zoo(np.linspace(0.2, 6.0, 9))
    generator = fit(RegressionConfig(degree=1), zoo)
    a, b = generator.generate([[0.0], [2 * np.pi]]).weights
    np.testing.assert_array_equal(a, b)
    true = make_ant_zoo([0.0, 3.3]).finals.weights
    np.testing.assert_allclose(generator.generate([[0.0], [3.3]]).weights, true, atol=1e-3)


def test_features_by_hand():
    phi = regression.features(np.array([[2.0, 3.0]]), 2)
    np.testing.assert_array_equal(phi, [[1, 2, 3, 4, 6, 9]])


def test_nearest(zoo):
    near = lookup.nearest(zoo).generate(zoo.contexts[[4, 1]] + 0.1).weights
    np.testing.assert_array_equal(near, zoo.finals.weights[[4, 1]])


def test_linear_mixes_neighbors_and_clamps(zoo):
    generator = lookup.linear(zoo)
    finals, v = zoo.finals.weights, zoo.contexts
    third = v[2] + (v[3] - v[2]) / 3
    np.testing.assert_allclose(
        generator.generate([third]).weights[0], finals[2] * 2 / 3 + finals[3] / 3, atol=1e-5
    )
    with pytest.warns(UserWarning, match="outside the trained range"):
        np.testing.assert_allclose(generator.generate([[3.0]]).weights[0], finals[-1], atol=1e-6)


def test_linear_goes_round_a_circle(make_ant_zoo):
    zoo = make_ant_zoo([1.0, 3.0, 5.0])
    middle = (5.0 + 1.0 + 2 * np.pi) / 2  # halfway from 5 rad over 0 to 1 rad
    mixed = lookup.linear(zoo).generate([[middle]]).weights[0]
    np.testing.assert_allclose(mixed, zoo.finals.weights[[0, 2]].mean(axis=0), atol=1e-5)


def test_interpolation_in_two_coordinates_is_barycentric():
    """Inside the triangle exact for anything linear; beyond it the nearest points count."""
    known = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    asked = np.array([[0.2, 0.3], [0.0, 1.0], [2.0, 0.1]])
    found = lookup.shares(known, asked)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_allclose(found[0], [0.5, 0.2, 0.3], atol=1e-9)
    np.testing.assert_allclose(found[1], [0.0, 0.0, 1.0], atol=1e-9)
    assert found[2].argmax() == 1 and (found[2] >= 0).all()
    line = lookup.shares(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(line[0], [0.0, 1.0, 0.0], atol=1e-6)


def test_linear_takes_contexts_of_several_numbers(zoo):
    both = [envs.Coordinate(name, "m/s", 0.0, 3.0) for name in ("v", "w")]
    family = replace(zoo.family, context=envs.ContextSpace(tuple(both)))
    other = np.linspace(0.1, 2.9, len(zoo.contexts))[::-1] ** 2 / 3
    plane = replace(zoo, family=family, contexts=np.stack([zoo.contexts[:, 0], other], axis=1))
    found = lookup.linear(plane).generate(plane.contexts[:2]).weights
    np.testing.assert_allclose(found, plane.finals.weights[:2], atol=1e-5)
    fixed = replace(plane, contexts=np.stack([zoo.contexts[:, 0], 0 * other + 1], axis=1))
    between = (fixed.contexts[:1] + fixed.contexts[1:2]) / 2
    mean = fixed.finals.weights[:2].mean(axis=0)
    np.testing.assert_allclose(lookup.linear(fixed).generate(between).weights[0], mean, atol=1e-5)


def test_more_monomials_than_rows_have_the_same_solution():
    """A squared ridge of the slopes alone, by the normal equations of all monomials."""
    random = np.random.default_rng(0)
    encoded, latents = random.normal(size=(6, 3)), random.normal(size=(6, 2))
    phi = regression.features(encoded, 3)
    assert phi.shape[1] > len(phi)
    penalty = 1e-2 * len(phi) * np.diag([0.0] + [1.0] * (phi.shape[1] - 1))
    wanted = np.linalg.solve(phi.T @ phi + penalty, phi.T @ latents)
    np.testing.assert_allclose(regression.solve(encoded, latents, 3, 1e-2), wanted, atol=1e-8)
