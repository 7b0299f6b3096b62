"""Skip-MLP: published size, neighbors, moments."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.skip_mlp import SkipMlp

NET = SkipMlp.init(5, (8, 4), 12, jax.random.key(0))
XS = jax.random.normal(jax.random.key(1), (6, 5))


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_published_size():
    net = jax.eval_shape(lambda: SkipMlp.init(256, (1024, 512, 256), 2048, jax.random.key(0)))
    assert size(net) == 6_043_392


def test_evaluation_by_hand():
    """d₁ = L(x), d₂ = B(d₁), d₃ = B(d₂), u₂ = B(d₃) + d₂, out = L(u₂) + d₁."""
    running = [
        skip_mlp.Moments(m.mean + 0.3, m.variance * 2.0) for m in skip_mlp.first_moments(NET)
    ]

    def block(b, m, h):
        h = b.scale * (b.linear(h) - m.mean) / jnp.sqrt(m.variance + 1e-5) + b.shift
        return 0.5 * h * (1.0 + jax.scipy.special.erf(h / jnp.sqrt(2.0)))

    d1 = NET.first(XS[0])
    d2 = block(NET.down[0], running[0], d1)
    d3 = block(NET.down[1], running[1], d2)
    u2 = block(NET.up[0], running[2], d3) + d2
    out = NET.last(u2) + d1
    np.testing.assert_allclose(skip_mlp.evaluate(NET, running, XS[0]), out, rtol=1e-5, atol=1e-6)


def test_neighbors_are_bit_identical_in_evaluation():
    running = skip_mlp.first_moments(NET)
    many = jax.jit(jax.vmap(lambda x: skip_mlp.evaluate(NET, running, x)))
    before, after = many(XS), many(XS.at[2].add(1.0))
    rest = np.arange(6) != 2
    np.testing.assert_array_equal(before[rest], after[rest])
    assert not np.array_equal(before[2], after[2])


def test_training_normalizes_over_the_batch():
    out, moments = skip_mlp.train(NET, XS, 0.0, jax.random.key(2))
    h = jax.vmap(NET.down[0].linear)(jax.vmap(NET.first)(XS))
    np.testing.assert_allclose(moments[0].mean, h.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moments[0].variance, h.var(axis=0), rtol=1e-4, atol=1e-6)
    again = jax.vmap(lambda x: skip_mlp.evaluate(NET, moments, x))(XS)
    np.testing.assert_allclose(out, again, rtol=1e-4, atol=1e-5)


def test_dropout_zeroes_its_share_and_rescales_the_rest():
    """With blocks that put out tens and a last layer that averages, out counts what is kept."""
    net = jax.tree.map(jnp.zeros_like, SkipMlp.init(1, (400,), 1, jax.random.key(0)))
    net = eqx.tree_at(lambda n: n.down[0].shift, net, jnp.full(400, 10.0))  # GELU(10) = 10
    net = eqx.tree_at(lambda n: n.last.weight, net, jnp.full((400, 1), 1 / 4000))
    kept, _ = skip_mlp.train(net, jnp.zeros((50, 1)), 0.25, jax.random.key(3))
    shares = 0.75 * np.asarray(kept)
    assert abs(shares.mean() - 0.75) < 0.02
    assert shares.std() > 0.005  # each sample has its own


def test_running_moments_follow_with_an_unbiased_variance():
    ones = [skip_mlp.Moments(jnp.full(3, 2.0), jnp.full(3, 4.0))]
    [moved] = skip_mlp.follow([skip_mlp.Moments(jnp.zeros(3), jnp.ones(3))], ones, b=5)
    np.testing.assert_allclose(moved.mean, 0.2, rtol=1e-6)
    np.testing.assert_allclose(moved.variance, 0.9 + 0.1 * 4.0 * 5 / 4, rtol=1e-6)
