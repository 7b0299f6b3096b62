"""The fleet: equal to its experts alone, resumable bit for bit, robust against one bad expert."""

import functools
import json
import os
import shutil
import signal
import threading
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import files, fleet, jobs
from hyperpolicy.envs import family
from hyperpolicy.envs.locomotion import CheetahVel
from hyperpolicy.errors import BadContext, BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.fleet import disk, loop
from hyperpolicy.fleet.member import Clock, Member, Rings, draw_batch
from hyperpolicy.fleet.view import ANY_TASK, OWN_TASK, Pool, layout
from hyperpolicy.policies import Policies
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rl.td_sac import TdSacConfig
from hyperpolicy.zoo import Zoo

CHEETAH = family("cheetah-vel")
CFG = SacConfig(width=8)
SHORT = fleet.Schedule(
    num_updates=24,
    num_envs=2,
    updates_per_step=2,
    batch=8,
    fill_steps=6,
    num_checkpoints=2,
    num_evaluations=2,
    episodes=1,
    num_states=8,
)
CONTEXTS = np.array([[0.5], [1.0], [1.5]])


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> tuple[Zoo, object]:
    out = tmp_path_factory.mktemp("fleet") / "run"
    return fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out), out


def test_zoo_holds_checkpoints_finals_critics_states(zoo):
    zoo, out = zoo
    assert zoo.weights.shape == (3 * 3, zoo.spec.size)
    assert zoo.final.sum() == 3 and np.isfinite(zoo.returns[zoo.final_rows]).all()
    assert zoo.critics.shape[:2] == (3, 2) and zoo.states.shape == (3, 8, 20)
    assert zoo.training.env_steps == (6 + 12) * 2
    lines = [json.loads(x) for x in (out / disk.METRICS).read_text().splitlines()]
    assert [line["updates"] for line in lines] == [0, 12, 24]
    assert [line["env_steps"] for line in lines] == [0, 24, 36]
    assert Zoo.verify(out / "zoo") == []


def test_fleet_equals_solo(zoo, monkeypatch):
    """Expert 1 of three, trained alone with its own seed, ends at the same weights."""
    together, _ = zoo
    seeds = 3 * 10_000 + np.arange(3)
    original = loop.run

    def with_seed(*args, **kwargs):
        args = list(args)
        args[3] = args[3]._replace(seeds=seeds[1:2])
        return original(*args, **kwargs)

    monkeypatch.setattr(loop, "run", with_seed)
    alone = fleet.train(CFG, CHEETAH, CONTEXTS[1:2], SHORT, seed=3)
    np.testing.assert_allclose(
        alone.finals.weights[0], together.finals.weights[1], rtol=1e-3, atol=1e-4
    )
    assert np.abs(together.finals.weights[0] - together.finals.weights[1]).max() > 1e-2


def test_killed_and_resumed_is_bit_equal(zoo, tmp_path, monkeypatch):
    """A run stopped in the middle by Ctrl-C and called again ends where the other one did."""
    whole, whole_dir = zoo
    out = tmp_path / "run"
    _interrupt_after(monkeypatch, 16)  # between the two checkpoints
    with pytest.raises(KeyboardInterrupt):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out)
    monkeypatch.undo()
    assert (out / disk.SNAPSHOT).exists()
    resumed = fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out)
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    np.testing.assert_array_equal(resumed.critics, whole.critics)
    np.testing.assert_array_equal(resumed.states, whole.states)

    def curve(where):
        lines = [json.loads(x) for x in (where / disk.METRICS).read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]

    assert curve(out) == curve(whole_dir)


def _interrupt_after(monkeypatch, steps: int) -> None:
    original, count = loop._count_returns, [0]

    def counted(*args):
        count[0] += 1
        if count[0] == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(loop, "_count_returns", counted)


def test_finished_run_is_not_trained_again(zoo, monkeypatch):
    whole, out = zoo
    monkeypatch.setattr(loop, "run", lambda *a, **k: pytest.fail("trained again"))
    again = fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out)
    np.testing.assert_array_equal(again.weights, whole.weights)


