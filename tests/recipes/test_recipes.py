"""The recipes, whole, at smoke size: zoos, their slices, the table, the demo."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.evaluate import memorization
from hyperpolicy.evaluate.rows import NEAREST, ORACLE
from hyperpolicy.fleet import Base, OnPolicy, RoundSchedule, runner
from hyperpolicy.generate import generator
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.tune_config import TuneConfig
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.recipes import demo
from hyperpolicy.recipes.genhyper import figure_6
from hyperpolicy.recipes.genhyper import table_1 as genhyper_table_1
from hyperpolicy.recipes.method import Cell
from hyperpolicy.recipes.zero_shot import methods, presets, sources, table, zoos
from hyperpolicy.recipes.zero_shot.methods import Candidate, TableConfig
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


def test_pipelines_have_seeds_and_grids_have_places_of_their_own():
    numbers = {zoos.Pipeline(split, seed).number for split in zoos.SPLITS for seed in range(3)}
    assert len(numbers) == 3 * len(zoos.SPLITS)
    ant = family("ant-dir")
    places = [zoos.place(ant.grid(name)) for name in ("macaw", "authors")]
    assert places == ["ant-dir", "ant-dir-authors"]


@pytest.mark.slow
def test_an_ant_zoo_of_a_small_split(tmp_path):
    """Another family, directions on a circle: bases see their split's directions only."""
    grid = family("ant-dir").grid("macaw")
    pipeline = zoos.Pipeline("sixteenth", 1)
    made = zoos.specialized(tmp_path / "specialized", grid, (pipeline,), presets.SMOKE)[pipeline]
    split = grid.split("sixteenth")
    np.testing.assert_allclose(made.contexts, split.train)
    assert made.provenance["test_contexts"] == split.test.tolist()
    [path] = zoos.ship(tmp_path, tmp_path / "zoos", num_checkpoints=1)
    assert path.name == "specialized-sixteenth-seed1" and Zoo.verify(path) == []
    base = Base.load(path / "base.safetensors")
    np.testing.assert_allclose(base.contexts, split.train)
    assert base.policy.spec.obs == 29  # observation, sine and cosine


@pytest.mark.slow
def test_ants_alone_serve_the_splits_of_their_preset(tmp_path):
    grid = family("ant-dir").grid("macaw")
    schedule = RoundSchedule(
        num_rounds=2, num_envs=2, round_steps=4, num_checkpoints=1, num_evaluations=1, episodes=1
    )
    cfg = PpoConfig(hidden=(8, 8), value_hidden=(8, 8), minibatches=1, epochs=1)
    preset = presets.IndependentPreset(OnPolicy(cfg, schedule), ("sixteenth",))
    made = zoos.independent(tmp_path / "independent", grid, preset)
    split = grid.split("sixteenth")
    assert len(made.contexts) == 9 and made.critics is None
    assert len(made.only(split.train).contexts) == 4
    config = genhyper_table_1.Table1Config(families=("ant-dir",), kinds=("independent",))
    found = {(cell.grid, cell.split) for cell in genhyper_table_1.cells(config)}
    assert {split for _, split in found} == {"sixteenth"}


def test_a_shared_replay_holds_training_contexts_only(tmp_path, monkeypatch):
    """Its zoo has no test experts, and serves the split it was made for."""
    asked = {}

    def train(plan, fam, contexts, start, out):
        asked.update(plan=plan, contexts=contexts, out=out)
        return object.__new__(Zoo)

    monkeypatch.setattr(zoos, "train", train)
    grid = family("cheetah-vel").grid("macaw")
    split, preset = grid.split("full"), presets.WITHOUT_BASE["cheetah-vel"]["shared-replay"]
    for splits in (preset.splits, None):
        zoos.independent(tmp_path, grid, replace(preset, splits=splits))
        np.testing.assert_array_equal(asked["contexts"], split.train)
        np.testing.assert_array_equal(asked["plan"].held_out, split.test)
        assert asked["out"].provenance["split"] == "full"
    zoos.independent(tmp_path, grid, presets.WITHOUT_BASE["cheetah-vel"]["independent"])
    assert len(asked["contexts"]) == 40
    config = genhyper_table_1.Table1Config(families=("cheetah-vel",), kinds=("shared-replay",))
    assert {cell.split for cell in genhyper_table_1.cells(config)} == {"full"}
    with pytest.raises(BadSetting, match="some of which split 'eighth' tests on"):
        sources.find((tmp_path,), "shared-replay", grid.split("eighth"))


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
    names = (NEAREST, ORACLE, table.REGRESSION, methods.RESIDUAL, table.DISTILLED, "HypLatent")
    for name in names:
        assert np.isfinite(rows[name].mean), name
    assert rows["HypLatent"].num_seeds == 2
    assert rows[ORACLE].tasks == rows[NEAREST].tasks
    assert len(rows[NEAREST].tasks) == 5
    assert (
        methods.RESIDUAL not in cells[Cell("cheetah-vel", "macaw", "sixteenth", "independent")].rows
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


def test_missing_zoos_say_how_to_make_them(tmp_path):
    with pytest.raises(BadZoo, match="hyperpolicy recipe zoos"):
        table.run(TableConfig(zoos=(tmp_path,), out=tmp_path / "out"))


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


def test_curves_have_names_that_a_reader_knows(tmp_path):
    found = zoos.base_names("bases-full-random-15-00-sixteenth2")
    assert found == [
        "base of full, seed 0",
        "base of random-15-0, seed 0",
        "base of sixteenth, seed 2",
    ]
    lines = [json.dumps({"updates": u, "return": [-u, -2 * u]}) for u in (8, 16)]
    for run in ("specialized/bases-full1-full2", "specialized/seed-1/full", "independent"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "metrics.jsonl").write_text("\n".join(lines))
    made = zoos.draw_curves(tmp_path, tmp_path, "Cheetah-Vel")
    assert [path.name for path in made] == ["bases.png", "experts.png"]
