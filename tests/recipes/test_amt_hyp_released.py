"""The released attention over the batch, beside ours within a sample."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.generate.writers import gan, hypformer
from hyperpolicy.generate.writers.hypformer import HypFormerConfig, Samples
from hyperpolicy.nets.transformer import Aggregator
from hyperpolicy.recipes.amt_hyp import released

CFG = HypFormerConfig(width=8, heads=4, ff=12, rate=1e-2)
B, L, Z, D = 4, 3, 5, 2
OTHERS = np.array([0, 1, 3])


@pytest.fixture(scope="module")
def net() -> Aggregator:
    """Away from its first numbers, so that attention has something to choose."""
    fresh = jax.jit(partial(Aggregator.init, Z, D, CFG.width, CFG.heads, CFG.ff))(jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x + 0.5 * rng.normal(size=x.shape).astype(np.float32), fresh)


@pytest.fixture(scope="module")
def within(net):
    return jax.jit(lambda *inputs: hypformer.attend_within(net, *inputs).total)


@pytest.fixture(scope="module")
def over_batch(net):
    return jax.jit(lambda *inputs: released.attend_over_batch(net, *inputs).total)


@pytest.fixture(scope="module")
def inputs():
    keys = jax.random.split(jax.random.key(1), 2)
    return jax.random.normal(keys[0], (B, L, Z)), jax.random.normal(keys[1], (B, D))


@pytest.mark.parametrize("what", ["tokens", "conditions"])
def test_neighbors_matter_over_the_batch_and_not_within_a_sample(what, within, over_batch, inputs):
    tokens, conditions = inputs
    changed = (
        (tokens.at[2].add(1.0), conditions)
        if what == "tokens"
        else (tokens, conditions.at[2].add(1))
    )
    ours, theirs = (
        np.abs(np.asarray(run(*inputs) - run(*changed))).max(axis=1) for run in (within, over_batch)
    )
    np.testing.assert_array_equal(ours[OTHERS], 0.0)
    assert theirs[OTHERS].min() > 1e-3
    assert min(ours[2], theirs[2]) > 1e-3


def mixed_difference(run, tokens, conditions):
    """What changing two tokens of a sample does beyond what either does alone."""
    first, second = tokens.at[:, 0].add(1.0), tokens.at[:, 1].add(1.0)
    both = first.at[:, 1].add(1.0)
    parts = [np.asarray(run(t, conditions)) for t in (both, first, second, tokens)]
    return np.abs(parts[0] - parts[1] - parts[2] + parts[3]).max()


def test_a_samples_tokens_never_meet_over_the_batch(within, over_batch, inputs):
    """Alone, a sample attends to nothing there: its tokens add up. Within it, they meet."""
    alone = [x[:1] for x in inputs]
    assert mixed_difference(over_batch, *alone) < 1e-5
    assert mixed_difference(within, *alone) > 1e-3
    assert np.abs(within(*alone) - over_batch(*alone)).max() > 1e-3


def test_prediction_depends_on_the_size_of_the_batch(within, over_batch, inputs):
    alone = [x[:1] for x in inputs]
    np.testing.assert_allclose(within(*inputs)[:1], within(*alone), atol=1e-5)
    assert np.abs(over_batch(*inputs)[:1] - over_batch(*alone)).max() > 1e-3
    copies = [jnp.repeat(x, B, axis=0) for x in alone]  # among equals, shares do not matter
    np.testing.assert_allclose(
        over_batch(*copies), np.repeat(over_batch(*alone), B, axis=0), atol=1e-5
    )


def test_order_of_samples_goes_with_them(over_batch, inputs):
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(
        over_batch(*(x[order] for x in inputs)), over_batch(*inputs)[order], atol=1e-5
    )


@pytest.mark.slow
def test_trains_with_dropout_through_forward(net, inputs):
    """One batch, many steps; both attentions learn it, each its own way."""
    batch, tx = Samples(*inputs, jnp.ones((B, Z))), gan.optimizer(CFG.rate, CFG.weight_decay)
    learned = []
    for forward in (hypformer.attend_within, released.attend_over_batch):
        step = jax.jit(partial(hypformer.update, CFG, forward=forward))
        mine, adam, losses = net, tx.init(net), []
        for i in range(150):
            mine, adam, metrics = step(mine, adam, batch, jax.random.key(i))
            losses.append(metrics["loss/mse"])
        assert np.mean(losses[-20:]) < 0.2 * losses[0]
        learned.append(mine)
    assert np.abs(learned[0].layer.project.weight - learned[1].layer.project.weight).max() > 1e-2
