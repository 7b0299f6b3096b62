"""One policy for many tasks: seeds side by side, kills, files, single tasks cut out, bad input."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import files
from hyperpolicy.errors import BadFile, BadSetting, BadShape, BadZoo, OutOfTime
from hyperpolicy.fleet import OffPolicy, OnPolicy, RoundSchedule, Schedule, multi_task
from hyperpolicy.fleet.generalist import Generalists
from hyperpolicy.fleet.multi_task import goals_of, of_tasks, train_multi_task
from hyperpolicy.fleet.off_policy import OffPolicyRunner
from hyperpolicy.fleet.start import fresh
from hyperpolicy.nets.encoders import EncoderConfig
from hyperpolicy.nets.trunks import PlainConfig
from hyperpolicy.rl.mtsac import MtSacConfig
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rollout import returns
from hyperpolicy.run.job import Output

FAMILY = replace(hp.family("cheetah-vel"), horizon_steps=10)
TASKS = np.array([[0.5], [1.5]])
CFG = of_tasks(MtSacConfig(encoder=EncoderConfig("one-hot"), trunk=PlainConfig((8, 8))), 2, 2, 10)
SCHEDULE = Schedule(
    num_updates=12,
    num_envs=4,
    updates_per_step=1,
    batch=8,
    fill_steps=8,
    first_updates=5,
    num_evaluations=2,
    num_checkpoints=1,
    episodes=1,
    num_states=1,
)
PLAN = OffPolicy(CFG, SCHEDULE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("multi") / "run"
    return train_multi_task(PLAN, FAMILY, TASKS, (0, 1), None, out), out


def test_a_seed_is_the_same_beside_others(trained):
    found, _ = trained
    alone = train_multi_task(PLAN, FAMILY, TASKS, (1,))
    np.testing.assert_allclose(found.weights[1], alone.weights[0], atol=1e-5)
    assert not np.allclose(found.weights[0], found.weights[1], atol=1e-3)


def test_updates_and_steps_are_counted(trained):
    found, out = trained
    assert found.training.updates == 12 + 5
    records = files.load_lines(out / "metrics.jsonl")
    assert records[-1]["updates"] == 17 and records[-1]["env_steps"] == 20 * 4
    assert "success" not in records[-1]  # the family knows returns only


def test_a_killed_run_goes_on_bit_for_bit(trained, tmp_path, monkeypatch):
    wanted, _ = trained
    calls, real = [], OffPolicyRunner.turn

    def dies(self, done):
        calls.append(done)
        if len(calls) == 11:  # after the burst
            raise RuntimeError
        return real(self, done)

    monkeypatch.setattr("hyperpolicy.run.job.SNAPSHOT_S", 0.0)
    monkeypatch.setattr(OffPolicyRunner, "turn", dies)
    with pytest.raises(RuntimeError):
        train_multi_task(PLAN, FAMILY, TASKS, (0, 1), None, tmp_path / "run")
    again = train_multi_task(PLAN, FAMILY, TASKS, (0, 1), None, tmp_path / "run")
    assert len(calls) < 11 + 20  # it did not begin anew
    assert np.array_equal(again.weights, wanted.weights)


def test_files_come_back(trained, tmp_path):
    found, out = trained
    again = Generalists.load(out / "generalists.safetensors")
    assert np.array_equal(again.weights, found.weights) and again.seeds == (0, 1)
    assert again.spec == found.spec and again.family == FAMILY
    with pytest.raises(BadFile):
        Generalists.load(out / "metrics.jsonl")


def test_a_folded_task_does_what_the_policy_does(trained):
    found, _ = trained
    wanted = found.results(1, 2, seed=3).returns
    np.testing.assert_allclose(returns(found.fold(1), FAMILY, TASKS, 2, 3), wanted, atol=1e-2)
    zoo = found.zoo(0, 1)
    assert np.array_equal(zoo.contexts, TASKS) and len(zoo) == 2
    assert zoo.returns == pytest.approx(found.results(0, 1).returns.mean(axis=1), abs=1e-3)


def test_goals_are_a_seeds_own():
    goals = goals_of([0, 1], 2)
    assert len(np.unique(goals)) == 4 and np.array_equal(goals_of([1], 2)[0], goals[1])
    found = train_multi_task(PLAN, FAMILY, TASKS, (0,), goals[:1])
    a, b = found.results(0, 2).returns.T
    assert np.array_equal(a, b)  # every episode has the one start


def test_ppo_trains_one_policy_for_many_tasks():
    plan = OnPolicy(
        PpoConfig(hidden=(8, 8), value_hidden=(8,), epochs=1, minibatches=1),
        RoundSchedule(num_rounds=2, num_envs=4, round_steps=5, num_evaluations=1, episodes=1),
    )
    found = train_multi_task(plan, FAMILY, TASKS, (0, 1))
    wanted = found.results(0, 2, 3).returns
    np.testing.assert_allclose(returns(found.fold(0), FAMILY, TASKS, 2, 3), wanted, atol=1e-2)
    with pytest.raises(BadSetting, match="a multiple of 3"):
        train_multi_task(plan, FAMILY, np.array([[0.5], [1.5], [2.0]]))


def test_bad_input_is_refused():
    with pytest.raises(BadSetting, match="learner of many tasks"):
        train_multi_task(OffPolicy(SacConfig(hidden=(8, 8)), SCHEDULE), FAMILY, TASKS)
    with pytest.raises(BadSetting, match="for 3 tasks"):
        train_multi_task(PLAN, FAMILY, np.array([[0.5], [1.5], [2.0]]))
    with pytest.raises(BadSetting, match="none twice"):
        train_multi_task(PLAN, FAMILY, TASKS, (0, 0))
    with pytest.raises(BadSetting, match="stands twice"):
        train_multi_task(PLAN, FAMILY, TASKS[[0, 0]])
    with pytest.raises(BadShape, match="goals"):
        train_multi_task(PLAN, FAMILY, TASKS, (0,), np.zeros((2, 2), int))
    with pytest.raises(BadSetting, match="train_multi_task"):
        hp.fleet.train(PLAN, FAMILY, TASKS)


def test_out_of_time_it_goes_on_bit_for_bit(trained, tmp_path):
    wanted, _ = trained
    out, calls = tmp_path / "run", 0
    while True:
        calls += 1
        try:
            found = train_multi_task(PLAN, FAMILY, TASKS, (0, 1), None, Output(out, minutes=1e-9))
            break
        except OutOfTime as error:
            assert "the same call goes on" in str(error)
    assert calls == SCHEDULE.turns
    assert np.array_equal(found.weights, wanted.weights)


def test_where_one_seed_diverges_the_others_go_on(trained, monkeypatch):
    wanted, _ = trained

    def poisoned(*args):
        def start(seeds):
            state = fresh(*args)(seeds)
            spoil = lambda leaf: leaf.at[1].set(np.nan)  # noqa: E731
            return state._replace(actor=jax.tree.map(spoil, state.actor))

        return start

    monkeypatch.setattr(multi_task, "fresh", poisoned)
    found = train_multi_task(PLAN, FAMILY, TASKS, (0, 1))
    assert found.seeds == (0,) and found.provenance["died"] == [1]
    assert np.array_equal(found.weights[0], wanted.weights[0])


def test_other_tasks_are_tried_by_who_knows_of_them(trained):
    told, _ = trained
    with pytest.raises(BadSetting, match="knows nothing of other tasks"):
        told.elsewhere(np.array([[2.5]]))
    blind = replace(CFG, encoder=EncoderConfig())
    found = train_multi_task(OffPolicy(blind, SCHEDULE), FAMILY, TASKS)
    wanted = found.results(0, 2, 5).returns[1]
    assert np.array_equal(found.elsewhere(TASKS[1:]).results(0, 2, 5).returns[0], wanted)


def test_where_every_seed_diverges_it_says_so():
    plan = OffPolicy(replace(CFG, rate=1e30), SCHEDULE)
    with pytest.raises(BadZoo, match="every seed"):
        train_multi_task(plan, FAMILY, TASKS, (0,))
