"""Worlds against MuJoCo stepped by hand, against published numbers, and against each other."""

import mujoco
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.envs import FAMILIES, Worlds
from hyperpolicy.envs.mujoco import compile_model
from hyperpolicy.errors import BadContext, BadShape

MUJOCO = [FAMILIES[name] for name in ("cheetah-vel", "ant-dir", "ant-dir-endless")]
CHEETAH, ANT = hp.family("cheetah-vel"), hp.family("ant-dir")
families = pytest.mark.parametrize("family", MUJOCO, ids=lambda f: f.name)


def test_nothing_ends_the_endless_ant():
    family = hp.family("ant-dir-endless")
    split = family.grid("t2da").split("full")
    assert split.test_ids.tolist() == [45, 46, 47, 48, 49] and len(split.train) == 45
    assert split.train[0, 0] == 1.6366190129287137
    ends = {}
    for one in (family, ANT):
        worlds, rng = one.worlds(split.test), np.random.default_rng(0)
        worlds.reset()
        steps = [worlds.step(rng.uniform(-1, 1, (5, 8))) for _ in range(200)]
        ends[one.name] = sum(int(step.terminated.sum()) for step in steps)
        assert steps[-1].truncated.all() == (one is family)
    assert ends["ant-dir-endless"] == 0 and ends["ant-dir"] > 0


def tasks_of(family, n: int) -> np.ndarray:
    """n contexts of the family's MACAW test tasks, repeated as needed."""
    test = family.grid("macaw").split("full").test
    return test[np.arange(n) % len(test)]


def actions(family, steps: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, n, family.action_size))


def walk(worlds: Worlds, plan: np.ndarray) -> list:
    worlds.reset()
    return [worlds.step(action) for action in plan]


def first_returns(family, episodes: int, plan) -> np.ndarray:
    """Return of the first episode of every MACAW test task, [task, episode]."""
    contexts = np.repeat(tasks_of(family, 5), episodes, axis=0)
    worlds = family.worlds(contexts)
    worlds.reset()
    total, alive = np.zeros(len(contexts)), np.ones(len(contexts), bool)
    for _ in range(family.horizon_steps):
        step = worlds.step(plan(len(contexts)))
        total += step.reward * alive
        alive &= ~step.terminated
    return total.reshape(5, episodes)


# --- Golden values ------------------------------------------------------------------------
def test_zero_action_scores_what_was_published():
    found = first_returns(CHEETAH, 10, lambda n: np.zeros((n, 6)))
    np.testing.assert_allclose(found.mean(axis=1), [-45.2, -120.1, -240.1, -360.1, -405.1], atol=1)
    np.testing.assert_allclose(found.mean(), -234.13, atol=1)
    np.testing.assert_allclose(
        first_returns(ANT, 10, lambda n: np.zeros((n, 8))).mean(), 200.12, atol=1
    )


@pytest.mark.slow
@pytest.mark.parametrize(("family", "published", "atol"), [(CHEETAH, -278.6, 14), (ANT, -30.6, 5)])
def test_random_actions_score_what_was_published(family, published, atol):
    """The published means are of 50 episodes (standard error 4), ours of 300: −288 ± 2."""
    rng = np.random.default_rng(0)
    found = first_returns(family, 60, lambda n: rng.uniform(-1, 1, (n, family.action_size)))
    np.testing.assert_allclose(found.mean(), published, atol=atol)


@families
def test_ten_steps_equal_mujoco_stepped_by_hand(family):
    model, contexts = compile_model(family.mjcf), tasks_of(family, 2)
    worlds = family.worlds(contexts, seed=3)
    obs = worlds.reset()
    data = [mujoco.MjData(model) for _ in contexts]
    for i, own in enumerate(data):
        _, state = worlds.scene(i)
        own.qpos[:], own.qvel[:] = state.qpos, state.qvel
        mujoco.mj_forward(model, own)
    for action in actions(family, 10, 2).astype(np.float32):
        step = worlds.step(action)
        for i, own in enumerate(data):
            start = own.qpos.copy()
            own.ctrl[:] = action[i]
            for _ in range(5):
                before_last = own.qpos.copy()
                mujoco.mj_step(model, own)
            speed = (own.qpos[:2] - start[:2]) / 0.05
            if family is CHEETAH:
                torso = [before_last[0], 0.0, before_last[1] + 0.7]
                expected = np.concatenate([own.qpos[1:], own.qvel, torso])
                np.testing.assert_allclose(step.obs[i, 17:], torso, atol=1e-6)  # one sub-step old
                expected[17:] = own.xpos[1]
                reward = -abs(speed[0] - contexts[i, 0]) - 0.05 * (action[i] ** 2).sum()
            else:
                expected = np.concatenate([own.qpos[2:], own.qvel])
                heading = np.array([np.cos(contexts[i, 0]), np.sin(contexts[i, 0])])
                reward = speed @ heading - 0.5 * (action[i] ** 2).sum() + 1.0
            np.testing.assert_array_equal(step.obs[i], expected.astype(np.float32))
            np.testing.assert_allclose(step.reward[i], reward, atol=1e-5)
    assert not np.array_equal(obs, step.obs)


