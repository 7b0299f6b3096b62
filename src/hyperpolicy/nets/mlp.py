"""Multi-layer perceptron whose every leaf is an array, so plain `jax.*` transforms apply."""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

import equinox as eqx
import jax
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

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        return x @ self.weight + self.bias


class Mlp(eqx.Module):
    """Linear layers with ReLU between them."""

    layers: list[Linear]

    @classmethod
    def init(cls, sizes: list[int], key: Key) -> "Mlp":
        """`sizes` runs from input to output."""
        keys = jax.random.split(key, len(sizes) - 1)
        return cls([Linear.init(i, o, k) for (i, o), k in zip(pairwise(sizes), keys, strict=True)])

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