def test_a_finished_run_of_other_settings_is_not_passed_off(zoo):
    _, out = zoo
    for other in ({"seed": 4}, {"seed": 3, "start": "shared"}):
        with pytest.raises(BadSetting, match="holds a run with another"):
            fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, out=out, **other)


def test_a_run_from_before_a_field_existed_had_its_default(zoo, tmp_path):
    _, out = zoo
    old = shutil.copytree(out, tmp_path / "old")
    record = json.loads((old / disk.RUN).read_text())
    assert record["sac"].pop("activations") == ["relu", "relu"]
    (old / disk.RUN).write_text(json.dumps(record))
    fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=old)
    changed = replace(CFG, activations=("elu", "relu"))
    with pytest.raises(BadSetting, match="another sac"):
        fleet.train(changed, CHEETAH, CONTEXTS, SHORT, seed=3, out=old)


def test_half_of_each_batch_is_prior():
    """Own rows hold zeros, prior ones their own number."""
    rows = jnp.zeros((10, layout(CHEETAH).size))
    prior = jnp.ones((5, rows.shape[1]))
    pool = Pool(jnp.array([[0.5]]), jnp.int32(1), prior)
    clock = Clock(*(np.int32(x) for x in (0, 0, 10, 0)), np.float32(1), np.bool_(False))
    who = Member(None, None, jax.random.key(0), np.int32(-1))
    batch = draw_batch(CHEETAH, OWN_TASK, 7, who, rows, pool, clock, 0)
    assert sorted(batch.obs[:, 0].tolist()) == [0.0] * 4 + [1.0] * 3


def test_experts_learn_from_prior_transitions(zoo):
    """Another expert's rows change the result; rows of another family are refused."""
    without, _ = zoo
    prior = np.random.default_rng(0).normal(size=(3, 50, layout(CHEETAH).size))
    made = fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, prior=prior.astype(np.float32))
    assert (made.finals.weights != without.finals.weights).any(axis=1).all()
    assert made.provenance["prior_steps_per_expert"] == 50
    with pytest.raises(BadShape, match=r"prior has shape \(3, 50, 40\); 3 experts"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, prior=prior[..., :40])


def test_metrics_after_the_last_snapshot_are_written_once(zoo, tmp_path, monkeypatch):
    """Killed between a snapshot and the next: the lines in between are dropped and come again."""
    whole, _ = zoo
    out = tmp_path / "run"
    original, saved = disk.save, []

    def save(where, r, schedule):
        if r.step == 10:
            original(where, r, schedule)
            saved.append(r.step)
        if r.step == 15:
            raise RuntimeError("killed")

    monkeypatch.setattr(disk, "save", save)
    monkeypatch.setattr(loop, "run", functools.partial(loop.run, snapshot_every_s=-1.0))
    with pytest.raises(RuntimeError, match="killed"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out)
    assert saved == [10]
    assert len((out / disk.METRICS).read_text().splitlines()) == 2
    monkeypatch.undo()
    resumed = fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out)
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    lines = [json.loads(x)["updates"] for x in (out / disk.METRICS).read_text().splitlines()]
    assert lines == [0, 12, 24]


NONE = np.zeros((0, 1))
SHARED = replace(SHORT, replay="shared", capacity=20)  # the rings come round once


@pytest.fixture(scope="module")
def sharing(tmp_path_factory) -> Zoo:
    return fleet.train(CFG, CHEETAH, CONTEXTS, SHARED, seed=3, held_out=NONE)


@pytest.mark.slow
def test_experts_learn_from_each_other(zoo, sharing):
    """With a shared replay expert 0 ends elsewhere, and its states still are its own."""
    assert np.abs(sharing.finals.weights - zoo[0].finals.weights).max() > 1e-4
    assert sharing.states.shape == zoo[0].states.shape
    own = fleet.train(CFG, CHEETAH, CONTEXTS, replace(SHARED, replay="own"), seed=3)
    np.testing.assert_allclose(own.states[:, 0, 17], sharing.states[:, 0, 17], atol=3.0)


