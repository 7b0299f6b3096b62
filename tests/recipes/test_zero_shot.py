"""Zero-shot tables: a trick that one row gets, all get; zoos are made of what their split shows."""

import json
from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.evaluate import Row
from hyperpolicy.evaluate.protocol import (
    CONDITIONED,
    INTERPOLATED,
    NEAREST,
    REGRESSION,
    TOLD_SYMMETRIES,
    is_trivial,
)
from hyperpolicy.fleet import Base, OnPolicy, RoundSchedule
from hyperpolicy.generate import symmetric
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.writers import lookup, regression
from hyperpolicy.recipes.genhyper import table_1 as genhyper_table_1
from hyperpolicy.recipes.zero_shot import methods, presets, table, zoos
from hyperpolicy.recipes.zero_shot.presets import TableConfig
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.zoo import Zoo


def tiny(name: str) -> Zoo:
    """Four untrained experts."""
    fam = hp.family(name)
    spec = hp.PolicySpec(fam.obs_size, fam.action_size, (4,), ("tanh",))
    weights = np.random.default_rng(0).normal(0, 0.3, (4, spec.size)).astype(np.float32)
    return Zoo(
        spec,
        fam,
        weights,
        expert=np.arange(4),
        updates=np.full(4, 10),
        final=np.ones(4, bool),
        returns=np.full(4, -100.0, np.float32),
        contexts=np.array([[0.1], [0.6], [1.1], [1.4]]),
        provenance={},
    )


def rows(zoo: Zoo) -> dict[str, Row]:
    config = regression.RegressionConfig(degree=1)
    return {
        NEAREST: Row([lookup.nearest(zoo)], 7, pipelines=(0,)),
        INTERPOLATED: Row([lookup.linear(zoo)], 7),
        REGRESSION: Row([fit(config, zoo)], 7),
        CONDITIONED: Row([lookup.nearest(zoo)], 7),
        "ours": Row([lookup.linear(zoo)], 7, draws=8),
    }


def test_every_row_of_a_symmetric_robot_is_turned_too():
    plain = rows(tiny("ant-dir"))
    found = methods.turned(plain)
    assert list(found) == [f"{name}, turned" for name in plain]
    for name, row in plain.items():
        other = found[f"{name}, turned"]
        assert other.makers[0].column == TOLD_SYMMETRIES
        assert is_trivial(f"{name}, turned") == is_trivial(name)
        assert (other.env_steps, other.draws, other.pipelines) == (7, row.draws, row.pipelines)
    contexts = np.array([[0.3], [3.5]])
    want = symmetric.symmetric(plain[INTERPOLATED].makers[0]).generate(contexts)
    got = found[f"{INTERPOLATED}, turned"].makers[0].generate(contexts)
    np.testing.assert_array_equal(got.weights, want.weights)


def test_robots_without_symmetries_have_no_turned_rows():
    assert methods.turned(rows(tiny("cheetah-vel"))) == {}


# --- Zoos -------------------------------------------------------------------------------
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

    def train(plan, fam, contexts, start, out, shard):
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
        methods.find((tmp_path,), "shared-replay", grid.split("eighth"))


def test_missing_zoos_say_how_to_make_them(tmp_path):
    with pytest.raises(BadZoo, match="hyperpolicy recipe zoos"):
        table.run(TableConfig(zoos=(tmp_path,), out=tmp_path / "out"))


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