# --- Independence -------------------------------------------------------------------------
@families
def test_threads_change_nothing(family):
    contexts, plan = tasks_of(family, 6), actions(family, 12, 6)
    one = walk(family.worlds(contexts, seed=1, num_threads=1), plan)
    two = walk(family.worlds(contexts, seed=1, num_threads=2), plan)
    for a, b in zip(one, two, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@families
def test_neighbours_change_nothing(family):
    """Another action and another context in world 1: worlds 0 and 2 are bit-identical."""
    contexts, plan = tasks_of(family, 3), actions(family, 12, 3)
    before = walk(family.worlds(contexts, seed=1), plan)
    contexts, plan = contexts.copy(), plan.copy()
    contexts[1] += 0.5
    plan[:, 1] *= -1
    after = walk(family.worlds(contexts, seed=1), plan)
    for a, b in zip(before, after, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])
    assert not np.array_equal(before[-1].obs[1], after[-1].obs[1])


def test_a_world_depends_on_its_own_seed_alone():
    alone = CHEETAH.worlds(np.ones((1, 1)), seed=np.array([7])).reset()
    among = CHEETAH.worlds(np.ones((3, 1)), seed=np.array([1, 7, 9])).reset()
    np.testing.assert_array_equal(among[1], alone[0])
    assert len(np.unique(among, axis=0)) == 3


def test_resets_differ_and_repeat_with_the_seed():
    first, again = (CHEETAH.worlds(np.ones((2, 1)), seed=5) for _ in range(2))
    openings = [first.reset() for _ in range(3)]
    for obs in openings:
        np.testing.assert_array_equal(again.reset(), obs)
    assert len(np.unique(np.concatenate(openings), axis=0)) == 6


def test_reset_noise_has_the_published_spread():
    obs = CHEETAH.worlds(np.ones((2000, 1))).reset()
    qpos, qvel, torso = obs[:, :8], obs[:, 8:17], obs[:, 17:]
    assert np.abs(qpos).max() <= 0.1
    np.testing.assert_allclose(qpos.std(axis=0), 0.1 / 3**0.5, rtol=0.06)
    np.testing.assert_allclose(qvel.std(axis=0), 0.1, rtol=0.06)
    np.testing.assert_allclose(torso[:, 2], obs[:, 0] + 0.7, atol=1e-6)  # current after a reset


# --- Episodes -----------------------------------------------------------------------------
def test_time_limit_truncates_and_opens_the_next_episode_in_the_same_step():
    worlds = CHEETAH.worlds(np.ones((2, 1)))
    *steps, last = walk(worlds, actions(CHEETAH, 200, 2))
    assert not any(step.truncated.any() for step in steps)
    assert last.truncated.all()
    assert not last.terminated.any()
    np.testing.assert_array_equal(steps[-1].obs, steps[-1].next_obs)
    np.testing.assert_allclose(last.next_obs[:, :17], steps[-1].obs[:, :17], atol=20)
    assert np.abs(last.obs[:, :8]).max() <= 0.1  # freshly reset
    assert np.abs(last.next_obs[:, 8:17]).max() > 1.0  # in full motion
    np.testing.assert_array_equal(worlds.elapsed_steps, 0)


def test_a_fallen_ant_terminates_with_its_true_last_observation():
    worlds = ANT.worlds(tasks_of(ANT, 8))
    for step in walk(worlds, actions(ANT, 199, 8)):
        height = step.next_obs[:, 0]
        np.testing.assert_array_equal(step.terminated, (height < 0.2) | (height > 1.0))
        assert not step.truncated.any() or not (step.truncated & step.terminated).any()
        opened = step.obs[step.terminated]
        np.testing.assert_allclose(opened[:, 0], 0.75, atol=0.1)
        if step.terminated.any():
            break
    else:
        pytest.fail("no ant fell")


