"""Reversed motors: flipping one expert's outputs is exact, and signs are found by moving."""

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.hyperzero.signs import FIRST_STEPS, Flipped, SignFinder
from hyperpolicy.rollout import trace

pytest.importorskip("dm_control")
FAMILY = hp.family("cheetah-run-signs")
SPEC = PolicySpec(17, 6, (5, 5))


@pytest.fixture(scope="module")
def zoo():
    """Two experts that do the same in their own wirings: the second's outputs are flipped."""
    contexts = FAMILY.grid("signs").split("twenty").train[:2]
    one = np.random.default_rng(0).normal(0, 0.4, (1, SPEC.size)).astype(np.float32)
    plain = Policies(np.repeat(one, 2, axis=0), SPEC)
    return hp.Zoo(
        SPEC,
        FAMILY,
        plain.with_gain(FAMILY.signs(contexts)).weights,
        expert=np.arange(2),
        updates=np.ones(2, int),
        final=np.ones(2, bool),
        returns=np.array([1.0, 2.0], np.float32),
        contexts=contexts,
    )


def test_flipped_policies_act_with_other_signs(zoo):
    obs, signs = np.random.default_rng(1).normal(0, 1, (2, 3, 17)), np.array([[1, -1] * 3] * 2)
    acts = zoo.finals.act(obs.astype(np.float32))
    turned = zoo.finals.with_gain(signs.astype(float)).act(obs.astype(np.float32))
    np.testing.assert_allclose(turned, acts * signs[:, None], atol=1e-6)


def test_a_flipped_expert_moves_a_reversed_body_as_itself(zoo):
    contexts = FAMILY.grid("signs").split("twenty").test[:3]
    who = Flipped(zoo).generate(np.concatenate([zoo.contexts, contexts]))
    moved = trace(who, FAMILY, np.concatenate([zoo.contexts, contexts]), 1, seed=4)
    for other in moved.outcome[1:]:
        np.testing.assert_allclose(other, moved.outcome[0], atol=1e-4)


def test_signs_are_found_by_moving(zoo):
    contexts = FAMILY.grid("signs").split("twenty").test[:4]
    finder, steps = SignFinder.of(zoo), FIRST_STEPS + 3
    worlds = FAMILY.worlds(contexts, seed=5)
    obs, carry = worlds.reset(), finder.start(4, 1)
    for t in range(steps):
        action, carry = finder.act(carry, obs[:, None], np.array([0, t], np.uint32))
        obs = worlds.step(action[:, 0]).obs
    found = np.where(carry["push"][:, 0] >= 0, 1.0, -1.0)
    assert (found == FAMILY.signs(contexts)).mean() > 0.9
