"""The recipes, whole, at smoke size: zoos, their slices, the table, the demo."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy.envs import family
from hyperpolicy.errors import BadZoo
from hyperpolicy.evaluate import memorization
from hyperpolicy.evaluate.protocol import NEAREST, ORACLE
from hyperpolicy.fleet import Base, runner
from hyperpolicy.generate import generator
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.tune_config import TuneConfig
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.recipes import demo
from hyperpolicy.recipes.genhyper import figure_6
from hyperpolicy.recipes.genhyper import table_1 as genhyper_table_1
from hyperpolicy.recipes.zero_shot import presets, table, zoos
from hyperpolicy.recipes.zero_shot.methods import Cell
from hyperpolicy.recipes.zero_shot.presets import Candidate, TableConfig
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.zoo import Zoo


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Slices of smoke-size zoos, specialized and independent."""
    out = tmp_path_factory.mktemp("recipes")
    grid = family("cheetah-vel").grid("macaw")
    zoos.specialized(out / "runs/specialized", grid, zoos.FULL, presets.SMOKE)
    alone = presets.IndependentPreset(presets.SMOKE.expert)
    zoos.independent(out / "runs/independent", grid, alone)
    made = zoos.ship(out / "runs", out / "zoos", num_checkpoints=1)
    assert [p.name for p in made] == ["specialized-full", "independent"]
    return out / "zoos"


@pytest.mark.slow
def test_slices_are_whole_zoos(shipped):
    for path in sorted(shipped.iterdir()):
        assert Zoo.verify(path) == []
    full = Zoo.load(shipped / "specialized-full")
    assert len(full.contexts) == 40 and len(full) == 80
    assert zoos.ship(shipped.parent / "runs", shipped) == []


@pytest.mark.slow
def test_a_base_sees_training_speeds_only(shipped):
    base = Base.load(shipped / "specialized-full" / "base.safetensors")
    assert len(base.contexts) == 35
    for speed in (0.225, 0.6, 1.2, 1.8, 2.025):
        assert not np.isclose(base.contexts, speed).any()


@pytest.mark.slow
def test_missing_zoos_are_trained_and_others_left_alone(shipped, tmp_path, monkeypatch):
    trained = []

    def specialized(out, grid, pipelines, preset):
        trained.append((pipelines, preset))

    monkeypatch.setattr(zoos, "specialized", specialized)
    grid = family("cheetah-vel").grid("macaw")
    zoos.provide((shipped, tmp_path), tmp_path, grid, ["full", "eighth", "random-10-0"])
    shorter, usual = presets.SHORTER["cheetah-vel"], presets.PRESETS["cheetah-vel"]
    missing = ("eighth", "random-10-0")
    assert trained == [((zoos.Pipeline(name),), shorter) for name in missing]
    zoos.provide((tmp_path,), tmp_path, grid, ["full"])
    assert trained[2] == ((zoos.Pipeline("full"),), usual)


def tiny_table(shipped, out, kind: str, split: str) -> TableConfig:
    return TableConfig(
        zoos=(shipped,),
        out=out,
        kinds=(kind,),
        splits=(split,),
        seeds=(0, 1),
        episodes=1,
        draws=1,
        learned={"HypLatent": Candidate(HypLatentConfig(steps=100, batch=4))},
        distill=DistillConfig(steps=100, batch=4),
    )


@pytest.mark.slow
def test_table_has_every_row_and_is_computed_once(shipped, tmp_path, monkeypatch):
    configs = [
        tiny_table(shipped, tmp_path, "specialized", "full"),
        tiny_table(shipped, tmp_path, "independent", "sixteenth"),
    ]
    cells = table.run(configs[0]) | table.run(configs[1])
    rows = cells[Cell("cheetah-vel", "macaw", "full")].rows
    names = (NEAREST, ORACLE, table.REGRESSION, table.RESIDUAL, table.DISTILLED, "HypLatent")
    for name in names:
        assert np.isfinite(rows[name].mean), name
    assert rows["HypLatent"].num_seeds == 2
    assert rows[ORACLE].tasks == rows[NEAREST].tasks
    assert len(rows[NEAREST].tasks) == 5
    assert (
        table.RESIDUAL not in cells[Cell("cheetah-vel", "macaw", "sixteenth", "independent")].rows
    )  # it has no base
    halves = table.between(configs[0])
    assert [one.returns.shape[2] for one in halves.values()] == [40, 40, 39]
    text = table.markdown(cells, halves)
    assert "published" in text
    assert "independent zoo, split `sixteenth`" in text
    monkeypatch.setattr(table, "measure", lambda *a: pytest.fail("computed again"))
    again = table.run(configs[0]) | table.run(configs[1])
    for key, comparison in cells.items():
        assert again[key].rows.keys() == comparison.rows.keys()
        for name, score in comparison.rows.items():
            np.testing.assert_allclose(again[key].rows[name].returns, score.returns)


