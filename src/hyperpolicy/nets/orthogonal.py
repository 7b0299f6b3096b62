"""Orthogonal first weights (Saxe et al. 2014, arXiv:1312.6120), without LAPACK.

jax's QR of many matrices hands them to XLA's threads and waits in one of these. Where the experts
of a fleet are spread over several devices of one CPU, as many may wait as there are threads, and
none is left to work: a fleet of 40 hung so. Gram and Schmidt's method, each column twice, gives the
same numbers from matrix products alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key


def orthogonal(net, key: Key):
    """The network with every linear layer's weights orthogonal and its bias 0."""
    layers, structure = jax.tree.flatten(net, is_leaf=lambda leaf: isinstance(leaf, Linear))
    for n, layer in enumerate(layers):
        weight = draw(jax.random.fold_in(key, n), layer.weight.shape)
        layers[n] = Linear(weight, jnp.zeros_like(layer.bias))
    return jax.tree.unflatten(structure, layers)


def draw(key: Key, shape: tuple[int, int]) -> Float[Array, "i o"]:
    """A uniformly drawn matrix with orthonormal columns, or rows where these are fewer; what
    `jax.nn.initializers.orthogonal` draws."""
    found = orthonormal(jax.random.normal(key, (max(shape), min(shape))))
    return found if shape[0] >= shape[1] else found.T


def orthonormal(a: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """The columns of a, n ≥ m, made orthonormal one after another: Q of QR where diag R > 0."""

    def one(i, q):
        column = a[:, i]
        for _ in range(2):
            column = column - q @ (q.T @ column)
        return q.at[:, i].set(column / jnp.sqrt(jnp.sum(column**2)))

    return jax.lax.fori_loop(0, a.shape[1], one, jnp.zeros_like(a))
