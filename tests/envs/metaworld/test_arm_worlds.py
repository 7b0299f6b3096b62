import os
import signal
import time
from functools import partial

import mujoco
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import rollout
from hyperpolicy.envs.metaworld import MetaWorld, crews
from hyperpolicy.envs.metaworld import family as page
from hyperpolicy.envs.metaworld.family import SEEN, TASKS, UNSEEN
from hyperpolicy.envs.metaworld.scripted import Scripted
from hyperpolicy.errors import BadContext, BadSetting, MissingExtra, UnknownTask, WorkerDied

FAMILY = hp.family("metaworld")
FOUR = ["window-open", "door-lock", "coffee-button", "window-open"]
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (30, 4, 4)).astype(np.float32)


Short = partial(MetaWorld, horizon_steps=10)


@pytest.fixture(scope="module", autouse=True)
def no_workers_left():
    yield
    crews.dismiss()


def walk(made, actions) -> list[np.ndarray]:
    found = [made.reset()]
    for action in actions:
        step = made.step(action)
        found += [step.obs, step.reward, step.outcome, step.next_obs]
    return found


def assert_same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_processes_do_not_change_a_number():
    contexts = FAMILY.contexts(FOUR)
    here = walk(Short().worlds(contexts, seed=3, num_threads=1), ACTIONS)
    assert_same(here, walk(Short().worlds(contexts, seed=3, num_threads=2), ACTIONS))
    assert_same(here, walk(Short().worlds(contexts, seed=3, num_threads=3), ACTIONS))


def test_a_world_does_not_know_the_others():
    contexts = FAMILY.contexts(FOUR)
    alone = FAMILY.worlds(contexts[1:2], seed=np.array([7]), num_threads=1)
    among = FAMILY.worlds(contexts, seed=np.array([1, 7, 9, 4]), num_threads=1)
    for a, b in zip(walk(alone, ACTIONS[:5, 1:2]), walk(among, ACTIONS[:5]), strict=True):
        np.testing.assert_array_equal(a[0], b[1])


def test_episodes_are_reset_in_the_step_that_ends_them_in_another_configuration():
    made = Short().worlds(FAMILY.contexts(FOUR[:2]), seed=1, num_threads=1)
    first = made.reset()
    for action in ACTIONS[:9, :2]:
        assert not made.step(action).truncated.any()
    step = made.step(ACTIONS[9, :2])
    assert step.truncated.all() and not step.terminated.any() and not step.broken.any()
    assert (step.obs != step.next_obs).any() and (step.obs[:, -3:] != first[:, -3:]).any()


def test_a_snapshot_goes_on_bit_for_bit():
    contexts = FAMILY.contexts(FOUR)
    made = Short().worlds(contexts, seed=2, num_threads=2)
    made.reset()
    for action in ACTIONS[:14]:
        made.step(action)
    kept = made.snapshot()
    expected = [made.step(a)[:6] for a in ACTIONS[14:25]]
    again = Short().worlds(contexts, seed=2, num_threads=1)
    again.restore(kept)
    for action, step in zip(ACTIONS[14:25], expected, strict=True):
        assert_same(again.step(action)[:6], step)


def test_a_worker_that_dies_loses_nothing():
    """Its episodes are played again, so that every number of every step is as if it had lived."""
    contexts = FAMILY.contexts(FOUR)
    made = FAMILY.worlds(contexts, seed=2, num_threads=2)
    whole = FAMILY.worlds(contexts, seed=2, num_threads=1)
    made.reset(), whole.reset()
    for t, action in enumerate(ACTIONS[:6]):
        if t in (0, 4):
            os.kill(made._crews[0]._process.pid, signal.SIGKILL)
        assert_same(made.step(action), whole.step(action))
    assert made.episode.tolist() == [0, 0, 0, 0]


