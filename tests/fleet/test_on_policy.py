"""Bases by PPO: what they hold, resumed bit for bit, and critics that know what a policy does."""

import json
import os
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import fleet
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import disk, judging, on_policy, rounds
from hyperpolicy.fleet.bases import Base
from hyperpolicy.policies import Policies
from hyperpolicy.recipes import presets, zoos
from hyperpolicy.rl import ppo, sac
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rollout import trace

ANT = family("ant-dir")
POOL = np.array([[0.3], [2.0], [4.0]])
CFG = PpoConfig(width=8, value_width=8, epochs=2, minibatches=2)
CRITIC = SacConfig(width=8, initial_alpha=0.05, usual_reward=1.0)
SHORT = fleet.RoundSchedule(
    num_rounds=4, num_envs=6, round_steps=4, average_from=0.5, num_evaluations=2, episodes=1
)


@pytest.fixture(autouse=True, scope="module")
def quick_critics():
    def judge(*args):
        return judging.judge(*args, num_updates=2, batch=8, worlds=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_policy, "judge", judge)
        patch.setattr(on_policy, "FIT_UPDATES", 2)
        yield


def train(out=None, **changes) -> Base:
    return fleet.train_base(CFG, CRITIC, ANT, POOL, replace(SHORT, **changes), 3, out)


@pytest.fixture(scope="module")
def whole() -> Base:
    return train()


def test_a_base_folds_into_policies_and_critics_for_its_contexts(whole, tmp_path):
    assert whole.policy.spec.obs == 29  # observation, sine and cosine
    np.testing.assert_array_equal(whole.contexts, POOL)
    start = fleet.fold(whole, ANT, POOL[:2])
    assert start.policies.spec.obs == 27 and start.critics.shape[:2] == (2, 2)
    assert start.usual_reward == 1.0  # what its critics leave out
    np.testing.assert_allclose(start.log_alpha, np.log(0.05), rtol=1e-6)
    assert whole.training.env_steps == 4 * 4 * 6 + 2 * 200 * 4 * 3  # training, critics
    assert whole.training.updates == 4 * 2 * 2
    read = Base.load(whole.save(tmp_path / "base.safetensors"))
    np.testing.assert_array_equal(read.policy.weights, whole.policy.weights)


def test_the_result_averages_the_last_rounds(monkeypatch):
    monkeypatch.setattr(ppo, "update", lambda cfg, state, r, e: _counted(state))
    base = train()
    # each round adds one to every weight; the last two are averaged
    first = ppo.init(CFG, 27, 2, 8, jax.random.key(3)).actor
    flat = ppo.policy_spec(CFG, 29, 8).flatten(first)
    np.testing.assert_allclose(base.policy.weights[0], flat + 3.5, atol=1e-3)


def _counted(state):
    actor = jax.tree.map(lambda x: x + 1.0, state.actor)
    moments = state.moments._replace(var=jnp.full(27, 1.0 - 1e-4))
    zero = jnp.zeros(())
    return state._replace(actor=actor, moments=moments), ppo.Report(zero, zero, zero)


