"""The policy network: one policy ⇄ one flat weight vector; many vectors are Policies.

Flat order: layer by layer, weight (row-major, [in, out]) then bias; the heads μ and log σ are
layers of their own and come last, μ first.
"""

from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import pairwise
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy import headers, seeds
from hyperpolicy.errors import BadFile, BadShape
from hyperpolicy.headers import PoliciesHeader, PolicyHeader
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key, Scalar

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
ACTIVATIONS = {"relu": jax.nn.relu, "elu": jax.nn.elu, "tanh": jnp.tanh}


class Actor(eqx.Module):
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


def act(actor: Actor, obs: Float[Array, " o"]) -> Float[Array, " a"]:
    """The deterministic action tanh(μ), in [-1, 1]^a."""
    return jnp.tanh(actor(obs)[0])


def sample(
    actor: Actor, obs: Float[Array, " o"], noise: Float[Array, " a"]
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

    def init(self, key: Key) -> Actor:
        keys = jax.random.split(key, len(self.layers))
        layers = [Linear.init(i, o, k) for (i, o), k in zip(self.layers, keys, strict=True)]
        return Actor(layers[:-2], layers[-2], layers[-1], self.activations)

    def flatten(self, actor: Actor) -> Float[Array, " p"]:
        layers = [*actor.hidden, actor.mean, actor.log_std]
        return jnp.concatenate([leaf.ravel() for la in layers for leaf in (la.weight, la.bias)])

    def unflatten(self, weights: Float[Array, " p"]) -> Actor:
        layers, start = [], 0
        for i, o in self.layers:
            middle, end = start + i * o, start + i * o + o
            layers.append(Linear(weights[start:middle].reshape(i, o), weights[middle:end]))
            start = end
        return Actor(layers[:-2], layers[-2], layers[-1], self.activations)

    @property
    def header(self) -> PolicyHeader:
        """As it stands in a file's header."""
        return PolicyHeader(self.obs, self.action, self.hidden, self.activations)  # type: ignore[arg-type]

    @classmethod
    def of(cls, header: PolicyHeader) -> "PolicySpec":
        """What a file's header says."""
        return cls(header.obs, header.action, header.hidden, header.activations)


@cache
def _act_fleet(spec: PolicySpec):
    """Jitted: weights [n,p], obs [n,e,o] → actions [n,e,a]."""

    def one(weights, obs):
        return jax.vmap(partial(act, spec.unflatten(weights)))(obs)

    return jax.jit(jax.vmap(one))


@cache
def _sample_fleet(spec: PolicySpec):
    """Jitted: weights [n,p], obs [n,e,o], noise [n,e,a] → actions [n,e,a]."""

    def one(weights, obs, noise):
        return jax.vmap(partial(sample, spec.unflatten(weights)))(obs, noise)[0]

    return jax.jit(jax.vmap(one))


@dataclass(frozen=True)
class Policies:
    """n policies of one spec: a generator's output, a zoo's rows, a fleet's actors; in NumPy."""

    weights: Float[np.ndarray, "n p"]
    spec: PolicySpec

    def __post_init__(self):
        weights = np.asarray(self.weights, np.float32)
        if weights.ndim != 2 or weights.shape[1] != self.spec.size:
            raise BadShape(
                f"weights have shape {weights.shape}; a policy of {self.spec} is "
                f"[n, {self.spec.size}]"
            )
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows) -> "Policies":
        """The policies at `rows` (an index, a slice or an array); always Policies."""
        return Policies(np.atleast_2d(self.weights[rows]), self.spec)

    def act(self, obs: Float[np.ndarray, "n *e o"]) -> Float[np.ndarray, "n *e a"]:
        """Deterministic actions in [-1, 1]; obs [n,o], or [n,e,o] for e observations a policy.

        Raises:
            BadShape: obs does not have one row a policy, or the wrong width.
        """
        obs = self._check(obs)
        if obs.ndim == 2:
            return np.asarray(_act_fleet(self.spec)(self._held, obs[:, None]))[:, 0]
        return np.asarray(_act_fleet(self.spec)(self._held, obs))

    @cached_property
    def _held(self) -> Float[Array, "n p"]:
        """The weights where JAX computes: an episode asks for actions hundreds of times."""
        return jnp.asarray(self.weights)

    def sample(self, obs: Float[np.ndarray, "n *e o"], seed: int) -> Float[np.ndarray, "n *e a"]:
        """Stochastic actions in [-1, 1], for exploration; same shapes and errors as `act`."""
        obs = self._check(obs)
        wide = obs[:, None] if obs.ndim == 2 else obs
        noise = jax.random.normal(seeds.key(seed), (*wide.shape[:2], self.spec.action))
        actions = np.asarray(_sample_fleet(self.spec)(self._held, wide, noise))
        return actions[:, 0] if obs.ndim == 2 else actions

    def _check(self, obs) -> np.ndarray:
        obs = np.asarray(obs, np.float32)
        if obs.ndim not in (2, 3) or obs.shape[0] != len(self) or obs.shape[-1] != self.spec.obs:
            raise BadShape(
                f"observations have shape {obs.shape}; {len(self)} policies take "
                f"[{len(self)}, {self.spec.obs}] or [{len(self)}, e, {self.spec.obs}]"
            )
        return obs

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file; an existing file is an error."""
        header = PoliciesHeader(self.spec.header)
        return headers.save_arrays(path, {"weights": self.weights}, header)

    @classmethod
    def load(cls, path: str | Path) -> "Policies":
        """The policies in a file.

        Raises:
            BadFile: it holds none, is damaged, or holds numbers that are not finite.
        """
        arrays, header = headers.load_arrays(path, PoliciesHeader, ("weights",))
        try:
            return cls(arrays["weights"], PolicySpec.of(header.spec))
        except BadShape as error:
            raise BadFile(f"{path}: {error}") from None
