"""Running moments of observations, which networks see normalized."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.types import Scalar


class Observed(NamedTuple):
    """Mean and variance of each observed number, over all that were seen."""

    num: Scalar
    mean: Float[Array, " o"]
    var: Float[Array, " o"]

    @classmethod
    def nothing(cls, o: int) -> "Observed":
        """Moments of o numbers before any is seen, which change nothing."""
        return cls(jnp.zeros(()), jnp.zeros(o), jnp.ones(o))

    @property
    def scale(self) -> Float[Array, " o"]:
        """One over the standard deviation."""
        return jax.lax.rsqrt(self.var + 1e-4)

    def normalize(self, obs: Float[Array, " o"]) -> Float[Array, " o"]:
        """An observation with mean 0 and variance 1."""
        return (obs - self.mean) * self.scale

    def with_more(self, obs: Float[Array, "*b o"]) -> "Observed":
        """The moments with more observations in them."""
        new, n = obs.reshape(-1, obs.shape[-1]), float(np.prod(obs.shape[:-1]))
        num, gap = self.num + n, new.mean(axis=0) - self.mean
        spread = self.var * self.num + new.var(axis=0) * n
        spread += gap**2 * self.num * n / num
        return Observed(num, self.mean + gap * n / num, spread / num)
