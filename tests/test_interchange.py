"""Make-An-Agent's files: the same policies come out, and what does not fit is explained."""

import io
import os
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import interchange
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.errors import (
    AlreadyExists,
    BadFile,
    BadSetting,
    BadShape,
    BadZoo,
    DiskFull,
    MissingExtra,
    UnknownTask,
)
from hyperpolicy.interchange import SPEC, WIDTHS, Tensors, make_tensors, make_zoo, places

FAMILY = hp.family("metaworld")


def some(rows: int = 2, seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    return Tensors(
        *(rng.normal(size=(rows, width)).astype(np.float32) for width in WIDTHS.values())
    )


def same(a: Tensors, b: Tensors) -> None:
    for name in WIDTHS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


# --- Arrays -------------------------------------------------------------------------------
def test_the_published_widths():
    assert WIDTHS == {"param": 22664, "traj": 1020, "task": 117}
    assert hp.PolicySpec(39, 4, (128, 128), ("elu", "relu")) == SPEC


def test_layers_are_transposed_one_by_one():
    """2 → 3 → (μ 2, log σ 2), by hand: [out, in] becomes [in, out], biases stay."""
    # fmt: off
    theirs = np.array([
        11, 12,  21, 22,  31, 32,   1, 2, 3,  # W[k, i] = 10 (k + 1) + i + 1, b
        41, 42, 43,  51, 52, 53,    4, 5,
        61, 62, 63,  71, 72, 73,    6, 7,
    ])
    ours = np.array([
        11, 21, 31,  12, 22, 32,    1, 2, 3,
        41, 51,  42, 52,  43, 53,   4, 5,
        61, 71,  62, 72,  63, 73,   6, 7,
    ])
    # fmt: on
    spec = hp.PolicySpec(2, 2, (3,), ("relu",))
    np.testing.assert_array_equal(theirs[places(spec)], ours)


def released_action(param: np.ndarray, obs: np.ndarray) -> np.ndarray:
    """tanh(μ) of a row of `param`, as its network is laid out in PyTorch."""

    def layer(x, into, out):
        nonlocal param
        weight, bias, param = np.split(param, [out * into, out * into + out])
        return weight.reshape(out, into) @ x + bias

    x = layer(obs, 39, 128)
    x = np.where(x > 0, x, np.expm1(x))
    x = np.maximum(layer(x, 128, 128), 0)
    return np.tanh(layer(x, 128, 4))


def test_policies_act_as_published():
    table = some(3)
    table = replace(table, param=table.param / 8)  # far from where tanh is flat
    zoo, _ = make_zoo({"window-open": table})
    obs = np.random.default_rng(1).normal(size=(3, 39)).astype(np.float32)
    wanted = [
        released_action(row, o) for row, o in zip(table.param.astype(float), obs, strict=True)
    ]
    assert 0.05 < np.abs(wanted).mean() < 0.95
    np.testing.assert_allclose(zoo.policies.act(obs), wanted, atol=1e-5)


def test_there_and_back_is_the_identity():
    table = some()
    same(make_tensors(*make_zoo({"window-open": table})), table)


def test_one_expert_a_task_and_one_demonstration_a_row():
    first, second = some(2), some(3, seed=1)
    zoo, shown = make_zoo({"window-open": first, "door-open-v2": second})
    np.testing.assert_array_equal(zoo.contexts, FAMILY.contexts(["window-open", "door-open"]))
    assert zoo.expert.tolist() == [0, 0, 1, 1, 1] and zoo.updates.tolist() == [0, 1, 0, 1, 2]
    assert zoo.final_rows.tolist() == [1, 4] and np.isnan(zoo.returns).all()
    assert zoo.family == shown.family == hp.family("metaworld")
    np.testing.assert_array_equal(shown.contexts, zoo.row_contexts)
    np.testing.assert_array_equal(shown.opening, np.concatenate([first.traj, second.traj]))
    np.testing.assert_array_equal(shown.ending, np.concatenate([first.task, second.task]))
    assert zoo.provenance["tasks"] == ["window-open", "door-open"]
    assert "clamp" in zoo.provenance["sampling"]


def test_through_files_of_ours_within_half_precision(tmp_path):
    table = some()
    zoo, shown = make_zoo({"window-open": table})
    zoo.save(tmp_path / "zoo")
    shown.save(interchange.beside(tmp_path / "zoo"))
    assert hp.Zoo.verify(tmp_path / "zoo") == []
    again = Demonstrations.load(tmp_path / "zoo.demonstrations.safetensors")
    back = make_tensors(hp.Zoo.load(tmp_path / "zoo"), again)
    same(back, Tensors(*(half(getattr(table, name)) for name in WIDTHS)))


# --- What does not fit --------------------------------------------------------------------
@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("shape", [(2, 2, 1024), (2, 100), (), (5,)])
def test_other_widths_are_told(name, shape, as_user):
    with pytest.raises(BadShape, match=rf"'{name}' has shape .*, not \[r, {WIDTHS[name]}\]"):
        replace(some(), **{name: np.zeros(shape, np.float32)})


def test_rows_match_and_there_are_some(as_user):
    with pytest.raises(BadShape, match="2 in 'param', 1 in 'traj', 2 in 'task'"):
        replace(some(), traj=some().traj[:1])
    with pytest.raises(BadShape, match="at least one"):
        some(0)


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("value", [np.nan, -np.inf, 7e4])
def test_numbers_a_zoo_cannot_hold(name, value):
    broken = getattr(some(), name).copy()
    broken[1, 3] = value
    with pytest.raises(BadShape, match=f"row 1 of '{name}'"):
        replace(some(), **{name: broken})


def test_tasks_are_known_and_named_once():
    with pytest.raises(UnknownTask, match="Did you mean 'window-open'"):
        make_zoo({"windw-open": some()})
    with pytest.raises(BadSetting, match="each once"):
        make_zoo({"window-open": some(), "window-open-v2": some()})
    with pytest.raises(BadSetting, match="at least one"):
        make_zoo({})


def test_only_the_published_policy_of_metaworld():
    zoo, shown = make_zoo({"window-open": some()})
    for other in (
        replace(zoo, family=hp.family("metaworld-v1")),
        replace(zoo, spec=replace(SPEC, activations=("relu", "relu"))),
    ):
        with pytest.raises(
            BadZoo, match="train experts with --hidden 128 128 --activations elu relu"
        ):
            make_tensors(other, shown)


def test_one_demonstration_a_row_of_its_task():
    zoo, shown = make_zoo({"window-open": some(), "door-open": some()})
    for wrong in (shown[:3], shown[[2, 3, 0, 1]], replace(shown, family=hp.family("metaworld-v1"))):
        with pytest.raises(BadShape, match="give one a row, of its task and in order"):
            make_tensors(zoo, wrong)


def test_without_torch_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    for use in (Tensors.load, some().save):
        with pytest.raises(MissingExtra, match=r"pip install 'hyperpolicy\[torch\]'"):
            use(tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


# --- Files --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def tensors(torch, rows: int = 2) -> dict:
    return {name: torch.tensor(getattr(some(rows), name)) for name in WIDTHS}


def test_files_as_torch_writes_and_reads_them(torch, tmp_path):
    table = some()
    written = table.save(tmp_path / "a.pt")
    held = torch.load(written, weights_only=True)
    assert {name: list(held[name].shape) for name in held} == {k: [2, w] for k, w in WIDTHS.items()}
    assert all(tensor.dtype == torch.float32 for tensor in held.values())
    same(Tensors.load(written), table)
    with pytest.raises(AlreadyExists):
        table.save(written)


def test_an_actor_of_torch_acts_as_its_import(torch, tmp_path):
    """Weights flattened from a torch module in the released order, through a file."""
    torch.manual_seed(0)
    linear = torch.nn.Linear
    first, second, mean, log_std = linear(39, 128), linear(128, 128), linear(128, 4), linear(128, 4)
    flat = [p.detach().ravel() for one in (first, second, mean, log_std) for p in one.parameters()]
    torch.save(tensors(torch, 1) | {"param": torch.cat(flat)[None]}, tmp_path / "a.pt")
    zoo, _ = make_zoo({"window-open": Tensors.load(tmp_path / "a.pt")})
    obs = np.random.default_rng(1).normal(0, 3, (1, 39)).astype(np.float32)
    with torch.no_grad():
        x = torch.relu(second(torch.nn.functional.elu(first(torch.tensor(obs)))))
        wanted = torch.tanh(mean(x)).numpy()
    np.testing.assert_allclose(zoo.policies.act(obs), wanted, atol=1e-6)


def test_other_precisions_and_parameters_become_float32(torch, tmp_path):
    held = tensors(torch)
    held["param"] = torch.nn.Parameter(held["param"].double())
    held["task"] = held["task"].bfloat16()
    torch.save(held, tmp_path / "a.pt")
    table = Tensors.load(tmp_path / "a.pt")
    np.testing.assert_array_equal(table.param, some().param)
    assert table.task.dtype == np.float32


class Runs:
    """What a hostile pickle does when it is read."""

    def __reduce__(self):
        return os.mkdir, ("hacked",)


def test_only_tensors_are_read(torch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(tensors(torch) | {"param": Runs()}, "a.pt")
    with pytest.raises(BadFile, match=r"a\.pt holds \w+\.mkdir besides tensors") as fault:
        Tensors.load("a.pt")
    assert "\n" not in str(fault.value) and os.listdir() == ["a.pt"]
    torch.save({name: getattr(some(), name) for name in WIDTHS}, "b.pt")
    with pytest.raises(BadFile, match=r"holds numpy\S+ besides tensors"):
        Tensors.load("b.pt")


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (lambda torch, good: [1, 2], "lacks 'param', 'traj', 'task'; Make-An-Agent's layout"),
        (lambda torch, good: {"params": good["param"]}, "lacks 'param', 'traj', 'task'"),
        (lambda torch, good: {k: good[k] for k in ("param", "task")}, "lacks 'traj'"),
        (lambda torch, good: good | {"traj": [1.0, 2.0]}, "'traj' is not a tensor of floating"),
        (lambda torch, good: good | {"traj": good["traj"].long()}, "'traj' is not a tensor of"),
        (lambda torch, good: good | {"task": good["task"].to_sparse()}, "'task' is sparse"),
        (
            lambda torch, good: good | {"param": torch.zeros(2, 2, 1024)},
            "'param' has shape [2, 2, 1024], not [r, 22664]: 'param' is [r, 22664], 'traj' "
            "[r, 1020], 'task' [r, 117]",
        ),
        (lambda torch, good: good | {"task": good["task"][:1]}, "rows do not match"),
        (lambda torch, good: good | {"param": good["param"] * torch.nan}, "row 0 of 'param'"),
    ],
)
def test_other_dicts_are_told(torch, held, says, tmp_path, as_user):
    path = tmp_path / "a.pt"
    torch.save(held(torch, tensors(torch)), path)
    with pytest.raises(BadFile) as fault:
        Tensors.load(path)
    assert says in str(fault.value) and str(path) in str(fault.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_and_foreign_files_are_told_in_one_line(torch, tmp_path):
    whole = io.BytesIO()
    torch.save(tensors(torch), whole)
    path = tmp_path / "a.pt"
    foreign = [b"hello, this is no tensor", b"{}", pickle.dumps({"param": 1}), b"PK\x03\x04"]
    for data in [whole.getvalue()[:size] for size in (0, 10, 500, -20)] + foreign:
        path.write_bytes(data)
        with pytest.raises(BadFile, match=r"not a whole torch file|no file of tensors") as fault:
            Tensors.load(path)
        assert "\n" not in str(fault.value)
    for missing in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(BadFile, match="cannot read"):
            Tensors.load(missing)


def test_a_full_disk_leaves_nothing(torch, tmp_path, monkeypatch):
    def full(held, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DiskFull, match="no space left"):
        some().save(tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []
