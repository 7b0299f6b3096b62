"""`load`: dm_env's protocol, the suite's defaults and merges, and an error for whatever it does not
know."""

from collections import OrderedDict

import numpy as np
import pytest

from hyperpolicy.envs.control import loading
from hyperpolicy.envs.control.loading import ALL_TASKS, load
from hyperpolicy.errors import BadContext, BadSetting, MissingExtra, UnknownTask

dm_env = pytest.importorskip("dm_env")
FLAT = {"flat_observation": True}


def component(env, name):
    return next(one for one in env.family.components if one.name == name)


def coordinate(env, name):
    return env.context[env.family.context.names.index(name)]


def rewarded(reward_kwargs, domain="cheetah", task="run"):
    return load(domain, task, {"reward_kwargs": reward_kwargs, "random": 0})


# --- Tasks --------------------------------------------------------------------------------
def test_task_lists_are_those_of_the_suite():
    assert len(ALL_TASKS) == 16 and loading.HARD == ()
    assert set(loading.EXTRA) == {("quadruped", t) for t in ("walk", "run", "escape")}
    assert set(loading.BENCHMARKING) == set(ALL_TASKS) - set(loading.EXTRA)
    assert loading.EASY == (("reacher", "easy"),)
    assert set(loading.TASKS_BY_DOMAIN) == {
        *"cartpole cheetah finger fish hopper pendulum quadruped reacher walker".split()
    }
    assert set(loading.TASKS_BY_DOMAIN["walker"]) == {"stand", "walk", "run"}


@pytest.mark.parametrize("domain, task", ALL_TASKS)
def test_every_task_loads_and_fits_its_specs(domain, task):
    env = load(domain, task, {"random": 1})
    assert isinstance(env, dm_env.Environment)
    actions, seen = env.action_spec(), env.observation_spec()
    assert (actions.minimum == -1).all() and (actions.maximum == 1).all()
    assert list(seen) == list(env.family.observations)
    rng = np.random.default_rng(0)
    step = env.reset()
    assert step.first() and step.reward is None and step.discount is None
    for _ in range(3):
        for name, spec in seen.items():
            spec.validate(step.observation[name])
        step = env.step(actions.validate(rng.uniform(-1, 1, actions.shape).astype(np.float32)))
        assert step.mid() and step.discount == 1.0
        assert env.reward_spec().validate(np.asarray(step.reward)) == step.reward


def test_defaults_are_those_of_the_suite():
    walk, run = load("walker", "walk"), load("walker", "run")
    assert component(walk, "horizontal_velocity").value_at_margin == 0.5
    assert coordinate(walk, "speed") == 0.5 and coordinate(run, "speed") == 4.0
    for task in ("easy", "hard"):
        reach = component(load("reacher", task), "finger_to_target")
        assert (reach.low, reach.high, reach.sigmoid) == (0.0, 0.0, "gaussian")
    cheetah = load("cheetah", "run")
    assert component(cheetah, "speed").value_at_margin == 0.1
    assert coordinate(cheetah, "speed") == 10 and coordinate(cheetah, "length") == 0.5
    assert coordinate(load("finger", "spin"), "speed") == 15
    assert component(load("hopper", "hop"), "speed").value_at_margin == 0.5


# --- dm_env's protocol --------------------------------------------------------------------
def test_an_episode_ends_by_the_time_limit_and_the_next_step_begins_another():
    env = load("pendulum", "swingup", {"random": 3, "time_limit": 0.1}, FLAT)
    kinds, discounts, action = [], [], np.zeros(1)
    for _ in range(8):
        step = env.step(action)  # the first begins an episode
        kinds.append(step.step_type.name)
        discounts.append(step.discount)
    assert kinds == ["FIRST", *["MID"] * 4, "LAST", "FIRST", "MID"]
    assert discounts == [None, *[1.0] * 5, None, 1.0]
    assert env.family.horizon_steps == 5


def test_actions_that_are_no_numbers_and_a_simulation_that_breaks():
    from dm_control.rl.control import PhysicsError

    env = load("cheetah", "run", {"random": 3, "dynamics_kwargs": {"mass": 2.0}}, FLAT)
    env.reset()
    with pytest.raises(BadSetting, match="give finite numbers"):
        env.step(np.array([0, 0, np.nan, 0, 0, 0]))
    assert env.step(np.zeros(6)).mid()
    env._worlds._view["qvel"][0] = 1e12
    with pytest.raises(PhysicsError, match=r"cheetah-run \(10 m/s, mass × 2\) became unstable"):
        env.step(np.zeros(6))
    assert env.reset().first() and env.step(np.zeros(6)).mid()


def test_reset_after_an_episode_begins_what_a_step_would_have_begun():
    one, other = (load("cheetah", "run", {"random": 3, "time_limit": 0.02}, FLAT) for _ in "ab")
    for env in (one, other):
        env.reset()
        env.step(np.zeros(6))
        assert env.step(np.zeros(6)).last()
    a, b = one.reset(), other.step(np.ones(6))
    assert a.first() and b.first()
    np.testing.assert_array_equal(a.observation["observations"], b.observation["observations"])
    assert (a.observation["observations"] != one.reset().observation["observations"]).any()


