"""Seeds: any whole number ≥ 0; streams of training and evaluation never meet."""

import jax
import numpy as np
import pytest

from hyperpolicy import seeds
from hyperpolicy.errors import BadSetting

HUGE = 99999999999999999999


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True, float("nan")])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(BadSetting, match="a whole number, 0 or more"):
        seeds.check(seed)


def test_small_seeds_are_themselves_and_huge_ones_are_hashed():
    assert seeds.small(5) == 5 and seeds.small(np.int64(7)) == 7
    assert 0 <= seeds.small(HUGE) < 2**31
    assert seeds.small(HUGE) != seeds.small(HUGE + 1)
    same = jax.random.key_data(seeds.key(5)) == jax.random.key_data(jax.random.key(5))
    assert same.all()
    seeds.key(HUGE)


def test_learners_have_numbers_of_their_own():
    np.testing.assert_array_equal(seeds.learners(3, 4), 30_000 + np.arange(4))
    far = seeds.learners(HUGE, 40)
    assert len(np.unique(far)) == 40 and 0 <= far.min() <= far.max() < 2**31


@pytest.mark.parametrize("seed", [0, 1, 12345, HUGE])
def test_training_and_evaluation_never_share_a_start(seed):
    trained = [
        seeds.worlds(seed, 200),
        seeds.worlds_of_learners(seeds.learners(seed, 40), 35),
    ]
    played = [seeds.episodes(seed, 500), seeds.episodes(seeds.EVALUATION_WHILE_TRAINING, 10)]
    assert max(x.max() for x in trained) < 2**31 <= min(x.min() for x in played)
    assert max(x.max() for x in played) < 2**32
    assert len(np.unique(played[0])) == 500


def _noise(seed: int, episode: int, nq: int, nv: int):
    """What a start is drawn from: uniform numbers, then normal ones."""
    rng = seeds.of_episode(seed, episode)
    return rng.uniform(-1.0, 1.0, nq), rng.standard_normal(nv)


def test_reset_noise_depends_on_seed_and_episode_alone():
    first = _noise(2**31 + 5, 3, 9, 9)
    for x, y in zip(first, _noise(2**31 + 5, 3, 9, 9), strict=True):
        np.testing.assert_array_equal(x, y)
    for other in ((2**31 + 5, 4), (2**31 + 6, 3), (5, 3)):
        assert not np.array_equal(first[0], _noise(*other, 9, 9)[0])


def test_reset_noise_is_uniform_and_normal():
    draws = [_noise(i, j, 10, 10) for i in range(50) for j in range(20)]
    uniform, normal = (np.concatenate(x) for x in zip(*draws, strict=True))
    assert np.abs(uniform).max() <= 1
    np.testing.assert_allclose(uniform.std(), 1 / np.sqrt(3), rtol=0.03)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=0.04)
