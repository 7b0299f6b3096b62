"""Every header we read from a file, as a typed structure with bounds: zoos, generators, policies,
episodes, demonstrations, bases.

A file may come from a stranger. So its sizes have limits, its names are plain names of regular
files beside it, its numbers are finite, and its checksums hold; a file that breaks one of these is
named in a `BadFile` of one line. What a record may hold besides (`provenance`) is never obeyed.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from hyperpolicy import files
from hyperpolicy.errors import BadFile

MOST_BYTES = 256 * 2**20
"""Of a header's file."""
Size = Annotated[int, Meta(ge=1, le=1_000_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
PlainName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")]
"""A file beside the header: no folders, nothing hidden."""
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""A SHA-256."""
Context = tuple[float, ...]
Record = dict[str, Any]
T = TypeVar("T", bound=Struct)


class PolicyHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes, activations and head of a policy."""

    obs: Size
    action: Size
    hidden: Annotated[tuple[Size, ...], Meta(min_length=1, max_length=64)]
    activations: tuple[Literal["relu", "elu", "tanh", "swish"], ...]
    head: Literal["gaussian", "deterministic"] = "gaussian"
    output: Literal["tanh", "clip"] = "tanh"

    def __post_init__(self):
        if len(self.hidden) != len(self.activations):
            raise ValueError(
                f"{len(self.hidden)} hidden layers and {len(self.activations)} activations"
            )


class Training(Struct, frozen=True):
    """How experts, or a base, were trained, as far as later steps decide by it."""

    env_steps: Count = 0
    """Environment steps of one expert, its start's not counted; of a base all it took."""
    updates: Count = 0
    """Gradient updates of one expert, or of the base."""
    usual_reward: float = 0.0
    """Reward of a step that the critics leave out."""
    seen: tuple[Context, ...] = ()
    """Contexts whose transitions reached every expert, by a common base or a shared replay."""
    mujoco: str = ""
    """Version that the returns were measured with; filled in when a zoo is saved."""


class ZooHeader(Struct, frozen=True):
    """zoo.json."""

    format: str
    family: Record
    policy: PolicyHeader
    shards: Annotated[tuple[PlainName, ...], Meta(min_length=1)]
    checksums: dict[PlainName, Digest]
    training: Training
    provenance: Record

    def __post_init__(self):
        _need_checksums(self.checksums, {"index.jsonl", "experts.safetensors", *self.shards})


class IndexRow(Struct, frozen=True, rename={"mean_return": "return"}):
    """A line of a zoo's index.jsonl."""

    shard: Count
    expert: Count
    context: Context
    updates: Count
    final: bool
    mean_return: float | None


Vectors = Literal["policies", "critics"]
"""What the vectors of a generator are."""


class GeneratorHeader(Struct, frozen=True):
    """A generator's config.json."""

    format: str
    writes: Vectors
    reader: Record
    writer: Record
    codec: Record
    family: Record
    policy: PolicyHeader
    trained_contexts: Annotated[tuple[Context, ...], Meta(min_length=1)]
    checksums: dict[PlainName, Digest]


class SignalRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A signal of doubt at contexts that were held out."""

    name: Annotated[str, Meta(max_length=60)]
    correlation: float
    """Spearman's, with the shortfall."""
    low: float
    high: float
    """Ends of its interval."""
    values: tuple[float, ...]


class RankingRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """What neighbors' critics know of draws for one context; means over contexts that were held
    out, each with its interval."""

    correlation: float
    """Of critics' values and returns."""
    correlation_low: float
    correlation_high: float
    gain: float
    """Return of the draw that the critics prefer minus the mean of all."""
    gain_low: float
    gain_high: float
    best: float
    """Return of the best draw minus the mean of all."""
    best_low: float
    best_high: float

    @property
    def trusted(self) -> bool:
        """Whether draws are ranked without being asked twice."""
        return self.correlation >= 0.3 and self.correlation_low > 0


class ConfidenceHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """A generator's confidence.json."""

    format: str
    generator: Digest
    """Of the weights it was measured for."""
    folds: Count
    episodes: Count
    contexts: Annotated[tuple[Context, ...], Meta(min_length=1)]
    """Held out, each once."""
    shortfall: tuple[float, ...]
    """Return of the context's own expert minus that of the written policy."""
    signals: tuple[SignalRecord, ...]
    chosen: str | None
    """The signal that is shown; None where none is good enough."""
    ranking: RankingRecord | None = None

    def __post_init__(self):
        names = {one.name for one in self.signals}
        sizes = {len(self.contexts), len(self.shortfall), *(len(x.values) for x in self.signals)}
        if len(sizes) > 1 or not names >= {self.chosen} - {None}:
            raise ValueError("its signals do not fit its contexts")


class PoliciesHeader(Struct, frozen=True):
    """Of a file of policies."""

    spec: PolicyHeader


class ShardHeader(Struct, frozen=True):
    """A shard of stored episodes."""

    index: PlainName
    steps: PlainName
    makers: tuple[str, ...]
    """Whoever made its episodes, which know them by number."""
    provenance: Record


class EpisodesHeader(Struct, frozen=True):
    """episodes.json."""

    format: str
    family: Record
    shards: Annotated[tuple[ShardHeader, ...], Meta(min_length=1)]
    checksums: dict[PlainName, Digest]

    def __post_init__(self):
        wanted = {name for shard in self.shards for name in (shard.index, shard.steps)}
        _need_checksums(self.checksums, wanted)


class DemonstrationsHeader(Struct, frozen=True):
    """Of a file of demonstrations."""

    family: Record
    layout: Literal["opening", "whole"] = "opening"


class GeneralistHeader(Struct, frozen=True):
    """Of a file of policies for many tasks."""

    family: Record
    spec: Record
    contexts: Annotated[tuple[Context, ...], Meta(min_length=1)]
    seeds: Annotated[tuple[Count, ...], Meta(min_length=1)]
    training: Training
    provenance: Record


class BaseHeader(Struct, frozen=True):
    """Of a context-conditioned base."""

    family: Record
    spec: PolicyHeader
    training: Training
    provenance: Record
    usual_reward: float = 0.0


def _need_checksums(checksums: Mapping[str, str], names: set[str]) -> None:
    if missing := sorted(names - checksums.keys()):
        raise ValueError(f"no checksum of {', '.join(missing)}")


# --- Records -------------------------------------------------------------------------------
def read(path: str | Path, kind: type[T], wanted: str) -> T:
    """The header in a JSON file of format `wanted`.

    Raises:
        BadFile: it is missing, no regular file, too large, of another format, or damaged.
    """
    text = text_of(path)
    found = decode(text, _Format, path).format
    if found != wanted:
        raise BadFile(f"{path} has format {found!r}, this version reads {wanted!r}")
    return decode(text, kind, path)


class _Format(Struct, frozen=True):
    format: str


def read_lines(path: str | Path, kind: type[T]) -> list[T]:
    """One header a line; BadFile, which names the line, as in `read`."""
    lines = text_of(path).splitlines()
    return [decode(line, kind, f"{path}, line {i + 1},") for i, line in enumerate(lines)]


def decode(text: bytes | str, kind: type[T], where) -> T:
    """The header that JSON `text` holds; BadFile, which names `where`, for anything else."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError) as error:
        name = kind.__name__.lstrip("_")
        raise BadFile(f"{where} is no {name}, or damaged: {error}") from None


def text_of(path: str | Path) -> bytes:
    """The bytes of a file that may hold a header; BadFile where it is not `regular`, or too
    large."""
    path = regular(path)
    if path.stat().st_size > MOST_BYTES:
        raise BadFile(f"{path} has {path.stat().st_size:,} bytes; a header has {MOST_BYTES:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from None


def regular(path: str | Path) -> Path:
    """`path`, if it is a regular file itself: no link, folder, device or pipe; BadFile where it is
    not, or does not exist."""
    path = Path(path)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        raise BadFile(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"cannot read {path}: {error}") from None
    if not stat.S_ISREG(mode):
        raise BadFile(f"{path} is no regular file (a link, folder or device)")
    return path


def write(path: str | Path, header: Struct) -> Path:
    """Write a header as JSON, one line a field, over what is there."""
    fields = msgspec.to_builtins(header).items()
    lines = [
        f"{msgspec.json.encode(k).decode()}: {json.dumps(v, default=files.plain)}"
        for k, v in fields
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    return files.write(path, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)


# --- Arrays --------------------------------------------------------------------------------
def save_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], header: Struct, overwrite: bool = False
) -> Path:
    """Write named arrays with their header and checksum as one safetensors file."""
    named = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    meta = msgspec.to_builtins(header) | {"sha256": digest(named)}
    return files.save_arrays(path, named, meta, overwrite)


def load_arrays(
    path: str | Path, kind: type[T], needed: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], T]:
    """The arrays of a safetensors file and its header.

    Raises:
        BadFile: not such a file, an array of `needed` is missing, its checksum does not hold, or
            numbers are not finite.
    """
    with files.open_arrays(regular(path)) as file:
        text = (file.metadata() or {}).get("meta", "{}")
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = decode(text, kind, path)
    if missing := [name for name in needed if name not in arrays]:
        raise BadFile(f"{path} holds no {', no '.join(missing)}; is it another kind of file?")
    if decode(text, _Signed, path).sha256 != digest(arrays):
        raise BadFile(f"{path} does not match its checksum; it is damaged")
    check_finite(arrays, path)
    return arrays, header


class _Signed(Struct, frozen=True):
    sha256: Digest


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of named arrays, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        x = arrays[name]
        found.update(f"{name} {x.dtype} {x.shape};".encode())
        found.update(np.ascontiguousarray(x).tobytes())
    return found.hexdigest()


def check_finite(arrays: Mapping[str, np.ndarray], where) -> None:
    """Raises BadFile where a number is not finite."""
    for name, x in arrays.items():
        if np.issubdtype(x.dtype, np.inexact) and not np.isfinite(x).all():
            raise BadFile(f"{where} holds numbers that are not finite, in {name}")


def check_sums(folder: Path, checksums: Mapping[str, str], names) -> None:
    """Raises BadFile where one of the files `names` in `folder` does not match its checksum; each
    file is read once a process, and again when it changes."""
    for name in names:
        path = regular(folder / name)
        about = path.stat()
        if name not in checksums or checksums[name] != _sum_of(
            str(path.absolute()), about.st_size, about.st_mtime_ns
        ):
            raise BadFile(f"{path} does not match its checksum; it is damaged or was exchanged")


@lru_cache(maxsize=1024)
def _sum_of(path: str, size: int, changed: int) -> str:
    return files.checksum(path)