@pytest.mark.slow
def test_shared_replay_depends_on_the_others(sharing):
    """Without the third expert the first learns from other transitions if they share, else not."""
    fewer = fleet.train(CFG, CHEETAH, CONTEXTS[:2], SHARED, seed=3, held_out=NONE)
    assert np.abs(fewer.finals.weights[0] - sharing.finals.weights[0]).max() > 1e-3
    own = replace(SHARED, replay="own")
    two, three = (fleet.train(CFG, CHEETAH, c, own, seed=3) for c in (CONTEXTS[:2], CONTEXTS))
    np.testing.assert_allclose(two.finals.weights[0], three.finals.weights[0], atol=1e-3)


def test_shared_replay_resumes_bit_for_bit(sharing, tmp_path, monkeypatch):
    again = functools.partial(fleet.train, CFG, CHEETAH, CONTEXTS, SHARED, held_out=NONE)
    _interrupt_after(monkeypatch, 14)
    with pytest.raises(KeyboardInterrupt):
        again(seed=3, out=tmp_path / "run")
    monkeypatch.undo()
    resumed = again(seed=3, out=tmp_path / "run")
    np.testing.assert_array_equal(resumed.weights, sharing.weights)
    np.testing.assert_array_equal(resumed.states, sharing.states)


def test_nothing_of_a_test_context_reaches_a_shared_replay(tmp_path, monkeypatch):
    """Contexts for testing are named, and none of them is trained beside the others; bases, which
    may be of several splits, do not share at all."""
    monkeypatch.setattr(loop, "run", lambda *a, **k: pytest.fail("trained"))
    out = tmp_path / "run"
    with pytest.raises(BadSetting, match="say which contexts are for testing"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHARED, out=out)
    with pytest.raises(BadSetting, match=r"from 1 test contexts, the first \[1.0\]"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHARED, out=out, held_out=np.array([[2.0], [1.0]]))
    with pytest.raises(BadSetting, match="bases do not share their replay"):
        fleet.train_bases(CFG, CHEETAH, [CONTEXTS], SHARED, out=out)
    assert not out.exists()


def test_rings_give_each_learner_its_own_rows():
    schedule = replace(SHARED, capacity=100)
    rings = Rings.of(schedule, 3)
    assert (rings.block, rings.capacity) == (6, 3 * schedule.ring)
    rows = np.repeat(np.arange(12.0, dtype=np.float32), 2)[:, None]  # step-major: 4 steps, 3 × 2
    own = rings.of_learners(rows, 24)
    np.testing.assert_array_equal(own[1, :, 0], [1, 1, 4, 4, 7, 7, 10, 10])


@pytest.mark.slow
def test_fine_tuning_goes_on_from_given_actors(zoo):
    """The fleet runs `td_sac` for its configuration: an actor at rest stays as it was."""
    whole, _ = zoo
    cfg = TdSacConfig(width=8, warmup_updates=24)
    rested = fleet.train(cfg, CHEETAH, CONTEXTS, SHORT, start=whole.finals)
    np.testing.assert_array_equal(rested.finals.weights, whole.finals.weights)
    assert rested.provenance["sac"]["warmup_updates"] == 24


def test_another_run_in_the_same_directory_is_refused(tmp_path, monkeypatch):
    """The message says which settings differ."""
    _interrupt_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=tmp_path)
    with pytest.raises(BadSetting, match="another seeds"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=4, out=tmp_path)
    longer = replace(SHORT, num_updates=48)
    with pytest.raises(BadSetting, match=r"another schedule \(num_updates 24, here 48\)"):
        fleet.train(CFG, CHEETAH, CONTEXTS, longer, seed=3, out=tmp_path)
    rested = TdSacConfig(width=8)
    with pytest.raises(BadSetting, match="another learner; resume it"):
        fleet.train(rested, CHEETAH, CONTEXTS, SHORT, seed=3, out=tmp_path)


def test_a_snapshot_of_another_run_is_explained(tmp_path, monkeypatch):
    """Of other sizes, or of another kind of run: one line, which says what to do."""
    _interrupt_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=tmp_path)
    snapshot = tmp_path / disk.SNAPSHOT
    tree, meta = files.load_arrays(snapshot)
    files.save_arrays(snapshot, tree | {"0000": np.zeros(3)}, meta, overwrite=True)
    with pytest.raises(BadFile, match="cannot go on: its snapshot is damaged, or from"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=tmp_path)
    files.save_arrays(snapshot, tree, {"round": 3}, overwrite=True)
    with pytest.raises(BadFile, match=r"of another kind of run \(it has no step, "):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=tmp_path)


