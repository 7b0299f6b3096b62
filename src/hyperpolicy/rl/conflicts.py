"""What becomes of k tasks' gradients: how much of each one is in the step that all of them take.

    step = Σ_t w_t ∇L_t

Every method is a function of the gradients' products and the losses; it gives the weights w, and
what it remembers. A method more is a function and a line in `METHODS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hyperpolicy.types import Key, Scalar

GRADNORM_POWER, GRADNORM_RATE = 1.0, 1e-3
"""α of GradNorm, and the step size of its weights (mtrl: 1 and 1e-6; the paper: 1.5 and 0.025)."""


class Memory(NamedTuple):
    """What a method remembers of k tasks."""

    weights: Float[Array, " k"]
    first: Float[Array, " k"]
    """The first losses."""
    known: Scalar
    """1.0 once there are some."""

    @classmethod
    def of(cls, tasks: int) -> "Memory":
        """Before the first step."""
        return cls(jnp.ones(tasks), jnp.zeros(tasks), jnp.zeros(()))


Method = Callable[
    [Float[Array, "k k"], Float[Array, " k"], Memory, Key], tuple[Float[Array, " k"], Memory]
]
"""(products of gradients, losses, memory, key) → weights, memory."""


def mean(products, losses, memory: Memory, key: Key):
    """w = 1/k: the gradient of the mean loss."""
    return jnp.full(len(losses), 1 / len(losses)), memory


def pcgrad(products, losses, memory: Memory, key: Key):
    """PCGrad (Yu et al. 2020, arXiv:2001.06782, Algorithm 1): each task's gradient loses, for every
    other task in random order, what points against that task's; then the mean.

    A gradient in the making is Σ_j c_j g_j, and ⟨Σ_j c_j g_j, g_i⟩ = Σ_j c_j ⟨g_j, g_i⟩: nothing as
    long as a gradient is needed.
    """
    k = len(losses)
    squares = jnp.maximum(jnp.diagonal(products), 1e-12)

    def one(own: Int[Array, ""], key: Key) -> Float[Array, " k"]:
        def against(c, other):
            product = c @ products[:, other]
            share = jnp.where((other != own) & (product < 0), product / squares[other], 0.0)
            return c.at[other].add(-share), None

        order = jax.random.permutation(key, k)
        return jax.lax.scan(against, jax.nn.one_hot(own, k), order)[0]

    return jax.vmap(one)(jnp.arange(k), jax.random.split(key, k)).mean(axis=0), memory


def gradnorm(products, losses, memory: Memory, key: Key):
    """GradNorm (Chen et al. 2018, arXiv:1711.02257): weights that learn, so that weighted gradients
    are of one length, longer for tasks whose losses fell less than others'.

        minimize over w   Σ_t |w_t‖∇L_t‖ − mean_t(w_t‖∇L_t‖) · r_t^α|     r_t = L̃_t / mean L̃

    with L̃_t = L_t / L_t(0) and a target that is held fixed; then Σ_t w_t = k.
    """
    k = len(losses)
    first = jnp.where(memory.known > 0, memory.first, losses)
    lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(products), 0.0))
    fallen = jnp.abs(losses) / jnp.maximum(jnp.abs(first), 1e-8)
    behind = fallen / jnp.maximum(fallen.mean(), 1e-8)
    w = memory.weights
    target = (w * lengths).mean() * behind**GRADNORM_POWER
    w = jnp.maximum(w - GRADNORM_RATE * lengths * jnp.sign(w * lengths - target), 1e-3)
    w = w * k / w.sum()
    return w / k, Memory(w, first, jnp.ones(()))


METHODS: dict[str, Method] = {"mean": mean, "pcgrad": pcgrad, "gradnorm": gradnorm}
