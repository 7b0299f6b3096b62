"""Generators and zoos by name: folders first, then hubs; whole or not at all; nothing executed."""

import importlib.util
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli, files
from hyperpolicy.errors import BadFile, BadSetting, MissingExtra, NoHub, UnknownGenerator
from hyperpolicy.generate.generator import SHIPPED
from hyperpolicy.hub import places, remote
from hyperpolicy.hub.places import Named

ZOO = Path(__file__).parents[2] / "zoos/cheetah-vel/independent"
needs_hub = pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="needs huggingface_hub")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A machine with a cache of its own, one folder, and no hub."""
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HYPERPOLICY_HUB", str(tmp_path / "mirror"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.fixture
def hub(alone, monkeypatch):
    spec = importlib.util.spec_from_file_location(
        "hub_server", Path(__file__).with_name("server.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    server = module.Hub()
    monkeypatch.setenv("HYPERPOLICY_HUB", server.address)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", "secret")
    yield server
    server.shutdown()
    server.server_close()


def test_a_folder_needs_no_network(alone, capsys):
    folder = str(alone / "mirror")
    assert cli.main(["push", "cheetah-vel", "me/cheetah", "--to", folder, "--license", "mit"]) == 0
    found = hp.load("me/cheetah")
    np.testing.assert_array_equal(
        found.generate([[1.7]]).weights, hp.load("cheetah-vel").generate([[1.7]]).weights
    )
    card = (alone / "mirror/models/me/cheetah/README.md").read_text()
    for said in (
        "license: mit",
        'hp.load("me/cheetah")',
        "| velocity",
        "zoo.made_by",
        "library_name",
    ):
        assert said in card
    assert cli.main(["push", "cheetah-vel", "me/cheetah", "--to", folder]) == 2
    assert "--replace" in capsys.readouterr().err
    assert cli.main(["push", "cheetah-vel", "me/cheetah", "--to", folder, "--replace"]) == 0
    assert sorted(p.name for p in (alone / "mirror/models/me").iterdir()) == ["cheetah"]
    assert cli.main(["push", "cheetah-vel", "me/b", "--to", folder, "--license", "a: b"]) == 2
    results = str(Path(__file__).parents[2] / "results/headline/ant-dir.json")
    assert cli.main(["push", "cheetah-vel", "me/b", "--to", folder, "--results", results]) == 2
    assert "results of ant-dir" in capsys.readouterr().err
    assert cli.main(["push", "cheetah-vel", "me/b", "--to", ""]) == 2


def test_a_zoo_in_a_folder(alone):
    assert cli.main(["push", str(ZOO), "me/experts", "--to", str(alone / "mirror")]) == 0
    out = alone / "zoo"
    assert cli.main(["pull", "me/experts", "--kind", "zoo", "--out", str(out)]) == 0
    assert hp.Zoo.verify(out) == [] and not (out / "README.md").exists()
    with pytest.raises(NoHub, match="is a zoo of that name"):
        hp.load("me/experts")
    card = (alone / "mirror/datasets/me/experts/README.md").read_text()
    assert "40 experts" in card and "--kind zoo" in card


def test_what_is_not_there(alone, monkeypatch):
    with pytest.raises(NoHub, match=r"directory me/none here; me/none: no folder has it .*mirror"):
        hp.load("me/none")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HYPERPOLICY_HUB", "http://127.0.0.1:9")
    if find_spec("huggingface_hub") is not None:
        with pytest.raises(NoHub, match=r"http://127.0.0.1:9.* does not answer"):
            hp.load("me/none")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"hyperpolicy\[hub\]"):
        hp.load("me/none")
    assert not (alone / "cache/hyperpolicy/hub").exists()
    (alone / "runs").mkdir()
    monkeypatch.chdir(alone)
    with pytest.raises(UnknownGenerator):  # a mistaken path asks no hub
        hp.load("runs/nothing")


def test_a_place_that_is_none_is_said(alone, monkeypatch):
    monkeypatch.setenv("HYPERPOLICY_HUB", "/no/such/dir")
    with pytest.raises(BadSetting, match="'/no/such/dir' is no folder"):
        hp.load("me/none")


@pytest.mark.parametrize(
    "name", ["me", "../me", "me/..", "me/a/b", "me/.hidden", "/me/a", "me/a..b"]
)
def test_names_do_not_leave_their_folder(alone, name, capsys):
    with pytest.raises(BadSetting, match="USER/NAME"):
        Named("model", name)
    assert cli.main(["pull", name]) == 2
    assert "USER/NAME" in capsys.readouterr().err


@needs_hub
def test_push_and_pull(hub, alone):
    assert cli.main(["push", "ant-dir", "me/ants", "--private"]) == 0
    stored = hub.repos["models", "me/ants"]
    assert sorted(stored) == ["README.md", "config.json", "provenance.json", "weights.safetensors"]
    stored["run_me.py"] = b"raise SystemExit"
    stored["evil/../../x.json"] = b"{}"
    found = hp.load("me/ants")
    np.testing.assert_array_equal(
        found.generate([[0.3]]).weights, hp.load("ant-dir").generate([[0.3]]).weights
    )
    here = places.kept() / "models/me/ants"
    there = {p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file()}
    assert there == set(stored) - {"run_me.py", "evil/../../x.json"}
    asked = len(hub.asked)
    hp.load("me/ants")
    assert len(hub.asked) == asked  # kept
    assert cli.main(["pull", "me/ants", "--again"]) == 0
    assert len(hub.asked) > asked


@needs_hub
def test_a_zoo_on_a_hub(hub, alone):
    assert cli.main(["push", str(ZOO), "me/experts"]) == 0
    assert ("datasets", "me/experts") in hub.repos
    assert cli.main(["pull", "me/experts", "--kind", "zoo", "--out", str(alone / "z")]) == 0
    assert hp.Zoo.verify(alone / "z") == []


@needs_hub
@pytest.mark.parametrize("harm", ["flipped", "truncated", "foreign", "missing"])
def test_what_is_damaged_is_not_kept(hub, alone, harm):
    stored = {p.name: p.read_bytes() for p in (SHIPPED / "cheetah-vel").iterdir()}
    weights = stored["weights.safetensors"]
    if harm == "flipped":
        stored["weights.safetensors"] = weights[:-1] + bytes([weights[-1] ^ 1])
    elif harm == "truncated":
        stored["weights.safetensors"] = weights[:-100]
    elif harm == "foreign":
        stored = {"model.safetensors": weights}
    else:
        del stored["weights.safetensors"]
    hub.repos["models", "me/bad"] = stored
    with pytest.raises(BadFile):
        hp.load("me/bad")
    assert not [p for p in places.kept().rglob("*") if p.is_file()]


@needs_hub
def test_a_hub_without_it(hub, alone):
    with pytest.raises(NoHub, match="has none"):
        hp.load("me/none")
    hub.repos["models", "me/large"] = {"config.json": b"{}"}
    old = remote.MOST_BYTES
    remote.MOST_BYTES = 1
    try:
        with pytest.raises(BadFile, match="too much"):
            hp.load("me/large")
    finally:
        remote.MOST_BYTES = old


def test_a_directory_in_the_place_of_another(tmp_path):
    for text in ("one", "two"):
        with files.directory(tmp_path / "d", replace=True) as new:
            (new / "f").write_text(text)
    assert (tmp_path / "d/f").read_text() == "two" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ZeroDivisionError), files.directory(tmp_path / "d", replace=True):
        raise ZeroDivisionError
    assert (tmp_path / "d/f").read_text() == "two" and len(list(tmp_path.iterdir())) == 1
