"""Families of Gymnasium environments: where coordinates go, what worlds do, what is refused."""

from dataclasses import replace
from importlib.util import find_spec

import gymnasium
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.envs import Coordinate, from_gymnasium, read
from hyperpolicy.errors import BadSetting, NoRendering

HOPPER = {
    "forward_reward_weight": (0.5, 2.0),
    "body_mass[torso]": (2.0, 6.0),
    "geom_friction*": (0.5, 1.5),
    "opt.gravity[2]": (-12.0, -7.0),
}


@pytest.fixture(scope="module")
def hopper():
    return from_gymnasium("Hopper-v5", HOPPER, train=6, test=2, check=False)


def test_facts_are_the_environments_own(hopper):
    assert (hopper.name, hopper.obs_size, hopper.action_size) == ("hopper-v5", 11, 3)
    assert hopper.horizon_steps == 1000 and hopper.dt_s == pytest.approx(0.008)
    split = hopper.grid("even").split("full")
    assert len(split.train) == 6 and len(split.test) == 2
    assert not {*map(tuple, split.train)} & {*map(tuple, split.test)}
    assert read(hopper.record()) == hopper


def test_numbers_go_where_their_names_say(hopper):
    context = np.array([[1.7, 5.0, 0.5, -8.0], [0.6, 2.5, 1.5, -11.0]])
    worlds = hopper.worlds(context)
    worlds.reset()
    plain = gymnasium.make("Hopper-v5").unwrapped
    for env, (weight, mass, friction, gravity) in zip(worlds._crews[0].envs, context, strict=True):
        own = env.unwrapped
        assert own._forward_reward_weight == weight
        assert own.model.body("torso").mass[0] == mass
        np.testing.assert_allclose(own.model.geom_friction, friction * plain.model.geom_friction)
        assert own.model.opt.gravity[2] == gravity
        assert own.model.body_subtreemass[0] != plain.model.body_subtreemass[0]  # known to MuJoCo
    worlds.recast(np.array([0]), context[1:], np.array([7]))
    np.testing.assert_allclose(
        worlds._crews[0].envs[0].unwrapped.model.geom_friction, 1.5 * plain.model.geom_friction
    )


def test_worlds_step_as_the_environment_does(hopper):
    """Against Gymnasium's own, with the same seed, context and actions."""
    context = hopper.context.check([[1.2, 4.0, 1.0, -9.81]])
    worlds = hopper.worlds(context, seed=3)
    first = worlds.reset()
    env = gymnasium.make("Hopper-v5", forward_reward_weight=1.2).unwrapped
    env.model.body("torso").mass[0] = 4.0
    import mujoco

    mujoco.mj_setConst(env.model, env.data)
    words = np.random.SeedSequence([int(worlds.seeds[0]), 0])
    seen = env.reset(seed=int(words.generate_state(1)[0]))[0]
    np.testing.assert_allclose(first[0], seen, rtol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, (1, 3)).astype(np.float32)
        step = worlds.step(action)
        seen, paid, over, *_ = env.step(action[0])
        np.testing.assert_allclose(step.next_obs[0], seen, rtol=1e-5, atol=1e-6)
        assert step.reward[0] == pytest.approx(paid, rel=1e-5)
        assert step.terminated[0] == over and step.outcome[0, 0] == step.reward[0]
        if over:
            break


def test_actions_are_scaled_to_the_environments_range():
    family = from_gymnasium("Pendulum-v1", {"g": (5.0, 15.0)}, check=False)
    worlds = family.worlds(np.array([[10.0]]))
    worlds.reset()
    worlds.step(np.array([[1.0]], np.float32))
    assert worlds._crews[0].envs[0].unwrapped.last_u == 2.0


def test_worlds_do_not_mix_and_repeat_themselves(hopper):
    contexts = hopper.grid("even").contexts[:3]
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (15, 3, 3)).astype(np.float32)

    def course(rows):
        worlds = hopper.worlds(contexts[rows], seed=np.array([5, 6, 7])[rows])
        worlds.reset()
        return np.array([worlds.step(action[rows]).next_obs for action in actions])

    both = course(np.arange(3))
    np.testing.assert_array_equal(both[:, 1:2], course(np.array([1])))
    np.testing.assert_array_equal(both, course(np.arange(3)))


