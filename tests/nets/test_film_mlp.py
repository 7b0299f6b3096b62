"""FiLM MLP: its equations by hand, neighbors, what it depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets import film_mlp
from hyperpolicy.nets.film_mlp import FilmMlpConfig

CONFIG = FilmMlpConfig(width=6, blocks=2, embedding=4)
NET = CONFIG.init(5, 3, jax.random.key(0))
XS = jax.random.normal(jax.random.key(1), (4, 5))
TS = jnp.array([0, 7, 50, 99])
CS = jax.random.normal(jax.random.key(2), (4, 3))
many = jax.jit(jax.vmap(NET))


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def linear(layer, x):
    return x @ np.asarray(layer.weight) + np.asarray(layer.bias)


def layer(one, h):
    h = linear(one.linear, h)
    return mish(one.norm.weight * (h - h.mean()) / np.sqrt(h.var() + 1e-5) + one.norm.bias)


def test_by_hand():
    x, t, c = np.asarray(XS[1]), 7, np.asarray(CS[1])
    waves = np.array([np.sin(t), np.sin(1e-4 * t), np.cos(t), np.cos(1e-4 * t)])
    e = np.concatenate([linear(NET.step.outer, mish(linear(NET.step.inner, waves))), c])
    h = linear(NET.first, x)
    for block in NET.blocks:
        scale, shift = np.split(linear(block.film, mish(e)), 2)
        h = h + layer(block.second, scale * layer(block.first, h) + shift)
    got = NET(XS[1], TS[1], CS[1])
    np.testing.assert_allclose(got, linear(NET.last, h), rtol=1e-4, atol=1e-5)


def test_sinusoids():
    got = film_mlp.sinusoids(jnp.asarray(3), 6)
    angles = 3 * np.array([1.0, 1e-2, 1e-4])
    np.testing.assert_allclose(got, np.r_[np.sin(angles), np.cos(angles)], rtol=1e-5)


def test_depends_on_noisy_latent_step_and_condition():
    out = many(XS, TS, CS)
    assert out.shape == XS.shape
    for other in (many(XS + 0.1, TS, CS), many(XS, TS + 1, CS), many(XS, TS, CS + 0.1)):
        assert np.abs(out - other).max(axis=1).min() > 1e-5


def test_neighbors_are_bit_identical():
    before = many(XS, TS, CS)
    after = many(XS.at[2].add(1.0), TS.at[2].set(3), CS.at[2].add(1.0))
    rest = np.arange(4) != 2
    np.testing.assert_array_equal(before[rest], after[rest])
    assert not np.array_equal(before[2], after[2])


def test_numbers_of_the_default():
    """Step embedding, in and out, and per block: two layers with their norms, and FiLM."""
    f, e, z, d = 256, 128, 32, 1
    block = 2 * (f * f + 3 * f) + (e + d + 1) * 2 * f
    want = (e + 1) * 4 * e + (4 * e + 1) * e + (z + 1) * f + (f + 1) * z + 4 * block
    net = jax.eval_shape(lambda: FilmMlpConfig().init(z, d, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(net)) == want


def test_bad_settings():
    with pytest.raises(BadSetting, match="embedding=5"):
        FilmMlpConfig(embedding=5)
    with pytest.raises(BadSetting, match="blocks=0"):
        FilmMlpConfig(width=8, blocks=0)
