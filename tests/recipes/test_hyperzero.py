"""HyperZero's tables on tiny experts: every row, resumed, ablated; and their statistics."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.errors import BadSetting, UnknownSplit
from hyperpolicy.evaluate.protocol import BEST_SEEN, BEST_WEAKENED, ORACLE, is_trivial
from hyperpolicy.recipes.hyperzero import experts, figures, methods, tables
from hyperpolicy.recipes.hyperzero.experts import ExpertsPreset
from hyperpolicy.recipes.hyperzero.methods import HYPERZERO
from hyperpolicy.recipes.hyperzero.tables import Cell, TablesConfig
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig

pytest.importorskip("dm_control")
TINY = ExpertsPreset(
    rounds=2,
    worlds=10,
    expert_rounds=2,
    expert_worlds=2,
    learner=PpoConfig(hidden=(4, 4), value_hidden=(4,), epochs=1, minibatches=1),
    critic=SacConfig(hidden=(4, 4)),
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The finger's first two splits, in episodes of ten steps."""
    short = replace(hp.family("finger-spin"), horizon_steps=10)
    patch = pytest.MonkeyPatch()
    patch.setitem(hp.envs.FAMILIES, "finger-spin", short)
    patch.setattr("hyperpolicy.fleet.judging.EXPERTS", experts.judging.Effort(2, 8))
    patch.setattr("hyperpolicy.fleet.judging.BASE", experts.judging.Effort(2, 8))
    yield TablesConfig(
        out=tmp_path_factory.mktemp("hyperzero"),
        families=("finger-spin",),
        splits=("hypogen-20-0", "hypogen-20-1"),
        rows=(HYPERZERO, methods.IN_HINDSIGHT[HYPERZERO]),
        episodes=1,
        experts=TINY,
        methods=methods.SMOKE,
    )
    patch.undo()


@pytest.fixture(scope="module")
def found(config):
    return tables.run(config)


def test_every_row_is_measured_on_every_split(config, found):
    cells = found["finger-spin"]
    assert set(cells) == set(config.splits)
    names = {HYPERZERO, ORACLE, methods.RESIDUAL}
    for split, cell in cells.items():
        assert names < set(cell.rows)
        tasks = Cell("finger-spin", "speed", split).tasks.split(split)
        np.testing.assert_allclose(cell.rows[HYPERZERO].contexts, tasks.test)
        trained = hp.load(config.out / "finger-spin-speed/fits" / split / "hyperzero")
        np.testing.assert_allclose(trained.trained_contexts, tasks.train)


def test_a_second_call_measures_nothing(config, found, monkeypatch):
    monkeypatch.setattr(tables, "score", lambda *a: pytest.fail("measured again"))
    again = tables.run(config)
    for split, cell in found["finger-spin"].items():
        for name, row in cell.rows.items():
            assert again["finger-spin"][split].rows[name].mean == row.mean


def test_trivial_rows_in_hindsight_stand_where_others_do():
    left_out = methods.SMOKE.left_out
    assert {BEST_SEEN, BEST_WEAKENED, methods.MAML} < set(left_out((HYPERZERO,)))
    asked = left_out((methods.IN_HINDSIGHT[HYPERZERO],))
    assert not {BEST_SEEN, BEST_WEAKENED} & set(asked) and HYPERZERO in asked


@pytest.mark.slow
def test_every_method_is_fitted(config, found):
    whole = tables.run(replace(config, rows=None, splits=config.splits[:1]))
    rows = whole["finger-spin"]["hypogen-20-0"].rows
    assert set(methods.SMOKE.names) < set(rows)
    assert rows[methods.ADAPTED].given == methods.SHOWN
    seen = methods.IN_HINDSIGHT[methods.RESIDUAL]
    assert rows[seen].env_steps > rows[methods.RESIDUAL].env_steps


def test_the_page_has_intervals_leads_published_rows_and_minutes(config, found):
    page = tables.page(found, config)
    for text in ("HyperZero (published, speed grid)", "596.8", "95 % over splits", "## Minutes"):
        assert text in page
    assert "one pipeline" in page


def test_bases_know_their_training_contexts_alone(config, found):
    base = hp.fleet.Base.load(config.out / "finger-spin-speed/hypogen-20-0-base.safetensors")
    split = hp.family("finger-spin").grid("speed").split("hypogen-20-0")
    np.testing.assert_array_equal(base.contexts, split.train)
    zoo = hp.Zoo.load(config.out / "finger-spin-speed/hypogen-20-0")
    np.testing.assert_array_equal(zoo.contexts, split.train)
    assert set(zoo.training.seen) == set(map(tuple, split.train.tolist()))
    assert zoo.critics is not None
    assert all(context in zoo.contexts.tolist() for context in zoo.provenance["kept_the_base"])


def test_students_interval_is_over_the_splits():
    low, high = tables.student(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert all(np.isnan(tables.student(np.array([1.0]))))


def test_ahead_needs_a_lead_over_every_trivial_row():
    def rows(**means):
        names = {"a": "HyperZero", "b": "nearest training expert", "c": "one expert for all"}
        return {names[k]: tables.Summary(names[k], np.array(v)) for k, v in means.items()}

    clear = rows(a=[9.0, 9.1, 9.2], b=[5.0, 5.1, 5.2], c=[3.0, 3.1, 3.3])
    assert tables.ahead(clear, "HyperZero") and not tables.ahead(clear, "one expert for all")
    assert not tables.ahead(rows(a=[9.0, 2.0, 9.2], b=[5.0, 5.1, 5.2], c=[3, 3, 3.0]), "HyperZero")
    assert tables.leads(clear, "HyperZero")[:2] == ("nearest training expert", pytest.approx(4.0))
    assert is_trivial("one expert a direction")


def test_one_expert_is_the_best_on_training_contexts(config, found):
    zoo = hp.Zoo.load(config.out / "finger-spin-speed/hypogen-20-0")
    one = methods.Chosen.among(zoo, directed=False).generate(zoo.contexts)
    assert len(np.unique(one.weights, axis=0)) == 1
    two = methods.Chosen.among(zoo, directed=True).generate(zoo.contexts)
    for side in (zoo.contexts[:, 0] > 0, zoo.contexts[:, 0] < 0):
        assert len(np.unique(two.weights[side], axis=0)) == 1


def test_pictures_are_drawn(config, found, tmp_path):
    cell = Cell("finger-spin", "speed", "hypogen-20-0")
    path = figures.draw(cell, found["finger-spin"]["hypogen-20-0"], tmp_path / "line.png")
    assert path.stat().st_size > 10_000


def test_unknown_names_are_refused_before_any_work(config, tmp_path):
    with pytest.raises(UnknownSplit, match="hypogen-20-0"):
        tables.run(replace(config, splits=("hypogen-20-9",), out=tmp_path / "new"))
    with pytest.raises(BadSetting, match="HyperZero"):
        tables.run(replace(config, rows=("hyperzero",), out=tmp_path / "new"))
    with pytest.raises(BadSetting, match="and none twice"):
        replace(config, splits=("hypogen-20-0", "hypogen-20-0"))
    assert not (tmp_path / "new").exists()


def test_what_was_made_by_other_settings_is_said(config, found):
    grid = hp.family("finger-spin").grid("speed")
    longer = replace(config.experts, rounds=3)
    with pytest.warns(UserWarning, match="base of hypogen-20-0 that is there had 2 updates.* 3;"):
        experts.bases(config.out, grid, ["hypogen-20-0"], longer)
