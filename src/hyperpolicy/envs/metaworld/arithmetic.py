"""What the package's rewards compute with, bit for bit its results and types, on plain numbers.

Rewards spend their time in functions that are made for arrays, on one number or three. Here the
case that occurs is computed alone; whatever else is asked goes to the original. Every operation is
the original's: IEEE fixes sums, products, quotients and roots, while powers, exponentials and dot
products, which it does not fix, are left to the same functions of NumPy.
`tests/envs/metaworld/test_arithmetic.py` compares.
"""

import inspect
import math
import types
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

FLOAT = np.dtype(np.float64)
NUMBERS = frozenset({float, int, np.float64})
"""Types whose arithmetic is that of float64."""
AT_MARGIN = 0.1
"""The package's default height of a slope where its margin ends."""
LONG_TAIL = np.sqrt(1 / AT_MARGIN - 1)
GAUSSIAN = np.sqrt(-2 * np.log(AT_MARGIN))
"""Scales of the two slopes."""
ORTHOGONAL = 1e-13
"""A matrix this close to a rotation is one by SciPy's measure too, which is 1e-12."""


def tolerance(x, bounds=(0.0, 0.0), margin=0.0, sigmoid="gaussian", value_at_margin=AT_MARGIN):
    """1 within bounds, and beyond them a slope that is 0.1 a margin away: the package's."""
    lower, upper = bounds
    if not (
        (type(x) is float or type(x) is np.float64)
        and type(margin) in NUMBERS
        and type(lower) in NUMBERS
        and type(upper) in NUMBERS
        and (sigmoid == "long_tail" or sigmoid == "gaussian")
        and value_at_margin == AT_MARGIN
        and lower <= upper
        and margin >= 0
    ):
        from metaworld.utils import reward_utils

        return reward_utils.tolerance(x, bounds, margin, sigmoid, value_at_margin)
    if lower <= x <= upper:
        return 1.0
    if margin == 0:
        return 0.0
    away = np.float64((lower - x if x < lower else x - upper) / margin)
    if sigmoid == "long_tail":
        return float(1 / ((away * LONG_TAIL) ** 2 + 1))
    return float(np.exp(-0.5 * (away * GAUSSIAN) ** 2))


def norm(x, ord=None, *rest, **named):
    """The length of a vector, or of a number: `np.linalg.norm`."""
    if (ord is None or ord == 2) and not (rest or named):
        if type(x) is np.ndarray and x.ndim == 1 and x.dtype is FLOAT and x.flags.contiguous:
            return np.float64(math.sqrt(x.dot(x)))
        if type(x) is np.float64 and ord is None:
            return np.float64(math.sqrt(x * x))
    return np.linalg.norm(x, ord, *rest, **named)


class Turn:
    """A rotation matrix that is asked for its quaternion: SciPy's `Rotation`."""

    def __init__(self, matrix):
        self.matrix = matrix

    @classmethod
    def from_matrix(cls, matrix):
        return cls(matrix)

    def as_quat(self) -> Float[np.ndarray, "4"]:
        """In SciPy's order: x, y, z, w."""
        matrix = self.matrix
        if matrix.shape == (3, 3) and matrix.dtype is FLOAT and scipy_agrees():
            rows = matrix.tolist()
            if is_rotation(*rows):
                return np.array(quaternion(*rows))
        return Rotation.from_matrix(matrix).as_quat()


def is_rotation(a, b, c) -> bool:
    """Whether rows are orthonormal and right-handed; NaN is not."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = a, b, c
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    return (
        abs(ax * ax + ay * ay + az * az - 1) < ORTHOGONAL
        and abs(bx * bx + by * by + bz * bz - 1) < ORTHOGONAL
        and abs(cx * cx + cy * cy + cz * cz - 1) < ORTHOGONAL
        and abs(ax * bx + ay * by + az * bz) < ORTHOGONAL
        and abs(ax * cx + ay * cy + az * cz) < ORTHOGONAL
        and abs(bx * cx + by * cy + bz * cz) < ORTHOGONAL
        and volume > 0.5
    )


def quaternion(a, b, c) -> tuple[float, float, float, float]:
    """Of a rotation's rows, by way of its largest component (Markley 2008)."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = a, b, c
    trace = ax + by + cz
    largest = max(ax, by, cz, trace)
    if ax == largest:
        x, y, z, w = 1 - trace + 2 * ax, bx + ay, cx + az, cy - bz
    elif by == largest:
        x, y, z, w = ay + bx, 1 - trace + 2 * by, cy + bz, az - cx
    elif cz == largest:
        x, y, z, w = az + cx, bz + cy, 1 - trace + 2 * cz, bx - ay
    else:
        x, y, z, w = cy - bz, az - cx, bx - ay, 1 + trace
    length = math.sqrt(x * x + y * y + z * z + w * w)
    return x / length, y / length, z / length, w / length


@cache
def scipy_agrees() -> bool:
    """Whether SciPy's quaternions are ours bit for bit: a build of it that fuses products and sums
    rounds otherwise."""
    random = np.random.default_rng(0)
    for length in [0.01] * 30 + [2.0] * 90:  # by every component
        matrix = Rotation.from_rotvec(length * random.normal(size=3)).as_matrix()
        rows = matrix.tolist()
        expected = Rotation.from_matrix(matrix).as_quat().tolist()
        if is_rotation(*rows) and list(quaternion(*rows)) != expected:
            return False
    return True


# --- In place of the package's ------------------------------------------------------------
def quickened(kind: type) -> type:
    """A subclass of a task's class whose inherited functions compute with these: the package's
    own stay as they are, copies of them look names up elsewhere."""
    found: dict[str, object] = {}
    for owner in kind.__mro__:
        if owner.__module__.startswith("metaworld."):
            found = vars(owner) | found
    names: dict[str, dict] = {}
    made: dict[str, object] = {}
    for name, value in found.items():
        if isinstance(value, types.FunctionType):
            if value.__name__ == "inner":  # it asks whether a task is set, which always is
                value = inspect.getclosurevars(value).nonlocals["func"]
            made[name] = _copy(value, names)
        elif isinstance(value, staticmethod) and isinstance(value.__func__, types.FunctionType):
            made[name] = staticmethod(_copy(value.__func__, names))
    quick = type(kind.__name__, (kind,), made)
    names[kind.__module__][kind.__name__] = quick  # by which static functions are called
    return quick


def _copy(function: types.FunctionType, names: dict[str, dict]) -> types.FunctionType:
    """A function that finds the replacements where its module has the originals; `names` keeps what
    each module's functions find."""
    module, theirs = function.__module__, function.__globals__
    if module not in names:
        names[module] = theirs | {k: v for k, v in replacements().items() if k in theirs}
    made = types.FunctionType(
        function.__code__.replace(),
        names[module],
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _like(module: types.ModuleType, **changes) -> types.ModuleType:
    """A module with some names changed."""
    made = types.ModuleType(module.__name__)
    made.__dict__.update(vars(module) | changes)
    return made


@cache
def replacements() -> dict[str, object]:
    """What the package's modules know by these names."""
    from metaworld.utils import reward_utils

    return {
        "np": _like(np, linalg=_like(np.linalg, norm=norm)),
        "reward_utils": _like(reward_utils, tolerance=tolerance),
        "tolerance": tolerance,
        "Rotation": Turn,
    }
