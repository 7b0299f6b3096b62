"""A directory that one process has for itself."""

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists, BadFile, Busy

P, R = ParamSpec("P"), TypeVar("R")

LOCK = ".hyperpolicy.lock"
"""A file in a directory in use; its content is the number of the process."""


_held: dict[Path, int | None] = {}
"""The directories of this process, each with the descriptor of its lock if there is one."""


@contextmanager
def hold(out: str | Path | None) -> Iterator[None]:
    """A block in which no other process works in the directory `out`; None stands for none.

    The directory is made where it is missing, and removed again where nothing came of it. What
    killed processes left half written in it is removed. The kernel frees the lock when this process
    ends, however it ends; blocks of one process nest. Where the file system has no locks, the
    block runs without.

    Raises:
        Busy: another process works there.
        AlreadyExists: `out` is a file.
        BadFile, DiskFull: the directory cannot be made.
    """
    place = None if out is None else Path(os.path.realpath(out))
    if out is None or place is None or place in _held:
        yield
        return
    made = [p for p in (place, *place.parents) if not os.path.exists(p)]
    try:
        _held[place] = _lock(place, Path(out))
        try:
            files.sweep(place)
            yield
        finally:
            _free(place, _held.pop(place))
    finally:
        for path in made:
            with suppress(OSError):  # it is in use
                path.rmdir()


def alone(job: Callable[P, R]) -> Callable[P, R]:
    """`job`, which holds the directory it is given as `out` while it runs."""
    signature = inspect.signature(job)

    @wraps(job)
    def held(*args: P.args, **kwargs: P.kwargs) -> R:
        out = signature.bind(*args, **kwargs).arguments.get("out")
        with hold(getattr(out, "path", out)):  # of an Output
            return job(*args, **kwargs)

    return held


def check(out: Path) -> None:
    """Raise BadFile where `out` is no longer this process's: somebody removed it meanwhile."""
    descriptor = _held.get(Path(os.path.realpath(out)))
    mine = out.is_dir() if descriptor is None else _is_at(descriptor, out / LOCK)
    if not mine:
        raise BadFile(f"{out} was removed while its run went on; nothing more can be saved there")


def is_free(out: Path, but: tuple[str, ...] = ()) -> bool:
    """Whether nothing is in the directory `out`: it is missing, or holds only hidden files of ours
    and what is called one of `but`."""
    if not os.path.lexists(out):
        return True
    known = (LOCK, *but)
    return out.is_dir() and all(
        one in known or files.TEMPORARY.fullmatch(one) for one in os.listdir(out)
    )


def _lock(place: Path, asked: Path) -> int | None:
    """A descriptor that locks `place`, which is made; None where there are no locks."""
    descriptor = _open(place, asked)
    try:
        import fcntl

        while descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, place / LOCK):
                break
            os.close(descriptor)  # whoever had it removed it just now
            descriptor = _open(place, asked)
    except BlockingIOError:
        assert descriptor is not None
        written = os.pread(descriptor, 20, 0)
        owner = f"process {int(written)}" if written.isdigit() else "another process"
        os.close(descriptor)
        raise Busy(
            f"{asked} is in use by {owner}; wait for it, or choose another directory"
        ) from None
    except (ImportError, OSError):
        _free(place, descriptor)
        return None
    if descriptor is not None:
        with suppress(OSError):  # on a full disk the lock has no name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _open(place: Path, asked: Path) -> int | None:
    """The lock's file, in a directory that is made; None where it cannot be written."""
    while True:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise AlreadyExists(f"{asked} is a file; give a directory") from None
        except OSError as error:
            raise files.fault(asked, error) from error
        try:
            return os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            continue  # whoever made the directory removed it just now
        except OSError:
            return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether `path` still is the open file; whoever freed it may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _free(place: Path, descriptor: int | None) -> None:
    if descriptor is None:
        return
    if _is_at(descriptor, place / LOCK):
        with suppress(OSError):
            (place / LOCK).unlink()
    os.close(descriptor)
