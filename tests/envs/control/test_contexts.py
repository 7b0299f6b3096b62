"""Contexts count, and the published facts: rewards, masses, splits."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli
from hyperpolicy.envs import FAMILIES, sensitivity
from hyperpolicy.envs.context import ContextSpace, Coordinate
from hyperpolicy.envs.control import legged, loading, suite, tasks
from hyperpolicy.errors import BadContext, MissingExtra
from hyperpolicy.registration import CONTROL, id_of

pytest.importorskip("dm_control")
CHEETAH, WALKER, FINGER = tasks.CHEETAH_RUN, tasks.WALKER_WALK, tasks.FINGER_SPIN
HOPPER = next(one for one in tasks.SUITE if one.name == "hopper-stand")


def context_of(family, **named):
    """The usual context with these coordinates."""
    usual = dict(zip(family.context.names, family.context.usual.tolist(), strict=True))
    return family.context.check([list((usual | named).values())])


def rewards(family, outcomes, action=None, **named):
    outcomes = np.array(outcomes, float)
    n = len(outcomes)
    action = np.zeros((n, family.action_size)) if action is None else action
    return family.reward(action, outcomes, np.repeat(context_of(family, **named), n, axis=0))


# --- Every coordinate counts --------------------------------------------------------------
@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_coordinate_changes_what_its_role_says(name):
    if name.startswith("metaworld"):
        pytest.skip("its worlds are processes of their own, and its one coordinate is the task")
    assert sensitivity.insensitive(FAMILIES[name]) == []


@pytest.mark.parametrize("role", ["reward", "dynamics", "task"])
def test_a_coordinate_that_does_nothing_is_found(role):
    tail = Coordinate("tail", "m", 0.0, 1.0, role)
    space = ContextSpace((*CHEETAH.context.coordinates, tail))
    assert sensitivity.insensitive(replace(CHEETAH, context=space)) == ["tail"]


def test_a_body_that_changes_the_reward_alone_does_not_count():
    speed, *rest = CHEETAH.context.coordinates
    space = ContextSpace((replace(speed, role="dynamics"), *rest))
    (found, *_) = sensitivity.effects(replace(CHEETAH, context=space))
    assert found.changed == ("reward",) and not found.counts


@pytest.mark.parametrize(
    "coordinate, value",
    [
        (legged.SIGN, -1.0),
        (CHEETAH.context.coordinates[0], 11.0),
        (Coordinate("x", "m", 0.0, 1.0, default=1.0), 0.5),
        (Coordinate("x", "", 0.0, 3.0, "task"), 3.0),
    ],
)
def test_where_a_coordinate_is_moved_to(coordinate, value):
    assert sensitivity.elsewhere(CHEETAH, coordinate) == value


def test_doctor_says_which_coordinates_count(capsys, monkeypatch):
    assert cli.main(["doctor", "--contexts", "pendulum-swingup"]) == 0
    out = capsys.readouterr().out
    assert "upright" in out and "dynamics" in out and "all count" in out
    idle = [sensitivity.Effect("tail", "dynamics", 0.5, 0.75, ("reward",))]
    monkeypatch.setattr(sensitivity, "effects", lambda family: idle)
    assert cli.main(["doctor", "--contexts", "pendulum-swingup"]) == 2
    assert "without effect: tail" in capsys.readouterr().out
    assert cli.main(["doctor", "--contexts", "pendulum-swingup", "--json"]) == 2
    assert '"idle": [' in capsys.readouterr().out
    assert cli.main(["doctor", "--contexts", "pendulum-swing"]) == 2
    assert "Did you mean 'pendulum-swingup'" in capsys.readouterr().err


# --- Published rewards --------------------------------------------------------------------
SPEEDS = [[0.0], [5.0], [10.0], [20.0], [-1.0], [-1.2]]
PAID = [0.1, 0.55, 1.0, 1.0, 0.01, 0.0]


def test_cheetah_earns_what_the_formula_says():
    np.testing.assert_allclose(rewards(CHEETAH, SPEEDS, speed=10.0), PAID, atol=1e-7)
    mirrored = [[-x] for (x,) in SPEEDS]
    np.testing.assert_allclose(rewards(CHEETAH, mirrored, speed=-10.0), PAID, atol=1e-7)
    (part,) = CHEETAH.components
    from_zero = replace(CHEETAH, components=(replace(part, value_at_margin=0.0),))
    np.testing.assert_allclose(rewards(from_zero, [[5.0], [-1.0]], speed=10.0), [0.5, 0.0])


def test_a_walker_that_stands_still():
    theirs = loading.find("walker", "walk")
    for family, paid in ((WALKER, [0.25, 0.2485]), (theirs, [0.5833, 0.58])):
        worlds = family.worlds(context_of(family), 0)
        worlds.reset()
        worlds._view["qpos"][:] = worlds._view["qvel"][:] = 0
        worlds._sims.forward()
        upright = family.outcome(worlds._view, worlds._view)
        np.testing.assert_allclose(upright, [[1.3, 1.0, 0.0]], atol=1e-7)
        leaning = [1.3, 0.952, 0.0]  # stands 0.994, as was measured
        found = rewards(family, [upright[0], leaning])
        np.testing.assert_allclose(found, paid, atol=4e-4)


def test_a_walker_of_another_length_stands_as_high_above_its_hips():
    taller = [[1.2 + 0.2, 1.0, 0.0]]
    assert rewards(WALKER, taller, length=0.5) == pytest.approx(0.25)
    assert rewards(WALKER, [[1.2, 1.0, 0.0]], length=0.5) < 0.25
    published = replace(WALKER, published_body=True)
    assert rewards(published, [[1.2, 1.0, 0.0]], length=0.5) == pytest.approx(0.25)


def test_a_hopper_that_stands_at_rest():
    assert rewards(HOPPER, [[1.0, 0.0]]) == pytest.approx(1.0)
    asked = {"reward_kwargs": {"ALL": {"sigmoid": "linear", "margin": 2, "value_at_margin": 0.1}}}
    env = loading.load("hopper", "stand", asked)
    every = env.family.reward(np.zeros((1, 4)), np.array([[1.0, 0.0]]), env.context[None])
    assert every == pytest.approx(1.0)  # 0.82 where the bounds of speed leak into control


@pytest.mark.parametrize(
    "name",
    [x.name for x in tasks.FAMILIES if "speed" in x.context.names and "-signs" not in x.name],
)
def test_a_speed_is_signed_and_exact_only_where_the_name_says_so(name):
    family = FAMILIES[name]
    target = family.context.usual[0]
    # the best of everything else: high, upright
    others = {"walker": [1.3, 1.0], "hopper": [1.0], "quadruped": [1.0]}.get(family.domain, [])
    paid = rewards(family, [[*others, k * target] for k in (0, 0.5, 1, 1.5, -1.2)])
    back = rewards(family, [[*others, -k * target] for k in (0, 0.5, 1, 1.5, -1.2)], speed=-target)
    np.testing.assert_allclose(paid, back)
    assert paid[0] < paid[1] < paid[2] == pytest.approx(1.0) and paid[4] < paid[0]
    assert (paid[3] < paid[2]) if family.exact else (paid[3] == paid[2])


# --- Published bodies ---------------------------------------------------------------------
def body(family, part, **named):
    """Total mass, and mass and largest principal inertia of a part."""
    model = family.model(context_of(family, **named)[0])
    one = model.body(part)
    return model.body_mass.sum(), one.mass[0], one.inertia.max()


@pytest.mark.parametrize(
    "length, mass, inertia", [(0.3, 5.138, 0.344), (0.5, 6.250, 0.897), (0.7, 7.115, 1.770)]
)
def test_cheetah_bodies(length, mass, inertia):
    assert body(CHEETAH, "torso", length=length)[1:] == pytest.approx((mass, inertia), abs=1e-3)


def test_a_cheetah_weighs_14_kg_whatever_its_length():
    for length in (0.2, *legged.CHEETAH_LENGTHS, 0.8):
        assert body(CHEETAH, "torso", length=length)[0] == pytest.approx(14, abs=1e-12)
    assert body(CHEETAH, "torso", length=0.3, mass=1.5)[0] == pytest.approx(21, abs=1e-12)


@pytest.mark.parametrize(
    "length, total, inertia", [(0.1, 22.383, 0.0388), (0.3, 28.540, 0.443), (0.5, 34.698, 1.701)]
)
def test_walker_bodies(length, total, inertia):
    found = body(replace(WALKER, published_body=True), "torso", length=length)
    assert (found[0], found[2]) == pytest.approx((total, inertia), abs=1e-3)


@pytest.mark.parametrize(
    "length, total, spinner", [(0.1, 2.625, 1.25), (0.16, 3.979, 2.46), (0.4, 9.396, 7.28)]
)
def test_finger_bodies(length, total, spinner):
    found = body(FINGER, "spinner", length=length)
    assert found[0] == pytest.approx(total, abs=1e-3)
    assert found[1] == pytest.approx(spinner, abs=5e-3)  # published with two decimals


@pytest.mark.parametrize("length, inertia", [(0.5, 0.00267), (1.0, 0.00943), (1.5, 0.0203)])
def test_pole_bodies(length, inertia):
    pole = next(one for one in tasks.SUITE if one.name == "cartpole-balance")
    found = body(pole, "pole_1", length=length)
    assert found == pytest.approx((body(pole, "pole_1")[0], 0.1, inertia), abs=5e-5)


@pytest.mark.parametrize("length, total", [(0.0005, 0.0323), (0.001, 0.0345), (0.002, 0.0521)])
def test_fish_bodies(length, total):
    fish = next(one for one in tasks.SUITE if one.name == "fish-swim")
    assert body(fish, "torso", length=length)[0] == pytest.approx(total, abs=5e-5)


def test_motors_have_the_signs_of_their_contexts():
    for name, motors in (
        ("cheetah-run-signs", legged.CHEETAH_MOTORS),
        ("walker-walk-signs", legged.WALKER_MOTORS),
    ):
        family = FAMILIES[name]
        usual = family.model(family.context.usual).actuator_gear[:, 0]
        for i, motor in enumerate(motors):
            model = family.model(context_of(family, **{f"sign of {motor}": -1.0})[0])
            assert model.actuator(i).name == motor
            flipped = np.where(np.arange(len(motors)) == i, -1, 1)
            np.testing.assert_array_equal(model.actuator_gear[:, 0], flipped * usual)


def test_scenes_of_one_body_have_targets_of_their_own():
    family = FAMILIES["reacher-easy"]
    scenes = [family.scenery(family.context.usual, np.full(2, x)) for x in (0.1, -0.1)]
    places = [scene.geom("target").pos[:2].tolist() for scene in scenes]
    assert places == [[0.1, 0.1], [-0.1, -0.1]]


def test_the_morph_is_trained_and_tested_in_the_benchmarks_contexts():
    """Twenty of a hundred pairs each; the first and last as its released code lists them."""
    grid = FAMILIES["cheetah-run-morph"].grid("morph")
    between, beyond = grid.split("between"), grid.split("beyond")
    np.testing.assert_array_equal(between.train, beyond.train)
    sets, ends = (
        (between.train, between.test, beyond.test),
        ((0.8, 1.2), (0.804, 1.196), (0.4, 1.6)),
    )
    for contexts, (low, high) in zip(sets, ends, strict=True):
        assert len(contexts) == 20
        np.testing.assert_allclose(contexts[[0, -1]], [[low, -1.0], [high, 1.0]])
    assert not ((beyond.test[:, 0] > 0.8) & (beyond.test[:, 0] < 1.2)).any()


def test_one_sign_turns_all_motors_of_the_morph():
    family = FAMILIES["cheetah-run-morph"]
    ahead, back = (family.model(context_of(family, sign=x)[0]) for x in (1.0, -1.0))
    np.testing.assert_array_equal(back.actuator_gear, -ahead.actuator_gear)


def test_factors_hold_where_they_are_the_usual_ones():
    heavy = tasks.with_usual(CHEETAH, mass=2.0)
    assert heavy.model(heavy.context.usual).body_mass.sum() == pytest.approx(28)


# --- Published splits ---------------------------------------------------------------------
SPLITS = [
    {-5.5, 3.5, -2, 2, 10, -1.5},
    {-4.5, 10, -8.5, 4, -0.5, -3.5},
    {1.5, 6, 10, -3.5, 7, -6},
    {10, 6, 5, -8.5, 0.5, -5.5},
    {5.5, -8, 10, 9.5, 7.5, -6.5},
]


@pytest.mark.parametrize("k", range(5))
def test_hyperzero_tests_on_the_published_speeds(k):
    split = CHEETAH.grid("speed").split(f"hyperzero-85-{k}")
    assert set(split.test[:, 0]) == SPLITS[k] and len(split.train) == 34
    assert (split.test[:, 1:] == CHEETAH.context.usual[1:]).all()


def test_hyperzero_tests_on_the_published_lengths():
    split = CHEETAH.grid("length").split("hyperzero-85-2")
    assert set(split.test[:, 1]) == {0.54, 0.53, 0.62, 0.37, 0.35, 0.63}
    assert (split.test[:, 0] == 1.0).all() and len(split.train) == 35


@pytest.mark.parametrize(
    "family, grid, train, test",
    [
        (CHEETAH, "speed", 7, 32),
        (WALKER, "speed", 7, 32),
        (CHEETAH, "length", 8, 32),
        (WALKER, "length", 8, 32),
        (FINGER, "speed", 5, 24),
        (FINGER, "length", 6, 24),
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_hypogen_trains_on_a_fifth(family, grid, train, test):
    for k in range(5):
        split = family.grid(grid).split(f"hypogen-20-{k}")
        assert (len(split.train), len(split.test)) == (train, test)
        assert not set(split.train_ids) & set(split.test_ids)


def test_gaps_lie_between_and_beyond_what_is_trained_on():
    gap, beyond = (CHEETAH.grid("speed").split(name) for name in ("gap", "beyond"))
    size = [np.abs(x[:, 0]) / 10 for x in (gap.train, gap.test, beyond.train, beyond.test)]
    assert ((size[0] <= 0.3) | (size[0] >= 0.7)).all() and len(size[0]) == 9
    assert ((size[1] > 0.3) & (size[1] < 0.7)).all() and len(size[1]) == 14
    assert size[2].max() == 0.6 < size[3].min() and (len(size[2]), len(size[3])) == (8, 16)
    lengths = CHEETAH.grid("length").split("beyond")
    assert lengths.train[:, 1].max() < lengths.test[:, 1].min() == 0.55


def test_grids_are_those_of_hypogen():
    def column(family, grid, i):
        return sorted(family.grid(grid).contexts[:, i])

    np.testing.assert_allclose(
        column(CHEETAH, "speed", 0), [x for x in np.arange(-10, 10.1, 0.5) if x]
    )
    np.testing.assert_allclose(
        column(WALKER, "speed", 0), [x for x in np.arange(-5, 5.1, 0.25) if x]
    )
    np.testing.assert_allclose(column(FINGER, "speed", 0), [x for x in range(-15, 16) if x])
    np.testing.assert_allclose(column(CHEETAH, "length", 1), np.linspace(0.3, 0.7, 41))
    np.testing.assert_allclose(column(WALKER, "length", 1), np.linspace(0.1, 0.5, 41))
    np.testing.assert_allclose(column(FINGER, "length", 1), np.linspace(0.1, 0.4, 31))


@pytest.mark.parametrize("family", tasks.FAMILIES, ids=lambda x: x.name)
def test_contexts_of_grids_are_legal(family):
    for grid in family.grids:
        np.testing.assert_array_equal(family.context.check(grid.contexts), grid.contexts)


# --- Worlds -------------------------------------------------------------------------------
def test_recast_to_another_length_changes_that_world_s_body_alone():
    contexts = np.repeat(context_of(CHEETAH), 3, axis=0)
    worlds, same = CHEETAH.worlds(contexts, 0), CHEETAH.worlds(contexts, 0)
    worlds.reset(), same.reset()
    before = list(worlds.models)
    worlds.recast(np.array([1]), context_of(CHEETAH, length=0.7), np.array([5]))
    assert worlds.models[0] is before[0] and worlds.models[2] is before[2]
    torso = [model.body("torso").mass[0] for model in worlds.models]
    assert torso == pytest.approx([6.250, 7.115, 6.250], abs=1e-3)
    alone = CHEETAH.worlds(context_of(CHEETAH, length=0.7), np.array([5]))
    np.testing.assert_array_equal(worlds.obs[1:2], alone.reset())
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, (3, 6))
        ours, left, new = worlds.step(action), same.step(action), alone.step(action[1:2])
        np.testing.assert_array_equal(ours.obs[[0, 2]], left.obs[[0, 2]])
        np.testing.assert_array_equal(ours.obs[1:2], new.obs)


@pytest.mark.parametrize("name", ["cheetah-run", "finger-spin", "fish-swim", "quadruped-escape"])
def test_worlds_go_on_from_a_snapshot_bit_for_bit(name):
    family = replace(FAMILIES[name], horizon_steps=30)  # so that an episode ends on the way
    contexts = np.repeat(context_of(family, mass=1.3), 2, axis=0)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (45, 2, family.action_size)).astype(np.float32)
    worlds = family.worlds(contexts, 7)
    worlds.reset()
    for action in actions[:35]:
        worlds.step(action)
    kept = worlds.snapshot()
    went = [worlds.step(action) for action in actions[35:]]
    other = family.worlds(contexts, 7)
    other.reset()
    for again in (worlds, other):
        again.restore(kept)
        for action, step in zip(actions[35:], went, strict=True):
            for a, b in zip(again.step(action), step, strict=True):
                np.testing.assert_array_equal(a, b)


# --- Gymnasium ----------------------------------------------------------------------------
def test_every_family_has_a_gymnasium_id():
    assert set(CONTROL) == {one.name for one in tasks.FAMILIES}
    for name, family in FAMILIES.items():
        assert gymnasium.spec(id_of(name)).max_episode_steps == family.horizon_steps


def test_coordinates_by_name_and_the_others_by_default():
    env = gymnasium.make("hyperpolicy/CheetahRun-v0", speed=-4.0, length=0.4)
    _, info = env.reset(seed=0)
    np.testing.assert_array_equal(info["context"], [-4.0, 0.4, 1.0, 1.0, 1.0])
    obs, reward, *_ = env.step(np.zeros(6, np.float32))
    assert obs.shape == (17,) and 0 <= reward <= 1
    env.close()
    env = gymnasium.make("hyperpolicy/WalkerRunExact-v0")
    np.testing.assert_array_equal(env.reset()[1]["context"], [4.0, 0.3, 1.0, 1.0, 1.0])
    env.close()


# --- Errors -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "family, named, words",
    [
        (CHEETAH, {"speed": 0.0}, "speed = 0 m/s is too near to zero; give an absolute value of"),
        (CHEETAH, {"length": 0.1}, r"length = 0.1 m is outside \[0.2, 0.8\]"),
        (FINGER, {"length": 0.07}, r"length = 0.07 m is outside \[0.08, 0.42\]"),
        (WALKER, {"speed": -7.0}, r"speed = -7 m/s is outside \[-6, 6\]"),
        (FAMILIES["cheetah-run-signs"], {"sign of bfoot": 0.5}, "too near to zero"),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_contexts_out_of_bounds(family, named, words):
    usual = dict(zip(family.context.names, family.context.usual.tolist(), strict=True))
    with pytest.raises(BadContext, match=words):
        family.worlds([list((usual | named).values())])


def test_a_body_that_mujoco_cannot_build_is_a_bad_context():
    wide = tuple(
        replace(x, low=0.01) if x.name == "length" else x for x in FINGER.context.coordinates
    )
    family = replace(FINGER, context=ContextSpace(wide))
    with pytest.raises(BadContext, match=r"cannot build finger-spin at .*length = 0\.07"):
        family.worlds(context_of(family, length=0.07))


def test_without_dm_control_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(suite, "find_spec", lambda name: None)
    suite._read.cache_clear()
    for make in (
        lambda: hp.family("cheetah-run").worlds(context_of(CHEETAH)),
        lambda: gymnasium.make("hyperpolicy/WalkerWalk-v0"),
        lambda: loading.load("fish", "swim"),
    ):
        with pytest.raises(MissingExtra, match=r"pip install 'hyperpolicy\[control\]'"):
            make()
