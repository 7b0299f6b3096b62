"""The shared nouns.

Axes: n expert or policy, e environment of an expert, b batch, t time, o obs, a action, c context,
m outcome, p flat weight, z latent, k task.
"""

from typing import NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

Key = PRNGKeyArray
Scalar = Float[Array, ""]


class Batch(NamedTuple):
    """Transitions. `terminated` is 1.0 where the task ended and 0.0 at a time limit."""

    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    reward: Float[Array, " b"]
    next_obs: Float[Array, "b o"]
    terminated: Float[Array, " b"]