def test_a_worker_that_dies_in_an_evaluation_costs_no_success():
    """The first world's crew is killed at step 1; every episode still succeeds."""
    tasks, pids = ["drawer-close", "reach"], []
    script = Scripted(tasks)
    worlds = FAMILY.worlds(np.repeat(FAMILY.contexts(tasks), 2, axis=0), seed=5, num_threads=2)

    def act(obs, t):
        if t == 1 and not pids:
            pids.append(worlds._crews[0]._process.pid)
            os.kill(pids[0], signal.SIGKILL)
        return script.act((), obs, (0, t))[0]

    found = rollout.tally(rollout.play(rollout.Memoryless(act), worlds, 2), FAMILY, 2, 2)
    assert pids and found.success.all()
    assert np.isfinite(found.returns).all()


def test_a_step_that_kills_every_worker_is_given_up():
    made = FAMILY.worlds(FAMILY.contexts(FOUR), seed=2, num_threads=2)
    made.reset()
    tell = made._tell

    def kill_then_tell(command, rows):
        if command == "step":
            os.kill(made._crews[0]._process.pid, signal.SIGKILL)
        return tell(command, rows)

    made._tell = kill_then_tell
    with pytest.raises(WorkerDied, match="3 times at the same steps"):
        made.step(ACTIONS[0])


def test_a_death_in_a_reset_loses_nothing():
    contexts = FAMILY.contexts(FOUR)
    made, whole = (Short().worlds(contexts, seed=2, num_threads=k) for k in (2, 1))
    made.reset(), whole.reset()
    for action in ACTIONS[:9]:
        made.step(action), whole.step(action)
    tell = made._tell

    def kill_then_tell(command, rows):
        if command == "reset":
            made._tell = tell
            os.kill(made._crews[1]._process.pid, signal.SIGKILL)
        return tell(command, rows)

    made._tell = kill_then_tell
    for action in ACTIONS[9:14]:
        assert_same(made.step(action)[:6], whole.step(action)[:6])


@pytest.mark.parametrize("dies", [False, True])
def test_worlds_put_on_other_tasks_are_as_new_and_the_others_go_on(dies):
    """Also where a worker dies while it is told so: the others' episodes are played again."""
    four = FAMILY.contexts(FOUR)
    made, whole = FAMILY.worlds(four, seed=2, num_threads=2), FAMILY.worlds(four, seed=2)
    other, seeds = four[[3, 1]], np.array([7, 8])
    new = FAMILY.worlds(other, seed=seeds, num_threads=1)
    made.reset(), whole.reset()
    for action in ACTIONS[:3]:
        made.step(action), whole.step(action)
    if dies:
        os.kill(made._crews[0]._process.pid, signal.SIGKILL)
    obs = made.recast(np.array([0, 1]), other, seeds)
    np.testing.assert_array_equal(obs[:2], new.reset())
    np.testing.assert_array_equal(obs[2:], whole.obs[2:])
    step = made.step(ACTIONS[3])
    np.testing.assert_array_equal(step.obs[:2], new.step(ACTIONS[3][:2]).obs)
    np.testing.assert_array_equal(step.obs[2:], whole.step(ACTIONS[3]).obs[2:])
    np.testing.assert_array_equal(made.contexts, four[[3, 1, 2, 3]])
    np.testing.assert_array_equal(whole.contexts, four)


def test_a_worker_that_keeps_dying_is_given_up(monkeypatch):
    monkeypatch.setattr(crews, "MODULE", "hyperpolicy.no_such_worker")
    worker = crews.Worker()
    worker.open(tasks={"0": "window-open"})
    with pytest.raises(WorkerDied, match=r"died 3 times: .*no_such_worker"):
        worker.wait()
    worker.stop()


def test_workers_end_with_their_parent():
    made = FAMILY.worlds(FAMILY.contexts(FOUR[:2]), num_threads=2)
    process = made._crews[0]._process
    process.stdin.close()
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() == 0


def test_workers_are_kept_for_the_next_worlds():
    made = FAMILY.worlds(FAMILY.contexts(FOUR), num_threads=2)
    pids = {crew._process.pid for crew in made._crews}
    del made
    again = FAMILY.worlds(FAMILY.contexts(FOUR[:2]), num_threads=2)
    assert {crew._process.pid for crew in again._crews} == pids


