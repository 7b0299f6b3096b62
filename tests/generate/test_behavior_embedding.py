"""The behavior embedding: published size, losses by hand, what it learns, who does not matter."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.generate import behavior_embedding as embedding
from hyperpolicy.generate.behavior_embedding import (
    BehaviorEmbeddingConfig,
    Embedding,
    Maps,
    Rows,
)

CFG = BehaviorEmbeddingConfig(
    dim=8, opening_hidden=(32, 32), ending_hidden=16, rate=1e-2, batch=16, steps=310
)
TASKS, OPENING, ENDING = 4, 12, 6
SEEDS = (3, 8)


def demonstrations(num: int, seed: int):
    """`num` of each task: a task's own mean, in units the normalizers have to undo, and noise."""
    centers = np.random.default_rng(0)
    at_opening = centers.normal(size=(TASKS, OPENING))
    at_ending = centers.normal(size=(TASKS, ENDING))
    rng, task = np.random.default_rng(seed), np.repeat(np.arange(TASKS), num)
    opening = 50.0 + 20.0 * (at_opening[task] + 0.5 * rng.normal(size=(len(task), OPENING)))
    ending = 0.02 * (at_ending[task] + 0.5 * rng.normal(size=(len(task), ENDING)))
    return opening.astype(np.float32), ending.astype(np.float32), 10 * task


TRAIN, HELD_OUT = demonstrations(20, seed=1), demonstrations(15, seed=2)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("embedding") / "fit"


@pytest.fixture(scope="module")
def fitted(out) -> Embedding:
    return embedding.fit(CFG, Rows(*TRAIN), SEEDS, out)


def pick(tree, n: int):
    return jax.tree.map(lambda leaf: leaf[n], tree)


