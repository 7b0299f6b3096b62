"""Fold a constant input into a first layer: b₁ + c·W_c, with the rows W_c of that input removed.

A network that takes [obs, context] and is given one context for ever is an ordinary network that
takes obs: the same actions and values, and one more member of an aligned population. So is one that
sees observations normalized: their running moments stand here, too.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.policy import PolicyNet
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


def fold_layer(layer: Linear, context: Float[Array, " d"], start: int) -> Linear:
    """`layer` with its inputs start … start+d fixed to `context`."""
    end = start + len(context)
    bias = layer.bias + context @ layer.weight[start:end]
    return Linear(jnp.concatenate([layer.weight[:start], layer.weight[end:]]), bias)


def fold_actor(actor: PolicyNet, context: Float[Array, " d"]) -> PolicyNet:
    """An actor of [obs, context] as an actor of obs."""
    start = actor.hidden[0].weight.shape[0] - len(context)
    folded = fold_layer(actor.hidden[0], context, start)
    return eqx.tree_at(lambda a: a.hidden[0], actor, folded)


def fold_normalizer(
    actor: PolicyNet, mean: Float[Array, " o"], scale: Float[Array, " o"]
) -> PolicyNet:
    """An actor of [(obs − mean)·scale, the rest] as an actor of [obs, the rest]."""
    first, o = actor.hidden[0], len(mean)
    weight = first.weight.at[:o].multiply(scale[:, None])
    layer = Linear(weight, first.bias - mean @ weight[:o])
    return eqx.tree_at(lambda a: a.hidden[0], actor, layer)


def fold_gain(actor: PolicyNet, gain: Float[Array, " a"]) -> PolicyNet:
    """The actor whose deterministic actions are tanh(gain ⊙ μ): weaker, stronger or reversed."""
    mean = Linear(actor.mean.weight * gain[None], actor.mean.bias * gain)
    return eqx.tree_at(lambda a: a.mean, actor, mean)


def fold_critics(twins: Mlp, context: Float[Array, " d"], num_obs: int) -> Mlp:
    """Twin critics of ([obs, context], action) as critics of (obs, action)."""

    def one(critic: Mlp) -> Mlp:
        return Mlp([fold_layer(critic.layers[0], context, num_obs), *critic.layers[1:]])

    return jax.vmap(one)(twins)
