"""A zoo's directory: the files behind `Zoo.save`, `append`, `load` and `verify`.

It only grows:

    zoo.json               what it is: family, policy, training, provenance, shards with checksums
    index.jsonl            one line a row: expert, context, updates, final, return
    experts.safetensors    by expert: contexts [x,c], critics [x,2,q], states [x,s,o], log_alpha
    actors-000.safetensors rows of flat actor weights [r,p]; each later shard was appended

Weights are stored as float16; nothing in a zoo is a pickle. What is read is checked on the way: the
headers by `headers`, each file that is used against its checksum, numbers for being finite. What
fails a check is a BadZoo that names it.
"""

from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import files, headers
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile, BadZoo
from hyperpolicy.headers import IndexRow, Training, ZooHeader
from hyperpolicy.nets.policy import PolicySpec

FORMAT = "hyperpolicy-zoo-3"
HEADER, INDEX, EXPERTS = "zoo.json", "index.jsonl", "experts.safetensors"
ARRAYS = ("critics", "states", "log_alpha")
"""Of the experts, beside their contexts; each may be missing."""


def write_shard(
    path: Path, number: int, weights: Float[np.ndarray, "r p"], index: list[IndexRow]
) -> None:
    """A shard, then the index, whose last rows are its own; the header, written last, makes them
    count."""
    shard = path / f"actors-{number:03d}.safetensors"
    files.save_arrays(shard, {"weights": weights.astype(np.float16)}, overwrite=True)
    text = b"".join(msgspec.json.encode(row) + b"\n" for row in index)
    files.write(path / INDEX, lambda p: p.write_bytes(text), overwrite=True)


def write_header(
    path: Path,
    spec: PolicySpec,
    family: Family,
    training: Training,
    provenance: dict,
    num_shards: int,
) -> None:
    """The header, with the checksums of all that lies beside it."""
    shards = tuple(f"actors-{i:03d}.safetensors" for i in range(num_shards))
    others = {p.name for p in path.glob("*.safetensors") if not p.name.startswith("actors-")}
    counted = sorted({INDEX, EXPERTS, *shards} | others)
    sums = {name: files.checksum(path / name) for name in counted}
    header = ZooHeader(FORMAT, family.record(), spec.header, shards, sums, training, provenance)
    headers.write(path / HEADER, header)


def read_header(path: Path) -> tuple[ZooHeader, list[IndexRow]]:
    """The header and the index, its checksum checked."""
    if not (path / HEADER).is_file():
        raise BadZoo(f"{path} is not a zoo: it has no {HEADER}")
    try:
        header = headers.read(path / HEADER, ZooHeader, FORMAT)
        headers.check_sums(path, header.checksums, [INDEX])
        index = headers.read_lines(path / INDEX, IndexRow)
    except BadFile as error:
        raise BadZoo(f"{error}; `hyperpolicy zoo verify {path}` says more") from None
    index = [row for row in index if row.shard < len(header.shards)]
    if not index:
        raise BadZoo(f"{path} has no rows")
    return header, index


def read_experts(path: Path, header: ZooHeader) -> dict[str, np.ndarray]:
    """What is known of each expert; contexts in float64, the rest in float32."""
    try:
        headers.check_sums(path, header.checksums, [EXPERTS])
        arrays, _ = files.load_arrays(path / EXPERTS)
        headers.check_finite(arrays, path / EXPERTS)
    except BadFile as error:
        raise BadZoo(str(error)) from None
    if "contexts" not in arrays or arrays["contexts"].ndim != 2:
        raise BadZoo(f"{path}/{EXPERTS} holds no contexts [x, c]")
    found = {name: arrays[name].astype(np.float32) for name in ARRAYS if name in arrays}
    return found | {"contexts": arrays["contexts"].astype(float)}


def read_rows(
    path: Path, header: ZooHeader, rows: Int[np.ndarray, " k"]
) -> Float[np.ndarray, "k p"]:
    """float32 weights of `rows`, touching only the shards and rows asked for."""
    size = PolicySpec.of(header.policy).size
    out, start = np.zeros((len(rows), size), np.float32), 0
    for name in header.shards:
        start += _read_shard(path, header, name, rows - start, out)
    if len(rows) and rows.max() >= start:
        raise BadZoo(f"{path} is truncated: its index names more rows than its shards hold")
    if not np.isfinite(out).all():
        row = rows[int(np.argmax(~np.isfinite(out).all(axis=1)))]
        raise BadZoo(f"{path}: row {row} holds numbers that are not finite")
    return out


def _read_shard(path: Path, header: ZooHeader, name: str, rows, out) -> int:
    """Put the rows of one shard, counted from its first, where they belong; how many it holds."""
    try:
        with files.open_arrays(headers.regular(path / name)) as shard:
            if "weights" not in shard.keys():  # noqa: SIM118
                raise BadZoo(f"{path}/{name} holds no weights")
            part = shard.get_slice("weights")
            shape = part.get_shape()
            if len(shape) != 2 or shape[1] != out.shape[1]:
                raise BadZoo(
                    f"{path}/{name} holds weights {shape}; policies of {out.shape[1]} numbers are "
                    "expected, [rows, numbers]"
                )
            here = np.flatnonzero((rows >= 0) & (rows < shape[0]))
            if len(here):
                headers.check_sums(path, header.checksums, [name])
            if len(here) == shape[0]:
                out[here] = part[:][rows[here]]
            else:
                for i in here:
                    out[i] = part[int(rows[i])]
            return shape[0]
    except BadFile as error:
        raise BadZoo(str(error)) from None