def test_killed_and_resumed_is_bit_equal(whole, tmp_path, monkeypatch):
    collect, count = rounds._collect, [0]

    def counted(*args):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return collect(*args)

    monkeypatch.setattr(rounds, "_collect", counted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run")
    resumed = train(tmp_path / "run")
    assert count[0] == 4  # a round is not run twice
    np.testing.assert_array_equal(resumed.policy.weights, whole.policy.weights)
    np.testing.assert_array_equal(resumed.critics, whole.critics)
    lines = [json.loads(x) for x in (tmp_path / "run" / disk.METRICS).read_text().splitlines()]
    assert [line["updates"] for line in lines] == [0, 8, 16]
    assert [line["env_steps"] for line in lines] == [0, 48, 96]
    assert all(np.isfinite(line["return"]).all() for line in lines)
    assert all(line["log_std"][0] < 0 for line in lines[1:])


def test_other_settings_do_not_resume_and_widths_must_agree(tmp_path):
    train(tmp_path / "run")
    with pytest.raises(BadSetting, match="another schedule"):
        train(tmp_path / "run", num_rounds=6)
    other = replace(CRITIC, usual_reward=0.0)
    with pytest.raises(BadSetting, match="another start"):  # what its critics are fitted by
        fleet.train_base(CFG, other, ANT, POOL, SHORT, 3, tmp_path / "run")
    with pytest.raises(BadSetting, match="critics of width 16"):
        fleet.train_base(CFG, SacConfig(width=16), ANT, POOL, SHORT)
    with pytest.raises(BadSetting, match="num_rounds"):
        fleet.RoundSchedule(num_rounds=0)
    with pytest.raises(BadSetting, match="average_from"):
        fleet.RoundSchedule(average_from=1.0)


def test_a_base_that_is_not_finite_is_refused(monkeypatch):
    broken = replace(CFG, value_rate=3e38, first_rate=3e38, max_rate=3e38)
    with pytest.raises(BadZoo, match="stopped being finite"):
        fleet.train_base(broken, CRITIC, ANT, POOL, SHORT)


@pytest.mark.slow
def test_critics_come_to_know_what_a_policy_is_worth():
    """The judged critics of a policy that stands still tell a short discount's return, the fresh
    ones do not."""
    cfg = SacConfig(width=32, discount=0.8, initial_alpha=1e-6, critic_rate=3e-3, tau=0.02)
    spec = ppo.policy_spec(PpoConfig(width=32), 29, 8)
    still = PpoConfig(width=32, first_log_std=-4.0)  # its noise costs nothing
    actor = ppo.plain(ppo.init(still, 27, 2, 8, jax.random.key(3)))
    policy = Policies(np.asarray(spec.flatten(actor))[None], spec)
    base = judging.judge(cfg, ANT, POOL, policy, num_updates=1_500, batch=64, worlds=1)
    start = fleet.fold(base, ANT, POOL)
    seen = trace(start.policies, ANT, POOL)
    weights = 0.8 ** np.arange(40)
    worth = np.stack([seen.reward[:, 0, t : t + 40] @ weights for t in (20, 50, 80)], axis=1)
    twins = sac.critic_spec(cfg, 27, 8)
    for i in range(3):
        obs, action = seen.obs[i, 0, [20, 50, 80]], seen.action[i, 0, [20, 50, 80]]
        found = sac.value_batch(twins.unflatten(jnp.asarray(start.critics[i])), obs, action)
        np.testing.assert_allclose(found.mean(axis=1), worth[i], atol=0.8)
    assert worth.mean() > 3.0  # fresh critics say about zero


@pytest.mark.slow
def test_a_preset_takes_a_schedule_of_its_learners_kind(tmp_path):
    grid = ANT.grid("macaw")
    on = replace(presets.SMOKE, base=CFG, base_schedule=SHORT, critic=CRITIC)
    job = zoos.Job("sixteenth")
    found = zoos.bases(tmp_path / "a", grid, (job,), on)[job]
    np.testing.assert_allclose(found.contexts, grid.split("sixteenth").train)
    with pytest.raises(BadSetting, match="a PpoConfig does not train on a Schedule"):
        zoos.bases(tmp_path / "b", grid, (job,), replace(presets.SMOKE, base=CFG))


# --- Experts ------------------------------------------------------------------------------
OWN = fleet.RoundSchedule(
    num_rounds=4,
    num_envs=2,
    round_steps=4,
    average_from=0.5,
    num_checkpoints=2,
    num_evaluations=1,
    episodes=1,
    num_states=5,
)


def specialize(start, out=None, cfg=CFG, contexts=POOL, seed=3):
    return fleet.train_on_policy(cfg, CRITIC, ANT, contexts, OWN, start, seed, out)


@pytest.mark.slow
def test_experts_go_on_from_a_base(whole, tmp_path):
    start = fleet.fold(whole, ANT, POOL)
    resting = replace(CFG, warmup_rounds=4)
    zoo = specialize(start, tmp_path / "run", resting)
    # actors that only rested are the base's, whatever their observations are normalized by
    np.testing.assert_allclose(zoo.finals.weights, start.policies.weights, atol=2e-3)
    assert zoo.weights.shape == (3 * 3, zoo.spec.size) and zoo.states.shape == (3, 5, 27)
    assert not np.allclose(zoo.critics, start.critics)  # they went on
    assert zoo.usual_reward == 1.0
    assert sorted(set(zoo.updates.tolist())) == [12, 16]
    assert zoo.training.env_steps == 200 + 4 * 4 * 2 + 16 * 200
    moved = specialize(start)
    assert np.abs(moved.finals.weights - start.policies.weights).max() > 1e-3
    again = specialize(start, tmp_path / "run", resting)  # finished
    np.testing.assert_array_equal(again.weights, zoo.weights)


@pytest.mark.slow
def test_an_expert_alone_is_the_same(whole):
    """Expert 1 of three, with its own seeds and its own normal observations."""
    together = specialize("own")
    alone = rounds.run(
        CFG,
        ANT,
        disk.Tasks(
            np.repeat(POOL[1:2, None], 2, axis=1), POOL[1:2, None], np.ones(1), np.array([30_001])
        ),
        np.zeros((1, 2, 0)),
        OWN,
        on_policy._fresh(CFG, ANT, 0, np.array([30_001])),
        lambda weights: np.zeros(1),
    )
    np.testing.assert_allclose(alone.weights[0], together.finals.weights[1], atol=5e-3)  # float16


def test_fresh_experts_share_one_start_or_have_their_own():
    shared = on_policy._fresh(CFG, ANT, 0, np.full(2, 3), np.array([30_000, 30_001]))
    own = on_policy._fresh(CFG, ANT, 0, np.array([30_000, 30_001]))
    for learners, same in ((shared, True), (own, False)):
        first, second = np.asarray(learners.actor.hidden[0].weight)
        assert np.array_equal(first, second) == same
        keys = jax.random.key_data(learners.key)
        assert not np.array_equal(keys[0], keys[1])


@pytest.mark.slow
def test_one_broken_expert_leaves_the_others(whole):
    start = fleet.fold(whole, ANT, POOL)
    weights = start.policies.weights.copy()
    weights[1] = 1e30
    broken = start._replace(policies=Policies(weights, start.policies.spec))
    with pytest.warns(UserWarning, match="expert 1 at context"):
        zoo = specialize(broken)
    np.testing.assert_allclose(zoo.contexts, POOL[[0, 2]])
    assert np.isfinite(zoo.weights).all()


def test_starts_that_do_not_fit_are_refused(whole):
    start = fleet.fold(whole, ANT, POOL)
    with pytest.raises(BadZoo, match="2 of"):
        specialize(start, contexts=POOL[:2])
    with pytest.raises(BadSetting, match="leave out a reward"):
        specialize(start._replace(usual_reward=0.0))


@pytest.mark.slow
def test_a_preset_trains_experts_by_ppo(tmp_path):
    grid = ANT.grid("macaw")
    preset = replace(
        presets.SMOKE,
        base=CFG,
        base_schedule=SHORT,
        expert=CFG,
        expert_schedule=OWN,
        critic=CRITIC,
    )
    job = zoos.Job("sixteenth")
    zoo = zoos.specialized(tmp_path, grid, (job,), preset)[job]
    np.testing.assert_allclose(zoo.contexts, grid.split("sixteenth").train)
    assert zoo.provenance["base"]["made_by"] == "fleet.train_base"
    with pytest.raises(BadSetting, match="a PpoConfig does not train on a Schedule"):
        mixed = replace(preset, expert_schedule=presets.TINY)
        zoos.specialized(tmp_path / "b", grid, (job,), mixed)
