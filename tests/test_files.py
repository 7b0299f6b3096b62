"""Files whole or not at all, names that are free, and words for sizes."""

import os

import pytest

from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists, BadFile, DiskFull


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(AlreadyExists):
        files.save_json(link, {})
    assert link.is_symlink()


def test_names_too_long_are_one_line(tmp_path):
    with pytest.raises(BadFile, match="cannot write"):
        files.save_json(tmp_path / ("x" * 300), {})
    with pytest.raises(BadFile, match="cannot write"):
        files.new_directory(tmp_path / ("x" * 300))


def test_own_files_are_read_as_utf_8(tmp_path, monkeypatch):
    """Whatever the locale says."""
    path = tmp_path / "x.json"
    path.write_bytes('{"name": "Zürich"}'.encode())
    monkeypatch.setattr("locale.getpreferredencoding", lambda *a: "ascii")
    monkeypatch.setattr("locale.getencoding", lambda *a: "ascii")
    assert files.load_json(path) == {"name": "Zürich"}


def test_half_written_files_do_not_pile_up(tmp_path):
    """Those of the same name go with the next writing; those of living processes stay."""
    old, living = ".x.json.999999999.tmp", f".x.json.{os.getppid()}.tmp"
    for name in (old, living, ".y.json.999999999.tmp"):
        (tmp_path / name).touch()
    files.save_json(tmp_path / "x.json", {})
    assert sorted(os.listdir(tmp_path)) == sorted([living, ".y.json.999999999.tmp", "x.json"])


def test_a_directory_replaces_what_a_killed_process_left(tmp_path):
    """Also one with this process's number, as in containers, where numbers come again."""
    for number in (os.getpid(), 999_999_999):
        (tmp_path / f".zoo.{number}.tmp" / "old").mkdir(parents=True)
    with files.directory(tmp_path / "zoo") as new:
        (new / "zoo.json").touch()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["zoo", "zoo/zoo.json"]


def test_new_directories_are_nobody_elses(tmp_path):
    made = [files.new_directory(tmp_path / "demo") for _ in range(3)]
    assert [p.name for p in made] == ["demo", "demo-2", "demo-3"]


def test_a_full_disk_is_told_in_units_that_say_something(tmp_path):
    with pytest.raises(DiskFull, match=r"1000000\.0 GB needed, \d+\.\d [kMG]B free"):
        files.check_space(tmp_path / "zoo", 10**15)
    sizes = (0, 999, 1000, 4_200, 17_000_000, 3 * 10**9, 10**13)
    words = ["0 bytes", "999 bytes", "1.0 kB", "4.2 kB", "17.0 MB", "3.0 GB", "10000.0 GB"]
    assert list(map(files.size_text, sizes)) == words
