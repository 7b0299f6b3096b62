"""Files never half written: safetensors and JSON, through a temporary name and a rename."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hyperpolicy.errors import AlreadyExists, BadFile, DiskFull, HyperpolicyError


def write(path: str | Path, writer: Callable[[Path], object], overwrite: bool = False) -> Path:
    """Call `writer` with a temporary name beside `path`, then rename.

    Raises:
        AlreadyExists: `path` exists and `overwrite` is false.
        DiskFull: the disk is full; the temporary file is gone, an older `path` is intact.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:  # a link that leads nowhere is there, too
        raise AlreadyExists(f"{path} exists; choose another name or remove it first")
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        writer(temporary)
        temporary.chmod(0o644)  # safetensors leaves files to their owner alone
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise fault(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def append_line(path: Path, record: dict) -> None:
    """Add one JSON line; numbers that are not finite become null. Raises as `write`."""
    text = json.dumps(_finite(record), default=plain) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise fault(path, error) from error


def _finite(value):
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fault(path: Path, error: Exception) -> HyperpolicyError:
    """What to tell a user whose `path` could not be written."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left" in str(error):
        return DiskFull(f"no space left to write {path}; free some and run again")
    return BadFile(f"cannot write {path}: {error}")


def save_json(path: str | Path, record, overwrite: bool = False) -> Path:
    """Write `record` as indented JSON."""
    text = json.dumps(record, indent=1, sort_keys=False, default=plain) + "\n"
    return write(path, lambda p: p.write_text(text, encoding="utf-8"), overwrite)


def load_json(path: str | Path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist") from None
    except (ValueError, OSError) as error:
        raise BadFile(f"{path} is not readable JSON ({error}); it may be half written") from None


def load_lines(path: str | Path) -> list:
    """The records of a file with one JSON record a line; BadFile where it holds none such."""
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} is no file of JSON lines ({error})") from None


def save_arrays(
    path: str | Path, arrays: dict[str, np.ndarray], meta: dict | None = None, overwrite=False
) -> Path:
    """Write named arrays and a JSON-able `meta` as one safetensors file."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {"meta": json.dumps(meta or {}, default=plain)}
    return write(path, lambda p: save_file(arrays, p, header), overwrite)


def load_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """All arrays of a safetensors file, and its `meta`."""
    with open_arrays(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, _meta(file, path)


def read_meta(path: str | Path) -> dict:
    """The `meta` of a safetensors file, without its arrays."""
    with open_arrays(path) as file:
        return _meta(file, path)


def _meta(file, path: str | Path) -> dict:
    try:
        meta = json.loads((file.metadata() or {}).get("meta", "{}"))
    except ValueError as error:
        raise BadFile(f"{path} has a damaged header ({error})") from None
    if not isinstance(meta, dict):
        raise BadFile(f"{path} has a damaged header: no record in it")
    return meta


def open_arrays(path: str | Path):
    """A safetensors file for random access: `.get_slice(name)[rows]`."""
    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise BadFile(f"{path} is not a whole safetensors file ({error})") from None


def save_tree(path: str | Path, tree, meta: dict | None = None, overwrite=False) -> Path:
    """Write a pytree's leaves in their order; read it back with `load_tree` into a like tree."""
    arrays = {}
    for i, leaf in enumerate(jax.tree.leaves(tree)):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        arrays[f"{i:04d}"] = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return save_arrays(path, arrays, meta, overwrite)


def load_tree(path: str | Path, like) -> tuple[Any, dict]:
    """A pytree shaped as `like` (arrays or `jax.eval_shape` structs), and its `meta`; BadFile where
    the file is not whole, or its leaves do not fit `like`."""
    arrays, meta = load_arrays(path)
    leaves, structure = jax.tree.flatten(like)
    names = [f"{i:04d}" for i in range(len(leaves))]
    if sorted(arrays) != sorted(names):
        raise BadFile(f"{path} holds {len(arrays)} arrays, {len(leaves)} were expected")
    out = []
    for i, leaf in enumerate(leaves):
        array = arrays[names[i]]
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            array = jax.random.wrap_key_data(jnp.asarray(array))
        if array.shape != leaf.shape:
            raise BadFile(f"{path}: array {i} has shape {array.shape}, expected {leaf.shape}")
        out.append(array)
    return jax.tree.unflatten(structure, out), meta


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def directory(path: str | Path, replace: bool = False):
    """A temporary directory that becomes `path` when the block ends well, else vanishes; in the
    place of what is there, where it may `replace` that."""
    path = Path(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed process with this one's number
        temporary.mkdir()
        yield temporary
        if replace and path.is_dir():
            old = path.with_name(f".{path.name}-old.{os.getpid()}.tmp")
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
    except OSError as error:
        raise fault(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def new_directory(path: str | Path) -> Path:
    """A directory made just now, `path`, or `path-2`, `path-3` … where it exists; raises as
    `write`."""
    path = Path(path)
    for number in count(1):
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise fault(candidate, error) from error
    return candidate


def check_space(path: str | Path, num_bytes: int) -> None:
    """Raise DiskFull where fewer than `num_bytes` are free below `path`."""
    there = Path(path).absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < num_bytes:
        raise DiskFull(f"{path}: {size_text(num_bytes)} needed, {size_text(free)} free")


def size_text(num_bytes: float | int) -> str:
    """A number of bytes for a reader: 312 bytes, 4.2 kB, 17.0 MB."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} bytes"
    power = min(3, int(math.log10(num_bytes) // 3))
    return f"{num_bytes / 1000**power:.1f} {['', 'kB', 'MB', 'GB'][power]}"


# --- Temporary names ----------------------------------------------------------------------
TEMPORARY = re.compile(r"\.(.+)\.([1-9]\d{0,9})\.tmp")
"""Of the file `name` while process `number` writes it: .name.number.tmp, hidden; nothing else is
called so."""


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sweep(place: Path, name: str | None = None) -> None:
    """Remove what killed processes left half written in the directory `place`: everything, or
    what was to become `name` there. Files of living processes stay."""
    try:
        found = [(path, TEMPORARY.fullmatch(path.name)) for path in place.iterdir()]
    except OSError:
        return
    for path, match in found:
        if match is None or name not in (None, match[1]) or _alive(int(match[2])):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _alive(process: int) -> bool:
    if os.name != "posix":
        return True  # asking would interrupt it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # someone else's
        return True
    return True


def plain(value):
    """What JSON writes for a value that it does not know: arrays as lists, paths as text."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