@pytest.mark.parametrize("left", [".run.json.999999999.tmp", jobs.LOCK])
def test_a_kill_before_the_first_file_is_resumed(zoo, tmp_path, left):
    """What a kill leaves in the directory is ignored, and swept."""
    out = tmp_path / "run"
    out.mkdir()
    (out / left).write_text("")
    fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out)
    assert sorted(p.name for p in out.iterdir()) == ["metrics.jsonl", "run.json", "zoo"]


def test_a_directory_removed_while_running_is_said(tmp_path, monkeypatch):
    out, original = tmp_path / "run", loop._count_returns

    def remove(*args):
        shutil.rmtree(out, ignore_errors=True)
        return original(*args)

    monkeypatch.setattr(loop, "_count_returns", remove)
    with pytest.raises(BadFile, match="run was removed while its run went on"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=out)
    assert not out.exists()


@pytest.mark.parametrize("seed", [-1, 0.5, "1"])
def test_a_seed_that_is_none_is_refused_before_work(tmp_path, monkeypatch, as_user, seed):
    monkeypatch.setattr(loop, "run", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(BadSetting, match="whole number, 0 or more"):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=seed, out=tmp_path / "run")
    with pytest.raises(BadSetting, match="whole number, 0 or more"):
        fleet.train_bases(CFG, CHEETAH, [CONTEXTS], SHORT, [seed], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_huge_seed_trains(tmp_path):
    whole = fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=10**20)
    assert np.isfinite(whole.weights).all() and whole.provenance["seed"] == 10**20


def test_a_start_that_does_not_fit_leaves_no_run_behind(zoo, tmp_path):
    """So that the same directory serves when it does."""
    with pytest.raises(BadZoo, match="are needed"):
        start = zoo[0].finals
        fleet.train(SacConfig(width=16), CHEETAH, CONTEXTS, SHORT, start=start, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_interruption_at_the_very_end_loses_nothing(zoo, tmp_path, monkeypatch):
    """Ctrl-C while the zoo is made: it is saved, and the interruption still is one."""
    original = loop._finish

    def finish(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(loop, "_finish", finish)
    with pytest.raises(KeyboardInterrupt):
        fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, seed=3, out=tmp_path / "run")
    found = Zoo.load(tmp_path / "run/zoo")
    np.testing.assert_array_equal(found.weights, zoo[0].weights)


@dataclass(frozen=True, kw_only=True)
class Poisoned(CheetahVel):
    """Cheetah-Vel whose reward is not a number above 1.2 m/s."""

    name: str = "poisoned"

    def reward(self, action, outcome, context, xp=np):
        fine = super().reward(action, outcome, context, xp)
        return xp.where(context[..., 0] > 1.2, xp.nan, fine)


def test_nan_stops_one_expert_only(zoo):
    """It is named with its update; the others end as they would have without it."""
    healthy, _ = zoo
    with pytest.warns(UserWarning, match=r"expert 2 at context \[1.5\] .* at update 2"):
        poisoned = fleet.train(CFG, Poisoned(), CONTEXTS, SHORT, seed=3)
    assert len(poisoned.contexts) == 2
    np.testing.assert_array_equal(poisoned.finals.weights, healthy.finals.weights[:2])


@pytest.mark.slow
def test_shared_start_is_one_network():
    from hyperpolicy.fleet.train import fresh_start

    shared = fresh_start(CFG, CHEETAH, 0, "shared", 0)(np.arange(2, dtype=np.uint32))
    own = fresh_start(CFG, CHEETAH, 0, "own", 0)(np.arange(2, dtype=np.uint32))
    gap = lambda s: np.abs(np.diff(s.actor.mean.weight, axis=0)).max()  # noqa: E731
    assert gap(shared) == 0 and gap(own) > 0


@pytest.mark.slow
def test_given_policies_are_the_start(zoo):
    """With actor rate zero the experts stay where they were put."""
    start = zoo[0].finals
    still = SacConfig(width=8, actor_rate=0.0)
    stayed = fleet.train(still, CHEETAH, CONTEXTS, SHORT, start=start)
    np.testing.assert_array_equal(stayed.finals.weights, start.weights)
    with pytest.raises(BadZoo, match="are needed"):
        fleet.train(SacConfig(width=16), CHEETAH, CONTEXTS, SHORT, start=start)


@pytest.mark.slow
def test_base_folds_into_identical_actions(tmp_path):
    pools = [CONTEXTS, CONTEXTS[:2]]
    bases = fleet.train_bases(CFG, CHEETAH, pools, SHORT, out=tmp_path / "b")
    assert [len(b.contexts) for b in bases] == [3, 2]
    path = bases[0].save(tmp_path / "base.safetensors")
    base = fleet.Base.load(path)
    obs = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    folded = fleet.fold(base, CHEETAH, CONTEXTS)
    wide = np.concatenate([obs, CHEETAH.context.encode(CONTEXTS)], axis=1)
    conditioned = Policies(np.repeat(base.policy.weights, 3, axis=0), base.policy.spec)
    np.testing.assert_allclose(folded.policies.act(obs), conditioned.act(wide), atol=1e-5)
    tuned = fleet.train(CFG, CHEETAH, CONTEXTS, SHORT, start=folded)
    assert 0 < np.abs(tuned.finals.weights - folded.policies.weights).max() < 0.1


def test_folded_critics_agree():
    import jax
    import jax.numpy as jnp

    from hyperpolicy.nets.critic import CriticSpec, value
    from hyperpolicy.nets.fold import fold_critics

    twins = CriticSpec(5, 2, (8, 8)).init(jax.random.key(0))
    rng = np.random.default_rng(0)
    obs, context, action = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in (4, 1, 2))
    whole = value(twins, jnp.concatenate([obs, context]), action)
    np.testing.assert_allclose(
        value(fold_critics(twins, context, 4), obs, action), whole, atol=1e-5
    )


