"""The policy network: one policy ⇄ one flat weight vector.

Flat order: layer by layer, weight (row-major, [in, out]) then bias; the heads μ and log σ are
layers of their own and come last, μ first.
"""

from dataclasses import dataclass
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.headers import PolicyHeader
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key, Scalar

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
ACTIVATIONS = {"relu": jax.nn.relu, "elu": jax.nn.elu, "tanh": jnp.tanh}


class PolicyNet(eqx.Module):
    """A tanh-Gaussian policy: hidden layers, then the heads μ and log σ."""

    hidden: list[Linear]
    mean: Linear
    log_std: Linear
    activations: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, obs: Float[Array, " o"]) -> tuple[Float[Array, " a"], Float[Array, " a"]]:
        """μ and log σ; log σ is squashed into [−5, 2]: −5 + 3.5·(tanh(·) + 1)."""
        x = obs
        for layer, name in zip(self.hidden, self.activations, strict=True):
            x = ACTIVATIONS[name](layer(x))
        squash = 0.5 * (LOG_STD_MAX - LOG_STD_MIN)
        return self.mean(x), LOG_STD_MIN + squash * (jnp.tanh(self.log_std(x)) + 1.0)


def act(actor: PolicyNet, obs: Float[Array, " o"]) -> Float[Array, " a"]:
    """The deterministic action tanh(μ), in [-1, 1]^a."""
    return jnp.tanh(actor(obs)[0])


def sample(
    actor: PolicyNet, obs: Float[Array, " o"], noise: Float[Array, " a"]
) -> tuple[Float[Array, " a"], Scalar]:
    """A tanh-Gaussian action in [-1, 1]^a, made from standard normal noise, and its log-density."""
    mean, log_std = actor(obs)
    u = mean + jnp.exp(log_std) * noise
    log_prob = jnp.sum(-0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi))
    log_prob -= jnp.sum(2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u)))  # log|det ∂tanh/∂u|
    return jnp.tanh(u), log_prob


@dataclass(frozen=True)
class PolicySpec:
    """Sizes and activations of an actor; everything needed to read a flat weight vector."""

    obs: int
    action: int
    hidden: tuple[int, ...] = (64, 64)
    activations: tuple[str, ...] = ("relu", "relu")

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(in, out) of every layer in flat order; the last two are μ and log σ."""
        head = (self.hidden[-1], self.action)
        return [*pairwise((self.obs, *self.hidden)), head, head]

    @property
    def layer_sizes(self) -> list[int]:
        """Numbers in each layer, weight and bias together."""
        return [i * o + o for i, o in self.layers]

    @property
    def size(self) -> int:
        """P, the length of a flat weight vector."""
        return sum(self.layer_sizes)

    def init(self, key: Key) -> PolicyNet:
        keys = jax.random.split(key, len(self.layers))
        layers = [Linear.init(i, o, k) for (i, o), k in zip(self.layers, keys, strict=True)]
        return PolicyNet(layers[:-2], layers[-2], layers[-1], self.activations)

    def flatten(self, actor: PolicyNet) -> Float[Array, " p"]:
        layers = [*actor.hidden, actor.mean, actor.log_std]
        return jnp.concatenate([leaf.ravel() for la in layers for leaf in (la.weight, la.bias)])

    def unflatten(self, weights: Float[Array, " p"]) -> PolicyNet:
        layers, start = [], 0
        for i, o in self.layers:
            middle, end = start + i * o, start + i * o + o
            layers.append(Linear(weights[start:middle].reshape(i, o), weights[middle:end]))
            start = end
        return PolicyNet(layers[:-2], layers[-2], layers[-1], self.activations)

    @property
    def header(self) -> PolicyHeader:
        """As it stands in a file's header."""
        return PolicyHeader(self.obs, self.action, self.hidden, self.activations)  # type: ignore[arg-type]

    @classmethod
    def of(cls, header: PolicyHeader) -> "PolicySpec":
        """What a file's header says."""
        return cls(header.obs, header.action, header.hidden, header.activations)
