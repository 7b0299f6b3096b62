"""The UNet over tokens: published size, its parts against JAX's own convolutions, neighbors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.unet1d import Conv, TransposedConv, Unet1dConfig

CONFIG = Unet1dConfig(channels=(4, 8, 12), groups=2, embedding=4)
NET = CONFIG.init(10, 3, jax.random.key(0))
XS = jax.random.normal(jax.random.key(1), (4, 10))
TS = jnp.array([0, 7, 50, 99])
CS = jax.random.normal(jax.random.key(2), (4, 3))
many = jax.jit(jax.vmap(NET))


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_published_size():
    net = jax.eval_shape(lambda: Unet1dConfig().init(2048, 256, jax.random.key(0)))
    assert size(net) == 163_048_576


# --- Parts --------------------------------------------------------------------------------
def convolve(conv: Conv, x):
    """The same by JAX's own convolution, [k, i] → [l, o]."""
    pad = len(conv.weight) // 2
    numbers = ("NWC", "WIO", "NWC")
    out = jax.lax.conv_general_dilated(
        x[None], conv.weight, (conv.stride,), [(pad, pad)], dimension_numbers=numbers
    )
    return out[0] + conv.bias[None]


@pytest.mark.parametrize("taps, stride", [(1, 1), (3, 1), (5, 1), (2, 2)])
def test_convolution(taps, stride):
    conv = Conv.init(3, 4, taps, jax.random.key(3), stride)
    x = jax.random.normal(jax.random.key(4), (5, 3))
    got, want = jax.jit(lambda: (conv(x), convolve(conv, x)))()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_transposed_convolution_is_the_strided_one_transposed():
    up = TransposedConv.init(3, 4, jax.random.key(5))
    down = Conv(jnp.swapaxes(up.weight, 1, 2), jnp.zeros(3), 2)  # 4 channels to 3
    y = jax.random.normal(jax.random.key(6), (3, 3))
    pull = jax.jit(lambda y: jax.vjp(down, jnp.zeros((4, 4)))[1](y)[0])  # 4 tokens to 3
    np.testing.assert_allclose(up(y), pull(y) + up.bias[None], rtol=1e-5, atol=1e-6)


def test_resampling_keeps_two_tokens():
    x = jnp.ones((2, 4))
    assert Conv.init(4, 4, 2, jax.random.key(0), 2)(x).shape == x.shape
    assert TransposedConv.init(4, 4, jax.random.key(0))(x).shape == x.shape


def group_norm(x, groups):
    """Each group of channels with mean 0 and variance 1 over its channels and all tokens."""
    parts = jnp.split(x, groups, axis=1)
    units = [(part - part.mean()) / jnp.sqrt(part.var() + 1e-5) for part in parts]
    return jnp.concatenate(units, axis=1)


# --- Network ------------------------------------------------------------------------------
def block_by_hand(block, x, e):
    def layer(one, x):
        x = group_norm(convolve(one.conv, x), CONFIG.groups)
        return jax.nn.mish(one.norm.weight[None] * x + one.norm.bias[None])

    film = jax.nn.mish(e) @ block.film.weight + block.film.bias
    scale, shift = film[: len(film) // 2], film[len(film) // 2 :]
    h = layer(block.second, scale[None] * layer(block.first, x) + shift[None])
    skip = x if block.skip is None else x @ block.skip.weight + block.skip.bias[None]
    return h + skip


def test_wiring_by_hand():
    """The outputs of the second and third level down are used across, that of the first is not."""

    def by_hand(x, t, c):
        def level(one, x):
            return block_by_hand(one.blocks[1], block_by_hand(one.blocks[0], x, e), e)

        e = jnp.concatenate([NET.step(t), c])
        d1 = level(NET.down[0], x.reshape(2, 5))
        d2 = level(NET.down[1], convolve(NET.down[0].resample, d1))
        d3 = level(NET.down[2], convolve(NET.down[1].resample, d2))
        u2 = level(NET.up[0], jnp.concatenate([level(NET.middle, d3), d3], axis=1))
        u1 = level(NET.up[1], jnp.concatenate([NET.up[0].resample(u2), d2], axis=1))
        return jax.vmap(NET.out)(NET.last(NET.up[1].resample(u1))).ravel()

    assert NET.down[2].resample is None and len(NET.up) == 2
    want = jax.jit(by_hand)(XS[1], TS[1], CS[1])
    np.testing.assert_allclose(many(XS, TS, CS)[1], want, rtol=1e-4, atol=1e-5)


def test_depends_on_noisy_latent_step_and_condition():
    out = many(XS, TS, CS)
    assert out.shape == XS.shape
    for other in (many(XS + 0.1, TS, CS), many(XS, TS + 1, CS), many(XS, TS, CS + 0.1)):
        assert np.abs(out - other).max(axis=1).min() > 1e-5
    moved = many(XS.at[:, 0].add(1.0), TS, CS)
    assert np.abs(out - moved)[:, 5:].max(axis=1).min() > 1e-5  # the tokens see each other


def test_neighbors_are_bit_identical():
    before = many(XS, TS, CS)
    after = many(XS.at[2].add(1.0), TS.at[2].set(3), CS.at[2].add(1.0))
    rest = np.arange(4) != 2
    np.testing.assert_array_equal(before[rest], after[rest])
    assert not np.array_equal(before[2], after[2])


def test_one_level_is_a_network_too():
    def run():
        net = Unet1dConfig(channels=(8,), embedding=4).init(6, 1, jax.random.key(0))
        return net.up, net(jnp.ones(6), jnp.asarray(3), jnp.ones(1))

    up, out = jax.eval_shape(run)
    assert not up and out.shape == (6,)


def test_bad_settings():
    with pytest.raises(BadSetting, match="embedding=3"):
        Unet1dConfig(embedding=3)
    with pytest.raises(BadSetting, match="kernel=4"):
        Unet1dConfig(kernel=4)
    with pytest.raises(BadSetting, match="multiple of the groups"):
        Unet1dConfig(channels=(8, 12))
    with pytest.raises(BadSetting, match="channels="):
        Unet1dConfig(channels=())
    with pytest.raises(BadSetting, match="latent of 7 numbers does not make 2 tokens"):
        CONFIG.init(7, 1, jax.random.key(0))