def test_without_a_time_limit_there_are_a_thousand_steps():
    assert {load(*task).family.horizon_steps for task in ALL_TASKS} == {1000}
    assert load("fish", "swim", {"time_limit": 10}).family.horizon_steps == 250


def test_a_seed_decides_the_starts_and_none_draws_one():
    def start(seed):
        return load("walker", "walk", {"random": seed}, FLAT).reset().observation["observations"]

    np.testing.assert_array_equal(start(5), start(np.int64(5)))
    assert (start(5) != start(6)).any() and (start(None) != start(None)).any()


def test_flat_observations_are_the_parts_in_order():
    flat = load("walker", "walk", {"random": 2}, FLAT)
    parts = load("walker", "walk", {"random": 2})
    one, many = flat.reset().observation, parts.reset().observation
    assert list(one) == ["observations"] and isinstance(many, OrderedDict)
    assert {k: len(x) for k, x in many.items()} == {"orientations": 14, "height": 1, "velocity": 9}
    np.testing.assert_array_equal(one["observations"], np.concatenate(list(many.values())))
    assert flat.observation_spec()["observations"].shape == (24,)


def test_rewards_are_the_family_s():
    env = load("cheetah", "run", {"random": 0, "reward_kwargs": {"speed": {"margin": -2}}}, FLAT)
    worlds = env.family.worlds(env.context[None], 0)
    env.reset(), worlds.reset()
    rng, rewards = np.random.default_rng(0), []
    for _ in range(20):
        action = rng.uniform(-1, 1, 6)
        rewards.append(env.step(action).reward)
        assert rewards[-1] == worlds.step(action[None]).reward[0]
    assert np.ptp(rewards) > 0


# --- Merges -------------------------------------------------------------------------------
def test_what_is_not_asked_of_a_component_keeps_its_default():
    env = rewarded({"speed": {"margin": -3}})
    assert coordinate(env, "speed") == -3
    assert component(env, "speed").sigmoid == "linear"
    assert component(env, "speed").value_at_margin == 0.1
    assert rewarded({}).family == load("cheetah", "run").family


def test_all_gives_every_component_a_shape_of_its_own():
    asked = {"ALL": {"sigmoid": "linear", "margin": 2, "value_at_margin": 0.1}}
    env = rewarded(asked, "hopper", "stand")
    height, control = component(env, "height"), component(env, "control")
    assert (height.low, height.high, height.margin) == (0.6, 2.0, 2.0)
    assert (control.low, control.high) == (0.0, 0.0) and coordinate(env, "control") == 2
    assert {height.sigmoid, control.sigmoid} == {"linear"}
    at_rest = np.array([[1.0, 0.0]])
    assert env.family.reward(np.zeros((1, 4)), at_rest, env.context[None])[0] == 1.0  # not 0.82
    assert component(load("hopper", "stand"), "control").sigmoid == "quadratic"


def test_what_all_leaves_out_is_as_in_dm_control():
    env = rewarded({"ALL": {"margin": 3}}, "cartpole", "balance")
    for one in env.family.components:
        assert (one.sigmoid, one.value_at_margin) == ("gaussian", 0.1)
    assert (env.context[:3] == 3).all()


def test_a_component_s_own_entries_go_before_all():
    env = rewarded(
        {"ALL": {"margin": 3}, "centered": {"margin": 1, "sigmoid": "cosine"}},
        "cartpole",
        "balance",
    )
    assert coordinate(env, "centered") == 1 and coordinate(env, "velocity") == 3
    assert component(env, "centered").sigmoid == "cosine"


def test_the_sign_of_all_is_for_components_with_a_direction():
    env = rewarded({"ALL": {"margin": -2, "sigmoid": "linear"}}, "hopper", "hop")
    assert coordinate(env, "speed") == -2 and component(env, "height").margin == 2


def test_margins_without_a_sign_may_be_as_wide_as_one_likes():
    assert coordinate(rewarded({"ALL": {"margin": 1.0}}, "fish", "swim"), "distance") == 1.0
    assert coordinate(rewarded({"swim": {"margin": 1e-4}}, "fish", "swim"), "distance") == 1e-4


def test_bounds_of_components_without_a_direction_can_be_given():
    env = rewarded({"swim": {"bounds": (0.0, 0.1)}}, "fish", "swim")
    assert component(env, "swim").high == 0.1
    env = rewarded({"height": {"bounds": [0.5, np.inf]}}, "hopper", "hop")
    assert (component(env, "height").low, component(env, "height").high) == (0.5, None)


@pytest.mark.parametrize(
    "domain, task, asked",
    [
        ("cheetah", "run", {"length": 0.4, "mass": 2.0, "gear": 0.5, "friction": 0.3}),
        ("cartpole", "swingup", {"length": 1.5, "mass": 0.2, "size": 0.05}),
        ("hopper", "hop", {"mass": 1.2}),
    ],
)
def test_bodies_are_asked_for_by_name(domain, task, asked):
    env = load(domain, task, {"dynamics_kwargs": asked})
    assert {name: coordinate(env, name) for name in asked} == asked


