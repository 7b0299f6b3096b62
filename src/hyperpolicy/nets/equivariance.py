"""Policies turned and mirrored with their robot.

A symmetry g acts on what a policy sees and says by signed permutations, (g x)_i = s_i x_{p(i)}. The
image of π under g does in the image of a state the image of what π does there:

    π_g(s) = g π(g⁻¹ s)        W₁[i, ·] → s_i W₁[p(i), ·]        W_μ[·, k] → s_k W_μ[·, p(k)]

so only the rows of the first layer and the columns of the heads move. It is exact.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Linear
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.symmetry import Signed, Symmetry


def image(g: Symmetry, actor: PolicyNet) -> PolicyNet:
    """π_g, which returns at g's image of a task what `actor` returns at the task."""
    first, log_std = actor.hidden[0], actor.log_std
    return PolicyNet(
        [Linear(jnp.asarray(g.obs(first.weight.T)).T, first.bias), *actor.hidden[1:]],
        _said(g.action, actor.mean),
        None if log_std is None else _said(g.action.unsigned, log_std),
        actor.activations,
    )


def image_weights(g: Symmetry, spec: PolicySpec, weights: Float[Array, " p"]) -> Float[Array, " p"]:
    """The same for flat weights."""
    return spec.flatten(image(g, spec.unflatten(weights)))


def _said(g: Signed, head: Linear) -> Linear:
    return Linear(jnp.asarray(g(head.weight)), jnp.asarray(g(head.bias)))
