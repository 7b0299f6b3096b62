"""The recipes, whole, at smoke size: zoos, their slices, the table, the demo."""

import json

import numpy as np
import pytest

from hyperpolicy.errors import BadZoo
from hyperpolicy.evaluate.compare import NEAREST, ORACLE
from hyperpolicy.generate import generator, regression
from hyperpolicy.generate.conditioned import DistillConfig
from hyperpolicy.generate.hyplatent import HypLatentConfig
from hyperpolicy.generate.regression import RegressionConfig
from hyperpolicy.recipes import cheetah_vel_table as table
from hyperpolicy.recipes import demo, zoos
from hyperpolicy.zoo import Zoo


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Slices of smoke-size zoos, specialized and independent."""
    out = tmp_path_factory.mktemp("recipes")
    zoos.specialized(out / "runs/specialized", zoos.FULL, zoos.SMOKE)
    schedule, cfg = zoos.SMOKE.expert_schedule, zoos.SMOKE.expert
    zoos.independent(out / "runs/independent", cfg, schedule)
    made = zoos.ship(out / "runs", out / "zoos", num_checkpoints=1)
    assert [p.name for p in made] == ["specialized-full", "independent"]
    return out / "zoos"


def test_slices_are_whole_zoos(shipped):
    for path in sorted(shipped.iterdir()):
        assert Zoo.verify(path) == []
    full = Zoo.load(shipped / "specialized-full")
    assert len(full.contexts) == 40 and len(full) == 80
    assert zoos.ship(shipped.parent / "runs", shipped) == []


def test_a_base_sees_training_speeds_only(shipped):
    base = table.Base.load(shipped / "specialized-full" / "base.safetensors")
    assert len(base.contexts) == 35
    for speed in (0.225, 0.6, 1.2, 1.8, 2.025):
        assert not np.isclose(base.contexts, speed).any()


def tiny_table(shipped, out, kind: str, split: str) -> table.TableConfig:
    return table.TableConfig(
        zoos=shipped,
        out=out,
        kinds=(kind,),
        splits=(split,),
        seeds=(0, 1),
        episodes=1,
        draws=1,
        hyplatent={"HypLatent": HypLatentConfig(steps=100, batch=4)},
        distill=DistillConfig(steps=100, batch=4),
    )


def test_table_has_every_row_and_is_computed_once(shipped, tmp_path, monkeypatch):
    configs = [
        tiny_table(shipped, tmp_path, "specialized", "full"),
        tiny_table(shipped, tmp_path, "independent", "sixteenth"),
    ]
    cells = table.run(configs[0]) | table.run(configs[1])
    rows = cells["specialized", "full"].rows
    names = (NEAREST, ORACLE, table.REGRESSION, table.RESIDUAL, table.DISTILLED, "HypLatent")
    for name in names:
        assert np.isfinite(rows[name].mean), name
    assert rows["HypLatent"].num_seeds == 2
    assert rows[ORACLE].tasks == rows[NEAREST].tasks
    assert len(rows[NEAREST].tasks) == 5
    assert table.RESIDUAL not in cells["independent", "sixteenth"].rows  # it has no base
    halves = table.between(configs[0])
    assert [one.returns.shape[2] for one in halves.values()] == [40, 40, 39]
    text = table.markdown(cells, halves)
    assert "published" in text
    assert "independent zoo, split `sixteenth`" in text
    monkeypatch.setattr(table, "cell", lambda *a: pytest.fail("computed again"))
    again = table.run(configs[0]) | table.run(configs[1])
    for key, comparison in cells.items():
        assert again[key].rows.keys() == comparison.rows.keys()
        for name, score in comparison.rows.items():
            np.testing.assert_allclose(again[key].rows[name].returns, score.returns)


def test_missing_zoos_say_how_to_make_them(tmp_path):
    with pytest.raises(BadZoo, match="hyperpolicy recipe zoos"):
        table.run(table.TableConfig(zoos=tmp_path, out=tmp_path / "out"))


def test_demo_fills_a_new_directory(shipped, tmp_path, monkeypatch):
    """Fitting, table, pictures; the shipped generator is stood in for by one of this zoo's size."""
    train = Zoo.load(shipped / "specialized-full")
    stand_in = regression.fit(RegressionConfig(), train)
    monkeypatch.setattr(demo, "load", lambda name: stand_in)
    config = demo.DemoConfig(
        zoo=shipped / "specialized-full",
        out=tmp_path / "demo",
        hyplatent=HypLatentConfig(steps=100, batch=4),
        episodes=1,
        video=False,
    )
    out = demo.demo(config)
    names = {path.name for path in out.iterdir()}
    assert {"generator", "table.json", "table.md", "returns.png", "velocities.png"} <= names
    generator.load(out / "generator")
    assert demo.SHIPPED in json.loads((out / "table.json").read_text())["rows"]
    assert demo.demo(config) == tmp_path / "demo-2"
    with pytest.raises(BadZoo, match="give --zoo"):
        demo.demo(demo.DemoConfig(zoo=tmp_path / "nowhere"))
