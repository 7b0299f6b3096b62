"""The network of Decision Transformer: published sizes, what a token sees, and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.nets.decision import DecisionNet, Steps
from hyperpolicy.nets.gpt import Gpt
from hyperpolicy.nets.transformer import Dropout

OBS, ACTION, L = 5, 2, 6


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def random_steps(key, l=L) -> Steps:
    keys = jax.random.split(key, 3)
    shapes = (l,), (l, OBS), (l, ACTION)
    parts = (jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True))
    return Steps(*parts, jnp.arange(l), jnp.ones(l, bool))


@pytest.fixture(scope="module")
def net():
    return DecisionNet.init((OBS, ACTION, 50), 8, 2, 2, jax.random.key(0), prompted=True)


@pytest.fixture(scope="module")
def call():
    return jax.jit(lambda net, steps, prompt: net(steps, prompt))


def test_sizes_are_the_published_ones():
    """Spec of the baselines, §2.1, §2.2: 0.595 M in the transformer, 0.863 M in Prompt-DT with two
    untrained heads, of the observation and the return, which ours leaves out."""
    made = jax.eval_shape(
        lambda key: DecisionNet.init((20, 6, 1000), 128, 1, 3, key, prompted=True),
        jax.random.key(0),
    )
    assert size(made.gpt) == 595_072
    heads = (128 + 1) * (20 + 1)
    assert size(made) + heads == 862_491
    assert size(made) - size(made.prompt) + heads == 730_651  # 0.731 M: a Decision Transformer


def test_weights_start_as_gpt_2s():
    made = Gpt.init(128, 1, 2, jax.random.key(1))
    for layer in (made.blocks[1].project, made.blocks[0].down):
        assert np.std(layer.weight) == pytest.approx(0.02, rel=0.05)
        assert not np.any(layer.bias)


def test_an_action_depends_on_what_came_before_and_on_its_own_observation(net, call):
    steps, prompt = random_steps(jax.random.key(1)), random_steps(jax.random.key(2), 3)
    before = call(net, steps, prompt)
    t = 3
    later = steps._replace(
        obs=steps.obs.at[t + 1 :].add(1.0),
        action=steps.action.at[t:].add(1.0),
        to_go=steps.to_go.at[t + 1 :].add(1.0),
    )
    after = call(net, later, prompt)
    np.testing.assert_array_equal(before[: t + 1], after[: t + 1])
    assert (before[t + 1 :] != after[t + 1 :]).all()
    for name in ("obs", "to_go"):
        changed = steps._replace(**{name: getattr(steps, name).at[t].add(1.0)})
        after = call(net, changed, prompt)
        np.testing.assert_array_equal(before[:t], after[:t])
        assert (before[t:] != after[t:]).all()


def test_every_action_sees_the_prompt(net, call):
    steps, prompt = random_steps(jax.random.key(1)), random_steps(jax.random.key(2), 3)
    other = prompt._replace(action=prompt.action.at[2].add(1.0))
    assert (call(net, steps, prompt) != call(net, steps, other)).all()


def test_padding_is_seen_by_none(net, call):
    """Two steps missing at the left: the others' actions are those of four steps alone."""
    steps, prompt = random_steps(jax.random.key(1)), random_steps(jax.random.key(2), 3)
    there = jnp.arange(L) >= 2
    alone = jax.tree.map(lambda x: x[2:], steps)
    padded = call(net, steps._replace(there=there), prompt)
    np.testing.assert_allclose(padded[2:], call(net, alone, prompt), atol=1e-6)
    noise = steps._replace(obs=steps.obs.at[:2].set(9.0), there=there)
    np.testing.assert_array_equal(padded[2:], call(net, noise, prompt)[2:])
    assert np.isfinite(padded).all()


def test_samples_do_not_mix(net):
    keys = jax.random.split(jax.random.key(3), 4)
    steps, prompt = jax.vmap(random_steps)(keys), jax.vmap(lambda k: random_steps(k, 3))(keys)
    many = jax.jit(jax.vmap(net))
    before = many(steps, prompt)
    after = many(steps._replace(obs=steps.obs.at[2].add(1.0)), prompt)
    keep = np.array([0, 1, 3])
    np.testing.assert_array_equal(before[keep], after[keep])
    assert (before[2] != after[2]).any()


def test_dropout_is_data(net):
    steps, prompt = random_steps(jax.random.key(1)), random_steps(jax.random.key(2), 3)
    run = jax.jit(lambda drop: net(steps, prompt, drop))
    one, two = (run(Dropout(jax.random.key(i), 0.5)) for i in (0, 1))
    assert (one != two).any()
    np.testing.assert_array_equal(one, run(Dropout(jax.random.key(0), 0.5)))
