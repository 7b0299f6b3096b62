"""A zoo's directory: the files behind `Zoo.save`, `append`, `load` and `verify`.

It only grows:

    zoo.json               what it is: family, policy, provenance, shards with checksums
    index.jsonl            one line a row: expert, context, updates, final, return
    experts.safetensors    by expert: contexts [x,c], critics [x,2,q], states [x,s,o], log_alpha
    actors-000.safetensors rows of flat actor weights [r,p]; each later shard was appended

Weights are stored as float16 (design §7); nothing in a zoo is a pickle.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import files
from hyperpolicy.errors import BadZoo
from hyperpolicy.nets.policy import PolicySpec

FORMAT = "hyperpolicy-zoo-1"


def write_shard(
    path: Path, number: int, weights: Float[np.ndarray, "r p"], index: list[dict]
) -> None:
    """A shard, then the index, whose last rows are its own; the manifest, written last, makes them
    count."""
    shard = path / f"actors-{number:03d}.safetensors"
    files.save_arrays(shard, {"weights": weights.astype(np.float16)}, overwrite=True)
    text = "".join(json.dumps(row) + "\n" for row in index)
    files.write(path / "index.jsonl", lambda p: p.write_text(text), overwrite=True)


def write_manifest(
    path: Path, spec: PolicySpec, family: str, provenance: dict, num_shards: int
) -> None:
    shards = [f"actors-{i:03d}.safetensors" for i in range(num_shards)]
    known = {"index.jsonl", "experts.safetensors", *shards}
    others = {p.name for p in path.glob("*.safetensors") if not p.name.startswith("actors-")}
    counted = sorted(known | others)
    record = {
        "format": FORMAT,
        "family": family,
        "policy": spec.to_json(),
        "shards": shards,
        "checksums": {name: files.checksum(path / name) for name in counted},
        "provenance": provenance,
    }
    files.save_json(path / "zoo.json", record, overwrite=True)


def read_manifest(path: Path) -> tuple[dict, list[dict]]:
    if not (path / "zoo.json").is_file():
        raise BadZoo(f"{path} is not a zoo: it has no zoo.json")
    try:
        manifest = files.load_json(path / "zoo.json")
        if manifest.get("format") != FORMAT:
            raise BadZoo(f"{path} has format {manifest.get('format')!r}, this reads {FORMAT!r}")
        index = [json.loads(line) for line in (path / "index.jsonl").read_text().splitlines()]
        missing = {"family", "policy", "shards", "checksums", "provenance"} - set(manifest)
        if missing:
            raise BadZoo(f"{path}/zoo.json lacks {', '.join(sorted(missing))}")
        index = [row for row in index if row["shard"] < len(manifest["shards"])]
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise BadZoo(f"{path} is damaged ({error}); `hyperpolicy zoo verify` says more") from None
    if not index:
        raise BadZoo(f"{path} has no rows")
    return manifest, index


def read_experts(path: Path) -> dict[str, np.ndarray]:
    arrays, _ = files.load_arrays(path / "experts.safetensors")
    if "contexts" not in arrays:
        raise BadZoo(f"{path}/experts.safetensors holds no contexts")
    return arrays


def read_rows(path: Path, manifest: dict, rows: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k p"]:
    """float32 weights of `rows`, touching only the shards and rows asked for."""
    size = PolicySpec.from_json(manifest["policy"]).size
    out, start = np.zeros((len(rows), size), np.float32), 0
    for name in manifest["shards"]:
        with files.open_arrays(path / name) as shard:
            if "weights" not in shard.keys():  # noqa: SIM118
                raise BadZoo(f"{path}/{name} holds no weights")
            part = shard.get_slice("weights")
            count, width = part.get_shape()
            if width != size:
                raise BadZoo(f"{path}/{name} holds policies of {width} numbers, expected {size}")
            here = np.flatnonzero((rows >= start) & (rows < start + count))
            if len(here) == count:
                out[here] = part[:][rows[here] - start]
            else:
                for i in here:
                    out[i] = part[int(rows[i] - start)]
            start += count
    if len(rows) and rows.max() >= start:
        raise BadZoo(f"{path} is truncated: its index names more rows than its shards hold")
    return out
