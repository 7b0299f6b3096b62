"""Rollouts: paired, deterministic, independent of their company, honest about early ends."""

from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest

from hyperpolicy import rollout, seeds
from hyperpolicy.envs import MujocoWorlds
from hyperpolicy.envs.locomotion import AntDir, CheetahVel
from hyperpolicy.errors import BadContext, BadSetting, BadShape
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies

FAMILY = CheetahVel(horizon_steps=12)
CONTEXTS = np.array([[0.5], [1.0], [2.0]])


def make_policies(n: int, family=FAMILY) -> Policies:
    spec = PolicySpec(family.obs_size, family.action_size, (8,), ("tanh",))
    keys = jax.random.split(jax.random.key(0), n)
    return Policies(np.stack([3 * spec.flatten(spec.init(key)) for key in keys]), spec)


def test_episodes_start_alike_for_every_policy_and_context():
    trace = rollout.trace(make_policies(3), FAMILY, CONTEXTS, episodes=2)
    first = trace.obs[:, :, 0]
    np.testing.assert_array_equal(first, np.broadcast_to(first[:1], first.shape))
    assert not np.allclose(first[:, 0], first[:, 1])


def test_a_policy_alone_does_as_among_others():
    policies = make_policies(3)
    together = rollout.returns(policies, FAMILY, CONTEXTS, episodes=3)
    alone = rollout.returns(policies[1], FAMILY, CONTEXTS[1:2], episodes=2)
    np.testing.assert_allclose(together[1, :2], alone[0], rtol=1e-5)


def test_returns_are_the_rewards_of_the_actions_taken():
    policies = make_policies(3)
    trace = rollout.trace(policies, FAMILY, CONTEXTS, episodes=2)
    np.testing.assert_array_equal(trace.action[:, :, 5], policies.act(trace.obs[:, :, 5]))
    speed = trace.outcome[..., 0]
    effort = (trace.action**2).sum(axis=-1)
    expected = -np.abs(speed - CONTEXTS[:, :, None]) - 0.05 * effort
    np.testing.assert_allclose(trace.reward, expected, atol=1e-5)
    np.testing.assert_allclose(trace.returns, expected.sum(axis=-1), atol=1e-4)
    again = rollout.returns(policies, FAMILY, CONTEXTS, episodes=2)
    np.testing.assert_allclose(again, trace.returns, atol=1e-4)


def test_other_seeds_are_other_episodes():
    policies = make_policies(3)
    a, b = (rollout.returns(policies, FAMILY, CONTEXTS, 2, seed) for seed in (0, 1))
    assert not np.isclose(a, b).any()


def test_evaluation_seeds_never_meet_training_seeds_or_each_other():
    found = np.concatenate([seeds.episodes(seed, 50) for seed in range(40)])
    assert len(np.unique(found)) == found.size
    assert found.min() >= 2**31
    assert found.max() < 2**32
    np.testing.assert_array_equal(seeds.episodes(3, 5), seeds.episodes(3, 9)[:5])


def test_zero_action_scores_as_measured():
    family = CheetahVel()
    contexts = family.grid("macaw").split("full").test
    found = rollout.returns(rollout.zero(family), family, contexts)
    assert found.shape == (5, 10)
    np.testing.assert_allclose(found.mean(axis=1), [-45.2, -120.1, -240.1, -360.1, -405.1], atol=1)


def test_uniform_and_exploring_actions_are_functions_of_their_seed():
    policies = make_policies(3)
    for make in (
        lambda seed: rollout.uniform(FAMILY, seed),
        lambda seed: rollout.exploring(policies, seed),
    ):
        a, b, c = (rollout.trace(make(seed), FAMILY, CONTEXTS).action for seed in (0, 0, 5000))
        np.testing.assert_array_equal(a, b)
        assert not np.isclose(a, c).all(axis=-1).any()
        assert not np.isclose(a[:, :, 0], a[:, :, 1]).all()
        assert np.abs(a).max() <= 1.0


