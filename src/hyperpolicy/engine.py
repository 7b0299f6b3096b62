"""Which engine steps the worlds of MuJoCo families: the native one, or MJX on JAX's device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hyperpolicy.errors import BadSetting

VARIABLE = "HYPERPOLICY_ENGINE"
ENGINES = {"mujoco": "", "mjx": "hyperpolicy.mjx:MjxWorlds"}
"""name → what steps worlds in place of the native engine; imported when it is asked for."""


def name() -> str:
    """The engine that HYPERPOLICY_ENGINE names; MuJoCo's native one unless it does. Raises
    BadSetting: another word."""
    asked = os.environ.get(VARIABLE) or "mujoco"
    if asked not in ENGINES:
        raise BadSetting(
            f"--engine {asked} ({VARIABLE}): there is none; engines: {', '.join(ENGINES)}"
        )
    return asked


def worlds() -> Any:
    """The class of the engine's worlds; None for the native one."""
    module, _, member = ENGINES[name()].partition(":")
    return getattr(import_module(module), member) if module else None


def record() -> dict[str, str]:
    """What runs and zoos note of it: nothing of the native engine."""
    return {} if name() == "mujoco" else {"engine": name()}


def only_native(family: str) -> None:
    """Refuse another engine for a family whose worlds have their own. Raises BadSetting."""
    if name() != "mujoco":
        raise BadSetting(
            f"--engine {name()} steps families that are MuJoCo models; worlds of {family} have "
            "their own. Use --engine mujoco"
        )


@contextmanager
def chosen(asked: str) -> Iterator[None]:
    """A block in which this engine is used; '' leaves it as it is. Raises BadSetting: no such
    engine."""
    before = os.environ.get(VARIABLE)
    try:
        if asked:
            os.environ[VARIABLE] = asked
        name()
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
