"""The memory that worlds and their worker processes share: one row a world."""

import mmap
import os
import weakref
from typing import NamedTuple

import numpy as np

COLUMNS = {
    "action": (4, np.float32),
    "obs": (39, np.float32),
    "outcome": (2, np.float32),
    "broken": (1, np.int64),
    "seed": (1, np.int64),
    "episode": (1, np.int64),
    "marked": (1, np.int64),
}
"""Width and type of each column; `marked` says for which rows the next command is."""


class Block(NamedTuple):
    """Live views of n rows, the same memory in every process."""

    action: np.ndarray
    obs: np.ndarray
    outcome: np.ndarray
    broken: np.ndarray
    seed: np.ndarray
    episode: np.ndarray
    marked: np.ndarray


class Memory:
    """Nameless memory behind a block: gone when the last process lets go of it. Linux only."""

    def __init__(self, n: int):
        handle = os.memfd_create("hyperpolicy")
        weakref.finalize(self, os.close, handle)
        os.ftruncate(handle, _size(n))
        self.path = f"/proc/{os.getpid()}/fd/{handle}"
        """Where this process's children open it."""
        self.block = attach(self.path, n)


def attach(path: str, n: int) -> Block:
    """The block in a file."""
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), _size(n))
    views, start = [], 0
    for width, kind in COLUMNS.values():
        count = n * width
        shape = (n, width) if width > 1 else (n,)
        views.append(np.frombuffer(memory, kind, count, start).reshape(shape))
        start += _padded(count, kind)
    return Block(*views)


def _size(n: int) -> int:
    return sum(_padded(n * width, kind) for width, kind in COLUMNS.values())


def _padded(count: int, kind) -> int:
    """Bytes of a column, up to the next cache line."""
    return -(-count * np.dtype(kind).itemsize // 64) * 64
