"""Episodes task by task: padding, returns-to-go, what stands beside a row; and prompts."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.data.by_task import trajectories, transitions
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.errors import BadContext, BadSetting, BadShape

FAMILY = replace(hp.family("ant-dir"), horizon_steps=9)
CONTEXTS = np.array([[0.5], [2.0]])


def episode(context, t, first=0.0, terminated=False, reward=1.0) -> Episode:
    """Observation i is filled with `first` + i, action i with 0.1 i, rewards are equal."""
    count = np.arange(t + 1, dtype=np.float32)[:, None]
    return Episode(
        context=np.array([context]),
        obs=first + np.broadcast_to(count, (t + 1, 27)).astype(np.float32),
        action=np.broadcast_to(0.1 * count[:-1], (t, 8)).astype(np.float32),
        reward=np.full(t, reward, np.float32),
        outcome=np.zeros((t, 2), np.float32),
        terminated=terminated,
        truncated=not terminated,
        seed=0,
        policy=0,
        made_by="a test",
    )


@pytest.fixture(scope="module")
def episodes():
    """Of the first task one of 4 steps that fell, of the second one of 6 and one of 3."""
    some = episode(0.5, 4, terminated=True), episode(2.0, 6, 100.0), episode(2.0, 3, 200.0)
    return Episodes.of(FAMILY, some)


def test_trajectories_are_padded(episodes):
    found = trajectories(episodes, CONTEXTS)
    np.testing.assert_array_equal(found.length, [[4, 0], [6, 3]])
    assert found.obs.shape == (2, 2, 7, 27) and found.action.shape == (2, 2, 6, 8)
    np.testing.assert_array_equal(found.obs[0, 0, :, 0], [0, 1, 2, 3, 4, 0, 0])
    np.testing.assert_array_equal(found.to_go[1, 0], [6, 5, 4, 3, 2, 1])
    np.testing.assert_array_equal(found.to_go[0, 0], [4, 3, 2, 1, 0, 0])
    assert not found.obs[0, 1].any()


def test_rows_know_what_their_episode_still_earned(episodes):
    found = transitions(episodes, CONTEXTS, discount=0.5)
    np.testing.assert_array_equal(found.filled, [4, 9])
    np.testing.assert_array_equal(found.obs[1, :, 0], [100, 101, 102, 103, 104, 105, 200, 201, 202])
    np.testing.assert_array_equal(found.next_obs[1, 5:7, 0], [106, 201])
    np.testing.assert_array_equal(found.terminated[0, :4], [0, 0, 0, 1])
    assert not found.terminated[1].any()  # a time limit
    np.testing.assert_allclose(found.earned[1, 6:], [1.75, 1.5, 1.0])
    np.testing.assert_allclose(found.left[1, 6:], [0.125, 0.25, 0.5])
    assert not found.left[0].any()  # nothing is earned after a fall
    np.testing.assert_array_equal(found.last_obs[1, :, 0], [106] * 6 + [203] * 3)


def test_every_seventh_row(episodes):
    found = transitions(episodes, CONTEXTS, 0.99, every=7)
    np.testing.assert_array_equal(found.filled, [1, 2])
    np.testing.assert_array_equal(found.obs[1, :, 0], [100, 201])


def test_tasks_without_episodes_and_episodes_without_rewards_are_refused(episodes):
    with pytest.raises(BadSetting, match=r"no episodes of 1 rad; record some"):
        trajectories(episodes, np.array([[0.5], [1.0]]))
    with pytest.raises(BadSetting, match="have no rewards"):
        transitions(Episodes.of(FAMILY, [episode(0.5, 3, reward=0.0)]), CONTEXTS[:1], 0.9)
    with pytest.raises(BadSetting, match="no episodes"):
        trajectories(Episodes.of(FAMILY, []), CONTEXTS)


# --- Prompts ------------------------------------------------------------------------------
def test_a_prompt_is_cut_from_the_end_as_released_code_does(episodes):
    found = Prompts.cut(episodes[1:2], CONTEXTS[1:], steps=3)
    np.testing.assert_array_equal(found.t, [[2, 3, 4]])  # of 0 … 5
    np.testing.assert_array_equal(found.obs[0, :, 0], [102, 103, 104])
    np.testing.assert_array_equal(found.to_go, [[4, 3, 2]])
    whole = Prompts.cut(episodes[2:], CONTEXTS[1:], steps=3)
    np.testing.assert_array_equal(whole.t, [[0, 1, 2]])


def test_pieces_are_of_several_episodes(episodes):
    found = Prompts.cut(episodes, CONTEXTS, pieces=2, steps=3, where="anywhere", seed=4)
    assert found.steps == 6 and len(found) == 2
    first = found.obs[1, :, 0]
    assert {x // 100 for x in (first[0], first[3])} == {1, 2}
    np.testing.assert_array_equal(np.diff(found.t.reshape(2, 2, 3), axis=2), 1)
    assert found.rows.shape == (2, 6 * (27 + 8 + 1))
    np.testing.assert_array_equal(found[1].obs, found.obs[1:])


def test_bad_prompts_are_refused(episodes, as_user):
    with pytest.raises(BadSetting, match=r"pieces of 5 steps, and an episode of .* has 4"):
        Prompts.cut(episodes, CONTEXTS, steps=5)
    with pytest.raises(BadSetting, match="at least one of each"):
        Prompts.cut(episodes, CONTEXTS, pieces=0)
    good = Prompts.cut(episodes, CONTEXTS, steps=2)
    with pytest.raises(BadShape, match="not finite"):
        replace(good, obs=good.obs * np.nan)
    with pytest.raises(BadShape, match="take"):
        replace(good, action=good.action[:, :1])
    with pytest.raises(BadContext):
        replace(good, contexts=np.array([[np.nan], [0.5]]))
