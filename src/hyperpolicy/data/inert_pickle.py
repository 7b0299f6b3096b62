"""Arrays out of `.npy` files that hold a pickled dict, without running anything.

Every name that a pickle may ask for stands for a class of this page that only remembers what it
would be made of; any other name ends the reading.
"""

import math
import pickle
import pickletools
from io import BytesIO
from pathlib import Path
from reprlib import repr as short
from typing import Any, BinaryIO

import numpy as np

from hyperpolicy import files, headers
from hyperpolicy.errors import BadFile

MOST_BYTES = headers.MOST_BYTES
"""Of a file; a cheetah's has 5 MB."""
MOST_OPCODES = 10_000
"""Of a pickle; the released ones have about 300."""
NUMBERS = set("f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8".split())
"""The kinds of numbers that are read."""
LAYOUT = "HyperZero's rollouts are a dict of arrays of numbers, by np.save"


class _Remembered:
    """What stands for an object while a file is read: what it would be made of."""

    def __init__(self, *args):
        self.args, self.state = args, ()

    def __setstate__(self, state):
        self.state = state


class _Array(_Remembered):
    pass


class _Dtype(_Remembered):
    pass


class _Table(dict):
    """A dict, whatever it was made with."""

    def __init__(self, *args):
        super().__init__()

    def __setstate__(self, state):
        raise pickle.UnpicklingError("a dict with more than its items")


KNOWN: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Remembered,
    ("numpy", "dtype"): _Dtype,
    ("collections", "defaultdict"): _Table,
    ("builtins", "list"): _Remembered,
}


class _Reader(pickle.Unpickler):
    """Finds nothing but what `KNOWN` puts in its place."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise _Stranger(f"{module}.{name}")
        return KNOWN[module, name]


class _Stranger(pickle.UnpicklingError):
    """Its text is the name of what a file holds besides arrays."""


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by their names. Raises BadFile: it holds anything else."""
    try:
        size = headers.regular(path).stat().st_size
        if size > MOST_BYTES:
            raise BadFile(
                f"{path} has {files.size_text(size)}; at most {files.size_text(MOST_BYTES)} are "
                "read: store fewer episodes a file"
            )
        with open(path, "rb") as file:
            _skip_header(file, path)
            text = file.read()
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror or error}") from None
    try:
        _scan(text)
        root = _Reader(BytesIO(text)).load()
        _, shape, _, _, (table,) = root.state
        if not isinstance(root, _Array) or shape != () or not isinstance(table, dict):
            raise TypeError
    except _Stranger as fault:
        raise BadFile(
            f"{path} holds {short(str(fault))} besides arrays, which could run code and is not "
            f"read; {LAYOUT}: if you trust the file, save it so"
        ) from None
    except Exception as fault:  # a damaged pickle raises errors of many kinds
        why = f"{type(fault).__name__}: {short(str(fault))}" if str(fault) else "something else"
        raise BadFile(f"{path} is damaged, or no released file ({why}); {LAYOUT}") from None
    return {_name(key, path): _built(table[key], key, path) for key in table}


def _skip_header(file: BinaryIO, path: Path) -> None:
    """Read the header of a file; raises BadFile unless it announces one object."""
    try:
        major = np.lib.format.read_magic(file)[0]
        reads = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, _, dtype = reads[major](file)
    except Exception as fault:  # among them warnings, where these are errors
        raise BadFile(f"{path} is no .npy file ({short(str(fault))}); {LAYOUT}") from None
    if not dtype.hasobject or shape != ():
        raise BadFile(f"{path} holds an array of {short(str(dtype))} {list(shape)}; {LAYOUT}")


def _scan(text: bytes) -> None:
    """Raises ValueError for a pickle that is cut short, very long, or asks for much memory."""
    for count, (opcode, arg, _) in enumerate(pickletools.genops(text)):
        if count > MOST_OPCODES or ("PUT" in opcode.name and int(arg or 0) > MOST_OPCODES):
            raise ValueError(f"more than {MOST_OPCODES} parts")


def _name(key: Any, path: Path) -> str:
    if not isinstance(key, str):
        raise BadFile(f"{path} has {short(key)} in the place of a name; {LAYOUT}")
    return key


def _built(found: Any, name: str, path: Path) -> np.ndarray:
    """The array that a file describes."""
    try:
        _, shape, dtype, fortran, raw = found.state
        (code, *_), (_, order, *_) = dtype.args, dtype.state
        sound = isinstance(found, _Array) and isinstance(dtype, _Dtype) and isinstance(raw, bytes)
        if (
            not sound
            or code not in NUMBERS
            or order not in ("<", ">", "|")
            or min(shape, default=0) < 0
        ):
            raise TypeError
        kind = np.dtype(order + code)
        if math.prod(shape) * kind.itemsize != len(raw):
            raise TypeError
        return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran is True else "C")
    except (TypeError, ValueError, AttributeError):
        raise BadFile(f"{path}: {short(name)} is no array of numbers; {LAYOUT}") from None
