"""The behavior loss: generated weights must act as the expert does, on the expert's observations.

Two policies may act alike with different weights and unlike with similar ones; a generator that is
judged by its policies' returns should be trained on what they do.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.errors import BadZoo
from hyperpolicy.generate.parts import Codec
from hyperpolicy.nets.policy import PolicyNet, PolicySpec, act
from hyperpolicy.types import Scalar
from hyperpolicy.zoo import Zoo


class Aim(NamedTuple):
    """What latents are for: the policies they decode to."""

    spec: PolicySpec
    codec: Codec


def probe(zoo: Zoo) -> tuple[Float[Array, "x s o"], Float[Array, "x s a"]]:
    """Observations from each expert's replay, and its final policy's action tanh(μ) on each.

    Raises:
        BadZoo: the zoo holds no observations.
    """
    if zoo.states is None:
        raise BadZoo(
            "this zoo holds no observations, which behavior needs; rebuild it, or set the "
            "behavior loss to 0"
        )
    return jnp.asarray(zoo.states, jnp.float32), jnp.asarray(zoo.finals.act(zoo.states))


def action_gap(actor: PolicyNet, obs: Float[Array, "s o"], action: Float[Array, "s a"]) -> Scalar:
    """E[(tanh μ(s) − a)²], the mean over observations and action coordinates."""
    return jnp.mean((jax.vmap(partial(act, actor))(obs) - action) ** 2)


def behavior_loss(
    spec: PolicySpec,
    weights: Float[Array, "b p"],
    obs: Float[Array, "b s o"],
    action: Float[Array, "b s a"],
) -> Scalar:
    """E_b[E_s[(tanh μ_θb(s) − a)²]] for b generated policies, each on its expert's observations."""
    return jnp.mean(
        jax.vmap(lambda w, s, a: action_gap(spec.unflatten(w), s, a))(weights, obs, action)
    )


def latent_behavior_loss(
    aim: Aim,
    latents: Float[Array, "b z"],
    obs: Float[Array, "b s o"],
    action: Float[Array, "b s a"],
) -> Scalar:
    """`behavior_loss` of the policies that latents decode to; the decoder passes gradients on."""
    return behavior_loss(aim.spec, jax.vmap(aim.codec.decode)(latents), obs, action)
