"""Zoo: what is written is what is read; what is damaged is named."""

import json
from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists, BadFile, BadZoo, DiskFull
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Training, Zoo, join
from hyperpolicy.zoo.disk import FORMAT

SPEC = PolicySpec(3, 2, (4, 4))


def make_zoo(num_experts: int = 3, num_checkpoints: int = 2) -> Zoo:
    rng = np.random.default_rng(0)
    rows = num_experts * (num_checkpoints + 1)
    final = np.arange(rows) >= num_experts * num_checkpoints

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float16).astype(np.float32)

    return Zoo(
        spec=SPEC,
        family=hp.family("cheetah-vel"),
        weights=normal(rows, SPEC.size),
        expert=np.tile(np.arange(num_experts), num_checkpoints + 1),
        updates=np.repeat(np.arange(num_checkpoints + 1) * 100, num_experts),
        final=final,
        returns=np.where(final, -1.5, np.nan).astype(np.float32),
        contexts=np.linspace(0.5, 1.5, num_experts)[:, None],
        critics=normal(num_experts, 2, 7),
        states=normal(num_experts, 5, 3),
        log_alpha=np.zeros(num_experts, np.float32),
        provenance={"seed": 1, "split": "full"},
    )


def same(a: Zoo, b: Zoo) -> None:
    for name in ("weights", "expert", "updates", "final", "returns", "contexts", "critics"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.spec == b.spec and a.family == b.family


def test_save_and_load_is_the_identity(tmp_path):
    zoo = make_zoo()
    zoo.save(tmp_path / "z")
    back = Zoo.load(tmp_path / "z")
    same(zoo, back)
    np.testing.assert_array_equal(zoo.states, back.states)
    assert back.provenance["seed"] == 1 and "mujoco" in back.provenance
    assert Zoo.verify(tmp_path / "z") == []


def test_a_few_rows_are_read_alone(tmp_path):
    zoo = make_zoo()
    zoo.save(tmp_path / "z")
    rows = np.array([7, 2])
    some = Zoo.load(tmp_path / "z", rows)
    np.testing.assert_array_equal(some.weights, zoo.weights[rows])
    np.testing.assert_array_equal(some.row_contexts, zoo.row_contexts[rows])
    with pytest.raises(BadZoo, match="rows 0 … 8"):
        Zoo.load(tmp_path / "z", np.array([9]))


def test_appended_rows_follow_the_old_ones(tmp_path):
    zoo = make_zoo()
    zoo.save(tmp_path / "z")
    more = replace(
        zoo, weights=zoo.weights + 1, updates=zoo.updates + 1000, final=np.zeros(len(zoo), bool)
    )
    more.append(tmp_path / "z")
    back = Zoo.load(tmp_path / "z")
    np.testing.assert_array_equal(back.updates, np.append(zoo.updates, more.updates))
    np.testing.assert_array_equal(
        Zoo.load(tmp_path / "z", np.array([8, 9])).weights,
        np.stack([zoo.weights[8], more.weights[0].astype(np.float16).astype(np.float32)]),
    )
    np.testing.assert_array_equal(back.finals.weights, zoo.finals.weights)
    assert Zoo.verify(tmp_path / "z") == []
    with pytest.raises(BadZoo, match="same family"):
        replace(more, contexts=zoo.contexts + 0.1).append(tmp_path / "z")
    with pytest.raises(BadZoo, match="has its final row already"):
        zoo.append(tmp_path / "z")


def test_files_beside_a_zoo_are_verified_too(tmp_path):
    make_zoo().save(tmp_path / "z", lambda new: (new / "base.safetensors").write_bytes(b"x" * 50))
    assert Zoo.verify(tmp_path / "z") == []
    (tmp_path / "z" / "base.safetensors").write_bytes(b"y" * 50)
    (fault,) = Zoo.verify(tmp_path / "z")
    assert "base.safetensors does not match its checksum" in fault


def test_only_goes_round_the_circle():
    """The authors' directions end where they began, and worlds wrap them."""
    zoo = replace(make_zoo(), family=hp.family("ant-dir"), contexts=np.array([[0.0], [1.0], [2.0]]))
    found = zoo.only([[2 * np.pi], [1.0]])
    np.testing.assert_array_equal(found.contexts[:, 0], [0.0, 1.0])


def test_only_picks_experts_in_the_order_asked():
    zoo = make_zoo()
    few = zoo.only([[1.5], [0.5]])
    np.testing.assert_array_equal(few.finals.weights, zoo.finals.weights[[2, 0]])
    np.testing.assert_array_equal(few.contexts[:, 0], [1.5, 0.5])
    np.testing.assert_array_equal(few.critics, zoo.critics[[2, 0]])
    assert len(few) == 6
    with pytest.raises(BadZoo, match="no expert at context"):
        zoo.only([[0.7]])


def test_rows_are_taken_with_their_experts():
    zoo = make_zoo()
    few = zoo.take([8, 2, 1])  # of experts 2, 2 and 1
    np.testing.assert_array_equal(few.weights, zoo.weights[[8, 2, 1]])
    np.testing.assert_array_equal(few.contexts, zoo.contexts[1:])
    np.testing.assert_array_equal(few.row_contexts, zoo.row_contexts[[8, 2, 1]])
    np.testing.assert_array_equal(few.critics, zoo.critics[1:])


def test_shards_of_other_experts_join_to_the_whole():
    zoo = make_zoo()
    same(zoo, join([zoo]))
    parts = [zoo.only(zoo.contexts[:2]), zoo.only(zoo.contexts[2:])]
    whole = join([replace(p, provenance={"seed": 1, "shard": i}) for i, p in enumerate(parts)])
    same(whole, zoo.take([0, 3, 6, 1, 4, 7, 2, 5, 8]).only(zoo.contexts))
    assert whole.provenance == {"seed": 1, "shards": [{"shard": 0}, {"shard": 1}]}


def test_shards_of_the_same_experts_join_row_by_row():
    zoo = make_zoo()
    rest, first = zoo.take(range(3, 9)), zoo.take(range(3))
    same(join([first, rest]), zoo)
    with pytest.raises(BadZoo, match=r"expert at \[0.5\] has 2 final rows"):
        join([zoo, rest])
    with pytest.raises(BadZoo, match="its critics differ"):
        join([first, replace(rest, critics=rest.critics + 1)])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"family": hp.family("ant-dir")}, "another family"),
        ({"training": Training(updates=3)}, "another training"),
        ({"states": None}, "only zoo 0 has states"),
    ],
)
def test_unlike_shards_are_told_apart(change, says):
    with pytest.raises(BadZoo, match=says):
        join([make_zoo(), replace(make_zoo(), **change)])


