"""Runs of a fleet: what they refuse, what they survive, what they keep; replay, bases, judges."""

import os
import shutil
import signal
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import files, fleet
from hyperpolicy.data.replay import Layout
from hyperpolicy.envs import family
from hyperpolicy.envs.locomotion import CheetahVel
from hyperpolicy.errors import BadContext, BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.fleet import judging, plan, runner
from hyperpolicy.fleet.off_policy import OffPolicyRunner, Rings
from hyperpolicy.fleet.plan import ANY_TASK, OWN_TASK, Pool, layout
from hyperpolicy.fleet.start import fresh
from hyperpolicy.nets.fold import fold_critics
from hyperpolicy.nets.mlp import CriticSpec, value
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.rl import ppo, sac
from hyperpolicy.rl.learner import Learner, Spaces
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rl.td_sac import TdSacConfig
from hyperpolicy.rollout import trace
from hyperpolicy.run import directory, job
from hyperpolicy.zoo import Zoo

CHEETAH, ANT = family("cheetah-vel"), family("ant-dir")
CFG = SacConfig(hidden=(8, 8))
SHORT = fleet.Schedule(
    num_updates=12,
    num_envs=2,
    updates_per_step=2,
    batch=8,
    fill_steps=4,
    num_checkpoints=2,
    num_evaluations=2,
    episodes=1,
    num_states=8,
)
PLAN = fleet.OffPolicy(CFG, SHORT)
CONTEXTS = np.array([[0.5], [1.0], [1.5]])
PPO = PpoConfig(hidden=(8, 8), value_hidden=(8, 8), epochs=2, minibatches=2)
CRITIC = SacConfig(hidden=(8, 8), initial_alpha=0.05, usual_reward=1.0)
ROUNDS = fleet.RoundSchedule(
    num_rounds=4, num_envs=6, round_steps=4, average_from=0.5, num_evaluations=2, episodes=1
)
POOL = np.array([[0.3], [2.0], [4.0]])
NONE = np.zeros((0, 1))


def train(how=PLAN, contexts=CONTEXTS, start="own", seed=3, out=None) -> Zoo:
    return fleet.train(how, CHEETAH, contexts, start, seed, out)


def with_cfg(**changes) -> fleet.OffPolicy:
    return fleet.OffPolicy(replace(CFG, **changes), SHORT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Zoo, object]:
    out = tmp_path_factory.mktemp("fleet") / "run"
    return train(out=out), out


@pytest.fixture(autouse=True, scope="module")
def quick_judges():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "EXPERTS", judging.Effort(2, 8))
        patch.setattr(judging, "BASE", judging.Effort(2, 8))
        patch.setattr(judging, "WORLDS", 1)
        yield


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *a, **k: pytest.fail("trained"))


# --- Plans --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "pair",
    [
        lambda: fleet.OffPolicy(PPO, SHORT),
        lambda: fleet.OffPolicy(CFG, ROUNDS),
        lambda: fleet.OnPolicy(CFG, ROUNDS),
        lambda: fleet.OnPolicy(PPO, SHORT),
    ],
)
def test_a_wrong_pair_cannot_be_built(pair, as_user):
    with pytest.raises(BadSetting, match="OffPolicy and Schedule go with learners from replay"):
        pair()


@pytest.mark.parametrize("cfg", ["sac", SacConfig, sac.SAC])
def test_what_is_no_configuration_is_said(cfg, as_user):
    with pytest.raises(BadSetting, match="is no learner's configuration, which has a"):
        fleet.OffPolicy(cfg, SHORT)


def test_a_judge_has_critics_of_the_same_layers():
    with pytest.raises(BadSetting, match=r"critics of hidden layers \(16, 16\)"):
        fleet.OnPolicy(PPO, ROUNDS, SacConfig(hidden=(16, 16)))
    with pytest.raises(BadSetting, match="critic='ppo' has no critics of actions"):
        fleet.OnPolicy(PPO, ROUNDS, PPO)


