"""The sixteen tasks against dm_control itself, and the published facts of the contextual suite."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy.envs.control import tasks

pytest.importorskip("dm_control")
SUITE = {one.name: one for one in tasks.SUITE}
RNG = np.random.default_rng


def peer(name: str):
    """dm_control's own environment."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("MUJOCO_GL", "disable")  # as dm_control says where it shall not draw
        from dm_control import suite
    domain, task = name.split("-")
    return suite.load(domain, task, environment_kwargs={"flat_observation": True})


AS_THEIRS = {
    "cheetah-run": ({"speed": 10.0}, {"speed": {"value_at_margin": 0.0}}),
    "walker-stand": ({}, {}),
    "walker-walk": ({"speed": 1.0}, {"horizontal_velocity": {"value_at_margin": 0.0}}),
    "walker-run": ({"speed": 8.0}, {"horizontal_velocity": {"value_at_margin": 0.0}}),
    "cartpole-balance": ({}, {}),
    "cartpole-swingup": ({}, {}),
    "hopper-stand": ({}, {"control": {"value_at_margin": 0.0}}),
    "hopper-hop": ({"speed": 2.0}, {"speed": {"value_at_margin": 0.0}}),
    "quadruped-walk": ({}, {}),
    "quadruped-run": ({}, {}),
    "quadruped-escape": ({}, {}),
    "fish-swim": ({}, {}),
    "reacher-easy": ({}, {"finger_to_target": {"margin": 0.0, "coordinate": None}}),
    "reacher-hard": ({}, {"finger_to_target": {"margin": 0.0, "coordinate": None}}),
}
"""Contexts and parts with which our reward is dm_control's; the other two are sparse there."""


def as_theirs(name: str):
    """The family, and the context, whose reward is dm_control's own."""
    family, (usual, parts) = SUITE[name], AS_THEIRS.get(name, ({}, {}))
    components = tuple(replace(x, **parts.get(x.name, {})) for x in family.components)
    family = tasks.with_usual(replace(family, components=components), **usual)
    return family, family.context.usual


def start_from(env, worlds) -> None:
    """Put dm_control where our first world stands."""
    physics, view = env.physics, worlds._view
    env._reset_next_step = False
    if not worlds.family.reshapes:  # there it asks for a renderer
        env.reset()
    drawn = view["drawn"][0]
    if len(drawn):
        physics.named.model.geom_pos["target"][: len(drawn)] = drawn
    if worlds.family.reshapes:
        physics.model.hfield_data[:] = worlds.models[0].hfield_data
    with physics.reset_context():
        physics.data.qpos[:], physics.data.qvel[:] = view["qpos"][0], view["qvel"][0]
    physics.data.qacc_warmstart[:] = worlds._sims.bind("qacc_warmstart")[0]


@pytest.mark.parametrize("name", SUITE)
def test_physics_observations_and_rewards_are_those_of_dm_control(name):
    family, context = as_theirs(name)
    worlds, env = family.worlds(context[None], seed=3), peer(name)
    obs = worlds.reset()
    start_from(env, worlds)
    parts = env.task.get_observation(env.physics).values()
    np.testing.assert_allclose(obs[0], np.concatenate([np.ravel(x) for x in parts]), atol=1e-6)
    spec, rng = env.action_spec(), RNG(0)
    rewards = []
    for _ in range(200):
        action = rng.uniform(-1, 1, family.action_size).astype(np.float32)
        native = spec.minimum + (spec.maximum - spec.minimum) * (action.astype(float) + 1) / 2
        theirs, ours = env.step(native), worlds.step(action[None])
        np.testing.assert_allclose(
            ours.obs[0], theirs.observation["observations"], rtol=1e-6, atol=1e-6
        )
        rewards.append((float(ours.reward[0]), theirs.reward))
    np.testing.assert_allclose(worlds._view["qpos"][0], env.physics.data.qpos, rtol=0, atol=1e-9)
    if name in AS_THEIRS:
        np.testing.assert_allclose(*zip(*rewards, strict=True), atol=1e-6)


@pytest.mark.parametrize("name", SUITE)
def test_sizes_are_those_of_dm_control(name):
    family, env = SUITE[name], peer(name)
    found = {k: np.size(v) for k, v in env.task.get_observation(env.physics).items()}
    assert found == family.observations and sum(found.values()) == family.obs_size
    assert env.action_spec().shape == (family.action_size,)
    assert env.control_timestep() == pytest.approx(family.dt_s)
    assert round(env._step_limit) == family.horizon_steps == 1000