def test_a_snapshot_goes_on_where_it_was(hopper):
    contexts = hopper.grid("even").contexts[:2]
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 2, 3)).astype(np.float32)
    worlds = hopper.worlds(contexts)
    worlds.reset()
    for action in actions[:6]:
        worlds.step(action)
    kept = worlds.snapshot()
    wanted = [worlds.step(action).next_obs for action in actions[6:]]
    other = hopper.worlds(contexts)
    other.restore(kept)
    found = [other.step(action).next_obs for action in actions[6:]]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_where_a_state_cannot_be_kept_an_episode_begins_anew():
    family = from_gymnasium("Pendulum-v1", {"g": (5.0, 15.0)}, check=False)
    worlds = family.worlds(np.array([[10.0], [6.0]]))
    worlds.reset()
    for _ in range(5):
        worlds.step(np.zeros((2, 1), np.float32))
    other = family.worlds(np.array([[10.0], [6.0]]))
    other.restore(worlds.snapshot())
    assert other.elapsed_steps.tolist() == [0, 0]
    assert np.isfinite(other.step(np.zeros((2, 1), np.float32)).next_obs).all()
    with pytest.raises(BadSetting, match="is not MuJoCo's; there is no scene to draw"):
        worlds.scene(0)


def test_a_policy_is_scored_and_recorded_there(hopper):
    short = replace(hopper, horizon_steps=10)
    contexts = short.grid("even").split("full").test
    found = hp.rollout.returns(hp.rollout.uniform(short), short, contexts, episodes=2)
    assert found.shape == (2, 2) and np.isfinite(found).all()
    episodes = hp.rollout.record(hp.rollout.zero(short), short, contexts, made_by="nobody")
    np.testing.assert_allclose(episodes.episode(0).outcome[:, 0], episodes.episode(0).reward)
    assert not short.relabels(contexts)
    model, _ = short.worlds(contexts).scene(0)
    assert model.nu == 3


# --- Refusals -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"nothing": (0, 1)}, "no argument, attribute or number of its model called 'nothing'"),
        ({"xml_file": (0, 1)}, "called 'xml_file'; arguments and attributes: ctrl_cost_weight"),
        ({"body_mass": (0, 1)}, r"body_mass holds 5 numbers; choose one, such as body_mass\[0\]"),
        ({"body_mass[tors]": (0, 1)}, "Invalid name 'tors'. Valid names: .*'torso'"),
        ({"body_mass[9]": (0, 1)}, r"body_mass\[9\] is no place in an array of shape \(5,\)"),
        ({"geom_friction[0]": (0, 1)}, "is no place in an array of shape"),
        ({"width": (100, 200)}, "width changes neither what Hopper-v5 shows nor what it pays"),
        ({}, "a family needs a coordinate"),
    ],
)
def test_coordinates_that_are_nowhere_or_do_nothing_are_refused(context, said):
    with pytest.raises(BadSetting, match=said):
        from_gymnasium("Hopper-v5", context)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("CartPole-v1", r"actions of CartPole-v1 are Discrete\(2\); supported are Box spaces"),
        ("NoSuchRobot-v0", "Gymnasium cannot make 'NoSuchRobot-v0'"),
        ("Blackjack-v1", "observations of Blackjack-v1 are Tuple"),
    ],
)
def test_environments_of_other_kinds_are_refused(env, said):
    with pytest.raises(BadSetting, match=said):
        from_gymnasium(env, {"x": (0.0, 1.0)})


def test_numbers_and_names_that_cannot_be_are_refused():
    for what, said in (
        ({"train": 1}, "give 2 and 1, or more"),
        ({"name": "My Robot"}, "give lower-case letters"),
        ({"arguments": {"frame_skip": "x"}}, "Gymnasium cannot make"),
    ):
        with pytest.raises(BadSetting, match=said):
            from_gymnasium("Pendulum-v1", {"g": (5.0, 15.0)}, check=False, **what)


def test_a_coordinate_may_have_a_unit_and_a_usual_value():
    g = Coordinate("g", "m/s²", 5.0, 15.0, "dynamics", default=9.81)
    family = from_gymnasium("Pendulum-v1", {"g": g})
    assert family.context.units == ("m/s²",) and family.context.usual[0] == 9.81


