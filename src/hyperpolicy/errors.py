"""Faults a user can mend: one line that says what was asked, what is possible, what to do.

The command line prints such an error as one line and exits with code 2; nothing else of ours
reaches a user as a traceback.
"""

import difflib
from collections.abc import Iterable


class HyperpolicyError(Exception):
    """Base of every error a user can mend."""


class UnknownFamily(HyperpolicyError):
    pass


class UnknownGrid(HyperpolicyError):
    pass


class UnknownSplit(HyperpolicyError):
    pass


class UnknownTask(HyperpolicyError):
    pass


class UnknownGenerator(HyperpolicyError):
    pass


class BadContext(HyperpolicyError):
    """A context of the wrong shape, not a number, or outside what physics allows."""


class BadShape(HyperpolicyError):
    """An array whose axes do not fit the policy or the family."""


class BadZoo(HyperpolicyError):
    """A zoo that is corrupt, truncated, foreign, empty or of another architecture."""


class BadFile(HyperpolicyError):
    """A file that is missing, half written or not ours."""


class AlreadyExists(HyperpolicyError):
    """Writing would overwrite something; nothing is overwritten silently."""


class Busy(HyperpolicyError):
    """Another process works in the directory."""


class MissingExtra(HyperpolicyError):
    """An optional dependency is not installed."""


class NoRendering(HyperpolicyError):
    """No OpenGL back end works on this machine."""


class DiskFull(HyperpolicyError):
    """Writing failed; what was finished before is intact."""


class OutOfMemory(HyperpolicyError):
    """The memory at hand does not hold what was asked for."""


class NoDevice(HyperpolicyError):
    """JAX_PLATFORMS asks for devices that are not here."""


class WorkerDied(HyperpolicyError):
    """A process that steps worlds died more than once."""


class NoCluster(HyperpolicyError):
    """There is no Ray cluster, or no Slurm, where one was asked for."""


class NoHub(HyperpolicyError):
    """No hub has what was asked for, takes what was sent, or answers."""


class OutOfTime(HyperpolicyError):
    """The minutes that a job was given are over; it goes on where it is called again."""


class BadSetting(HyperpolicyError):
    """A configuration value that cannot work."""


def closest(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?` with the closest of the `known` names; empty where none is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown(error: type[HyperpolicyError], kind: str, plural: str, name: str, known: Iterable[str]):
    """An `error` for `name` that suggests the closest of the `known` names."""
    known = sorted(known)
    names = map(repr, known) if any("," in one for one in known) else known
    there_are = ", ".join(names) or "none"
    return error(f"no {kind} {name!r}.{closest(name, known)} {plural}: {there_are}")
