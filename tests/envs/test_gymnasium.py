"""The registered environments: Gymnasium's checker, contexts, seeds, and same-step autoreset."""

import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import hyperpolicy as hp
from hyperpolicy import registration
from hyperpolicy.envs import rendering
from hyperpolicy.errors import BadContext, BadShape, NoRendering

NAMES = [registration.id_of(family) for family in hp.envs.FAMILIES]
CHEETAH = "hyperpolicy/CheetahVel-v0"


@pytest.mark.parametrize("name", NAMES)
def test_env_checker_is_content(name):
    """Warnings are errors here. Rendering has a test of its own."""
    check_env(gymnasium.make(name).unwrapped, skip_render_check=True)


def test_every_family_is_registered_with_its_horizon():
    for name, family in hp.envs.FAMILIES.items():
        assert gymnasium.spec(registration.id_of(name)).max_episode_steps == family.horizon_steps


def test_one_seed_each_is_a_single_environment_of_that_seed():
    envs = gymnasium.make_vec(CHEETAH, num_envs=3, velocity=1.0)
    together = envs.reset(seed=[7, 5, 6])[0]
    alone = [gymnasium.make(CHEETAH, velocity=1.0).reset(seed=seed)[0] for seed in (7, 5, 6)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(envs.reset(seed=5)[0][:2], [alone[1], alone[2]])
    with pytest.raises(BadShape, match="2 seeds for 3 environments"):
        envs.reset(seed=[1, 2])


def test_a_vector_may_end_its_episodes_earlier():
    envs = gymnasium.make_vec(CHEETAH, num_envs=2, max_episode_steps=3)
    envs.reset(seed=0)
    ends = [envs.step(envs.action_space.sample())[3].all() for _ in range(6)]
    assert ends == [False, False, True, False, False, True]


def test_registration_is_cheap():
    """`import hyperpolicy` is enough for `gymnasium.make`, and loads neither jax nor MuJoCo."""
    code = (
        "import sys, hyperpolicy, gymnasium; "
        "assert 'hyperpolicy/AntDir-v0' in gymnasium.registry; "
        "assert not {'jax', 'mujoco', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_context_by_name_by_list_and_at_reset():
    env = gymnasium.make(CHEETAH, velocity=1.7)
    assert env.reset(seed=0)[1]["context"] == [1.7]
    assert gymnasium.make(CHEETAH, context=[0.3]).reset()[1]["context"] == [0.3]
    assert env.reset(options={"context": [0.9]})[1]["context"] == [0.9]
    *_, info = env.step(np.zeros(6, np.float32))
    assert info["context"] == [0.9]
    assert env.reset()[1]["context"] == [0.9]  # it stays


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"velocity": 9.0}, "outside"),
        ({"velocity": "fast"}, "numbers"),
        ({"speed": 1.0}, "velocity"),
        ({"velocity": 1.0, "context": [1.0]}, "not both"),
        ({"context": [[1.0], [2.0]]}, "1 environments"),
    ],
)
def test_bad_contexts(given, says):
    with pytest.raises(BadContext, match=says):
        gymnasium.make(CHEETAH, **given)