# --- Errors -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "domain, task, words",
    [
        ("cheetahs", "run", "no domain 'cheetahs'. Did you mean 'cheetah'?"),
        ("walker", "wakl", "no task of walker 'wakl'. Did you mean 'walk'? Tasks: run, stand"),
    ],
)
def test_unknown_tasks(domain, task, words):
    with pytest.raises(UnknownTask, match=words.replace("?", r"\?")):
        load(domain, task)


@pytest.mark.parametrize(
    "domain, asked, words",
    [
        ("cheetah", {"spede": {}}, "called 'spede'. Did you mean 'speed'"),
        ("cheetah", {"speed": {"margn": 1}}, "called 'margn'. Did you mean 'margin'"),
        (
            "cheetah",
            {"speed": {"margin": 0}},
            "margin of speed is 0; give a number other than 0; its sign",
        ),
        ("cheetah", {"speed": {"margin": "2"}}, "margin of speed is '2'; give a finite number"),
        ("cheetah", {"speed": {"margin": np.nan}}, "give a finite number"),
        ("cheetah", {"speed": {"bounds": (2, np.inf)}}, "come from its margin"),
        ("cheetah", {"ALL": {"margin": 2, "bounds": (0, 0)}}, "come from its margin"),
        ("cheetah", {"ALL": {"sigmoid": "linear"}}, "ALL has no margin"),
        ("cheetah", {"speed": {"sigmoid": "linaer"}}, "Did you mean 'linear'"),
        ("cheetah", {"speed": {"sigmoid": 3}}, "no sigmoid '3'"),
        ("cheetah", {"speed": {"sigmoid": "gaussian", "value_at_margin": 0}}, "value_at_margin=0"),
        ("cheetah", {"speed": {"value_at_margin": None}}, "value_at_margin of speed is None"),
        ("cheetah", {"speed": 3}, "is 3; give a dict with some of: sigmoid, margin"),
        ("cheetah", [], r"reward_kwargs is \[\]; give a dict"),
        ("fish", {"swim": {"margin": -1}}, "margin of swim is -1; give a number above 0"),
        ("fish", {"ALL": {"margin": -1}}, "margin of ALL is -1; give a number above 0"),
        ("fish", {"swim": {"margin": 0}}, "give a number above 0"),
        ("fish", {"swim": {"bounds": (1, 0)}}, "the lower one first"),
        ("fish", {"swim": {"bounds": 1}}, "give two numbers"),
        ("walker", {"horizontal_velocity": {"margin": 1}}, "walker-stand has no component"),
    ],
)
def test_shapes_that_cannot_be(domain, asked, words):
    with pytest.raises(BadSetting, match=words.replace("?", r"\?")):
        rewarded(asked, domain, {"cheetah": "run", "fish": "swim", "walker": "stand"}[domain])


@pytest.mark.parametrize(
    "asked, error, words",
    [
        ({"reward": {}}, BadSetting, "task_kwargs called 'reward'. Did you mean 'reward_kwargs'"),
        ({"dynamics_kwargs": {"lenght": 0.4}}, BadContext, "Did you mean 'length'"),
        ({"dynamics_kwargs": {"speed": 4.0}}, BadContext, "dynamics_kwargs called 'speed'"),
        ({"dynamics_kwargs": {"length": 2.0}}, BadContext, r"length = 2 m is outside \[0.2, 0.8\]"),
        ({"dynamics_kwargs": {"length": "long"}}, BadSetting, "give a finite number"),
        ({"reward_kwargs": {"speed": {"margin": 50}}}, BadContext, "speed = 50 m/s is outside"),
        ({"reward_kwargs": {"speed": {"margin": 0.01}}}, BadContext, "too near to zero"),
        ({"random": -1}, BadSetting, "seed=-1"),
        ({"random": np.random.RandomState(0)}, BadSetting, "give a whole number"),
        ({"time_limit": 0}, BadSetting, "time_limit is 0 s; give more than 0"),
        ({"time_limit": np.inf}, BadSetting, "give a finite number"),
    ],
)
def test_task_kwargs_that_cannot_be(asked, error, words):
    with pytest.raises(error, match=words.replace("?", r"\?")):
        load("cheetah", "run", asked)


def test_environment_kwargs_that_cannot_be():
    with pytest.raises(BadSetting, match="environment_kwargs called 'control_timestep'"):
        load("cheetah", "run", None, {"control_timestep": 0.1})
    with pytest.raises(BadSetting, match="leave out visualize_reward"):
        load("cheetah", "run", visualize_reward=True)
    with pytest.raises(BadSetting, match="flat_observation is 'yes'; give True or False"):
        load("cheetah", "run", None, {"flat_observation": "yes"})


def test_without_dm_env_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dm_env", None)
    loading._kind.cache_clear()
    try:
        with pytest.raises(MissingExtra, match=r"hyperpolicy\[control\]"):
            load("cheetah", "run")
    finally:
        loading._kind.cache_clear()
