"""Alignment of a zoo: nobody acts otherwise, paths stay paths, and planted orders are undone."""

from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy.errors import BadZoo
from hyperpolicy.generate import align
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies

BOTH = [align.align, align.align_chain]


@pytest.fixture(scope="module")
def shuffled(zoo):
    """The smooth zoo, every expert's units in an order and at scales of its own, all rows alike."""
    rng, weights = np.random.default_rng(5), zoo.weights.copy()
    for x in range(len(zoo.contexts)):
        factors = [rng.uniform(0.3, 3.0, u) for u in zoo.spec.hidden]
        orders = [rng.permutation(u) for u in zoo.spec.hidden]
        rows = zoo.expert == x
        scaled = align.rescale(zoo.spec, weights[rows], factors)
        weights[rows] = align.permute(zoo.spec, scaled, orders)
    return replace(zoo, weights=weights)


def gaps(zoo) -> np.ndarray:
    """Distances between neighbors."""
    return np.linalg.norm(np.diff(zoo.finals.weights, axis=0), axis=1)


@pytest.mark.parametrize("how", BOTH)
def test_every_row_acts_as_before(make_zoo, how):
    zoo = make_zoo(noise=0.1)
    aligned = how(zoo)
    obs = np.random.default_rng(1).normal(size=(len(zoo), 7, zoo.spec.obs)).astype(np.float32)
    np.testing.assert_allclose(aligned.policies.act(obs), zoo.policies.act(obs), atol=1e-5)
    noisy = zoo.policies.sample(obs, seed=3)
    np.testing.assert_allclose(aligned.policies.sample(obs, seed=3), noisy, atol=1e-5)


@pytest.mark.parametrize("how", BOTH)
def test_planted_orders_and_scales_are_undone(zoo, shuffled, how):
    """Up to the one order that all share, which is the reference's."""
    assert (gaps(shuffled) > 2 * gaps(align.balance(zoo))).all()
    found = how(shuffled)
    np.testing.assert_allclose(gaps(found), gaps(how(zoo)), atol=1e-4)
    orders = align.match(zoo.spec, found.weights[0], how(zoo).weights[0])
    back = align.permute(zoo.spec, found.weights, orders)
    np.testing.assert_allclose(back, how(zoo).weights, atol=1e-4)


@pytest.mark.parametrize("how", BOTH)
def test_aligning_again_changes_nothing(shuffled, how):
    once = how(shuffled)
    np.testing.assert_allclose(how(once).weights, once.weights, atol=1e-5)


def test_checkpoints_move_with_their_expert(make_zoo):
    """What the final row went through, its checkpoints went through, whatever their own scales."""
    zoo = make_zoo(noise=0.3)
    aligned = align.align(zoo)
    for x, (before, after) in enumerate(
        zip(zoo.finals.weights, aligned.finals.weights, strict=True)
    ):
        factors = align.balance_factors(zoo.spec, before)
        scaled = align.rescale(zoo.spec, before, factors)
        orders = align.match(zoo.spec, scaled, after)
        rows = zoo.expert == x
        moved = align.rescale(zoo.spec, zoo.weights[rows], factors)
        moved = align.permute(zoo.spec, moved, orders)
        np.testing.assert_allclose(aligned.weights[rows], moved, atol=1e-6)


def test_only_weights_and_provenance_change(zoo):
    critics = np.ones((len(zoo.contexts), 2, 3), np.float32)
    zoo = replace(zoo, critics=critics)
    aligned = align.align(zoo)
    for name in ("critics", "states", "contexts", "expert", "updates", "final", "returns"):
        np.testing.assert_array_equal(getattr(aligned, name), getattr(zoo, name), err_msg=name)
    middle = zoo.contexts[len(zoo.contexts) // 2 - 1].tolist()
    assert aligned.provenance == zoo.provenance | {"aligned_to": middle}
    assert align.align_chain(zoo).provenance["aligned_to"] == "neighbors"


def test_two_zoos_meet_at_one_reference(zoo, shuffled):
    """The experts of another zoo come into the order of this one."""
    reference = align.align(zoo).finals[2]
    a, b = align.align(zoo, reference), align.align(shuffled, reference)
    np.testing.assert_allclose(b.weights, a.weights, atol=1e-4)


def test_a_chain_runs_from_the_middle_along_neighbors(make_zoo, make_ant_zoo):
    assert dict(align.visits(make_zoo(5))) == {2: 2, 1: 2, 0: 1, 3: 2, 4: 3}
    assert align.visits(make_ant_zoo([0.1, 6.2, 3.0]))[:2] == [(0, 0), (1, 0)]
    assert align.visits(make_zoo(1)) == [(0, 0)]


def test_one_expert_is_its_own_reference(make_zoo):
    zoo = make_zoo(1)
    np.testing.assert_array_equal(align.align(zoo).weights, align.balance(zoo).weights)


def test_what_cannot_be_aligned_is_refused(zoo):
    with pytest.raises(BadZoo, match="holds 2 policies"):
        align.align(zoo, zoo.finals[:2])
    other = PolicySpec(20, 6, (5, 4))
    foreign = Policies(np.zeros((1, other.size), np.float32), other)
    with pytest.raises(BadZoo, match="give one of"):
        align.align(zoo, foreign)
    with pytest.raises(BadZoo, match="0 final rows for 6 experts"):
        align.align(replace(zoo, final=np.zeros(len(zoo), bool)))
