"""Minari's data sets: there and back, data sets of others, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.data import minari
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape, MissingExtra

pytest.importorskip("minari")
FAMILY = replace(hp.family("ant-dir"), horizon_steps=15)
CONTEXTS = np.array([[0.5], [2.0]])


@pytest.fixture(scope="module")
def episodes():
    return hp.rollout.record(hp.rollout.uniform(FAMILY), FAMILY, CONTEXTS, 2, made_by="chance")


def test_every_step_comes_back_as_it_was(episodes, tmp_path):
    name = minari.write(episodes, "ant-dir/chance-v0", tmp_path, "two directions")
    again = minari.read(name, FAMILY, place=tmp_path)
    assert len(again) == len(episodes) == 4
    for one, two in zip(episodes, again, strict=True):
        for part in ("context", "obs", "action", "reward", "outcome"):
            np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
        assert (one.terminated, one.truncated) == (two.terminated, two.truncated)
        assert two.made_by == name
    with pytest.raises(AlreadyExists, match="choose another name"):
        minari.write(episodes, name, tmp_path)


def test_minari_itself_reads_what_is_written(episodes, tmp_path, monkeypatch):
    import minari as package

    minari.write(episodes, "ant-dir/plain-v0", tmp_path)
    monkeypatch.setenv(minari.VARIABLE, str(tmp_path))
    found = package.load_dataset("ant-dir/plain-v0")
    assert found.total_episodes == 4 and found.total_steps == episodes.index.length.sum()
    assert found.spec.action_space.shape == (8,)
    first = next(iter(found.iterate_episodes([0])))
    np.testing.assert_allclose(first.rewards, episodes.episode(0).reward)


def test_data_sets_of_others_are_told_their_context(episodes, tmp_path, monkeypatch):
    monkeypatch.setattr(minari, "_infos", lambda one: {})
    name = minari.write(episodes, "somebody/ants-v0", tmp_path)
    with pytest.raises(BadSetting, match=r"does not say the context of episode 0; give context="):
        minari.read(name, FAMILY, place=tmp_path)
    found = minari.read(name, FAMILY, np.array([1.0]), tmp_path)
    assert (found.index.context == 1.0).all() and not found.episode(0).outcome.any()
    with pytest.raises(BadShape, match=r"cheetah-vel takes \[16, 20\] and \[15, 6\]"):
        minari.read(name, hp.family("cheetah-vel"), np.array([1.0]), tmp_path)


def test_what_is_not_there_is_refused(episodes, tmp_path, monkeypatch):
    with pytest.raises(BadFile, match="no local data set 'a/b-v0' of Minari; there are: none"):
        minari.read("a/b-v0", FAMILY, place=tmp_path)
    with pytest.raises(BadSetting, match="no episodes to write"):
        minari.write(episodes[:0], "a/b-v0", tmp_path)
    with pytest.raises(BadSetting):
        minari.write(episodes, "not a name", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "minari", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hyperpolicy\[minari\]'"):
        minari.read("a/b-v0", FAMILY)