def test_relabeling_stays_inside_the_pool():
    """A base's batches carry contexts of its own pool alone: no leak from test contexts."""
    rows = jnp.zeros((500, layout(CHEETAH).size))
    padded = jnp.array([[0.5], [2.5], [1.0]])
    batch = ANY_TASK.batch(CHEETAH, rows, Pool(padded, jnp.int32(2), rows[:0]), jax.random.key(0))
    seen = np.unique(np.asarray(batch.obs[:, -1]))
    np.testing.assert_allclose(
        seen, np.sort(np.asarray(CHEETAH.context.encode(padded[:2])[:, 0])), atol=1e-6
    )
    speeds = 1.5 * (np.asarray(batch.obs[:, -1]) + 1.0)
    np.testing.assert_allclose(batch.reward, -speeds, atol=1e-5)


def test_bad_schedules_and_contexts():
    with pytest.raises(BadSetting, match="multiple of updates_per_step"):
        fleet.Schedule(num_updates=10, updates_per_step=4)
    for bad in ("fill_steps", "num_checkpoints", "batch", "updates_per_step", "episodes"):
        with pytest.raises(BadSetting, match=f"{bad}=0"):
            fleet.Schedule(**{bad: 0})
    with pytest.raises(BadSetting, match="cannot hold one step"):
        fleet.Schedule(capacity=3)
    with pytest.raises(BadSetting, match="average_from="):
        fleet.Schedule(average_from=1.0)
    with pytest.raises(BadSetting, match="width=0"):
        SacConfig(width=0)
    with pytest.raises(BadContext, match="outside"):
        fleet.train(CFG, CHEETAH, np.array([[9.0]]), SHORT)


def test_interrupt_is_left_alone_off_the_main_thread():
    """Python delivers signals to the main thread only; elsewhere no handler can be set."""
    seen = []

    def work():
        with jobs.deferred_interrupt() as event:
            seen.append(event.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_schedule_marks_lie_on_whole_steps():
    schedule = fleet.Schedule(num_updates=1000, updates_per_step=8)
    marks = schedule.due(10, share_from=0.5)
    assert len(marks) == 10 and marks[-1] == 1000
    assert all(m % 8 == 0 and m > 500 for m in marks)
