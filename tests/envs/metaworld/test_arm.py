"""An arm against the package's own environment, number by number."""

import gc
import warnings
import weakref

import numpy as np
import pytest

from hyperpolicy.envs.metaworld.arm import Arm, package
from hyperpolicy.envs.metaworld.family import SEEN, TASKS, UNSEEN
from hyperpolicy.envs.metaworld.scripted import Script

FAST = ["window-open", "basketball", "door-lock", "button-press"]
"""Goals that are views of the state, physics inside a reset, and plain ones."""


def original(task: str, reward_version: str = "v2"):
    """The package's environment with its goal in sight, drawing from a generator of its own."""
    from hyperpolicy.envs.metaworld.arm import _Quick

    kind = package().env_dict.ALL_V3_ENVIRONMENTS[f"{task}-v3"]
    welds = {"reset_mocap_welds": _Quick.reset_mocap_welds}  # without it nothing runs on 3.17
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = type("Original", (kind,), welds)(reward_function_version=reward_version)
    env._set_task_called, env._partially_observable, env.seeded_rand_vec = True, False, True
    env.__dict__.pop("sawyer_observation_space", None)
    return env


def begin(task: str, episode: int, env, arm):
    """The package's environment and ours at the start of the same episode; the observation."""
    env._freeze_rand_vec, env.np_random = False, np.random.default_rng([7, episode])
    env.reset()
    configuration = env._last_rand_vec.copy()
    env._freeze_rand_vec = True
    expected, _ = env.reset()
    obs = arm.reset_to(configuration)
    np.testing.assert_array_equal(obs, expected)
    return obs


def assert_same_step(env, arm, action):
    """The observation after it."""
    with np.errstate(all="ignore"):
        expected, reward, _, _, info = env.step(action)
        step = arm.step(action)
    np.testing.assert_array_equal(step.obs, expected)
    assert (step.reward, step.success) == (reward, bool(info["success"]))
    return step.obs


def compare(task: str, episodes: int, steps: int) -> None:
    """Under the scripted policy with noise, which grasps and pushes and succeeds."""
    env, arm, script = original(task), Arm(task), Script(task)
    rng = np.random.default_rng(0)
    for episode in range(episodes):
        obs = begin(task, episode, env, arm)
        for _ in range(steps):
            noise = 0.1 * rng.normal(size=4)
            action = np.clip(script(obs) + noise, -1, 1).astype(np.float32)
            obs = assert_same_step(env, arm, action)


@pytest.mark.parametrize("task", FAST)
def test_an_arm_gives_the_packages_numbers(task):
    compare(task, episodes=2, steps=60)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_gives_the_packages_numbers(task):
    compare(task, episodes=3, steps=200)


def compare_at_random(task: str, reward_version: str, steps: int, kind=np.float32) -> None:
    """Under random actions, of which some are too large."""
    env, arm = original(task, reward_version), Arm(task, reward_version)
    rng = np.random.default_rng(1)
    begin(task, 0, env, arm)
    for _ in range(steps):
        assert_same_step(env, arm, (1.2 * rng.uniform(-1, 1, 4)).astype(kind))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_actions_are_clipped_and_rounded_as_the_package_does(kind):
    compare_at_random("door-open", "v2", 40, kind)


@pytest.mark.slow
@pytest.mark.parametrize("reward_version", ["v1", "v2"])
@pytest.mark.parametrize("task", TASKS)
def test_random_actions_give_the_packages_numbers(task, reward_version):
    compare_at_random(task, reward_version, 100)


def test_a_grasp_that_success_depends_on_is_the_packages():
    env, arm, script = original("stick-push"), Arm("stick-push"), Script("stick-push")
    obs, touches = begin("stick-push", 0, env, arm), set()
    for _ in range(50):
        obs = assert_same_step(env, arm, script(obs))
        touches.add(arm.env.touching_main_object)
        assert arm.env.touching_main_object == env.touching_main_object
    assert touches == {False, True}


def test_all_tasks_of_the_package_are_there():
    theirs = {name.removesuffix("-v3") for name in package().env_dict.ALL_V3_ENVIRONMENTS}
    assert theirs == set(TASKS)
    assert list(TASKS) == sorted(TASKS) and not set(SEEN) & set(UNSEEN)


@pytest.mark.parametrize("task", ["sweep-into", "window-open"])
def test_an_episode_does_not_depend_on_those_before_it(task):
    actions = np.random.default_rng(1).uniform(-1, 1, (20, 4)).astype(np.float32)

    def run(arm, seed, episode):
        obs = [arm.reset(seed, episode)]
        return np.array(obs + [arm.step(a).obs for a in actions])

    used = Arm(task)
    run(used, 5, 0), run(used, 5, 1)
    np.testing.assert_array_equal(run(used, 5, 2), run(Arm(task), 5, 2))


def test_seed_and_episode_choose_the_configuration():
    arm = Arm("door-open")
    first = arm.draw(3, 0)
    np.testing.assert_array_equal(first, arm.draw(3, 0))
    assert (first != arm.draw(3, 1)).any() and (first != arm.draw(4, 0)).any()


@pytest.mark.parametrize("seed", [720, 920])
def test_a_frozen_arm_has_the_packages_goal_of_its_seed(seed):
    env = original("drawer-open")
    env.seeded_rand_vec = False
    before = np.random.get_state()
    np.random.seed(seed)
    env._freeze_rand_vec = False
    env.reset()  # the package's goal-observable constructor does this
    np.random.set_state(before)
    arm = Arm("drawer-open", frozen=True)
    arm.reset(seed, 0)
    np.testing.assert_array_equal(arm.env._last_rand_vec, env._last_rand_vec)
    arm.reset(seed, 1)
    np.testing.assert_array_equal(arm.env._last_rand_vec, env._last_rand_vec)


def test_the_older_reward_is_an_option():
    new, old = Arm("window-open"), Arm("window-open", "v1")
    action = np.zeros(4, np.float32)
    rewards = [(arm.reset(0, 0), arm.step(action).reward)[1] for arm in (new, old)]
    assert 0 <= rewards[0] <= 10 and rewards[0] != rewards[1]


def test_an_arm_leaves_nothing_behind():
    arm = Arm("window-open")
    arm.reset(0, 0)
    data = weakref.ref(arm.data)
    del arm
    gc.collect()
    assert data() is None
