"""The policy network: one policy ⇄ one flat weight vector.

Flat order: layer by layer, weight (row-major, [in, out]) then bias; the heads μ and log σ are
layers of their own and come last, μ first.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from msgspec import Meta

from hyperpolicy.bounds import OneOf
from hyperpolicy.errors import BadSetting
from hyperpolicy.headers import PolicyHeader
from hyperpolicy.nets.mlp import Linear, unravel
from hyperpolicy.types import Key, Scalar

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
ACTIVATIONS = {
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "tanh": jnp.tanh,
    "swish": jax.nn.swish,
}
OUTPUTS = {"tanh": jnp.tanh, "clip": lambda x: jnp.clip(x, -1.0, 1.0)}
"""What becomes of μ: squashed, as all learners here do, or cut to [−1, 1], as others' do."""
Activations = Annotated[tuple[Annotated[str, OneOf(ACTIVATIONS)], ...], Meta(min_length=1)]
"""Names of activations, as a configuration has them: one for each hidden layer, or one for all."""


def one_each(activations: tuple[str, ...], hidden: tuple[int, ...]) -> tuple[str, ...]:
    """The activation of each hidden layer; raises BadSetting unless one for each or for all is
    named."""
    names = tuple(activations) * (len(hidden) if len(activations) == 1 else 1)
    if len(names) != len(hidden):
        raise BadSetting(
            f"{len(names)} activations for {len(hidden)} hidden layers; give one for each, or one "
            "for all"
        )
    return names


class PolicyNet(eqx.Module):
    """A policy: hidden layers, then a linear head for μ, which is squashed or cut, and, where it is
    Gaussian, one for log σ."""

    hidden: list[Linear]
    mean: Linear
    log_std: Linear | None
    """None for a deterministic policy."""
    activations: tuple[str, ...] = eqx.field(static=True)
    output: str = eqx.field(static=True, default="tanh")

    def features(self, obs: Float[Array, " o"]) -> Float[Array, " h"]:
        """The last hidden layer's output."""
        x = obs
        for layer, name in zip(self.hidden, self.activations, strict=True):
            x = ACTIVATIONS[name](layer(x))
        return x

    def __call__(self, obs: Float[Array, " o"]) -> tuple[Float[Array, " a"], Float[Array, " a"]]:
        """μ and log σ of a Gaussian policy; log σ is squashed into [−5, 2]:
        −5 + 3.5·(tanh(·) + 1)."""
        assert self.log_std is not None, "a deterministic policy has no log σ"
        x = self.features(obs)
        squash = 0.5 * (LOG_STD_MAX - LOG_STD_MIN)
        return self.mean(x), LOG_STD_MIN + squash * (jnp.tanh(self.log_std(x)) + 1.0)


def act(actor: PolicyNet, obs: Float[Array, " o"]) -> Float[Array, " a"]:
    """The deterministic action tanh(μ), or μ cut, in [-1, 1]^a."""
    return OUTPUTS[actor.output](actor.mean(actor.features(obs)))


act_batch = jax.vmap(act, in_axes=(None, 0))
"""The same for b observations: [b, a]."""


def sample(
    actor: PolicyNet, obs: Float[Array, " o"], noise: Float[Array, " a"]
) -> tuple[Float[Array, " a"], Scalar]:
    """A tanh-Gaussian action in [-1, 1]^a, made from standard normal noise, and its log-density;
    of a policy that cuts, the action cut and the density before that."""
    if actor.output == "clip":
        mean, log_std = actor(obs)
        density = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
        return jnp.clip(mean + jnp.exp(log_std) * noise, -1.0, 1.0), jnp.sum(density)
    return tanh_gaussian(*actor(obs), noise)


def tanh_gaussian(
    mean: Float[Array, " a"], log_std: Float[Array, " a"], noise: Float[Array, " a"]
) -> tuple[Float[Array, " a"], Scalar]:
    """tanh(μ + σε), and its log-density."""
    u = mean + jnp.exp(log_std) * noise
    log_prob = jnp.sum(-0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi))
    log_prob -= jnp.sum(2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u)))  # log|det ∂tanh/∂u|
    return jnp.tanh(u), log_prob


def as_deterministic(actor: PolicyNet) -> PolicyNet:
    """The policy that always takes `actor`'s deterministic action: its log σ head is dropped."""
    return PolicyNet(actor.hidden, actor.mean, None, actor.activations, actor.output)


@dataclass(frozen=True)
class PolicySpec:
    """Sizes, activations and head of a policy; everything needed to read a flat weight vector."""

    obs: int
    action: int
    hidden: tuple[int, ...] = (64, 64)
    activations: tuple[str, ...] = ("relu", "relu")
    head: Literal["gaussian", "deterministic"] = "gaussian"
    output: Literal["tanh", "clip"] = "tanh"
    """What becomes of μ."""

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(in, out) of every layer in flat order; the last are the heads: μ, then log σ."""
        return [*pairwise((self.obs, *self.hidden)), *self.heads]

    @property
    def heads(self) -> list[tuple[int, int]]:
        """(in, out) of the heads: one of a deterministic policy, two of a Gaussian one."""
        return [(self.hidden[-1], self.action)] * (2 if self.head == "gaussian" else 1)

    @property
    def layer_sizes(self) -> list[int]:
        """Numbers in each layer, weight and bias together."""
        return [i * o + o for i, o in self.layers]

    @property
    def size(self) -> int:
        """P, the length of a flat weight vector."""
        return sum(self.layer_sizes)

    def init(self, key: Key) -> PolicyNet:
        """A policy with fresh weights."""
        keys = jax.random.split(key, len(self.layers))
        layers = [Linear.init(i, o, k) for (i, o), k in zip(self.layers, keys, strict=True)]
        hidden, (mean, *rest) = layers[: len(self.hidden)], layers[len(self.hidden) :]
        log_std = rest[0] if rest else None
        return PolicyNet(hidden, mean, log_std, self.activations, self.output)

    def flatten(self, actor: PolicyNet) -> Float[Array, " p"]:
        """The flat weight vector of a policy."""
        return ravel_pytree(actor)[0]

    def unflatten(self, weights: Float[Array, " p"]) -> PolicyNet:
        """The policy of a flat weight vector."""
        return unravel(PolicySpec.init, self)(weights)

    @property
    def header(self) -> PolicyHeader:
        """As it stands in a file's header."""
        names: Any = self.activations
        return PolicyHeader(self.obs, self.action, self.hidden, names, self.head, self.output)

    @classmethod
    def of(cls, header: PolicyHeader) -> "PolicySpec":
        """What a file's header says."""
        names = header.activations
        return cls(header.obs, header.action, header.hidden, names, header.head, header.output)