def test_seeded_resets_repeat_and_later_ones_differ():
    env, again = gymnasium.make(CHEETAH), gymnasium.make(CHEETAH)
    first, second = env.reset(seed=5)[0], env.reset()[0]
    np.testing.assert_array_equal(again.reset(seed=5)[0], first)
    np.testing.assert_array_equal(again.reset()[0], second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(env.reset(seed=6)[0], first)


def test_an_episode_is_the_family_episode():
    env = gymnasium.make(CHEETAH, velocity=1.2)
    env.reset(seed=0)
    total, steps, truncated = 0.0, 0, False
    while not truncated:
        obs, reward, terminated, truncated, info = env.step(np.zeros(6, np.float32))
        total, steps = total + reward, steps + 1
    assert steps == 200
    assert not terminated
    assert obs in env.observation_space
    np.testing.assert_allclose(total, -240.1, atol=3)
    assert info["outcome"].shape == (1,)


def test_single_gives_the_true_last_observation():
    """An ant that falls: the observation shows it below or above the healthy heights."""
    env = gymnasium.make("hyperpolicy/AntDir-v0", direction=0.0)
    env.reset(seed=1)
    env.action_space.seed(0)
    for _ in range(200):
        obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
    assert terminated
    assert not 0.2 <= obs[0] <= 1.0


# --- Vector -------------------------------------------------------------------------------
def test_vector_steps_its_worlds():
    envs = gymnasium.make_vec(CHEETAH, num_envs=3, velocity=[0.5, 1.0, 1.5])
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, info = envs.reset(seed=3)
    assert obs in envs.observation_space
    np.testing.assert_array_equal(info["context"], [[0.5], [1.0], [1.5]])
    assert info["_context"].all()
    obs, reward, terminated, truncated, info = envs.step(np.zeros((3, 6), np.float32))
    assert obs in envs.observation_space
    assert [a.shape for a in (reward, terminated, truncated)] == [(3,)] * 3
    np.testing.assert_allclose(reward, -np.abs(info["outcome"][:, 0] - [0.5, 1.0, 1.5]), rtol=1e-5)
    assert "final_obs" not in info


def test_vector_repeats_with_its_seed_and_takes_new_contexts():
    envs, again = (gymnasium.make_vec(CHEETAH, num_envs=2) for _ in range(2))
    np.testing.assert_array_equal(envs.reset(seed=1)[0], again.reset(seed=1)[0])
    np.testing.assert_array_equal(envs.reset()[0], again.reset()[0])
    _, info = envs.reset(options={"context": [[0.1], [0.2]]})
    np.testing.assert_array_equal(info["context"], [[0.1], [0.2]])


def test_vector_resets_in_the_same_step():
    envs = gymnasium.make_vec("hyperpolicy/AntDir-v0", num_envs=8)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(200):
        obs, _, terminated, truncated, info = envs.step(envs.action_space.sample())
        if terminated.any():
            break
    np.testing.assert_array_equal(info["_final_obs"], terminated | truncated)
    np.testing.assert_array_equal(info["_final_info"], terminated | truncated)
    for i in np.flatnonzero(terminated):
        assert not 0.2 <= info["final_obs"][i][0] <= 1.0
        assert 0.6 <= obs[i][0] <= 0.9
    assert info["final_obs"][np.flatnonzero(~terminated)[0]] is None
    assert info["final_info"]["outcome"].shape == (8, 2)


def test_gymnasium_wrappers_read_our_autoreset():
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(
        gymnasium.make_vec(CHEETAH, num_envs=2)
    )
    envs.reset(seed=0)
    for _ in range(200):
        *_, info = envs.step(np.zeros((2, 6), np.float32))
    np.testing.assert_array_equal(info["episode"]["l"], 200)


def test_vector_equals_worlds():
    """The vector environment adds nothing to Worlds but Gymnasium's dictionary."""
    envs = gymnasium.make_vec(CHEETAH, num_envs=2, context=[1.0])
    envs.reset(seed=0)
    worlds = envs.unwrapped.family.worlds(envs.unwrapped.contexts, envs.unwrapped._worlds.seeds)
    worlds.reset()
    action = envs.action_space.sample()
    obs, reward, *_ = envs.step(action)
    step = worlds.step(action)
    np.testing.assert_array_equal(obs, step.obs)
    np.testing.assert_array_equal(reward, step.reward)


def test_vector_errors():
    with pytest.raises(BadContext, match="2 contexts for 3"):
        gymnasium.make_vec(CHEETAH, num_envs=3, velocity=[1.0, 2.0])
    envs = gymnasium.make_vec(CHEETAH, num_envs=3)
    envs.reset()
    with pytest.raises(BadShape, match=r"\[3, 6\]"):
        envs.step(np.zeros((2, 6)))


# --- Rendering ----------------------------------------------------------------------------
FRAMES = """
import gymnasium, hyperpolicy
from gymnasium.utils.env_checker import check_env

env = gymnasium.make("hyperpolicy/CheetahVel-v0", render_mode="rgb_array")
assert env.metadata["render_fps"] == 20
check_env(env.unwrapped)
env.reset(seed=0)
for _ in range(200):
    env.step(env.action_space.sample())
picture = env.render()
assert picture.shape == (240, 320, 3) and picture.std() > 20, picture.std()
env.close()
"""


def test_frames():
    """In a process of its own, as MuJoCo chooses its back end when it is imported; no MUJOCO_GL."""
    try:
        rendering.back_end()
    except NoRendering as fault:
        pytest.skip(str(fault))
    env = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    subprocess.run([sys.executable, "-W", "error", "-c", FRAMES], env=env, check=True)


def test_no_rendering_says_what_to_do(monkeypatch):
    monkeypatch.setattr(rendering, "probe", lambda name: "missing")
    monkeypatch.setattr(rendering, "back_end", rendering.back_end.__wrapped__)
    env = gymnasium.make(CHEETAH, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    with pytest.raises(NoRendering, match="apt-get install"):
        env.render()
