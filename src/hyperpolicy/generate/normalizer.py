"""Scale and offset of features, fitted on training rows only and stored with the model."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

CONSTANT = 1e-4
"""A feature that varies less than this keeps its scale and is centered on 0."""


class Normalizer(eqx.Module):
    """x · scale + offset, feature by feature."""

    scale: Float[Array | np.ndarray, " f"]
    offset: Float[Array | np.ndarray, " f"]

    def __call__(self, x):
        return x * self.scale + self.offset

    def invert(self, x):
        return (x - self.offset) / self.scale


def limits(rows: Float[np.ndarray, "r f"]) -> Normalizer:
    """Maps each feature's smallest and largest value to −1 and 1."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    spread = high - low
    varies = spread >= CONSTANT
    scale = np.where(varies, 2.0 / np.where(varies, spread, 1.0), 1.0)
    return _normalizer(scale, -scale * (low + high) / 2.0)


def pooled(rows: Float[np.ndarray, "r f"]) -> Normalizer:
    """Centers each feature and divides all by one number, the widest feature's half range.

    Distances keep their proportions, which principal components need: their small ones are small
    because they matter little.
    """
    low, high = rows.min(axis=0), rows.max(axis=0)
    half = max(float((high - low).max()) / 2.0, CONSTANT)
    scale = np.full(rows.shape[1], 1.0 / half)
    return _normalizer(scale, -scale * (low + high) / 2.0)


def blank(f: int) -> Normalizer:
    """A normalizer of `f` features that changes nothing."""
    return Normalizer(jnp.ones(f), jnp.zeros(f))


def _normalizer(scale, offset) -> Normalizer:
    return Normalizer(np.asarray(scale, np.float32), np.asarray(offset, np.float32))