def test_what_steers_is_typed_and_kept(tmp_path):
    training = Training(10, 20, 0.5, ((0.5,), (1.0,)))
    replace(make_zoo(), training=training).save(tmp_path / "z")
    back = Zoo.load(tmp_path / "z")
    assert back.training.usual_reward == 0.5 and back.training.seen == training.seen
    assert back.training.mujoco and "env_steps" not in back.provenance


def test_a_zoo_of_an_earlier_version_is_refused_in_one_line(tmp_path):
    make_zoo().save(tmp_path / "z")
    header = tmp_path / "z" / "zoo.json"
    header.write_text(header.read_text().replace(FORMAT, "hyperpolicy-zoo-2"))
    with pytest.raises(BadZoo, match="has format 'hyperpolicy-zoo-2', this version reads"):
        Zoo.load(tmp_path / "z")


def test_nothing_is_overwritten(tmp_path):
    make_zoo().save(tmp_path / "z")
    with pytest.raises(AlreadyExists, match="choose another name"):
        make_zoo().save(tmp_path / "z")


@pytest.mark.parametrize("size", [0, 100, 400])
def test_truncated_shards_are_named(tmp_path, size):
    make_zoo().save(tmp_path / "z")
    shard = tmp_path / "z" / "actors-000.safetensors"
    shard.write_bytes(shard.read_bytes()[:size])
    (fault,) = Zoo.verify(tmp_path / "z")
    assert "actors-000.safetensors does not match its checksum" in fault
    with pytest.raises(BadZoo, match="not a whole safetensors file"):
        Zoo.load(tmp_path / "z")


