"""The shared nouns.

Axes: n expert or policy, e environment of an expert, b batch, t time, o obs, a action, c context,
m outcome, p flat weight, z latent, k task.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

Key = PRNGKeyArray
Scalar = Float[Array, ""]
Task = Int[Array | np.ndarray, ""] | int
"""The number of one task among several."""


class Batch(NamedTuple):
    """Transitions. `terminated` is 1.0 where the task ended and 0.0 at a time limit."""

    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    reward: Float[Array, " b"]
    next_obs: Float[Array, "b o"]
    terminated: Float[Array, " b"]


class Paid(NamedTuple):
    """What one step paid in e worlds."""

    reward: Float[Array, " e"]
    terminated: Float[Array, " e"]
    """1.0 where the task ended."""
    ended: Float[Array, " e"]
    """1.0 where the episode did, for whatever reason."""


class Round(NamedTuple):
    """What e worlds did for t steps."""

    inputs: Float[Array, "t e i"]
    """What the policy saw: observations, then the encoded context."""
    memo: Any
    """What `explore` noted of its choices; arrays that lead with t and e."""
    reward: Float[Array, "t e"]
    next_inputs: Float[Array, "t e i"]
    terminated: Float[Array, "t e"]
    """1.0 where the task ended."""
    ended: Float[Array, "t e"]
    """1.0 where the episode did, for whatever reason."""
