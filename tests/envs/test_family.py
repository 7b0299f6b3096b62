"""Grids, splits, contexts and rewards, against the published numbers and numbers worked by hand."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hyperpolicy as hp
from hyperpolicy.errors import BadContext, BadSetting, UnknownFamily, UnknownGrid, UnknownSplit

CHEETAH, ANT = hp.family("cheetah-vel"), hp.family("ant-dir")


# --- Grids and splits ---------------------------------------------------------------------
def test_macaw_speeds():
    speeds = CHEETAH.grid("macaw").contexts[:, 0]
    published = {0: 0.075, 2: 0.22499999999999998, 17: 1.3499999999999999, 28: 2.1750000000000003}
    for i, speed in published.items():
        assert speeds[i] == speed  # bit for bit
    np.testing.assert_allclose(speeds, 0.075 * np.arange(1, 41), rtol=1e-14)


def test_macaw_directions():
    angles = ANT.grid("macaw").contexts[:, 0]
    published = {0: 1.2033605945679715, 6: 0.2454395410534735, 40: 6.036807514750099}
    published |= {17: 1.7780670544024204, 30: 3.5687934580622827, 49: 0.1831988121347493}
    for i, angle in published.items():
        assert angles[i] == angle
    assert len(angles) == 50


def test_authors_grids_run_over_the_whole_range():
    np.testing.assert_array_equal(CHEETAH.grid("authors").contexts[:, 0], np.linspace(0, 3, 40))
    np.testing.assert_array_equal(ANT.grid("authors").contexts[:, 0], np.linspace(0, 2 * np.pi, 50))


@pytest.mark.parametrize("name", ["macaw", "authors"])
def test_ant_splits(name):
    grid = ANT.grid(name)
    for split in ("full", "half", "quarter", "eighth", "sixteenth"):
        found = grid.split(split)
        assert found.test_ids.tolist() == [6, 17, 23, 30, 41]
        assert not set(found.train_ids) & set(found.test_ids)
    assert grid.split("eighth").train_ids.tolist() == [0, 8, 16, 24, 32, 40, 48]
    far = grid.split("extrapolation")
    assert sorted([*far.train_ids, *far.test_ids]) == list(range(50))
    wrapped = [np.mod(c, 2 * np.pi) for c in (far.train, far.test)]
    assert wrapped[0].max() < wrapped[1].min() < wrapped[1].max() < 2 * np.pi - 0.1


def test_random_splits_are_nested_and_have_no_test_task():
    for family in (CHEETAH, ANT):
        grid = family.grid("authors")
        full = grid.split("full")
        for draw in range(3):
            subsets = [set(grid.split(f"random-{k}-{draw}").train_ids) for k in (10, 15, 25, 35)]
            assert [len(s) for s in subsets] == [10, 15, 25, 35]
            assert subsets[0] < subsets[1] < subsets[2] <= subsets[3] <= set(full.train_ids)
        first, second = (grid.split(f"random-15-{draw}") for draw in (0, 1))
        assert set(first.train_ids) != set(second.train_ids)
        np.testing.assert_array_equal(first.test, full.test)
    with pytest.raises(UnknownSplit, match="give 1 to 35"):
        CHEETAH.grid("macaw").split("random-36-0")


def test_full_splits():
    split = CHEETAH.grid("macaw").split("full")
    np.testing.assert_array_equal(split.test_ids, [2, 7, 15, 23, 26])
    np.testing.assert_allclose(split.test[:, 0], [0.225, 0.6, 1.2, 1.8, 2.025])
    assert (len(split.train), split.grid, split.name) == (35, "macaw", "full")
    split = ANT.grid("macaw").split("full")
    np.testing.assert_array_equal(split.test_ids, [6, 17, 23, 30, 41])
    np.testing.assert_allclose(
        np.degrees(split.test[:, 0]), [14.1, 101.9, 51.8, 204.5, 237.3], atol=0.05
    )
    gaps = ANT.context.distance(split.test, split.train).min(axis=1)
    np.testing.assert_allclose(gaps, [0.0622, 0.0586, 0.0440, 0.0407, 0.0180], atol=5e-5)


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("half", range(0, 40, 2), [7, 15, 23]),
        ("quarter", range(0, 40, 4), [2, 7, 15, 23, 26]),
        ("eighth", [0, 8, 16, 24, 32], [2, 7, 15, 23, 26]),
        ("sixteenth", [0, 16, 32], [2, 7, 15, 23, 26]),
        ("extrapolation", range(26), range(26, 40)),
    ],
)
def test_macaw_subsets(name, train, test):
    split = CHEETAH.grid("macaw").split(name)
    np.testing.assert_array_equal(split.train_ids, list(train))
    np.testing.assert_array_equal(split.test_ids, list(test))


@pytest.mark.parametrize("family", [CHEETAH, ANT])
def test_no_test_context_is_trained_on(family):
    for grid in family.grids:
        for name in grid.splits:
            split = grid.split(name)
            assert family.context.distance(split.test, split.train).min() > 1e-3 or (
                (family.name, grid.name) == ("ant-dir", "authors")  # 0 and 2π are one direction
            )


def test_unknown_names_suggest():
    with pytest.raises(
        UnknownFamily,
        match=r"Did you mean 'cheetah-vel'\? Families: ant-dir, ant-dir-endless, ant",
    ):
        hp.family("cheetah-vell")
    with pytest.raises(UnknownGrid, match=r"Did you mean 'macaw'\? Grids: authors, macaw"):
        CHEETAH.grid("makaw")
    with pytest.raises(UnknownSplit, match=r"Did you mean 'sixteenth'\? Splits: eighth, extra"):
        CHEETAH.grid("macaw").split("sixtenth")


# --- Rewards ------------------------------------------------------------------------------
def test_cheetah_reward_by_hand():
    """−|1.5 − 2| − 0.05·(0.25 + 1) = −0.5625; −|−1 − 2| = −3."""
    action = np.array([[0.5, 0, 0, 0, 0, -1.0], np.zeros(6)])
    outcome, context = np.array([[1.5], [-1.0]]), np.array([[2.0], [2.0]])
    np.testing.assert_allclose(CHEETAH.reward(action, outcome, context), [-0.5625, -3.0])


def test_ant_reward_by_hand():
    """Toward +y at 2 m/s with Σa² = 1.25: 2 − 0.625 + 1 = 2.375; against it: −2 + 1 = −1."""
    action = np.array([[0.5, 0, 0, 0, 0, 0, 0, -1.0], np.zeros(8)])
    outcome, context = np.array([[7.0, 2.0], [7.0, -2.0]]), np.full((2, 1), np.pi / 2)
    np.testing.assert_allclose(ANT.reward(action, outcome, context), [2.375, -1.0])


@given(turn=st.floats(-7, 7), direction=st.floats(0, 6.28))
def test_ant_reward_turns_with_the_direction(turn, direction):
    rng = np.random.default_rng(0)
    action, velocity = rng.uniform(-1, 1, (4, 8)), rng.normal(size=(4, 2))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    before = ANT.reward(action, velocity, np.full((4, 1), direction))
    after = ANT.reward(action, velocity @ rotation, np.full((4, 1), direction + turn))
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("family", [CHEETAH, ANT])
def test_reward_is_the_same_in_jax(family):
    rng = np.random.default_rng(0)
    parts = [rng.uniform(0, 1, (5, k)) for k in (family.action_size, family.outcome_size, 1)]
    in_jax = family.reward(*(jnp.asarray(part) for part in parts), xp=jnp)
    np.testing.assert_allclose(in_jax, family.reward(*parts), rtol=1e-5)


# --- Contexts -----------------------------------------------------------------------------
def test_directions_are_modulo_a_turn():
    wrapped = ANT.context.check([[2 * np.pi], [-np.pi / 2], [7.0]])
    np.testing.assert_allclose(wrapped[:, 0], [0.0, 1.5 * np.pi, 7.0 - 2 * np.pi])
    np.testing.assert_allclose(
        ANT.context.distance(np.array([[0.1]]), np.array([[6.2]])), 0.1832, atol=1e-4
    )
    np.testing.assert_allclose(
        ANT.context.encode(np.array([[0.0], [2 * np.pi]])), [[0, 1], [0, 1]], atol=1e-12
    )
    assert ANT.context.encoded_size == 2


def test_speeds_are_scaled_to_one():
    np.testing.assert_allclose(
        CHEETAH.context.encode(np.array([[0.0], [1.5], [3.0]])), [[-1], [0], [1]]
    )


def test_check_leaves_its_argument_alone():
    given_angles = np.array([[7.0]])
    ANT.context.check(given_angles)
    assert given_angles[0, 0] == 7.0


@pytest.mark.parametrize(
    ("contexts", "says"),
    [
        ([[3.01]], r"velocity = 3.01 m/s is outside \[0, 3\]"),
        ([[-0.1]], "outside"),
        ([[np.nan]], "finite"),
        ([1.0, 2.0], r"shape \(2,\); give \[n, 1\].*velocity in m/s"),
        ([[1.0, 2.0]], r"shape \(1, 2\)"),
        (np.zeros((0, 1)), "n ≥ 1"),
        ([["fast"]], "must be numbers"),
        ([[1.0], [1.0, 2.0]], "must be numbers"),
    ],
)
def test_bad_contexts(contexts, says):
    with pytest.raises(BadContext, match=says):
        CHEETAH.context.check(contexts)


# --- Words ---------------------------------------------------------------------------------
def test_tasks_and_outcomes_have_names():
    assert CHEETAH.task_name(np.array([0.6])) == "0.6 m/s"
    assert CHEETAH.outcome_name(np.array([0.5512])) == "0.55 m/s"
    assert ANT.task_name(np.array([1.0])) == "1 rad"
    assert ANT.outcome_name(np.array([0.0, -2.0])) == "4.71 rad at 2.0 m/s"
    arm = hp.family("metaworld")
    assert arm.task_name(np.array([49.0])) == "window-open"
    assert arm.outcome_name(np.array([9.5, 1.0])) == "success, reward 9.5 a step"


def test_success_is_known_to_families_that_have_it():
    assert CHEETAH.success(np.zeros((2, 1))) is None
    outcome = np.array([[[3.0, 0.0]], [[9.0, 1.0]]])
    assert hp.family("metaworld").success(outcome).tolist() == [[False], [True]]


def test_a_reward_of_the_simulator_is_not_relabeled():
    CHEETAH.check_relabels("a base", np.array([[0.5], [2.0]]))
    with pytest.raises(BadSetting, match="a base labels transitions with other contexts"):
        hp.family("metaworld").check_relabels("a base", np.array([[0.0], [3.0]]))


def test_the_usual_grid_is_the_first():
    assert hp.family("cheetah-vel").grid().name == hp.family("ant-dir").grid().name == "macaw"
    assert hp.family("ant-dir-endless").grid().name == "t2da"
    assert hp.family("cheetah-run").grid().name == hp.family("cheetah-run").grids[0].name
    with pytest.raises(UnknownGrid):
        replace(hp.family("cheetah-vel"), grids=()).grid()