# --- The page -----------------------------------------------------------------------------
def test_published_size():
    config = BehaviorEmbeddingConfig()
    maps = jax.eval_shape(lambda: Maps.init(config, 1020, 117, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(maps)) == 2_306_304


def test_maps_by_hand():
    """φ has ReLU between its layers; ψ is linear, LayerNorm, tanh, linear; W is I / √d."""
    maps = Maps.init(CFG, OPENING, ENDING, jax.random.key(0))
    rng = np.random.default_rng(0)
    opening, ending = (rng.normal(size=n).astype(np.float32) for n in (OPENING, ENDING))
    linear = lambda la, x: x @ np.asarray(la.weight) + np.asarray(la.bias)  # noqa: E731
    h = opening
    for layer in maps.opening.layers[:-1]:
        h = np.maximum(linear(layer, h), 0.0)
    h = linear(maps.opening.layers[-1], h)
    x = linear(maps.ending.first, ending)
    x = np.tanh((x - x.mean()) / np.sqrt(x.var() + 1e-5))
    v = linear(maps.ending.last, x)
    np.testing.assert_allclose(maps.opening(jnp.asarray(opening)), h, atol=1e-5)
    np.testing.assert_allclose(maps.ending(jnp.asarray(ending)), v, atol=1e-5)
    score = embedding.scores(maps.bilinear, jnp.asarray(h)[None], jnp.asarray(v)[None])
    np.testing.assert_allclose(score, [[h @ v / np.sqrt(CFG.dim)]], rtol=1e-4)


SCORE = np.array([[2.0, 1.0, 0.0], [0.5, 1.5, -1.0], [0.0, 3.0, 1.0]], np.float32)
TASK = np.array([7, 7, 9])


def cross_entropy(row, own, answers):
    return np.log(np.exp(row[answers]).sum()) - row[own]


def test_contrastive_loss_by_hand():
    everyone = [0, 1, 2]
    rows = np.mean([cross_entropy(SCORE[i], i, everyone) for i in everyone])
    columns = np.mean([cross_entropy(SCORE[:, i], i, everyone) for i in everyone])
    score, task = jnp.asarray(SCORE), jnp.asarray(TASK)
    np.testing.assert_allclose(embedding.contrastive_loss(score, task), rows, rtol=1e-5)
    want = 0.5 * (rows + columns)
    np.testing.assert_allclose(embedding.symmetric_loss(score, task), want, rtol=1e-5)


def test_others_of_ones_task_are_no_wrong_answers():
    score, task = jnp.asarray(SCORE), jnp.asarray(TASK)
    answers = [[0, 2], [1, 2], [0, 1, 2]]  # rows 0 and 1 are of one task
    want = np.mean([cross_entropy(SCORE[i], i, a) for i, a in enumerate(answers)])
    loss, slope = jax.value_and_grad(embedding.task_aware_loss)(score, task)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    assert slope[0, 1] == slope[1, 0] == 0.0
    assert np.isfinite(slope).all() and slope[2, 1] > 0.0
    apart = embedding.task_aware_loss(score, jnp.arange(3))
    np.testing.assert_allclose(apart, embedding.contrastive_loss(score, task), rtol=1e-6)


def test_huge_scores_stay_finite():
    score, task = 1e4 * jnp.asarray(SCORE), jnp.asarray(TASK)
    for loss in (embedding.contrastive_loss, embedding.symmetric_loss, embedding.task_aware_loss):
        value, slope = jax.value_and_grad(loss)(score, task)
        assert np.isfinite(value) and np.isfinite(slope).all()


# --- Fits ---------------------------------------------------------------------------------
def test_retrieves_the_task_of_held_out_demonstrations(fitted):
    """Chance is 1/4; segments of other tasks, handed out as a task's own, are not chosen."""
    opening, ending, task = HELD_OUT
    retrieval = jax.jit(embedding.retrieval)
    for n in range(len(SEEDS)):
        assert retrieval(pick(fitted, n), Rows(opening, ending, task)) > 0.9
        shifted = np.roll(ending, len(ending) // TASKS, axis=0)
        assert retrieval(pick(fitted, n), Rows(opening, shifted, task)) < 0.1


def test_loss_falls(fitted, out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = (np.array(x["loss/contrastive"]) for x in lines)
    assert len(last) == len(SEEDS) and (last < 0.5 * first).all()


def test_seeds_together_equal_seeds_alone(fitted):
    opening = jnp.asarray(HELD_OUT[0])
    of_openings = jax.jit(lambda one: jax.vmap(one.of_opening)(opening))
    together = [of_openings(pick(fitted, n)) for n in range(len(SEEDS))]
    alone = of_openings(pick(embedding.fit(CFG, Rows(*TRAIN), SEEDS[1:]), 0))
    np.testing.assert_allclose(alone, together[1], atol=1e-2)
    assert np.abs(together[0] - together[1]).max() > 0.5


def test_inputs_are_normalized_inside(fitted):
    """What `of_opening` takes are raw numbers; training rows become −1 … 1."""
    one = pick(fitted, 0)
    scaled = jax.vmap(one.opening_normalizer)(jnp.asarray(TRAIN[0]))
    np.testing.assert_allclose(scaled.min(axis=0), -1.0, atol=1e-4)
    np.testing.assert_allclose(scaled.max(axis=0), 1.0, atol=1e-4)
    np.testing.assert_allclose(one.of_opening(TRAIN[0][0]), one.maps.opening(scaled[0]), atol=1e-5)
    raw = one.maps.opening(jnp.asarray(TRAIN[0][0]))
    assert np.abs(one.of_opening(TRAIN[0][0]) - raw).max() > 1.0
    v = one.maps.ending(one.ending_normalizer(jnp.asarray(TRAIN[1][0])))
    np.testing.assert_allclose(one.of_ending(TRAIN[1][0]), v, atol=1e-5)


def test_neighbors_are_bit_identical(fitted):
    one, others = pick(fitted, 0), np.array([0, 1, 3, 4])
    for of, rows in ((one.of_opening, HELD_OUT[0][:5]), (one.of_ending, HELD_OUT[1][:5])):
        many, changed = jax.jit(jax.vmap(of)), rows.copy()
        changed[2] *= 2.0
        before, after = np.asarray(many(rows)), np.asarray(many(changed))
        np.testing.assert_array_equal(before[others], after[others])
        assert np.any(before[2] != after[2])


def test_the_loss_is_chosen_by_passing_it(fitted, out):
    """A loss of zero leaves everything but decay at rest; and it is part of what a run is."""

    def nothing(score, task):
        return 0.0 * jnp.sum(score)

    config = replace(CFG, weight_decay=0.0, steps=3)
    rested = pick(embedding.fit(config, Rows(*TRAIN), loss=nothing), 0)
    start = Maps.init(CFG, OPENING, ENDING, jax.random.key(0))
    np.testing.assert_array_equal(rested.maps.bilinear, start.bilinear)
    with pytest.raises(BadSetting, match="holds a run with another loss"):
        embedding.fit(CFG, Rows(*TRAIN), SEEDS, out, embedding.contrastive_loss)


# --- Bad input ----------------------------------------------------------------------------
def test_rows_that_cannot_be_trained_on(as_user):
    opening, ending, task = TRAIN
    with pytest.raises(BadShape, match="do not match"):
        embedding.fit(CFG, Rows(opening[:-1], ending, task))
    with pytest.raises(BadShape, match="do not match"):
        embedding.fit(CFG, Rows(opening[0], ending, task))
    with pytest.raises(BadShape, match="do not match"):
        embedding.fit(CFG, Rows(opening, ending, task[:, None]))
    with pytest.raises(BadSetting, match="of 1 task"):
        embedding.fit(CFG, Rows(opening, ending, 0 * task))
    spoiled = ending.copy()
    spoiled[5, 2] = np.nan
    with pytest.raises(BadSetting, match=r"ending of 1 of 80 .* row 5"):
        embedding.fit(CFG, Rows(opening, spoiled, task))
    with pytest.raises(BadSetting, match=r"batch of 81 .* 80"):
        embedding.fit(replace(CFG, batch=81), Rows(opening, ending, task))


def test_widths_unlike_the_trained_ones(fitted, as_user):
    one, (opening, ending, task) = pick(fitted, 0), HELD_OUT
    with pytest.raises(BadShape, match=r"opening of shape \(12,\); got \(6,\)"):
        one.of_opening(ending[0])
    with pytest.raises(BadShape, match=r"ending of shape \(6,\); got \(12,\)"):
        embedding.retrieval(one, Rows(opening, opening, task))
