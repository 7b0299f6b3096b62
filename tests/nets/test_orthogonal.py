"""Orthogonal weights are those of jax, and need no thread of XLA's to wait."""

import jax
import numpy as np
import pytest

from hyperpolicy.nets.mlp import Mlp
from hyperpolicy.nets.orthogonal import draw, orthogonal


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (64, 64), (1, 5)])
def test_matrices_are_those_that_jax_draws(shape):
    key = jax.random.key(0)
    want = jax.nn.initializers.orthogonal()(key, shape)
    np.testing.assert_allclose(draw(key, shape), want, atol=2e-5)


def test_every_layer_is_orthogonal_and_biases_are_zero():
    for layer in orthogonal(Mlp.init([4, 6, 2], jax.random.key(1)), jax.random.key(2)).layers:
        w = np.asarray(layer.weight)
        gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
        np.testing.assert_allclose(gram, np.eye(min(w.shape)), atol=1e-5)
        assert not np.asarray(layer.bias).any()


def test_no_library_is_called_that_waits_for_other_threads():
    keys = jax.random.split(jax.random.key(0), 3)
    program = jax.jit(jax.vmap(lambda key: draw(key, (5, 4)))).lower(keys).as_text()
    assert "custom_call" not in program
