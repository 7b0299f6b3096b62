"""Principal components of flat policy weights: the linear encoder."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.generate.parts import Frame, Rows, decode_rows
from hyperpolicy.nets.policy import PolicySpec


@dataclass(frozen=True)
class PcaConfig(Bounded):
    components: Size = 32
    """Numbers a latent; fewer where there are fewer training rows."""
    for_policies: ClassVar[bool] = False

    def fit(self, weights, spec: PolicySpec, seeds: tuple[int, ...], out: Path | None = None):
        """The same PCA for every seed, for nothing is drawn; every leaf leads with axis n."""
        fitted = fit(self, weights)
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(seeds)), fitted)


class Pca(eqx.Module):
    """latent = normalizer((weights − mean) · basisᵀ)."""

    kind: ClassVar[str] = "pca"
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

    def decode_rows(self, latents: Rows) -> Float[np.ndarray, "n p"]:
        """NumPy's rows are decoded in NumPy, others as one program."""
        decode = Pca.decode if isinstance(latents, np.ndarray) else decode_rows
        return np.asarray(decode(self, latents), np.float32)

    def settings(self) -> dict:
        return {"components": self.size}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Pca":
        z, p = settings["components"], frame.vector
        return cls(jnp.zeros(p), jnp.zeros((z, p)), norm.blank(z))


def fit(config: PcaConfig, weights: Float[np.ndarray, "r p"]) -> Pca:
    """The leading components of training rows, by SVD; weights are centered, not standardized."""
    weights = np.asarray(weights, np.float64)
    mean = weights.mean(axis=0)
    count = max(1, min(config.components, len(weights) - 1))
    basis = np.linalg.svd(weights - mean, full_matrices=False)[2][:count]
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1)
    basis = basis * np.where(largest < 0, -1.0, 1.0)  # the sign of a component is arbitrary: fix it
    coordinates = (weights - mean) @ basis.T
    return Pca(mean.astype(np.float32), basis.astype(np.float32), norm.pooled(coordinates))
