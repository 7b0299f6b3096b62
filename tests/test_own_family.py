"""The family of docs/own-family.md, as a stranger would write it: own body, own reward."""

import re
import sys
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import hyperpolicy as hp
from hyperpolicy import registration
from hyperpolicy.envs import registry
from hyperpolicy.envs.locomotion import CheetahVel
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting
from hyperpolicy.generate.writers import lookup
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.zoo import Zoo

PAGE = Path(__file__).parents[1] / "docs/own-family.md"


@pytest.fixture(scope="module")
def reach(tmp_path_factory):
    """The page's family, registered while this module's tests run."""
    (text,) = re.findall(r"```python file=reach.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path_factory.mktemp("own") / "reach.py"
    file.write_text(text)
    spec = spec_from_file_location("reach", file)
    module = module_from_spec(spec)
    sys.modules["reach"] = module
    spec.loader.exec_module(module)
    yield hp.family("reach")
    del sys.modules["reach"], registry.FAMILIES["reach"]
    gymnasium.registry.pop(registration.id_of("reach"))


def test_it_takes_a_page(reach):
    (text,) = re.findall(r"```python file=reach.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(text.splitlines()) <= 60


def test_gymnasium_knows_it(reach):
    env = gymnasium.make("hyperpolicy/Reach-v0", x=0.1, y=-0.05)
    check_env(env.unwrapped, skip_render_check=True)
    assert gymnasium.spec("hyperpolicy/Reach-v0").max_episode_steps == 50
    envs = gymnasium.make_vec("hyperpolicy/Reach-v0", num_envs=2, context=[[0.1, 0], [0, 0.1]])
    assert envs.reset(seed=[4, 5])[0].shape == (2, 6)


def test_its_reward_is_the_distance_of_the_tip(reach):
    """Both joints at 0: the tip is at (0.2, 0), 0.1 m from the target."""
    action, tip, target = np.zeros((1, 2)), np.array([[0.2, 0.0]]), np.array([[0.1, 0.0]])
    np.testing.assert_allclose(reach.reward(action, tip, target), [-1.0], atol=1e-5)
    parts = (jnp.asarray(x) for x in (action, tip, target))
    np.testing.assert_allclose(reach.reward(*parts, xp=jnp), [-1.0], atol=1e-5)
    straight = {"qpos": np.zeros((1, 2))}
    np.testing.assert_allclose(reach.outcome(straight, straight), tip)


def test_a_zoo_and_a_generator_hold_it(reach, tmp_path):
    spec = PolicySpec(6, 2, (4,), ("tanh",))
    split = reach.grid("ring").split("full")
    zoo = Zoo(
        spec=spec,
        family=reach,
        weights=np.random.default_rng(0).normal(size=(8, spec.size)).astype(np.float32),
        expert=np.arange(8),
        updates=np.ones(8, int),
        final=np.ones(8, bool),
        returns=np.full(8, np.nan, np.float32),
        contexts=split.train,
    )
    zoo.save(tmp_path / "zoo")
    generator = lookup.nearest(Zoo.load(tmp_path / "zoo"))
    generator.save(tmp_path / "generator")
    again = hp.load(tmp_path / "generator")
    assert again.family == reach
    found = hp.evaluate.score(again, again.family, split.test, episodes=2)
    assert np.isfinite(found.returns).all()


def test_it_is_registered_once(reach):
    assert hp.envs.register(reach) is reach
    with pytest.raises(AlreadyExists, match="'reach' is registered already"):
        hp.envs.register(replace(reach, horizon_steps=51))
    with pytest.raises(BadSetting, match="lower-case letters"):
        hp.envs.register(replace(reach, name="Reach It"))


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        ({"action_size": 3}, "has 2 motors, the family an action_size of 3"),
        ({"dt_s": 0.1}, "dt_s is 0.05 and not 0.1"),
        ({"obs_size": 7}, r"observe of family reach gives \[1, 6\] for 1 worlds"),
        ({"outcome_size": 1}, r"outcome of family reach gives \[1, 2\]"),
    ],
)
def test_facts_that_do_not_fit_the_model_are_named(reach, fact, says):
    with pytest.raises(BadSetting, match=says):
        replace(reach, **fact).worlds([[0.1, 0.0]])


def test_a_model_that_mujoco_cannot_read_is_one_line():
    @dataclass(frozen=True, kw_only=True)
    class Broken(CheetahVel):
        name: str = "broken"
        mjcf = "<mujoco><body></mujoco>"

    with pytest.raises(BadFile, match="MuJoCo cannot read this model's XML"):
        Broken().worlds([[1.0]])


def test_classes_that_would_not_do_what_they_say_are_refused():
    class Plain(CheetahVel):
        horizon_steps = 5

    @dataclass(frozen=True, kw_only=True)
    class Untyped(CheetahVel):
        horizon_steps = 5

    with pytest.raises(BadSetting, match="Plain needs the decorator"):
        Plain()
    with pytest.raises(BadSetting, match="Untyped sets horizon_steps without a type"):
        Untyped()