def test_a_learner_that_lacks_a_part_is_refused(as_user):
    with pytest.raises(BadSetting, match="learner 'half' lacks policy, critic, start_from, act"):
        Learner("half", "replay", init=sac.init)
    with pytest.raises(BadSetting, match="lacks improve_critics"):
        replace(sac.SAC, improve_critics=None)
    replace(ppo.PPO, improve_critics=None)
    with pytest.raises(BadSetting, match="lacks name, learns_from, policy"):
        Learner()
    with pytest.raises(BadSetting, match="learns_from='rows'; give 'replay' or 'rounds'"):
        replace(ppo.PPO, learns_from="rows")


def test_bad_schedules_and_contexts():
    with pytest.raises(BadSetting, match="multiple of updates_per_step"):
        fleet.Schedule(num_updates=10, updates_per_step=4)
    for bad in ("fill_steps", "num_checkpoints", "batch", "updates_per_step", "episodes"):
        with pytest.raises(BadSetting, match=f"{bad}=0"):
            fleet.Schedule(**{bad: 0})
    with pytest.raises(BadSetting, match="cannot hold one step"):
        fleet.Schedule(capacity=3)
    with pytest.raises(BadSetting, match="average_from="):
        fleet.RoundSchedule(average_from=1.0)
    with pytest.raises(BadSetting, match="hidden="):
        SacConfig(hidden=(0, 8))
    with pytest.raises(BadSetting, match="2 activations for 3 hidden layers"):
        sac.policy_spec(SacConfig(hidden=(8, 8, 8), activations=("relu", "elu")), 3, 2)
    with pytest.raises(BadContext, match="outside"):
        train(contexts=np.array([[9.0]]))


def test_what_is_kept_is_spaced_over_the_turns_that_learn():
    schedule = fleet.Schedule(num_updates=1000, updates_per_step=8)
    turns = schedule.checkpoint_turns
    assert len(turns) == 10 and turns[-1] == schedule.turns == 250 + 125
    assert turns[0] > 250 + schedule.averaged_from == 250 + 62 and min(np.diff(turns)) >= 6
    assert schedule.evaluation_turns[-1] == schedule.turns
    shares = [schedule.share(turn) for turn in (0, 250 + 62, 250 + 63, 250 + 64)]
    assert shares == [1.0, 1.0, 1 / 2, 1 / 3]
    rounds = fleet.RoundSchedule(num_rounds=10, average_from=0.5, num_evaluations=20)
    assert rounds.evaluation_turns == list(range(1, 11)) and rounds.turns == 10


# --- Runs ---------------------------------------------------------------------------------
def test_finished_run_is_not_trained_again(whole, untrained):
    zoo, out = whole
    np.testing.assert_array_equal(train(out=out).weights, zoo.weights)


def test_a_finished_run_of_other_settings_is_not_passed_off(whole, untrained):
    """The message says which settings differ."""
    _, out = whole
    for other, match in (
        ({"seed": 4}, "another seeds"),
        ({"start": "shared"}, "another start"),
        ({"how": with_cfg(tau=0.5)}, r"another config \(tau 0.005, here 0.5\)"),
        ({"how": fleet.OffPolicy(TdSacConfig(hidden=(8, 8)), SHORT)}, "another learner"),
        (
            {"how": fleet.OffPolicy(CFG, replace(SHORT, num_updates=24))},
            r"another schedule \(num_updates 12, here 24\)",
        ),
    ):
        with pytest.raises(BadSetting, match=f"holds a run with {match}"):
            train(out=out, **other)


def test_metrics_after_the_last_snapshot_are_written_once(whole, tmp_path, monkeypatch):
    """Killed between a snapshot and the next: the lines in between are dropped and come again."""
    zoo, _ = whole
    out, save, saved = tmp_path / "run", job.Job.save, []

    def once(self, tree):
        if self.step == 5:
            saved.append(save(self, tree))
        if self.step == 9:
            raise RuntimeError("killed")

    monkeypatch.setattr(job.Job, "save", once)
    monkeypatch.setattr(job, "SNAPSHOT_S", -1.0)
    with pytest.raises(RuntimeError, match="killed"):
        train(out=out)
    assert len(saved) == 1 and len((out / job.METRICS).read_text().splitlines()) == 2
    monkeypatch.undo()
    np.testing.assert_array_equal(train(out=out).weights, zoo.weights)
    assert len((out / job.METRICS).read_text().splitlines()) == 3


