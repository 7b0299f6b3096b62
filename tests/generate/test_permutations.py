"""Symmetry: the same policy after every move, and a planted move found again."""

import jax
import numpy as np
import pytest

from hyperpolicy.errors import BadShape
from hyperpolicy.generate import align
from hyperpolicy.nets.policy import PolicySpec

RELU = PolicySpec(5, 2, (12, 10))
MIXED = PolicySpec(5, 2, (12, 10), ("elu", "relu"))
TANH = PolicySpec(5, 2, (7,), ("tanh",))
DEEP = PolicySpec(4, 3, (8, 9, 6), ("relu", "relu", "relu"))
SPECS = [RELU, MIXED, TANH, DEEP]
ONE_HEAD = PolicySpec(5, 2, (12, 10), head="deterministic")


def draw(spec: PolicySpec, seed: int = 0, rows: int | None = None) -> np.ndarray:
    shape = (spec.size,) if rows is None else (rows, spec.size)
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def move(spec: PolicySpec, weights, seed: int = 1):
    """The same policy in another order and, where units are ReLU, at other scales."""
    rng = np.random.default_rng(seed)
    factors = [
        rng.uniform(0.2, 5.0, u) if name == "relu" else np.ones(u)
        for u, name in zip(spec.hidden, spec.activations, strict=True)
    ]
    orders = [rng.permutation(u) for u in spec.hidden]
    return align.permute(spec, align.rescale(spec, weights, factors), orders)


def balanced(spec: PolicySpec, weights):
    return align.rescale(spec, weights, align.balance_factors(spec, weights))


def heads(spec: PolicySpec, weights):
    """μ and log σ on a few observations."""
    obs = np.random.default_rng(3).normal(size=(20, spec.obs)).astype(np.float32)
    return np.concatenate(jax.vmap(spec.unflatten(jax.numpy.asarray(weights)))(obs), axis=1)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_move_keeps_both_heads(spec):
    weights = draw(spec)
    moved = move(spec, weights)
    assert np.abs(moved - weights).max() > 0.1
    for same in (moved, balanced(spec, weights)):
        np.testing.assert_allclose(heads(spec, same), heads(spec, weights), atol=2e-5)


def test_a_wrong_move_is_seen():
    """The scale of a unit that is not ReLU matters: the test above can fail."""
    weights = draw(MIXED)
    wrong = align.rescale(MIXED, weights, [np.full(12, 2.0), np.ones(10)])
    assert np.abs(heads(MIXED, wrong) - heads(MIXED, weights)).max() > 0.01


@pytest.mark.parametrize("spec", [*SPECS, ONE_HEAD], ids=str)
def test_a_planted_move_is_found(spec):
    """Another order and scale of the reference comes back as the reference, number by number."""
    reference = balanced(spec, draw(spec))
    other = balanced(spec, move(spec, draw(spec)))
    found = align.permute(spec, other, align.match(spec, other, reference))
    np.testing.assert_allclose(found, reference, atol=1e-5)


def test_balance_is_unique_and_the_smallest():
    weights = draw(RELU)
    still = balanced(RELU, weights)
    np.testing.assert_allclose(balanced(RELU, still), still, atol=1e-6)
    rescaled = align.rescale(RELU, weights, [np.linspace(0.1, 3, 12), np.linspace(4, 0.3, 10)])
    np.testing.assert_allclose(balanced(RELU, rescaled), still, atol=1e-5)
    assert np.linalg.norm(still) < np.linalg.norm(weights)
    matrices = align._matrices(RELU, still)
    outgoing = np.linalg.norm(np.concatenate([m[:-1] for m in matrices[2:]], axis=1), axis=1)
    np.testing.assert_allclose(np.linalg.norm(matrices[1], axis=0), outgoing, rtol=1e-4)


def test_units_that_are_not_relu_keep_their_scale():
    np.testing.assert_array_equal(align.balance_factors(TANH, draw(TANH))[0], 1.0)
    elu, relu = align.balance_factors(MIXED, draw(MIXED))
    np.testing.assert_array_equal(elu, 1.0)
    assert np.abs(relu - 1.0).max() > 0.01


def test_dead_units_keep_their_scale_and_everything_stays_finite():
    """Unit 3 has nothing coming in; unit 4 of the next layer leads nowhere; unit 5 has neither."""
    first, second, *out = align._matrices(RELU, draw(RELU))
    first[:, 3], second[3] = 0.0, 1.0
    first[:, 5], second[5] = 0.0, 0.0
    for head in out:
        head[4] = 0.0
    weights = align._flat([first, second, *out], draw(RELU))
    factors = align.balance_factors(RELU, weights)
    np.testing.assert_array_equal(factors[0][[3, 5]], 1.0)
    assert factors[1][4] == 1.0
    still = align.rescale(RELU, weights, factors)
    np.testing.assert_allclose(heads(RELU, still), heads(RELU, weights), atol=2e-5)
    found = align.permute(RELU, still, align.match(RELU, still, draw(RELU, 7)))
    np.testing.assert_allclose(heads(RELU, found), heads(RELU, weights), atol=2e-5)


def test_matching_brings_nearer_and_then_changes_nothing():
    reference = draw(RELU)
    for seed in range(1, 6):
        weights = draw(RELU, seed)
        near = align.permute(RELU, weights, align.match(RELU, weights, reference))
        assert np.linalg.norm(near - reference) < np.linalg.norm(weights - reference)
        for order in align.match(RELU, near, reference):
            np.testing.assert_array_equal(order, np.arange(len(order)))


def test_what_is_in_place_stays():
    """Small changes of a policy are matched to it unit by unit: a shared start is left alone."""
    reference = draw(RELU)
    near = reference + 0.02 * draw(RELU, 1)
    for order in align.match(RELU, near, reference):
        np.testing.assert_array_equal(order, np.arange(len(order)))


def test_one_and_many_are_moved_alike():
    rows = draw(RELU, rows=3)
    moved = move(RELU, rows)
    for one, many in zip(rows, moved, strict=True):
        np.testing.assert_array_equal(move(RELU, one), many)
    assert moved.dtype == np.float32


def test_weights_of_another_policy_are_refused():
    with pytest.raises(BadShape, match=f"has {RELU.size} numbers"):
        align.balance_factors(RELU, draw(TANH))
