"""Faults of the machine and of libraries, told as our own: what to print instead of a traceback."""

import sys

from hyperpolicy import devices
from hyperpolicy.errors import BadFile, HyperpolicyError, NoDevice, OutOfMemory

MEMORY = ("RESOURCE_EXHAUSTED", "bad_alloc", "can't start new thread", "Cannot allocate memory")


def explained(error: BaseException) -> HyperpolicyError | None:
    """The error to tell the user of; None for a fault of the code, which its traceback explains."""
    if isinstance(error, HyperpolicyError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or any(word in text for word in MEMORY):
        what = text.splitlines()[0] if text else "not enough memory"
        return OutOfMemory(f"{what}; ask for fewer worlds, a smaller replay, batch or network")
    if "jax" in sys.modules and (lacking := devices.lacking()) is not None:
        return NoDevice(lacking)
    if isinstance(error, OSError):
        name = "" if error.filename is None else f": {error.filename}"
        return BadFile(f"{error.strerror or error}{name}")
    return None