@pytest.mark.slow
def test_demo_fills_a_new_directory(shipped, tmp_path, monkeypatch):
    """Fitting, table, pictures; the shipped generator is stood in for by one of this zoo's size."""
    train = Zoo.load(shipped / "specialized-full")
    stand_in = fit(RegressionConfig(), train)
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


@pytest.mark.slow
def test_figure_6_has_every_curve_and_is_computed_once(shipped, tmp_path, monkeypatch):
    (tmp_path / "zoos").mkdir()
    (tmp_path / "zoos/cheetah-vel").symlink_to(shipped)
    config = figure_6.Figure6Config(
        zoos=tmp_path / "zoos",
        new_zoos=tmp_path / "new",
        out=tmp_path / "out",
        counts=(35,),
        critics=("fitted",),
        seeds=2,
        steps=300,
        tuned_steps=300,
        critics_steps=280,
        ppo_steps=1_300,
        hyplatent=HypLatentConfig(steps=100, batch=4),
        ppo=PpoConfig(warmup_rounds=1),
        tune=TuneConfig(
            fill_steps=256,
            evaluate_every=20,
            judge_updates=2,
        ),
        episodes=1,
        random_start_steps=260,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tuned policies that are worse
        found = figure_6.run(config)
        monkeypatch.setattr(runner, "run", lambda *a, **k: pytest.fail("trained again"))
        again = figure_6.run(config)
    assert list(found.curves) == ["0.6 m/s", "1.8 m/s"]
    for task, kinds in found.curves.items():
        assert list(kinds) == [
            figure_6.SCRATCH,
            "35 tasks, critics random",
            "35 tasks, PPO",
            "35 tasks, critics fitted",
        ]
        for kind, curves in kinds.items():
            assert curves.returns.shape == (2, len(curves.steps)) and curves.steps[0] == 0
            np.testing.assert_array_equal(again.curves[task][kind].returns, curves.returns)
    text = figure_6.markdown(found)
    assert "35 tasks, critics fitted" in text and "steps to" in text
    assert [path.name for path in figure_6.draw(found)] == [
        "figure-6.png",
        "ppo.png",
        "critics.png",
        "first-steps.png",
    ]


@pytest.mark.slow
def test_table_1_trains_what_is_missing_and_stops_in_time(shipped, tmp_path):
    config = genhyper_table_1.Table1Config(
        families=("cheetah-vel",),
        grids=("macaw",),
        kinds=("specialized",),
        splits=("random-2",),
        zoos=tmp_path / "zoos",
        out=tmp_path / "out",
        preset=presets.SMOKE,
    )
    (tmp_path / "zoos").mkdir()
    (tmp_path / "zoos/cheetah-vel").symlink_to(shipped)
    [cell] = genhyper_table_1.cells(config)
    none, left = genhyper_table_1.run(replace(config, minutes=0.0))
    assert none == {} and left == [cell]
    genhyper_table_1.provide(config, cell)
    made = sorted(p.name for p in (tmp_path / "out/zoos/cheetah-vel").iterdir())
    assert made == [f"specialized-random-2-{draw}" for draw in range(3)]  # `full` ships
    grid = family("cheetah-vel").grid("macaw")
    for draw in range(3):
        path = tmp_path / f"out/zoos/cheetah-vel/specialized-random-2-{draw}"
        np.testing.assert_allclose(Zoo.load(path).contexts, grid.split(f"random-2-{draw}").train)
    table_config = genhyper_table_1.table_config(config, cell)
    tiny = tiny_table(shipped, table_config.out, "specialized", "random-2")
    tiny = replace(tiny, zoos=table_config.zoos)
    comparison = table.run(tiny)[cell]
    assert comparison.rows[NEAREST].num_seeds == 3  # one a draw
    assert comparison.rows[ORACLE].tasks == comparison.rows[NEAREST].tasks
    done, left = genhyper_table_1.run(replace(config, minutes=0.0))  # reads the cell back
    assert list(done) == [cell] and not left
    assert "split `random-2`" in genhyper_table_1.markdown(config, done, left)
    assert "Not computed yet" in genhyper_table_1.markdown(config, {}, [cell])


@pytest.mark.slow
def test_table_1_audits_its_generators(shipped, tmp_path):
    config = genhyper_table_1.Table1Config(
        zoos=tmp_path / "zoos",
        out=tmp_path / "out",
        learned={"HypLatent": Candidate(HypLatentConfig(steps=100, batch=4))},
    )
    (tmp_path / "zoos").mkdir()
    (tmp_path / "zoos/cheetah-vel").symlink_to(shipped)
    cell = Cell("cheetah-vel", "macaw", "full")
    found = genhyper_table_1.audits(config, cell)
    again = genhyper_table_1.audits(config, cell)
    assert again == found
    assert len(found["HypLatent"].groups["generated"].weights) == 3 * 4 * 5  # seeds, draws, tasks
    text = memorization.compared(found)
    assert "HypLatent" in text and "held-out experts" in text
