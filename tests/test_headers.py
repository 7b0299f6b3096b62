"""Headers that a stranger may have written: every damage is one line, nothing is read elsewhere."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import files, headers
from hyperpolicy.data.demonstrations import Demonstrations, widths
from hyperpolicy.errors import BadFile, BadZoo, HyperpolicyError
from hyperpolicy.fleet import Base
from hyperpolicy.generate import generator
from hyperpolicy.generate.writers import lookup
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.rl import sac
from hyperpolicy.zoo import Training, Zoo

CASES = 60
"""Damages of each kind of file."""
FAMILY = hp.family("cheetah-vel")
SPEC = PolicySpec(20, 6, (4, 4))
NASTY = (None, True, -1, 0, 3, 1e308, 2**70, "", "x", "../x.safetensors", "/dev/zero", [], [[]])
NASTY += ({}, {"a": {}}, "\x1b[31m", [1.5], ["gelu", "relu"], "hopper", [None], "💥" * 300)


def make_zoo() -> Zoo:
    rng = np.random.default_rng(0)
    return Zoo(
        spec=SPEC,
        family=FAMILY,
        weights=rng.normal(size=(4, SPEC.size)).astype(np.float32),
        expert=np.array([0, 1, 0, 1]),
        updates=np.array([1, 1, 2, 2]),
        final=np.array([False, False, True, True]),
        returns=np.array([np.nan, np.nan, -1.0, -2.0], np.float32),
        contexts=np.array([[0.5], [1.5]]),
        states=rng.normal(size=(2, 3, 20)).astype(np.float32),
    )


def make_base() -> Base:
    wide = PolicySpec(21, 6, (4, 4))
    size = sac.critic_spec(sac.SacConfig(hidden=(4, 4)), 21, 6).size
    policy = Policies(np.ones((1, wide.size), np.float32), wide)
    critics, alpha = np.ones((1, 2, size), np.float32), np.zeros(1, np.float32)
    return Base(FAMILY, np.array([[0.5], [1.5]]), policy, critics, alpha, Training(3), {"seed": 0})


def make_demonstrations() -> Demonstrations:
    arm = hp.family("metaworld")
    opening, ending = (np.ones((2, width), np.float32) for width in widths(arm))
    return Demonstrations(arm, np.array([[3.0], [4.0]]), opening, ending)


SAVED = {
    "zoo": (make_zoo, Zoo.load),
    "generator": (lambda: lookup.nearest(make_zoo()), generator.load),
    "policies": (lambda: Policies(np.ones((2, SPEC.size), np.float32), SPEC), Policies.load),
    "base": (make_base, Base.load),
    "demonstrations": (make_demonstrations, Demonstrations.load),
}


def damaged(value, rng: random.Random):
    """A JSON value with one thing changed, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: damaged(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        i = rng.randrange(len(value))
        return [*value[:i], damaged(value[i], rng), *value[i + 1 :]]
    return rng.choice(NASTY)


def header_of(path: Path) -> dict:
    if path.suffix in (".json", ".jsonl"):
        return json.loads(
            path.read_text().splitlines()[0] if path.suffix == ".jsonl" else path.read_text()
        )
    with files.open_arrays(path) as file:
        return json.loads(file.metadata()["meta"])


def put_header(path: Path, header, rng: random.Random) -> None:
    """Another header in a file, everything else as it was."""
    if path.suffix == ".json":
        path.write_text(json.dumps(header))
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        lines[rng.randrange(len(lines))] = json.dumps(header)
        path.write_text("\n".join(lines) + "\n")
        zoo = json.loads((path.parent / "zoo.json").read_text())
        zoo["checksums"][path.name] = files.checksum(path)
        (path.parent / "zoo.json").write_text(json.dumps(zoo))
    else:
        arrays, _ = files.load_arrays(path)
        files.save_arrays(path, arrays, header, overwrite=True)


@pytest.mark.parametrize("name", [*SAVED, "index"])
def test_any_damage_of_a_header_is_one_line(name, tmp_path, as_user):
    """Read, it is the same kind of thing or a fault of ours; `verify` only lists faults."""
    make, load = SAVED["zoo" if name == "index" else name]
    path = tmp_path / "thing"
    make().save(path)
    header = {"zoo": "zoo.json", "index": "index.jsonl", "generator": "config.json"}
    file = path / header[name] if name in header else path
    whole, refused = {p: p.read_bytes() for p in [*path.glob("*"), path] if p.is_file()}, 0
    for seed in range(CASES):
        rng = random.Random(seed)
        put_header(file, damaged(header_of(file), rng), rng)
        try:
            load(path)
        except HyperpolicyError as error:
            refused += 1
            assert "\n" not in str(error)
        if name in ("zoo", "index"):
            assert isinstance(Zoo.verify(path), list)
        for p, data in whole.items():
            p.write_bytes(data)
    assert refused > CASES / 3  # provenance may say anything


@pytest.mark.parametrize("name", SAVED)
def test_a_flipped_bit_is_never_used(name, tmp_path):
    make, load = SAVED[name]
    path = tmp_path / "thing"
    make().save(path)
    load(path)
    for file in [path] if path.is_file() else path.glob("*.safetensors"):
        whole = bytearray(file.read_bytes())
        whole[-2] ^= 0x40
        file.write_bytes(whole)
        with pytest.raises(HyperpolicyError, match="checksum"):
            load(path)
        whole[-2] ^= 0x40
        file.write_bytes(whole)
    load(path)


@pytest.mark.parametrize("name", SAVED)
def test_numbers_that_are_not_finite_are_refused(name, tmp_path):
    """With the checksums that fit them, too."""
    make, load = SAVED[name]
    path = tmp_path / "thing"
    make().save(path)
    if path.is_file():
        arrays, meta = files.load_arrays(path)
        key = sorted(arrays)[-1]
        arrays[key].flat[0] = np.nan
        files.save_arrays(path, arrays, meta | {"sha256": headers.digest(arrays)}, overwrite=True)
    else:
        file = next(p for p in sorted(path.glob("*.safetensors")))
        arrays, meta = files.load_arrays(file)
        next(iter(arrays.values())).flat[0] = np.inf
        files.save_arrays(file, arrays, meta, overwrite=True)
        config = path / ("zoo.json" if name == "zoo" else "config.json")
        record = json.loads(config.read_text())
        record["checksums"][file.name] = files.checksum(file)
        config.write_text(json.dumps(record))
    with pytest.raises(HyperpolicyError, match="not finite"):
        load(path)


# --- Foreign files -------------------------------------------------------------------------
def change(zoo: Path, **fields) -> None:
    header = json.loads((zoo / "zoo.json").read_text()) | fields
    (zoo / "zoo.json").write_text(json.dumps(header))


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", ".hidden", "a/b", "", "a\n"])
def test_a_zoo_reads_plain_names_only(shard, tmp_path):
    make_zoo().save(tmp_path / "z")
    change(tmp_path / "z", shards=[shard])
    with pytest.raises(BadZoo, match="shards"):
        Zoo.load(tmp_path / "z")


def test_a_zoo_follows_no_links_and_reads_no_pipes(tmp_path):
    make_zoo().save(tmp_path / "z")
    shard = tmp_path / "z/actors-000.safetensors"
    shard.rename(tmp_path / "elsewhere.safetensors")
    shard.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(BadZoo, match="no regular file"):
        Zoo.load(tmp_path / "z")
    shard.unlink()
    os.mkfifo(shard)  # reading one would never end
    with pytest.raises(BadZoo, match="no regular file"):
        Zoo.load(tmp_path / "z")
    assert "no regular file" in Zoo.verify(tmp_path / "z")[0]


def test_a_file_is_read_again_when_it_changes(tmp_path):
    make_zoo().save(tmp_path / "z")
    Zoo.load(tmp_path / "z")
    shard = tmp_path / "z/actors-000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(BadZoo, match="checksum"):
        Zoo.load(tmp_path / "z")


def test_deep_and_large_headers_are_refused(tmp_path, monkeypatch):
    make_zoo().save(tmp_path / "z")
    header = tmp_path / "z/zoo.json"
    whole = header.read_text()
    header.write_text('{"format": ' + "[" * 200_000)
    with pytest.raises(BadZoo, match="damaged"):
        Zoo.load(tmp_path / "z")
    header.write_text(whole)
    monkeypatch.setattr(headers, "MOST_BYTES", 100)
    with pytest.raises(BadZoo, match="bytes; a header has 100"):
        Zoo.load(tmp_path / "z")


def test_a_family_nobody_registered_is_named(tmp_path):
    make_zoo().save(tmp_path / "z")
    change(tmp_path / "z", family=FAMILY.record() | {"kind": "Jumper"})
    with pytest.raises(HyperpolicyError, match="'Jumper', which is not known here; `hyper"):
        Zoo.load(tmp_path / "z")


def test_a_family_is_read_as_it_was_written(tmp_path):
    from dataclasses import replace

    zoo = replace(make_zoo(), family=replace(FAMILY, horizon_steps=77))
    zoo.save(tmp_path / "z")
    assert Zoo.load(tmp_path / "z").family.horizon_steps == 77
    assert Zoo.load(tmp_path / "z").family != FAMILY
    with pytest.raises(BadFile, match="horizon_steps"):
        hp.envs.read(FAMILY.record() | {"horizon_steps": 0})
