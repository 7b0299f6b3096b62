"""Multi-layer perceptron whose every leaf is an array, so plain `jax.*` transforms apply; and the
twin action-value networks made of it, with their flat vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from hyperpolicy.types import Key


class Linear(eqx.Module):
    """x W + b, with W stored [in, out]."""

    weight: Float[Array, "i o"]
    bias: Float[Array, " o"]

    @classmethod
    def init(cls, i: int, o: int, key: Key) -> "Linear":
        """Weight and bias uniform in ±1/√i, as PyTorch (and so CleanRL) does."""
        key_w, key_b = jax.random.split(key)
        bound = i**-0.5
        weight = jax.random.uniform(key_w, (i, o), minval=-bound, maxval=bound)
        return cls(weight, jax.random.uniform(key_b, (o,), minval=-bound, maxval=bound))

    @classmethod
    def xavier(cls, i: int, o: int, key: Key) -> "Linear":
        """Weight uniform in ±√(6 / (i + o)), bias 0 (Glorot and Bengio, 2010)."""
        return cls(jax.nn.initializers.glorot_uniform()(key, (i, o)), jnp.zeros(o))

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        return x @ self.weight + self.bias


class Mlp(eqx.Module):
    """Linear layers with ReLU between them."""

    layers: list[Linear]

    @classmethod
    def init(cls, sizes: list[int], key: Key, linear: Callable = Linear.init) -> "Mlp":
        """`sizes` runs from input to output; `linear(i, o, key)` makes each layer."""
        keys = jax.random.split(key, len(sizes) - 1)
        return cls([linear(i, o, k) for (i, o), k in zip(pairwise(sizes), keys, strict=True)])

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        *hidden, last = self.layers
        for layer in hidden:
            x = jax.nn.relu(layer(x))
        return last(x)


@cache
def unravel(init: Callable, spec) -> Callable:
    """flat [p] → the network that `init(spec, key)` makes, in the order of its leaves: layer by
    layer, weight (row-major, [in, out]) then bias."""
    shapes = jax.eval_shape(partial(init, spec), jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    with jax.ensure_compile_time_eval():  # once, also where a function is being traced
        return ravel_pytree(zeros)[1]


# --- Twin critics -------------------------------------------------------------------------
@dataclass(frozen=True)
class CriticSpec:
    """Sizes of one critic, (obs, action) → hidden layers → 1."""

    obs: int
    action: int
    hidden: tuple[int, ...] = (64, 64)

    @property
    def layers(self) -> list[tuple[int, int]]:
        return list(pairwise((self.obs + self.action, *self.hidden, 1)))

    @property
    def size(self) -> int:
        """Numbers in one critic; the twins have twice as many."""
        return sum(i * o + o for i, o in self.layers)

    def init_one(self, key: Key) -> Mlp:
        """One critic."""
        return Mlp.init([self.obs + self.action, *self.hidden, 1], key)

    def init(self, key: Key) -> Mlp:
        """Twin critics, stacked on axis 0."""
        return jax.vmap(self.init_one)(jax.random.split(key, 2))

    def flatten(self, twins: Mlp) -> Float[Array, "2 q"]:
        """Both critics as flat vectors."""
        return jax.vmap(lambda critic: ravel_pytree(critic)[0])(twins)

    def unflatten(self, weights: Float[Array, "2 q"]) -> Mlp:
        """The twin critics of two flat vectors."""
        return jax.vmap(unravel(CriticSpec.init_one, self))(weights)


def value(twins: Mlp, obs: Float[Array, " o"], action: Float[Array, " a"]) -> Float[Array, "2"]:
    """Both critics' estimate of the return."""
    return jax.vmap(lambda critic: critic(jnp.concatenate([obs, action]))[0])(twins)


value_batch = jax.vmap(value, in_axes=(None, 0, 0))
"""The same for b observations and actions: [b, 2]."""