def test_a_snapshot_of_another_run_is_explained(whole, tmp_path):
    """Of other sizes, or damaged: one line, which says what to do; nothing is lost."""
    _, done = whole
    out = tmp_path / "run"
    out.mkdir()
    shutil.copy(done / job.RUN, out)
    snapshot = files.save_arrays(out / job.SNAPSHOT, {"0000": np.zeros(3)}, {"step": 3})
    before = snapshot.read_bytes()
    with pytest.raises(BadFile, match=r"cannot go on: its snapshot is damaged.*remove .*run to"):
        train(out=out)
    meta = {"step": 3, "records": 1, "seconds": 1.0}
    files.save_arrays(snapshot, {"0000": np.zeros(3)}, meta, overwrite=True)
    with pytest.raises(BadFile, match="holds 1 arrays"):
        train(out=out)
    snapshot.write_bytes(before)
    (out / job.RUN).write_text("[]")
    with pytest.raises(BadFile, match="does not describe a run"):
        train(out=out)
    assert snapshot.read_bytes() == before


@pytest.mark.parametrize("left", [".run.json.999999999.tmp", directory.LOCK])
def test_a_kill_before_the_first_file_is_resumed(tmp_path, left, monkeypatch):
    """What a kill leaves in the directory is ignored, and swept."""
    out = tmp_path / "run"
    out.mkdir()
    (out / left).write_text("")
    monkeypatch.setattr(runner, "run", lambda *a: (_ for _ in ()).throw(RuntimeError("began")))
    with pytest.raises(RuntimeError, match="began"):
        train(out=out)
    assert [p.name for p in out.iterdir()] == ["run.json"]


def test_a_directory_removed_while_running_is_said(tmp_path, monkeypatch):
    out, log = tmp_path / "run", job.Job.log

    def remove(self, record):
        shutil.rmtree(out, ignore_errors=True)
        log(self, record)

    monkeypatch.setattr(job.Job, "log", remove)
    with pytest.raises(BadFile, match="run was removed while its run went on"):
        train(out=out)
    assert not out.exists()


