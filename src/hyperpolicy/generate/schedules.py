"""Step sizes over steps."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from hyperpolicy.types import Scalar


def warm_restarts(rate: float, first_cycle: int, step: Int[Array, ""]) -> Scalar:
    """Cosine cycles of lengths T, 2T, 4T …, each from `rate` down to 0."""
    cycle = jnp.floor(jnp.log2(step / first_cycle + 1.0))
    length = first_cycle * 2.0**cycle
    return 0.5 * rate * (1.0 + jnp.cos(jnp.pi * (step - (length - first_cycle)) / length))