def test_an_episode_ends_where_its_task_ends(falling_ant):
    family, contexts = falling_ant, np.array([[0.0], [1.0]])
    trace = rollout.trace(rollout.zero(family), family, contexts, episodes=3)
    lengths = trace.alive.sum(axis=-1)
    assert (lengths < family.horizon_steps).any(), "nothing fell: the test shows nothing"
    steps = np.arange(family.horizon_steps)
    np.testing.assert_array_equal(trace.alive, steps < lengths[..., None])
    assert not trace.outcome[~trace.alive].any()
    assert not trace.reward[~trace.alive].any()

    starts = np.tile(seeds.episodes(0, 3), 2)
    worlds = family.worlds(np.repeat(contexts, 3, axis=0), seed=starts)
    worlds.reset()
    expected, running = np.zeros(6), np.ones(6, bool)
    for _ in steps:
        step = worlds.step(np.zeros((6, family.action_size)))
        expected += step.reward * running
        running &= ~(step.terminated | step.truncated)
    np.testing.assert_allclose(trace.returns.ravel(), expected, rtol=1e-5)
    found = rollout.returns(rollout.zero(family), family, contexts, episodes=3)
    np.testing.assert_allclose(found, trace.returns, rtol=1e-5)


def test_a_broken_policy_has_no_return_and_harms_nobody():
    policies = make_policies(3)
    weights = policies.weights.copy()
    weights[1] = np.nan
    broken = Policies(weights, policies.spec)
    found = rollout.returns(broken, FAMILY, CONTEXTS, episodes=2)
    assert np.isnan(found[1]).all()
    sound = rollout.returns(policies, FAMILY, CONTEXTS, episodes=2)
    np.testing.assert_allclose(found[[0, 2]], sound[[0, 2]], rtol=1e-5)
    assert np.isnan(rollout.trace(broken, FAMILY, CONTEXTS, episodes=2).returns[1]).all()


def test_errors_say_what_to_do():
    policies = make_policies(2)
    with pytest.raises(BadShape, match="2 policies for 3 contexts"):
        rollout.returns(policies, FAMILY, CONTEXTS)
    with pytest.raises(BadShape, match="ant-dir has 27 and 8"):
        rollout.returns(policies, AntDir(), CONTEXTS[:2])
    with pytest.raises(BadSetting, match="at least one"):
        rollout.returns(policies, FAMILY, CONTEXTS[:2], episodes=0)
    with pytest.raises(BadContext, match=r"outside \[0, 3\]"):
        rollout.returns(policies, FAMILY, CONTEXTS[:2] + 5)


@dataclass(frozen=True, kw_only=True)
class Counting(CheetahVel):
    """Success is moving forward in the step."""

    horizon_steps: int = 5
    most_worlds: int | None = 4
    enough: float = 0.0

    def success(self, outcome):
        return np.asarray(outcome)[..., 0] > self.enough


def test_results_say_when_success_came_and_whether_it_stayed():
    fam, contexts = Counting(), np.array([[1.0], [2.0]])
    found = rollout.results(rollout.uniform(fam), fam, contexts, episodes=3)
    steps = rollout.trace(rollout.uniform(fam), fam, contexts, episodes=3).outcome[..., 0] > 0
    np.testing.assert_array_equal(found.success, steps.any(axis=-1))
    np.testing.assert_array_equal(found.last_success, steps[..., -1])
    first = np.where(steps.any(axis=-1), steps.argmax(axis=-1), 5)
    np.testing.assert_array_equal(found.success_steps, first)


def test_episodes_may_end_at_their_first_success():
    fam, contexts = Counting(), np.array([[1.0], [2.0]])
    whole = rollout.results(rollout.uniform(fam), fam, contexts, episodes=3)
    starts = rollout.paired(2, 3, seed=0)
    brief = rollout.successes(rollout.uniform(fam), fam, contexts, starts)
    np.testing.assert_array_equal(brief.success, whole.success)
    np.testing.assert_array_equal(brief.success_steps, whole.success_steps)
    rate = rollout.success_rate(rollout.uniform(fam), fam, contexts, 3)
    np.testing.assert_array_equal(rate, whole.success.mean(axis=1))


