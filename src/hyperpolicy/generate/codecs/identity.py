"""The codec that changes nothing: a latent is the weights themselves."""

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.generate.parts import Frame, Rows


class Identity(eqx.Module):
    kind: ClassVar[str] = "identity"
    size: int = eqx.field(static=True)

    def encode(self, weights: Float[Array, " p"]) -> Float[Array, " p"]:
        return weights

    def decode(self, latent: Float[Array, " p"]) -> Float[Array, " p"]:
        return latent

    def decode_rows(self, latents: Rows) -> Float[np.ndarray, "n p"]:
        return np.asarray(latents)

    def settings(self) -> dict:
        return {}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Identity":
        return cls(frame.vector)
