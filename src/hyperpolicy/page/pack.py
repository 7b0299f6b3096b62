"""Arrays of a page in one binary file, which the page maps as typed arrays."""

from pathlib import Path

import numpy as np

KINDS = {"f4": np.float32, "f8": np.float64, "i4": np.int32}
ALIGNED = 8


class Pack:
    """Arrays one after the other; equal ones are kept once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.known: dict[tuple, dict] = {}

    def add(self, x, kind: str = "f4") -> dict:
        """Where an array lies: its type, shape and first byte."""
        array = np.ascontiguousarray(x, KINDS[kind])
        data = array.tobytes()
        key = (kind, array.shape, data)
        if key not in self.known:
            self.known[key] = {"kind": kind, "shape": list(array.shape), "at": self.size}
            data += b"\0" * (-len(data) % ALIGNED)
            self.parts.append(data)
            self.size += len(data)
        return self.known[key]

    def write(self, path: Path) -> None:
        """All of them as one file."""
        path.write_bytes(b"".join(self.parts))
