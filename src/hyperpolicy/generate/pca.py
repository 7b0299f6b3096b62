"""Principal components of flat policy weights: the linear encoder."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.normalizer import Normalizer


@dataclass(frozen=True)
class PcaConfig(Bounded):
    components: Size = 32
    """Numbers a latent; fewer where there are fewer training rows."""


class Pca(eqx.Module):
    """latent = normalizer((weights − mean) · basisᵀ)."""

    mean: Float[Array | np.ndarray, " p"]
    basis: Float[Array | np.ndarray, "z p"]
    normalizer: Normalizer

    @property
    def size(self) -> int:
        return self.basis.shape[-2]

    def encode(self, weights: Float[Array | np.ndarray, "*n p"]):
        """The latent [z] of a policy; NumPy takes many at once."""
        return self.normalizer((weights - self.mean) @ self.basis.T)

    def decode(self, latent: Float[Array | np.ndarray, "*n z"]):
        """The policy [p] of a latent; NumPy takes many at once."""
        return self.mean + self.normalizer.invert(latent) @ self.basis


def fit(config: PcaConfig, weights: Float[np.ndarray, "r p"]) -> Pca:
    """The leading components of training rows, by SVD; weights are centered, not standardized."""
    weights = np.asarray(weights, np.float64)
    mean = weights.mean(axis=0)
    count = max(1, min(config.components, len(weights) - 1))
    basis = np.linalg.svd(weights - mean, full_matrices=False)[2][:count]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    basis = basis * np.where(largest < 0, -1.0, 1.0)  # the sign of a component is arbitrary: fix it
    coordinates = (weights - mean) @ basis.T
    return Pca(
        np.asarray(mean, np.float32),
        np.asarray(basis, np.float32),
        norm.pooled(coordinates),
    )


def blank(z: int, p: int) -> Pca:
    """The shapes of a PCA with `z` components of `p` weights."""
    return jax.eval_shape(lambda: Pca(jnp.zeros(p), jnp.zeros((z, p)), norm.blank(z)))
