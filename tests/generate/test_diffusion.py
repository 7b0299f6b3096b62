"""Diffusion: the schedule's closed form, forward noising, DDIM with predictors that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.generate.writers import make_an_agent as diffusion

ALPHAS = diffusion.schedule(100)


def test_schedule_has_its_closed_form():
    """ᾱ_t = f((t + 1)/T)/f(0), but for the last step, whose β is capped at .999."""
    f = lambda u: np.cos(np.pi / 2 * (u + 0.008) / 1.008) ** 2  # noqa: E731
    want = f(np.arange(1, 100) / 100) / f(0.0)
    np.testing.assert_allclose(ALPHAS[:99], want, rtol=1e-5)
    np.testing.assert_allclose(ALPHAS[99], 1e-3 * want[98], rtol=1e-5)
    assert ALPHAS.dtype == np.float32 and len(ALPHAS) == 100
    assert np.all(np.diff(ALPHAS) < 0) and 0.999 < ALPHAS[0] < 1 and 0 < ALPHAS[99] < 1e-6


def test_times_are_spaced_as_leading():
    np.testing.assert_array_equal(diffusion.times(100, 10), np.arange(90, -1, -10))
    np.testing.assert_array_equal(diffusion.times(100, 7), [84, 70, 56, 42, 28, 14, 0])
    np.testing.assert_array_equal(diffusion.times(5, 5), [4, 3, 2, 1, 0])
    for count in (0, 6):
        with pytest.raises(BadSetting, match=f"{count} sampling steps of 5 diffusion steps"):
            diffusion.times(5, count)


def test_noised_keeps_its_share_of_the_clean_vector():
    noise = jax.random.normal(jax.random.key(0), (20_000,))
    for t in (0, 40, 99):
        alpha = jnp.asarray(ALPHAS[t])
        noisy = np.asarray(diffusion.noised(jnp.full(20_000, 0.7), noise, alpha))
        np.testing.assert_allclose(noisy.mean(), 0.7 * ALPHAS[t] ** 0.5, atol=0.03)
        np.testing.assert_allclose(noisy.std(), (1 - ALPHAS[t]) ** 0.5, rtol=0.03)


def test_a_step_with_the_truth_keeps_the_noise():
    """From √ᾱ_t x₀ + √(1 − ᾱ_t) ε to √ᾱ_s x₀ + √(1 − ᾱ_s) ε."""
    keys = jax.random.split(jax.random.key(1))
    clean = jax.random.uniform(keys[0], (6,), minval=-1.0, maxval=1.0)
    noise, (t, s) = jax.random.normal(keys[1], (6,)), (jnp.asarray(ALPHAS[i]) for i in (60, 50))
    got = diffusion.ddim_step(diffusion.noised(clean, noise, t), clean, t, s)
    np.testing.assert_allclose(got, diffusion.noised(clean, noise, s), rtol=1e-4, atol=1e-6)


def test_the_noise_is_estimated_before_clipping():
    noisy, alpha, next_alpha = jnp.array([0.5]), jnp.asarray(0.25), jnp.asarray(0.64)
    got = diffusion.ddim_step(noisy, jnp.array([3.0]), alpha, next_alpha)
    noise = (0.5 - 0.5 * 3.0) / np.sqrt(0.75)
    np.testing.assert_allclose(got, [0.8 * 1.0 + 0.6 * noise], rtol=1e-6)


def test_a_perfect_predictor_is_recovered_exactly():
    clean = jax.random.uniform(jax.random.key(2), (7,), minval=-1.0, maxval=1.0)
    noise = jax.random.normal(jax.random.key(3), (7,))
    for count in (1, 10, 100):
        got = diffusion.sample(lambda x, t: clean, ALPHAS, count, noise)
        np.testing.assert_array_equal(got, clean)
    got = diffusion.sample(lambda x, t: 3.0 * clean, ALPHAS, 10, noise)
    np.testing.assert_array_equal(got, jnp.clip(3.0 * clean, -1.0, 1.0))


def test_sampling_visits_its_times_from_noise():
    seen = []

    def predict(x, t):
        seen.append((int(t), np.asarray(x)))
        return 0.0 * x

    with jax.disable_jit():
        diffusion.sample(predict, ALPHAS, 10, jnp.array([1.5]))
    assert [t for t, _ in seen] == list(range(90, -1, -10))
    np.testing.assert_array_equal(seen[0][1], [1.5])
    shrinks = np.sqrt((1 - ALPHAS[80]) / (1 - ALPHAS[90]))  # all of it is noise
    np.testing.assert_allclose(seen[1][1], [1.5 * shrinks], rtol=1e-6)


def test_the_best_predictor_of_a_gaussian_gives_that_gaussian():
    """x₀ ~ N(μ, σ²) has E[x₀ | x_t] = μ + √ᾱ σ² (x_t − √ᾱ μ)/(ᾱ σ² + 1 − ᾱ)."""
    mean, std, alphas = 0.3, 0.2, jnp.asarray(ALPHAS)

    def predict(x, t):
        root = jnp.sqrt(alphas[t])
        gain = root * std**2 / (alphas[t] * std**2 + 1.0 - alphas[t])
        return mean + gain * (x - root * mean)

    noise = jax.random.normal(jax.random.key(4), (20_000,))
    got = np.asarray(diffusion.sample(predict, ALPHAS, 100, noise))
    np.testing.assert_allclose([got.mean(), got.std()], [mean, std], rtol=0.05)