def test_actions_that_are_not_numbers_break_their_world_only():
    made = FAMILY.worlds(FAMILY.contexts(FOUR), num_threads=1)
    made.reset()
    action = ACTIONS[0].copy()
    action[2, 1] = np.nan
    step = made.step(action)
    assert step.broken.tolist() == [False, False, True, False] and np.isfinite(step.obs).all()


def test_resting_worlds_stand_still_until_their_next_episode():
    made, whole = (Short().worlds(FAMILY.contexts(FOUR), seed=2, num_threads=1) for _ in range(2))
    made.reset(), whole.reset()
    made.rest(np.array([0, 2]))
    before = made.obs.copy()
    for t, action in enumerate(ACTIONS[:12]):
        step, expected = made.step(action), whole.step(action)
        np.testing.assert_array_equal(step.obs[1::2], expected.obs[1::2])
        if t < 9:
            np.testing.assert_array_equal(step.obs[::2], before[::2])
            assert not step.outcome[::2].any() and not step.broken.any()
        else:  # the same new episode, in which they move again
            np.testing.assert_array_equal(step.obs, expected.obs)


def test_drawing_changes_nothing():
    made, drawn = (FAMILY.worlds(FAMILY.contexts(FOUR), seed=2, num_threads=1) for _ in range(2))
    made.reset(), drawn.reset()
    for action in ACTIONS[:10]:
        for i in range(4):
            drawn.scene(i)
        assert_same(made.step(action)[:6], drawn.step(action)[:6])


def test_bad_input_is_explained(monkeypatch):
    with pytest.raises(UnknownTask, match="Did you mean 'window-open'"):
        FAMILY.contexts(["windw-open"])
    with pytest.raises(BadContext, match="whole number"):
        FAMILY.worlds(np.array([[0.5]]))
    with pytest.raises(BadContext, match="outside"):
        FAMILY.worlds(np.array([[50.0]]))
    made = FAMILY.worlds(FAMILY.contexts(FOUR), num_threads=2)
    with pytest.raises(BadSetting, match="num_threads=1"):
        made.scene(0)
    monkeypatch.setattr(page, "version", lambda name: "3.1.1")
    with pytest.raises(MissingExtra, match=r"3\.1\.1 is there; pip install 'hyperpolicy\[meta"):
        FAMILY.worlds(FAMILY.contexts(FOUR))


def test_contexts_are_told_one_hot_and_splits_keep_tasks_apart():
    split = FAMILY.grid("amt-hyp").split("seen")
    assert [FAMILY.task_name(c) for c in split.train] == SEEN
    assert [FAMILY.task_name(c) for c in split.test] == UNSEEN
    encoded = FAMILY.context.encode(split.train)
    assert encoded.shape == (8, 50) and encoded.sum() == 8
    assert [TASKS[i] for i in encoded.argmax(axis=1)] == SEEN


def successes(tasks, episodes: int) -> list[int]:
    """Of the package's scripted policies, in configurations of our own."""
    found = rollout.results(Scripted(tasks), FAMILY, FAMILY.contexts(tasks), episodes)
    return found.success.sum(axis=1).tolist()


def test_scripted_policies_solve_tasks():
    tasks = ["window-open", "handle-press", "drawer-close", "reach-wall"]
    assert successes(tasks, 2) == [2, 2, 2, 2], f"on MuJoCo {mujoco.__version__}"


def test_a_crew_does_not_keep_arms_without_end():
    """The four tasks in turn, two rows: of eight arms it has made, four stay beside the two."""
    made = FAMILY.worlds(FAMILY.contexts(["reach"] * 2), num_threads=1)
    for task in ("window-open", "door-lock", "coffee-button"):
        made.recast(np.arange(2), FAMILY.contexts([task] * 2), np.arange(2))
    crew = made._crews[0]
    kept = {key[0]: len(arms) for key, arms in crew.idle.items() if arms}
    assert kept == {"door-lock": 2, "window-open": 2} and len(crew.arms) == 2