def test_snapshot_resumes_bit_for_bit():
    contexts, plan = tasks_of(ANT, 3), actions(ANT, 60, 3)
    worlds = ANT.worlds(contexts, seed=2)
    walk(worlds, plan[:20])
    saved = worlds.snapshot()
    left_alone = [worlds.step(action) for action in plan[20:]]
    restored = ANT.worlds(contexts, seed=2)
    restored.restore(saved)
    for action, expected in zip(plan[20:], left_alone, strict=True):
        for x, y in zip(restored.step(action), expected, strict=True):
            np.testing.assert_array_equal(x, y)


# --- Bad input ----------------------------------------------------------------------------
@families
def test_a_nan_action_breaks_its_own_world_only(family, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    contexts, plan = tasks_of(family, 3), actions(family, 6, 3)
    whole = walk(family.worlds(contexts), plan)
    plan[3, 1] = np.nan
    hurt = walk(family.worlds(contexts), plan)
    broken = hurt[3]
    np.testing.assert_array_equal(broken.broken, [False, True, False])
    np.testing.assert_array_equal(broken.truncated, [False, True, False])
    assert not broken.terminated.any()
    for step in hurt:
        assert all(np.isfinite(values).all() for values in step)
    for a, b in zip(whole, hurt, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])
    assert not list(tmp_path.iterdir())  # MuJoCo would write MUJOCO_LOG.TXT here
    assert capfd.readouterr() == ("", "")


def test_a_state_that_blows_up_is_noticed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    worlds = CHEETAH.worlds(np.ones((2, 1)))
    worlds.reset()
    worlds._sims.bind("qvel")[1] = 1e12
    step = worlds.step(np.zeros((2, 6)))
    np.testing.assert_array_equal(step.broken, [False, True])
    assert np.isfinite(step.obs).all()
    assert np.abs(step.obs[1, :8]).max() <= 0.1
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_actions_are_clipped():
    a, b = (CHEETAH.worlds(np.ones((1, 1))) for _ in range(2))
    a.reset(), b.reset()
    one, two = a.step(np.full((1, 6), 9.0)), b.step(np.ones((1, 6)))
    np.testing.assert_array_equal(one.obs, two.obs)
    np.testing.assert_array_equal(one.reward, two.reward)


def test_actions_and_seeds_of_the_wrong_shape(as_user):
    worlds = CHEETAH.worlds(np.ones((2, 1)))
    worlds.reset()
    with pytest.raises(BadShape, match=r"\[2, 6\]"):
        worlds.step(np.zeros((2, 8)))
    with pytest.raises(BadShape, match="2 worlds"):
        CHEETAH.worlds(np.ones((2, 1)), seed=np.arange(3))
    with pytest.raises(BadContext, match="outside"):
        CHEETAH.worlds(np.full((1, 1), 3.5))


# --- Symmetries ---------------------------------------------------------------------------
@pytest.mark.parametrize("number", range(len(ANT.symmetries)))
def test_symmetries_take_trajectories_to_trajectories_with_the_same_rewards(number):
    """20 steps of random actions from a random state, and of their images from its image."""
    g, rng = ANT.symmetries[number], np.random.default_rng(3)
    obs = 0.1 * rng.normal(size=27)
    obs[:2] += 0.75, 1.0  # height, and the quaternion of an upright torso
    obs[1:5] /= np.linalg.norm(obs[1:5])
    context, plan = np.array([[0.7]]), rng.uniform(-1, 1, (20, 8))
    here = played(obs, plan, context[0])
    there = played(g.obs(obs), g.action(plan), g.context(context)[0])
    np.testing.assert_allclose(there[0], g.obs(here[0]), atol=1e-9)
    np.testing.assert_allclose(there[1], here[1], atol=1e-9)


def played(obs, plan, context):
    """Observations and rewards of Ant-Dir from a given observation on, by MuJoCo alone."""
    model = mujoco.MjModel.from_xml_path(str(ANT.mjcf))
    data = mujoco.MjData(model)
    data.qpos[2:], data.qvel[:] = obs[:13], obs[13:]
    seen, rewards = [], []
    for action in plan:
        place, data.ctrl[:] = data.qpos[:2].copy(), action
        mujoco.mj_step(model, data, ANT.frame_skip)
        outcome = (data.qpos[:2] - place) / ANT.dt_s
        seen.append(np.concatenate([data.qpos[2:], data.qvel]))
        rewards.append(float(ANT.reward(action, outcome, context)))
    return np.array(seen), np.array(rewards)
