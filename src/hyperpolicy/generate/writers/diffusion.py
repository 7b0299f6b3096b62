"""Denoising diffusion of a vector: noise schedule, forward noising, and DDIM without fresh noise.

    f(u) = cos²(π/2 · (u + .008)/1.008)      β_t = min(1 − f((t+1)/T)/f(t/T), .999)
    ᾱ_t = Π_{s ≤ t} (1 − β_s)                x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε,   ε ~ N(0, 1)

    ε̂ = (x_t − √ᾱ_t x̂₀)/√(1 − ᾱ_t)          x_s = √ᾱ_s clip(x̂₀, −1, 1) + √(1 − ᾱ_s) ε̂

with x̂₀ what a network predicts at x_t, and s the time after t. Schedule: Nichol & Dhariwal (2021),
arXiv:2102.09672, Eq. 17; steps: Song et al. (2021), "Denoising Diffusion Implicit Models",
arXiv:2010.02502, Eq. 12 with σ = 0 (η = 0).

Where the papers leave a choice it is made as diffusers' DDIMScheduler does by default, which
Make-An-Agent uses with `squaredcos_cap_v2`, `clip_sample` and prediction of x₀ ("sample"):
  * the spacing of times is "leading": (n−1)·k, …, k, 0 with k = T/n rounded down. For T = 100 and
    n = 10 the first is 90, not 99, though what it is given is pure noise;
  * the time after the last has ᾱ = 1 (`set_alpha_to_one`), so the result is the last clipped x̂₀;
  * ε̂ is taken from x̂₀ before clipping (`use_clipped_model_output` is off).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.errors import BadSetting
from hyperpolicy.types import Scalar

LARGEST_BETA = 0.999


def schedule(steps: int) -> Float[np.ndarray, " t"]:
    """ᾱ_t of each of the `steps` times, falling from nearly 1 to nearly 0."""
    f = np.cos(np.pi / 2 * (np.arange(steps + 1) / steps + 0.008) / 1.008) ** 2
    betas = np.minimum(1.0 - f[1:] / f[:-1], LARGEST_BETA)
    return np.cumprod(1.0 - betas).astype(np.float32)


def times(steps: int, count: int) -> Int[np.ndarray, " s"]:
    """The `count` of `steps` times that sampling visits, from the noisiest to 0.

    Raises:
        BadSetting: there are not as many times.
    """
    if not 1 <= count <= steps:
        raise BadSetting(f"{count} sampling steps of {steps} diffusion steps; give 1 … {steps}")
    return np.arange(count)[::-1] * (steps // count)


def noised(
    clean: Float[Array, " z"], noise: Float[Array, " z"], alpha: Scalar
) -> Float[Array, " z"]:
    """x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε."""
    return jnp.sqrt(alpha) * clean + jnp.sqrt(1.0 - alpha) * noise


def ddim_step(
    noisy: Float[Array, " z"], predicted: Float[Array, " z"], alpha: Scalar, next_alpha: Scalar
) -> Float[Array, " z"]:
    """x_s of x_t and x̂₀, `alpha` being ᾱ_t and `next_alpha` ᾱ_s."""
    noise = (noisy - jnp.sqrt(alpha) * predicted) / jnp.sqrt(1.0 - alpha)
    return noised(jnp.clip(predicted, -1.0, 1.0), noise, next_alpha)


def sample(
    predict: Callable, alphas: Float[np.ndarray, " t"], count: int, noise: Float[Array, " z"]
) -> Float[Array, " z"]:
    """x₀ by `count` steps from `noise`; `predict(x, t)` is x̂₀."""
    visited = times(len(alphas), count)
    here = alphas[visited]
    there = np.append(here[1:], np.float32(1.0))

    def step(x, now):
        t, alpha, next_alpha = now
        return ddim_step(x, predict(x, t), alpha, next_alpha), None

    now = (jnp.asarray(visited), jnp.asarray(here), jnp.asarray(there))
    return jax.lax.scan(step, noise, now)[0]