# --- In other processes -------------------------------------------------------------------
def courses(family, contexts, num_threads, steps=12, before=lambda t, worlds: None):
    """Steps of worlds under random actions, with what was seen first."""
    worlds = family.worlds(contexts, seed=3, num_threads=num_threads)
    found = [worlds.reset()]
    rng = np.random.default_rng(0)
    for t in range(steps):
        before(t, worlds)
        action = rng.uniform(-1, 1, (len(contexts), family.action_size)).astype(np.float32)
        found.append(worlds.step(action))
    return worlds, found


def test_processes_step_as_one_does(hopper):
    contexts = np.repeat(hopper.grid("even").contexts[:3], 3, axis=0)
    short = replace(hopper, horizon_steps=5)  # episodes end, so that processes reset some
    alone, one = courses(short, contexts, num_threads=1)
    several, two = courses(short, contexts, num_threads=2)
    assert (len(alone._crews), len(several._crews)) == (1, 2)
    np.testing.assert_array_equal(one[0], two[0])
    for a, b in zip(one[1:], two[1:], strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    kept = several.snapshot()
    np.testing.assert_array_equal(kept["state"], alone.snapshot()["state"])
    again = short.worlds(contexts, seed=3, num_threads=2)
    again.restore(kept)
    action = np.full((9, 3), 0.3, np.float32)
    np.testing.assert_allclose(again.step(action).next_obs, alone.step(action).next_obs, atol=1e-6)
    with pytest.raises(BadSetting, match="num_threads=1"):
        several.scene(0)


def test_a_process_that_dies_breaks_its_episodes_and_no_others(hopper):
    contexts = np.repeat(hopper.grid("even").contexts[:2], 4, axis=0)

    def kill(t, worlds):
        if t == 4 and len(worlds._crews) > 1:
            worlds._crews[1]._process.kill()
            worlds._crews[1]._process.wait()

    _, one = courses(hopper, contexts, 1, steps=8)
    worlds, two = courses(hopper, contexts, 2, steps=8, before=kill)
    assert two[5].broken.tolist() == [False, True] * 4
    assert (two[5].truncated & ~two[5].terminated).tolist() == [False, True] * 4
    for a, b in zip(one[1:], two[1:], strict=True):
        np.testing.assert_array_equal(a.next_obs[::2], b.next_obs[::2])
    assert worlds.episode.tolist() == [0, 1] * 4 and not two[6].broken.any()


class Known(gymnasium.Env):
    """One number that goes where the action says."""

    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(1, np.float32)
        return self.x, {}

    def step(self, action):
        self.x = self.x + np.float32(self.gain) * action
        return self.x, -abs(float(self.x[0])), False, False, {}


def test_an_id_may_name_its_module(tmp_path, monkeypatch):
    (tmp_path / "stranger_env.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control.pendulum import PendulumEnv\n"
        'gymnasium.register("Stranger-v0", entry_point=PendulumEnv, max_episode_steps=30)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    fam = from_gymnasium(
        "stranger_env:Stranger-v0", {"m": (0.5, 1.5)}, train=2, test=1, check=False
    )
    assert (fam.name, fam.horizon_steps) == ("stranger-v0", 30)
    worlds = fam.worlds([[1.0]])
    worlds.reset()
    if find_spec("pygame") is None:
        with pytest.raises(NoRendering, match="cannot draw itself: pygame"):
            worlds.picture(0)
    else:
        assert worlds.picture(0).ndim == 3


def test_an_environment_that_only_this_process_knows_is_stepped_here():
    gymnasium.register("KnownHere-v0", Known, max_episode_steps=10)
    family = from_gymnasium("KnownHere-v0", {"gain": (0.5, 2.0)}, train=6, test=2, check=False)
    contexts = family.grid("even").contexts
    with pytest.warns(UserWarning, match="one after the other.*my_module:MyEnv-v0"):
        worlds = family.worlds(contexts, num_threads=2)
    worlds.reset()
    step = worlds.step(np.full((8, 1), 0.5, np.float32))
    np.testing.assert_allclose(step.next_obs[:, 0], 0.5 * contexts[:, 0], rtol=1e-6)
    assert len(worlds._crews) == 1
    family.worlds(contexts, num_threads=2)  # nobody is asked, or told, twice