def test_episodes_in_turn_give_what_worlds_of_their_own_give():
    """Twelve episodes on four worlds; the third policy's break, twice each."""
    fam, contexts = Counting(), np.array([[1.0], [2.0], [0.5]])
    weights = make_policies(3).weights.copy()
    weights[2] = np.nan
    policies = Policies(weights, make_policies(3).spec)
    many, fam = Counting(most_worlds=None, enough=0.9), Counting(enough=0.9)
    starts = rollout.paired(3, 4, seed=0)
    whole = rollout.successes(policies, many, contexts, starts)
    found = rollout.successes(policies, fam, contexts, starts)
    assert 0 < whole.success[:2].sum() < 8 and not whole.success[2].any()
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)  # products round by the number of rows


def test_an_episode_whose_simulation_broke_is_played_once_more(monkeypatch):
    """As when a worker process dies: what it played is lost, and no policy is the worse for it."""
    fam, policies, whole, breaks = Counting(), make_policies(1), MujocoWorlds.step, iter([True])
    one = np.full((1, 1), 1.0), np.arange(6)[None]
    expected = rollout.successes(policies, fam, *one)

    def step(self, action):
        found = whole(self, action)
        broken = np.full(len(self), next(breaks, False))
        return found._replace(broken=broken, truncated=found.truncated | broken)

    monkeypatch.setattr(MujocoWorlds, "step", step)
    for a, b in zip(rollout.successes(policies, fam, *one), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert expected.success.any() and next(breaks, None) is None


def test_policies_take_turns_where_worlds_are_few():
    spec = PolicySpec(20, 6, (4, 4))
    weights = np.random.default_rng(0).normal(size=(5, spec.size)).astype(np.float32)
    policies, contexts = Policies(weights, spec), np.linspace(0.5, 2.5, 5)[:, None]
    few, many = Counting(), Counting(most_worlds=None)
    one = rollout.results(policies, few, contexts, episodes=2)
    for a, b in zip(one, rollout.results(policies, many, contexts, episodes=2), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# --- Recorded episodes -------------------------------------------------------------------
def test_recorded_episodes_are_those_of_a_trace(falling_ant):
    """Some ants fall, each after another number of steps."""
    family, contexts = replace(falling_ant, horizon_steps=15), np.array([[0.0], [1.0]])
    policies = make_policies(2, family)
    seen = rollout.trace(policies, family, contexts, episodes=3, seed=4)
    made = rollout.record(policies, family, contexts, episodes=3, seed=4)
    lengths = seen.alive.sum(axis=-1).ravel()
    assert len(set(lengths.tolist())) > 1
    np.testing.assert_array_equal(made.index.length, lengths)
    np.testing.assert_array_equal(made.index.terminated, lengths < 15)
    np.testing.assert_array_equal(made.index.policy, [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(made.returns, seen.returns.ravel(), rtol=1e-6)
    assert len(set(made.index.made_by.tolist())) == 2 and len(made.index.made_by[0]) == 64
    for k, one in enumerate(made):
        i, j = divmod(k, 3)
        t = lengths[k]
        np.testing.assert_array_equal(one.obs[:-1], seen.obs[i, j, :t])
        np.testing.assert_array_equal(one.action, seen.action[i, j, :t])
        assert (one.obs[-1] != 0).any() and one.context == contexts[i]


def test_broken_episodes_are_left_out_and_turns_change_nothing():
    contexts = np.array([[0.5], [1.0], [2.0]])
    policies = make_policies(3)
    weights = policies.weights.copy()
    weights[1] = np.nan
    broken = Policies(weights, policies.spec)
    whole, some = (
        rollout.record(broken, Counting(most_worlds=most), contexts, 2, made_by="tests")
        for most in (None, 2)
    )
    assert whole.index.policy.tolist() == some.index.policy.tolist() == [0, 0, 2, 2]
    assert set(whole.index.made_by) == {"tests"}
    np.testing.assert_array_equal(whole.index.seed, np.tile(whole.index.seed[:2], 2))
    np.testing.assert_allclose(some.returns, whole.returns, rtol=1e-5)
