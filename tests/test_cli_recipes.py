"""recipe by command: names that are none end it before any work."""

import pytest

from hyperpolicy import cli
from hyperpolicy.envs import family
from hyperpolicy.errors import UnknownFamily
from hyperpolicy.recipes.genhyper import table_1 as genhyper_table_1
from hyperpolicy.recipes.zero_shot import zoos


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("zoos --family nope", "UnknownFamily: no task family 'nope'"),
        ("zoos --family ant-dir-radians", "UnknownFamily: no preset for the zoos of 'ant-dir-rad"),
        ("zoos --family metaworld --grid all", "UnknownFamily: no preset for the zoos of 'metaw"),
        ("zoos --grid nope", "UnknownGrid: no grid of cheetah-vel called 'nope'"),
        ("zoos --family ant-dir --kind shared-replay", "BadSetting: ant-dir has no shared-replay"),
        ("genhyper-table1 --families cheetah-vel nope", "UnknownFamily: no family of this table"),
        ("genhyper-table1 --families metaworld", "UnknownFamily: no family of this table"),
        ("genhyper-table1 --grids macaw nope", "UnknownGrid: no grid of cheetah-vel called 'nope'"),
        ("genhyper-table1 --splits full nope", "UnknownSplit: no split of cheetah-vel's grid"),
        ("genhyper-table1 --splits random-99", "UnknownSplit: split 'random-99-0' of cheetah-vel"),
        ("genhyper-table1 --kinds specialized nope", "BadSetting: no kind of zoos called 'nope'"),
        ("genhyper-table1 --families ant-dir --kinds shared-replay", "BadSetting: no cell for fam"),
        ("genhyper-table1 --families", "BadSetting: families=() (--families)"),
        ("figure-6 --family nope", "UnknownFamily: no task family 'nope'"),
        ("figure-6 --family ant-dir-radians", "UnknownFamily: no tasks in Figure 6 of 'ant-dir-r"),
        ("figure-6 --grid nope", "UnknownGrid: no grid of cheetah-vel called 'nope'"),
        ("figure-6 --counts", "BadSetting: counts=() (--counts)"),
        ("figure-6 --counts 99", "UnknownSplit: split 'random-99-0' of cheetah-vel"),
    ],
)
def test_bad_names_end_with_2_before_any_work(line, says, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["recipe", *line.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(says)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_table_that_is_there_is_kept_when_nothing_is_asked_for(tmp_path, capsys):
    page = tmp_path / "table1.md"
    page.write_text("hours of work")
    asked = f"recipe genhyper-table1 --families ant-dir --kinds shared-replay --out {tmp_path}"
    assert cli.main(asked.split()) == 2
    assert page.read_text() == "hours of work"


def test_the_whole_table_has_only_names_that_exist():
    assert genhyper_table_1._checked(genhyper_table_1.Table1Config())


def test_zoos_of_a_family_without_preset_want_one(tmp_path):
    grid = family("ant-dir-radians").grid("macaw")
    with pytest.raises(UnknownFamily, match="Did you mean 'ant-dir'"):
        zoos.specialized(tmp_path, grid)
    with pytest.raises(UnknownFamily, match="Did you mean 'ant-dir'"):
        zoos.provide((tmp_path,), tmp_path, grid, ["full"])
