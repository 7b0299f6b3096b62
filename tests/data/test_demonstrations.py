import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import files
from hyperpolicy.data import demonstrations as demos
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.errors import BadFile, BadShape

FAMILY = hp.family("metaworld")
T = 70


def episodes(success_at: list[int | None]) -> Episodes:
    """Episodes whose observation at step t is t everywhere, whose action is −t."""
    t = np.arange(T + 1, dtype=np.float32)[:, None]
    made = []
    for i, step in enumerate(success_at):
        outcome = np.zeros((T, 2), np.float32)
        if step is not None:
            outcome[step:, 1] = 1.0
        context = FAMILY.contexts(["window-open"])[0]
        obs, action, reward = np.tile(t, 39), np.tile(-t[:-1], 4), np.zeros(T, np.float32)
        made.append(Episode(context, obs, action, reward, outcome, False, True, i, i, "a script"))
    return Episodes.of(FAMILY, made)


def some(n: int = 3) -> Demonstrations:
    rng = np.random.default_rng(0)
    f, g = demos.widths(FAMILY)
    contexts = FAMILY.contexts(["window-open", "door-open", "window-open"][:n])
    return Demonstrations(
        hp.family("metaworld"), contexts, rng.normal(size=(n, f)), rng.normal(size=(n, g))
    )


def test_the_published_layout():
    assert demos.widths(FAMILY) == (1020, 117)
    made = Demonstrations.cut(episodes([40])).demonstrations
    blocks = made.opening.reshape(20, 51)
    for k, block in enumerate(blocks):
        np.testing.assert_array_equal(block[:39], 3 * k)
        np.testing.assert_array_equal(
            block[39:].reshape(3, 4)[:, 0], [-3 * k, -3 * k - 1, -3 * k - 2]
        )
    np.testing.assert_array_equal(made.ending.reshape(3, 39)[:, 0], [41, 42, 43])


def test_whole_demonstrations_reach_from_the_start_to_the_success():
    shown = episodes([40, None, 0])
    made = Demonstrations.cut(shown, "whole").demonstrations
    blocks = made.opening.reshape(2, 20, 51)
    assert made.layout == "whole" and blocks[0, 0, 0] == 0 and blocks[0, -1, 0] == 38
    np.testing.assert_array_equal(blocks[0, -1, 39:].reshape(3, 4)[:, 0], [-38, -39, -40])
    assert (np.diff(blocks[0, :, 0]) == 2).all()
    np.testing.assert_array_equal(blocks[1, :, 0], 0)  # a success at once
    opening = Demonstrations.cut(shown).demonstrations
    np.testing.assert_array_equal(made.ending, opening.ending)
    with pytest.raises(BadShape, match="different layouts"):
        Demonstrations.joined([made, opening])


def test_demonstrations_know_where_they_began(tmp_path):
    made = Demonstrations.cut(episodes([40, None, 0])).demonstrations
    assert made.starts.tolist() == [0, 2] and made[1].starts.tolist() == [2]
    again = Demonstrations.load(made.save(tmp_path / "d.safetensors"))
    assert again.starts.tolist() == [0, 2] and again.layout == "opening"
    both = Demonstrations.joined([made, again])
    assert both.starts.tolist() == [0, 2, 0, 2]
    assert Demonstrations.joined([made, some()]).starts is None


def test_only_success_is_shown():
    """A success in the last steps leaves too few states."""
    found = Demonstrations.cut(episodes([40, None, T - 1, T - 4, 0]))
    assert found.episode.tolist() == [0, 3, 4]
    np.testing.assert_array_equal(found.demonstrations.ending[1, ::39], [T - 3, T - 2, T - 1])
    assert len(Demonstrations.cut(episodes([None])).demonstrations) == 0


def test_saved_and_loaded(tmp_path):
    made = some()
    again = Demonstrations.load(made.save(tmp_path / "d.safetensors"))
    np.testing.assert_allclose(again.opening, made.opening, atol=2e-3)
    np.testing.assert_array_equal(again.contexts, made.contexts)
    assert len(again.of(FAMILY.contexts(["window-open"])[0])) == 2 and len(again[0]) == 1


def test_what_is_no_demonstration_is_explained(tmp_path):
    made = some()
    with pytest.raises(BadShape, match=r"\[3, 1020\] and \[3, 117\]: the first 60 steps"):
        Demonstrations(FAMILY, made.contexts, made.opening[:, :900], made.ending)
    broken = made.ending.copy()
    broken[1, 3] = np.nan
    with pytest.raises(BadShape, match="ending of demonstration 1"):
        Demonstrations(FAMILY, made.contexts, made.opening, broken)
    path = files.save_arrays(tmp_path / "x.safetensors", {"traj": made.opening}, {})
    with pytest.raises(BadFile, match="DemonstrationsHeader"):
        Demonstrations.load(path)
