"""Stored episodes: what is written comes back, only what is asked for is read, faults are named."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import files
from hyperpolicy.data import episodes as stored
from hyperpolicy.data import shards
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.data.replay import unpack
from hyperpolicy.envs.locomotion import AntDir, CheetahVel
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape
from hyperpolicy.fleet.plan import layout

FAMILY = CheetahVel(horizon_steps=8)
LENGTHS = (3, 5, 1, 4)


def episode(i: int, t: int) -> Episode:
    rng = np.random.default_rng(i)
    obs, action, reward, outcome = (
        rng.normal(size=shape).astype(np.float32) for shape in ((t + 1, 20), (t, 6), t, (t, 1))
    )
    terminated = i % 2 == 0
    ends = terminated, not terminated
    return Episode(np.array([i / 2]), obs, action, reward, outcome, *ends, 10 + i, i, f"maker {i}")


MADE = [episode(i, t) for i, t in enumerate(LENGTHS)]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Three shards: two and one episodes that were saved, one that was appended."""
    monkeypatch.setattr(stored, "A_SHARD", 2)
    Episodes.of(FAMILY, MADE[:3]).save(tmp_path / "e")
    return Episodes.of(FAMILY, MADE[3:]).append(tmp_path / "e")


def same(a: Episode, b: Episode) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_what_is_saved_and_appended_comes_back(path, tmp_path):
    found = Episodes.load(path)
    assert found.family == FAMILY and len(found) == 4
    assert all(map(same, found, MADE))
    some = found[[3, 1]]
    some.save(tmp_path / "some")
    assert all(map(same, Episodes.load(tmp_path / "some"), [MADE[3], MADE[1]]))
    np.testing.assert_allclose(some.returns, [MADE[3].reward.sum(), MADE[1].reward.sum()], 1e-6)
    assert some.success is None
    assert not [p for p in path.iterdir() if p.suffix not in (".json", ".safetensors")]


def test_only_the_shards_that_are_used_are_read_and_checked(path):
    damaged = path / "steps-001.safetensors"
    text = bytearray(damaged.read_bytes())
    text[-1] ^= 1
    damaged.write_bytes(text)
    found = Episodes.load(path)
    assert same(found.episode(1), MADE[1]) and same(found.episode(3), MADE[3])
    with pytest.raises(BadFile, match=r"steps-001\.safetensors does not match its checksum"):
        found.episode(2)
    damaged.unlink()
    with pytest.raises(BadFile, match="does not exist"):
        Episodes.load(path).episode(2)


def test_an_append_that_was_killed_leaves_the_rest_whole(path, monkeypatch):
    """Killed before the header was written; the next append takes the shard's name again."""
    more = Episodes.of(FAMILY, MADE[:1])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards.headers, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        more.append(path)
    assert len(Episodes.load(path)) == 4
    more.append(path)
    assert all(map(same, Episodes.load(path), [*MADE, MADE[0]]))


def test_replay_rows_of_episodes():
    rows = Episodes.of(FAMILY, MADE).transitions()
    t = unpack(layout(FAMILY), jnp.asarray(rows))
    assert len(rows) == sum(LENGTHS)
    np.testing.assert_array_equal(t.next_obs[3:8], MADE[1].obs[1:])
    np.testing.assert_array_equal(t.terminated, [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(t.context[:, 0], np.repeat([0, 0.5, 1, 1.5], LENGTHS))


def test_segments_hold_every_step_once_and_what_is_still_to_come():
    found = Episodes.of(FAMILY, MADE).segments(2)
    assert found.episode.tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    reward = np.concatenate([one.reward for one in MADE])
    np.testing.assert_array_equal(found.reward[found.alive], reward)
    assert not found.obs[~found.alive].any() and not found.t[~found.alive].any()
    np.testing.assert_allclose(found.return_to_go[2, 0], MADE[1].reward.sum(), 1e-6)
    np.testing.assert_array_equal(found.t[found.episode == 1], [[0, 1], [2, 3], [4, 0]])
    overlapping = Episodes.of(FAMILY, MADE[1:2]).segments(2, every=1)
    assert overlapping.t.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]


def test_faults_are_named(path, tmp_path):
    odd = MADE[1]._replace(terminated=False, truncated=False)
    with pytest.raises(BadSetting, match="episode 1 has no end: it must be terminated or trunc"):
        Episodes.of(FAMILY, [MADE[0], odd])
    broken = odd.reward.copy()
    broken[2] = np.nan
    with pytest.raises(BadShape, match="episode 0: reward holds numbers that are not finite"):
        Episodes.of(FAMILY, [MADE[1]._replace(reward=broken)])
    with pytest.raises(BadShape, match=r"obs has shape \(5, 20\); 5 steps of cheetah-vel take \[6"):
        Episodes.of(FAMILY, [MADE[1]._replace(obs=MADE[1].obs[:-1])])
    with pytest.raises(BadShape, match="steps of ant-dir take"):
        Episodes.of(AntDir(), MADE)
    other = replace(FAMILY, horizon_steps=9)
    with pytest.raises(BadSetting, match="only episodes of an equal family can be appended"):
        Episodes.of(other, MADE).append(path)
    with pytest.raises(AlreadyExists, match="or append to it"):
        Episodes.of(FAMILY, MADE).save(path)
    with pytest.raises(BadFile, match="holds no episodes"):
        Episodes.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("truncated", np.zeros(2, bool), "episodes without an end"),
        ("length", np.array([0, 5]), "is no index of episodes of cheetah-vel"),
        ("length", np.array([3, 4]), r"obs is F32 \[10, 20\], F32 \[9, 20\] is expected"),
        ("context", np.full((2, 1), 99.0), r"outside \[0, 3\]"),
        ("context", np.full((2, 2), 1.0), "is no index of episodes"),
        ("seed", np.array([1.5, 2.5]), "is no index of episodes"),
        ("maker", np.array([0, 7]), "is no index of episodes"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(path, name, value, says):
    """As a stranger may write it, with its own checksum."""
    where = path / "index-000.safetensors"
    arrays, _ = files.load_arrays(where)
    files.save_arrays(where, arrays | {name: value}, overwrite=True)
    header = shards.read_header(path)
    sums = header.checksums | {where.name: files.checksum(where)}
    text = (path / shards.HEADER).read_text()
    (path / shards.HEADER).write_text(text.replace(header.checksums[where.name], sums[where.name]))
    with pytest.raises(BadFile, match=says):
        Episodes.load(path).episode(0)
