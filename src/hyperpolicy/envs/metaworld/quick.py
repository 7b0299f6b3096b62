"""A package's class whose functions find faster ones in place of what they call.

Nothing of the package is changed: the functions are copied, and the copies look up `np`,
`reward_utils` and `Rotation` elsewhere.
"""

import inspect
import types
from functools import cache

import mujoco
import numpy as np

from hyperpolicy.envs.metaworld import arithmetic


class Data(mujoco.MjData):
    """State whose views by name are made once."""

    def __init__(self, model: mujoco.MjModel):
        super().__init__(model)
        for kind in ("body", "site", "geom", "joint"):  # over the methods: `data.body("hand")`
            setattr(self, kind, _Views(getattr(super(), kind)).__getitem__)

    def forget(self) -> None:
        """Let go of the views, which hold what they view: nothing else would free either."""
        self.__dict__.clear()


class _Views(dict):
    """Views by name."""

    def __init__(self, make):
        self._make = make

    def __missing__(self, name):
        view = self[name] = _View(self._make(name))
        return view


class _View:
    """The arrays of a body, site, geom or joint: they lie where they lay."""

    def __init__(self, made):
        object.__setattr__(self, "_made", made)

    def __getattr__(self, name):
        value = self.__dict__[name] = getattr(self._made, name)
        return value

    def __setattr__(self, name, value):
        setattr(self._made, name, value)


def quickened(kind: type) -> type:
    """A subclass of a task's class whose inherited functions compute with `arithmetic`."""
    found: dict[str, object] = {}
    for owner in kind.__mro__:
        if owner.__module__.startswith("metaworld."):
            found = vars(owner) | found
    names: dict[str, dict] = {}
    made: dict[str, object] = {}
    for name, value in found.items():
        if isinstance(value, types.FunctionType):
            made[name] = _copy(_plain(value), names)
        elif isinstance(value, staticmethod) and isinstance(value.__func__, types.FunctionType):
            made[name] = staticmethod(_copy(value.__func__, names))
    quick = type(kind.__name__, (kind,), made)
    names[kind.__module__][kind.__name__] = quick  # by which static functions are called
    return quick


def _plain(function: types.FunctionType) -> types.FunctionType:
    """A function without the package's question whether a task is set, which it always is."""
    if function.__name__ != "inner":
        return function
    return inspect.getclosurevars(function).nonlocals["func"]


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
        "np": _like(np, linalg=_like(np.linalg, norm=arithmetic.norm)),
        "reward_utils": _like(reward_utils, tolerance=arithmetic.tolerance),
        "tolerance": arithmetic.tolerance,
        "Rotation": arithmetic.Turn,
    }