def test_one_flipped_bit_is_found(tmp_path):
    make_zoo().save(tmp_path / "z")
    shard = tmp_path / "z" / "actors-000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data)
    (fault,) = Zoo.verify(tmp_path / "z")
    assert "actors-000.safetensors does not match its checksum" in fault
    with pytest.raises(BadZoo, match="does not match its checksum"):
        Zoo.load(tmp_path / "z")


def test_foreign_and_empty_directories_are_refused(tmp_path):
    with pytest.raises(BadZoo, match=r"no zoo\.json"):
        Zoo.load(tmp_path)
    for text, says in (
        ({"format": "something else"}, "something else"),
        ({"format": FORMAT, "family": {}}, "missing required field `policy`"),
        ('{"format": ', "damaged"),
    ):
        (tmp_path / "zoo.json").write_text(text if isinstance(text, str) else json.dumps(text))
        with pytest.raises(BadZoo, match=says):
            Zoo.load(tmp_path)
        assert says in Zoo.verify(tmp_path)[0]


def rewrite(zoo, name: str, text: str) -> None:
    """Another text in a file of a zoo, with the checksum that fits it."""
    (zoo / name).write_text(text)
    header = json.loads((zoo / "zoo.json").read_text())
    header["checksums"][name] = files.checksum(zoo / name)
    (zoo / "zoo.json").write_text(json.dumps(header))


def test_index_without_its_rows_is_refused(tmp_path):
    make_zoo().save(tmp_path / "z")
    text = (tmp_path / "z" / "index.jsonl").read_text()
    rewrite(tmp_path / "z", "index.jsonl", text * 2)
    with pytest.raises(BadZoo, match="truncated"):
        Zoo.load(tmp_path / "z")
    rewrite(tmp_path / "z", "index.jsonl", "")
    with pytest.raises(BadZoo, match="no rows"):
        Zoo.load(tmp_path / "z")


def test_another_mujoco_warns(tmp_path):
    make_zoo().save(tmp_path / "z")
    manifest = json.loads((tmp_path / "z" / "zoo.json").read_text())
    manifest["training"]["mujoco"] = "3.3.0"
    (tmp_path / "z" / "zoo.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match=r"made with MuJoCo 3\.3\.0"):
        Zoo.load(tmp_path / "z")


def test_zero_rows_and_other_policies_are_refused():
    zoo = make_zoo()
    with pytest.raises(BadZoo, match="at least one row"):
        rows = ("weights", "expert", "updates", "final", "returns")
        replace(zoo, **{name: getattr(zoo, name)[:0] for name in rows})
    with pytest.raises(BadZoo, match="a policy has"):
        replace(zoo, spec=PolicySpec(4, 2, (4, 4)))


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda p: type("U", (), {"free": 10})())
    with pytest.raises(DiskFull, match="free"):
        make_zoo().save(tmp_path / "z")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = files.save_json(tmp_path / "a.json", {"x": 1})

    def full(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFull, match="no space left"):
        files.write(path, full, overwrite=True)
    assert files.load_json(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_policies_round_trip(tmp_path):
    policies = make_zoo().finals
    policies.save(tmp_path / "p.safetensors")
    back = Policies.load(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(back.weights, policies.weights)
    assert back.spec == policies.spec
    with pytest.raises(AlreadyExists):
        policies.save(tmp_path / "p.safetensors")
    half = tmp_path / "half.safetensors"
    half.write_bytes((tmp_path / "p.safetensors").read_bytes()[:60])
    with pytest.raises(BadFile, match="not a whole safetensors file"):
        Policies.load(half)
    with pytest.raises(BadFile, match="does not exist"):
        Policies.load(tmp_path / "none.safetensors")
