"""Families of a model and two functions: bodies, rewards, and what is refused."""

from functools import partial

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.envs import from_mjcf
from hyperpolicy.errors import BadFile, BadSetting

MODEL = """<mujoco><option timestep="0.01"/><worldbody>
  <body name="cart"><joint name="rail" type="slide" axis="1 0 0" damping="1"/>
    <geom type="box" size="0.1 0.05 0.05" mass="1"/></body></worldbody>
  <actuator><motor joint="rail" gear="5" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>"""


def observe(view):
    return np.concatenate([view["qpos"], view["qvel"]], axis=1)


def reward(action, outcome, context, xp):
    return 1.0 - xp.abs(outcome[..., 0] - context[..., 0])


make = partial(
    from_mjcf,
    MODEL,
    name="test-cart",
    observe=observe,
    outcome=lambda before, after: after["qpos"],
    reward=reward,
)


@pytest.fixture(scope="module")
def cart():
    return make(context={"target": (-1.0, 1.0), "body_mass[cart]": (0.5, 4.0)}, train=6, test=2)


def test_facts_come_out_of_the_model_and_the_functions(cart):
    assert (cart.obs_size, cart.action_size, cart.outcome_size) == (2, 1, 1)
    assert cart.dt_s == pytest.approx(0.05)
    assert [x.role for x in cart.context.coordinates] == ["reward", "dynamics"]


def test_a_body_is_heavier_and_a_target_elsewhere(cart):
    contexts = np.array([[0.5, 1.0], [0.5, 4.0], [-0.5, 1.0]])
    worlds = cart.worlds(contexts)
    worlds.reset()
    for _ in range(10):
        step = worlds.step(np.ones((3, 1), np.float32))
    x = step.outcome[:, 0]
    assert x[0] == x[2] > x[1] > 0  # the heavy one is slower
    np.testing.assert_allclose(step.reward, 1.0 - np.abs(x - contexts[:, 0]), rtol=1e-5)
    assert cart.relabels(contexts[[0, 2]]) and not cart.relabels(contexts[:2])


def test_it_is_registered_and_read_back(cart):
    from hyperpolicy.envs import FAMILIES

    hp.envs.register(cart)
    try:
        assert hp.envs.read(cart.record()) == cart
        found = hp.rollout.returns(hp.rollout.zero(cart), cart, cart.grid().contexts[:2], 1)
        assert np.isfinite(found).all()
    finally:
        FAMILIES.pop("test-cart")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"context": {}}, "a family needs a coordinate"),
        ({"context": {"target": (0.0, 1.0, 2.0)}}, "give its two bounds"),
        ({"context": {"body_mass[bart]": (1.0, 2.0)}}, "Invalid name 'bart'"),
        ({"context": {"target": (0.0, 1.0)}, "name": "A B"}, "give lower-case letters"),
        ({"context": {"target": (0.0, 1.0)}, "fields": ("speed",)}, "no field 'speed'"),
        (
            {"context": {"target": (0.0, 1.0)}, "observe": lambda v: v["qpos"][0]},
            "gives shape",
        ),
        ({"context": {"target": (-1.0, 1.0), "color": (0.0, 1.0)}}, "color changes neither"),
    ],
)
def test_what_cannot_be_is_refused(what, said):
    with pytest.raises(BadSetting, match=said):
        make(**what)


def test_models_that_mujoco_cannot_read_are_refused():
    with pytest.raises(BadFile, match="MuJoCo cannot read"):
        from_mjcf(
            "<mujoco><worldbody><body></mujoco>",
            name="none",
            observe=observe,
            outcome=observe,
            reward=reward,
            context={"x": (0.0, 1.0)},
        )
