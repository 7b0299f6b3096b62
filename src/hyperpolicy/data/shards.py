"""A directory of episodes: the files behind `Episodes.save`, `append` and `load`.

    episodes.json            what they are: family, shards, checksums
    index-000.safetensors    by episode: length, context, terminated, truncated, seed, policy, maker
    steps-000.safetensors    obs [Σ (t + 1), o], action [Σ t, a], reward, outcome, one episode after
                             the other, without padding

It only grows: each append is a shard, and the header, written last, makes it count. Indexes are
read at once; the steps of a shard when one of its episodes is asked for, after its checksum.
What is damaged, of another format or size, or does not fit its family is a BadFile that names it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from hyperpolicy import files, headers
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile
from hyperpolicy.headers import EpisodesHeader, ShardHeader
from hyperpolicy.provenance import library_versions

FORMAT, HEADER = "hyperpolicy-episodes-1", "episodes.json"
NUMBERS = {
    "length": "i",
    "context": "f",
    "terminated": "b",
    "truncated": "b",
    "seed": "i",
    "policy": "i",
}
"""Arrays of an index beside the makers' numbers, and the kinds of their numbers."""


class Index(NamedTuple):
    """What is known of n episodes without reading their steps; fields are those of `Episode`."""

    length: Int[np.ndarray, " n"]
    """Steps t."""
    context: Float[np.ndarray, "n c"]
    terminated: Bool[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    seed: Int[np.ndarray, " n"]
    policy: Int[np.ndarray, " n"]
    made_by: Shaped[np.ndarray, " n"]


Steps = dict[str, np.ndarray]
"""obs, action, reward and outcome of some episodes, one after the other."""


def widths(family: Family) -> dict[str, tuple[int, ...]]:
    """The shape of one step's part of each array."""
    return {
        "obs": (family.obs_size,),
        "action": (family.action_size,),
        "reward": (),
        "outcome": (family.outcome_size,),
    }


Read = Callable[[str, int, int], Float[np.ndarray, "t ..."]]
"""(name, first, count) → rows of an array of a shard's steps."""


# --- Writing ------------------------------------------------------------------------------
def write(path: Path, family: Family, index: Index, steps: Steps, old: EpisodesHeader | None):
    """Add a shard, then the header that makes it count."""
    shards = old.shards if old else ()
    number = len(shards)
    makers, maker = np.unique(index.made_by, return_inverse=True)
    shard = ShardHeader(
        f"index-{number:03d}.safetensors",
        f"steps-{number:03d}.safetensors",
        tuple(makers.tolist()),
        library_versions(),
    )
    numbers = {name: getattr(index, name) for name in NUMBERS} | {"maker": maker.ravel()}
    files.save_arrays(path / shard.index, numbers, overwrite=True)
    files.save_arrays(path / shard.steps, steps, overwrite=True)
    sums = {name: files.checksum(path / name) for name in (shard.index, shard.steps)}
    known = old.checksums if old else {}
    header = EpisodesHeader(FORMAT, family.record(), (*shards, shard), known | sums)
    headers.write(path / HEADER, header)


# --- Reading ------------------------------------------------------------------------------
def read_header(path: Path) -> EpisodesHeader:
    """The header of a directory of episodes."""
    if not (path / HEADER).is_file():
        raise BadFile(f"{path} holds no episodes: it has no {HEADER}")
    return headers.read(path / HEADER, EpisodesHeader, FORMAT)


def read_shard(
    path: Path, header: EpisodesHeader, shard: ShardHeader, family: Family
) -> tuple[Index, Read]:
    """What a shard says of its episodes, and where their steps are."""
    headers.check_sums(path, header.checksums, [shard.index])
    arrays, _ = files.load_arrays(headers.regular(path / shard.index))
    headers.check_finite(arrays, path / shard.index)
    try:
        length, maker = arrays["length"], arrays["maker"]
        makers = np.array(shard.makers, object)
        found = Index._make([*(arrays[name] for name in NUMBERS), makers[maker]])
        sizes = {len(x) for x in found}
        sound = len(sizes) == 1 and found.context.shape == (len(length), family.context.size)
        sound &= all(arrays[name].dtype.kind == kind for name, kind in NUMBERS.items())
    except (KeyError, IndexError, TypeError):
        sound = False
    if not sound or length.min(initial=1) < 1:
        raise BadFile(f"{path}/{shard.index} is no index of episodes of {family.name}")
    totals = len(length), int(length.sum())
    return found, _reader(path / shard.steps, header.checksums, family, totals)


def _reader(path: Path, checksums: dict[str, str], family: Family, totals: tuple[int, int]) -> Read:
    """What reads a file of `totals` (episodes, steps), its checksum and arrays checked."""
    episodes, steps = totals

    def read(name: str, first: int, count: int) -> Float[np.ndarray, "t ..."]:
        headers.check_sums(path.parent, checksums, [path.name])
        want = (steps + episodes * (name == "obs"), *widths(family)[name])
        with files.open_arrays(path) as file:
            if name not in file.keys():  # noqa: SIM118
                raise BadFile(f"{path} holds no {name}")
            part = file.get_slice(name)
            if (tuple(part.get_shape()), part.get_dtype()) != (want, "F32"):
                raise BadFile(
                    f"{path}: {name} is {part.get_dtype()} {part.get_shape()}, F32 {list(want)} is "
                    "expected"
                )
            found = part[first : first + count]
        headers.check_finite({name: found}, path)
        return found

    return read
