"""The stand-ins against the functions they stand for: values, types and errors."""

import itertools

import numpy as np
import pytest
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation

from hyperpolicy.envs.metaworld import arithmetic
from hyperpolicy.envs.metaworld.arithmetic import quickened
from hyperpolicy.envs.metaworld.arm import package

RANDOM = np.random.default_rng(0)


def outcome(function, *args, **named):
    """What a call gives, bit for bit, or the error it raises."""
    try:
        with np.errstate(all="ignore"):
            found = function(*args, **named)
    except (ValueError, np.linalg.LinAlgError) as error:
        return type(error), str(error)
    return type(found), np.asarray(found).dtype, np.asarray(found).tobytes()


def numbers() -> list:
    """Of every size and kind that a reward may come across, and some that it may not."""
    some = [0.0, -0.0, 0.02, 0.05, 0.1, 1e-9, 1e200, np.inf, np.nan, -0.3]
    some += RANDOM.uniform(0, 0.5, 30).tolist()
    return [*some, *map(np.float64, some), np.float32(0.03), 0, 1, np.array(0.3), np.ones(2) / 9]


@pytest.mark.parametrize("sigmoid", ["long_tail", "gaussian", "hyperbolic", "linear", "none"])
def test_tolerances_are_the_packages(sigmoid):
    margins = [0, 0.0, 0.1, np.float64(0.37), np.float32(0.2), np.nan, -1.0, np.inf, 1e-300]
    bounds = [(0, 0.05), (0.02, 0.05), (np.float64(0.1), np.inf), (0.2, 0.1), (0.0, 0.0)]
    for x, margin, bound in itertools.product(numbers(), margins, bounds):
        asked = {"bounds": bound, "margin": margin, "sigmoid": sigmoid}
        expected = outcome(reward_utils.tolerance, x, **asked)
        assert outcome(arithmetic.tolerance, x, **asked) == expected, (x, asked)


def test_tolerances_of_other_slopes_are_the_packages():
    for x, at in itertools.product([0.1, 0.4], [0.1, 0.2, 0, 2]):
        asked = ((0, 0.05), 0.3, "long_tail", at)
        expected = outcome(reward_utils.tolerance, x, *asked)
        assert outcome(arithmetic.tolerance, x, *asked) == expected
    assert arithmetic.tolerance(0.3) == reward_utils.tolerance(0.3)


def test_norms_are_numpys():
    vectors = [RANDOM.normal(size=n) for n in (0, 1, 2, 3, 3, 3, 4, 39) for _ in range(20)]
    vectors += [np.array([np.nan, 0, 1]), np.array([1e200, 1e200, 0]), np.zeros(3)]
    grid = RANDOM.normal(size=(6, 6))
    others = [grid, grid[:, 1], grid[1, ::2], grid[0].astype(np.float32), np.arange(3), 2.0, -3]
    for x in [*vectors, *others, *map(np.float64, [-0.2, 0.0, np.nan, 1e300])]:
        assert outcome(arithmetic.norm, x) == outcome(np.linalg.norm, x)
        for named in ({"ord": 2}, {"ord": 1}, {"axis": 0}, {"ord": None, "keepdims": True}):
            assert outcome(arithmetic.norm, x, **named) == outcome(np.linalg.norm, x, **named)


def turns() -> list[np.ndarray]:
    """Rotations by every angle, and matrices that are none."""
    vectors = RANDOM.normal(size=(300, 3)) * 10.0 ** RANDOM.integers(-9, 1, (300, 1))
    half = [Rotation.from_rotvec(np.pi * axis).as_matrix() for axis in np.eye(3)]
    found = [*Rotation.from_rotvec(vectors).as_matrix(), *half, np.eye(3)]
    return [*found, 2 * found[0], found[1] + 1e-9, -found[2], np.eye(3, dtype=int)]


@pytest.mark.parametrize("agrees", [True, False])
def test_quaternions_are_scipys(agrees, monkeypatch):
    if not agrees:
        monkeypatch.setattr(arithmetic, "scipy_agrees", lambda: False)
    for matrix in turns():
        expected = outcome(lambda m: Rotation.from_matrix(m).as_quat(), matrix)
        assert outcome(lambda m: arithmetic.Turn.from_matrix(m).as_quat(), matrix) == expected


def test_our_quaternions_are_in_use_here():
    assert arithmetic.scipy_agrees()


def test_the_package_itself_is_left_alone():
    kind = package().env_dict.ALL_V3_ENVIRONMENTS["door-open-v3"]
    ours, theirs = quickened(kind).compute_reward.__globals__, kind.compute_reward.__globals__
    assert ours["np"].linalg.norm is arithmetic.norm and theirs["np"] is np
    assert ours["reward_utils"].tolerance is arithmetic.tolerance
    assert theirs["reward_utils"] is reward_utils
    assert reward_utils.tolerance is not arithmetic.tolerance
    assert ours["np"].exp is np.exp and ours["np"].linalg.det is np.linalg.det