@pytest.mark.parametrize("seed", [-1, 0.5, "1"])
def test_a_seed_that_is_none_is_refused_before_work(tmp_path, untrained, as_user, seed):
    with pytest.raises(BadSetting, match="whole number, 0 or more"):
        train(seed=seed, out=tmp_path / "run")
    with pytest.raises(BadSetting, match="whole number, 0 or more"):
        fleet.train_bases(PLAN, CHEETAH, [CONTEXTS], [seed], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_interruption_at_the_very_end_loses_nothing(whole, tmp_path, monkeypatch):
    """Ctrl-C while the zoo is made: it is saved, and the interruption still is one."""
    finish = runner._finish

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return finish(*args)

    monkeypatch.setattr(runner, "_finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(out=tmp_path / "run")
    found = Zoo.load(tmp_path / "run/zoo")
    np.testing.assert_array_equal(found.weights, whole[0].weights)


@dataclass(frozen=True, kw_only=True)
class Poisoned(CheetahVel):
    """Cheetah-Vel whose reward is not a number above 1.2 m/s."""

    name: str = "poisoned"

    def reward(self, action, outcome, context, xp=np):
        fine = super().reward(action, outcome, context, xp)
        return xp.where(context[..., 0] > 1.2, xp.nan, fine)


def test_nan_stops_one_expert_only(whole):
    """It is named with its update; the others end as they would have without it."""
    with pytest.warns(UserWarning, match=r"expert 2 at context \[1.5\] .* at update 2"):
        poisoned = fleet.train(PLAN, Poisoned(), CONTEXTS, seed=3)
    assert len(poisoned.contexts) == 2
    np.testing.assert_array_equal(poisoned.finals.weights, whole[0].finals.weights[:2])


# --- Starts -------------------------------------------------------------------------------
def test_starts_that_do_not_fit_are_refused_and_leave_no_run_behind(whole, tmp_path, untrained):
    start, out = fleet.Start(whole[0].finals, whole[0].critics, whole[0].log_alpha), tmp_path / "x"
    with pytest.raises(BadZoo, match="are needed"):
        train(with_cfg(hidden=(16, 16)), start=start, out=out)
    with pytest.raises(BadZoo, match="2 of"):
        train(contexts=CONTEXTS[:2], start=start, out=out)
    with pytest.raises(BadSetting, match="leave out a reward"):
        train(start=start._replace(usual_reward=1.0), out=out)
    assert not out.exists()


def test_a_deterministic_learner_keeps_the_mean_head():
    spec = PolicySpec(3, 2, (4, 4))
    policies = Policies(np.random.default_rng(0).normal(size=(2, spec.size)), spec)
    plain = replace(spec, head="deterministic")
    start = fleet.Start(policies).check(None, plain, 2)
    obs = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    assert start.policies.spec == plain and start.policies.spec.size < spec.size
    np.testing.assert_array_equal(start.policies.act(obs), policies.act(obs))


def test_shared_start_is_one_network():
    owns = np.arange(2, dtype=np.uint32)
    shared, own = (fresh(CFG, Spaces(20, 0, 6), one)(owns) for one in (0, None))
    gap = lambda s: np.abs(np.diff(s.actor.mean.weight, axis=0)).max()  # noqa: E731
    assert gap(shared) == 0 and gap(own) > 0
    for state in (shared, own):
        keys = jax.random.key_data(state.key)
        assert not np.array_equal(keys[0], keys[1])


# --- Replay -------------------------------------------------------------------------------
def test_half_of_each_batch_is_prior():
    """Own rows hold zeros, prior ones their own number."""
    prior = np.ones((1, 5, layout(CHEETAH).size), np.float32)
    with_prior = replace(PLAN, schedule=replace(SHORT, batch=7), prior=prior)
    tasks = plan.Tasks(CONTEXTS[:1, None], CONTEXTS[:1, None], np.ones(1), np.array([0]), prior)
    begin = fresh(CFG, Spaces(20, 0, 6))
    crew = OffPolicyRunner(with_prior, plan.Work(CHEETAH, OWN_TASK, tasks, begin, lambda w: w))
    member, pool = (jax.tree.map(lambda leaf: leaf[0], x) for x in (crew.fleet, crew.pool))
    ring = jnp.zeros((10, layout(CHEETAH).size))
    batch = crew._batch(member, ring, pool, crew._clock(9), 0)
    assert sorted(batch.obs[:, 0].tolist()) == [0.0] * 4 + [1.0] * 3
    with pytest.raises(BadShape, match=r"prior has shape \(1, 5, 49\); 3 experts"):
        train(with_prior)


def test_nothing_of_a_test_context_reaches_a_shared_replay(tmp_path, untrained):
    """Contexts for testing are named, and none of them is trained beside the others; bases, which
    may be of several splits, do not share at all."""
    shared, out = fleet.OffPolicy(CFG, replace(SHORT, replay="shared")), tmp_path / "run"
    with pytest.raises(BadSetting, match="say which contexts are for testing"):
        train(shared, out=out)
    with pytest.raises(BadSetting, match=r"from 1 test contexts, the first \[1.0\]"):
        train(shared.holding_out(np.array([[2.0], [1.0]])), out=out)
    with pytest.raises(BadSetting, match="bases do not share their replay"):
        fleet.train_bases(shared, CHEETAH, [CONTEXTS], out=out)
    assert not out.exists()


def test_experts_learn_from_each_other(whole):
    """With a shared replay expert 0 ends elsewhere, and its states still are its own."""
    shared = fleet.OffPolicy(CFG, replace(SHORT, replay="shared", capacity=12), held_out=NONE)
    sharing = train(shared)
    assert np.abs(sharing.finals.weights - whole[0].finals.weights).max() > 1e-4
    assert sharing.states.shape == whole[0].states.shape


def test_rings_give_each_learner_its_own_rows():
    schedule = replace(SHORT, replay="shared", capacity=100)
    rings = Rings.of(schedule, 3)
    assert (rings.block, rings.capacity) == (6, 3 * schedule.ring)
    rows = np.repeat(np.arange(12.0, dtype=np.float32), 2)[:, None]  # step-major: 4 steps, 3 × 2
    own = rings.of_learners(rows, 24)
    np.testing.assert_array_equal(own[1, :, 0], [1, 1, 4, 4, 7, 7, 10, 10])


def test_relabeling_stays_inside_the_pool():
    """A base's batches carry contexts of its own pool alone: no leak from test contexts."""
    assert layout(CHEETAH) == Layout(20, 6, 1, 1)
    rows = jnp.zeros((500, layout(CHEETAH).size))
    padded = jnp.array([[0.5], [2.5], [1.0]])
    batch = ANY_TASK.batch(CHEETAH, rows, Pool(padded, jnp.int32(2), rows[:0]), jax.random.key(0))
    seen = np.unique(np.asarray(batch.obs[:, -1]))
    np.testing.assert_allclose(
        seen, np.sort(np.asarray(CHEETAH.context.encode(padded[:2])[:, 0])), atol=1e-6
    )
    speeds = 1.5 * (np.asarray(batch.obs[:, -1]) + 1.0)
    np.testing.assert_allclose(batch.reward, -speeds, atol=1e-5)


# --- Bases and judges ---------------------------------------------------------------------
@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """By a learner with critics, and by one whose policies are judged afterwards."""
    out = tmp_path_factory.mktemp("bases")
    by_sac = fleet.train_bases(PLAN, CHEETAH, [CONTEXTS, CONTEXTS[:2]], out=out / "sac")
    by_ppo = fleet.train_bases(fleet.OnPolicy(PPO, ROUNDS, CRITIC), ANT, [POOL], [3], out / "ppo")
    return by_sac, by_ppo, out


def test_base_folds_into_identical_actions(bases):
    base = bases[0][0]
    assert [len(b.contexts) for b in bases[0]] == [3, 2]
    obs = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    folded = fleet.fold(base, CONTEXTS)
    wide = np.concatenate([obs, CHEETAH.context.encode(CONTEXTS)], axis=1)
    conditioned = Policies(np.repeat(base.policy.weights, 3, axis=0), base.policy.spec)
    np.testing.assert_allclose(folded.policies.act(obs), conditioned.act(wide), atol=1e-5)
    tuned = train(start=folded)
    assert 0 < np.abs(tuned.finals.weights - folded.policies.weights).max() < 0.1


def test_a_judged_base_knows_what_it_cost_and_leaves_out(bases, tmp_path):
    base = bases[1][0]
    assert base.policy.spec.obs == 29  # observation, sine and cosine
    start = fleet.fold(base, POOL[:2])
    assert start.policies.spec.obs == 27 and start.critics.shape[:2] == (2, 2)
    assert start.usual_reward == base.training.usual_reward == 1.0
    np.testing.assert_allclose(start.log_alpha, np.log(0.05), rtol=1e-6)
    assert base.training.env_steps == 4 * 4 * 6 + 2 * 200 * 3  # training, judging
    assert base.training.updates == 4 * 2 * 2
    read = fleet.Base.load(base.save(tmp_path / "base.safetensors"))
    np.testing.assert_array_equal(read.policy.weights, base.policy.weights)
    assert (read.training.usual_reward, read.family) == (1.0, ANT)


def test_finished_bases_are_read_back(bases, untrained):
    by_sac, _, out = bases
    again = fleet.train_bases(PLAN, CHEETAH, [CONTEXTS, CONTEXTS[:2]], out=out / "sac")
    for ours, theirs in zip(again, by_sac, strict=True):
        np.testing.assert_array_equal(ours.policy.weights, theirs.policy.weights)
    names = ["base-0.safetensors", "base-1.safetensors", "metrics.jsonl", "run.json"]
    assert sorted(p.name for p in (out / "sac").iterdir()) == names


def test_a_base_that_cannot_be_judged_or_is_not_finite_is_refused():
    with pytest.raises(BadSetting, match="a base has critics; give the plan a critic"):
        fleet.train_bases(fleet.OnPolicy(PPO, ROUNDS), ANT, [POOL])
    broken = replace(PPO, value_rate=3e38, first_rate=3e38, max_rate=3e38)
    with pytest.raises(BadZoo, match="stopped being finite"):
        fleet.train_bases(fleet.OnPolicy(broken, ROUNDS, CRITIC), ANT, [POOL])


def test_judged_experts_go_on_from_a_base(bases):
    start = fleet.fold(bases[1][0], POOL)
    resting = fleet.OnPolicy(replace(PPO, warmup_rounds=4), ROUNDS, CRITIC)
    zoo = fleet.train(resting, ANT, POOL, start, 3)
    # actors that only rested are the base's, whatever their observations are normalized by
    np.testing.assert_allclose(zoo.finals.weights, start.policies.weights, atol=2e-3)
    assert zoo.critics.shape == start.critics.shape and not np.allclose(zoo.critics, start.critics)
    assert zoo.training.env_steps == 200 + 4 * 4 * 6 + 16 * 200


def test_the_result_averages_the_last_rounds(monkeypatch):
    def counted(cfg, state, found, index):
        actor = jax.tree.map(lambda x: x + 1.0, state.actor)
        seen = state.seen._replace(var=jnp.full(20, 1.0 - 1e-4))
        metrics = ppo.update(cfg, state, found, index)[1]
        return state._replace(actor=actor, seen=seen), metrics

    monkeypatch.setattr(ppo, "PPO", replace(ppo.PPO, update=counted))
    zoo = train(fleet.OnPolicy(PPO, ROUNDS))
    # each round adds one to every weight; the last two are averaged
    first = ppo.init(PPO, Spaces(20, 0, 6), jax.random.key(3 * 10_000)).actor
    flat = ppo.policy_spec(PPO, 20, 6).flatten(first)
    np.testing.assert_allclose(zoo.finals.weights[0], flat + 3.5, atol=1e-2)


def test_folded_critics_agree():
    twins = CriticSpec(5, 2, (8, 8)).init(jax.random.key(0))
    rng = np.random.default_rng(0)
    obs, context, action = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in (4, 1, 2))
    both = value(twins, jnp.concatenate([obs, context]), action)
    np.testing.assert_allclose(value(fold_critics(twins, context, 4), obs, action), both, atol=1e-5)


@pytest.mark.slow
def test_critics_come_to_know_what_a_policy_is_worth(monkeypatch):
    """The judged critics of a policy that stands still tell a short discount's return, the fresh
    ones do not."""
    cfg = SacConfig(hidden=(32, 32), discount=0.8, initial_alpha=1e-6, critic_rate=3e-3, tau=0.02)
    monkeypatch.setattr(judging, "BASE", judging.Effort(1_500, 64))
    still = PpoConfig(hidden=(32, 32), first_log_std=-4.0)  # its noise costs nothing
    spec = ppo.policy_spec(still, 29, 8)
    actor = ppo.plain(ppo.init(still, Spaces(27, 2, 8), jax.random.key(3)))
    policy = Policies(np.asarray(spec.flatten(actor))[None], spec)
    start = fleet.fold(judging.judge_base(cfg, ANT, POOL, policy), POOL)
    seen = trace(start.policies, ANT, POOL)
    weights = 0.8 ** np.arange(40)
    worth = np.stack([seen.reward[:, 0, t : t + 40] @ weights for t in (20, 50, 80)], axis=1)
    twins = sac.critic_spec(cfg, 27, 8)
    for i in range(3):
        obs, action = seen.obs[i, 0, [20, 50, 80]], seen.action[i, 0, [20, 50, 80]]
        found = sac.value_batch(twins.unflatten(jnp.asarray(start.critics[i])), obs, action)
        np.testing.assert_allclose(found.mean(axis=1), worth[i], atol=0.8)
    assert worth.mean() > 3.0  # fresh critics say about zero
