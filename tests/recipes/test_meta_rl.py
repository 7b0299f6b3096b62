"""The comparison of meta-RL methods: cells are made once, resume, and are refused by name."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.baselines import history
from hyperpolicy.errors import BadSetting, BadZoo, UnknownSplit
from hyperpolicy.evaluate import protocol, side_by_side
from hyperpolicy.evaluate.protocol import (
    DECODED,
    INTERPOLATED,
    NEAREST,
    NEAREST_INDEPENDENT,
    REGRESSION,
    SPECIALIST,
    ZERO,
)
from hyperpolicy.recipes.meta_rl import rows as page
from hyperpolicy.recipes.meta_rl import table
from hyperpolicy.recipes.meta_rl.lab import Cell, Lab
from hyperpolicy.recipes.meta_rl.presets import MetaRlConfig

FEW = (ZERO, "MT-BC", "PEARL", "PEARL, told another task")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> MetaRlConfig:
    return MetaRlConfig(
        out=tmp_path_factory.mktemp("meta-rl"),
        families=("cheetah-vel",),
        splits=("sixteenth",),
        rows=FEW,
        preset="smoke",
        episodes=1,
    )


@pytest.fixture(scope="module")
def made(config):
    return table.run(config)


@pytest.fixture(scope="module")
def lab(config, made) -> Lab:
    return Lab(config, Cell("cheetah-vel", "macaw", "sixteenth"), float("inf"))


# --- Data ---------------------------------------------------------------------------------
def test_history_goes_from_chance_to_the_final_policy(lab):
    found = lab.data
    own = found[found.index.policy == 7]
    stages = list(dict.fromkeys(own.index.made_by.tolist()))
    assert stages[0] == history.RANDOM and stages[-1] == "final" and len(stages) == 4
    np.testing.assert_allclose(
        own.index.context, lab.experts.contexts[7][None] + 0 * own.index.context
    )
    assert len(set(own.index.seed.tolist())) == len(own) == 2 * len(stages)
    late = history.late(found, 0.25)
    assert set(late.index.made_by.tolist()) == {"final"} and len(late) == 2 * 40
    actions = np.concatenate([one.action for one in own[:2]])
    assert np.abs(actions.mean()) < 0.1 and actions.std() == pytest.approx(3**-0.5, abs=0.05)


def test_nothing_of_test_tasks_is_learned_from(lab):
    train = {tuple(c) for c in lab.split.train.tolist()}
    seen = {tuple(np.round(c, 9)) for c in lab.train_data.index.context.tolist()}
    assert seen == {tuple(np.round(c, 9)) for c in train} and len(seen) == 3
    told = {tuple(np.round(c, 9)) for c in lab.test_data.index.context.tolist()}
    assert not told & seen and len(told) == 5


def test_told_wrongly_each_task_is_told_another(lab):
    data = lab.test_data
    wrong = lab.as_if(data)
    test = lab.split.test
    for i in range(len(test)):
        mine = wrong[np.flatnonzero(np.isclose(wrong.index.context[:, 0], test[i, 0]))]
        true = data[np.flatnonzero(np.isclose(data.index.context[:, 0], test[lab.others[i], 0]))]
        assert lab.others[i] != i
        np.testing.assert_array_equal(mine.episode(0).obs, true.episode(0).obs)


def test_experts_with_unequal_checkpoints_are_refused(lab):
    zoo = lab.experts
    with pytest.raises(BadZoo, match="unequal numbers of checkpoints"):
        history.stages(zoo.take(np.arange(1, len(zoo))))
    with pytest.raises(BadSetting, match="one or more of each checkpoint"):
        history.history(zoo, 0)
    with pytest.raises(BadSetting, match="more than 0 and at most 1"):
        history.late(lab.data, 0.0)


# --- The table ----------------------------------------------------------------------------
def test_rows_are_made_once_and_show_what_they_took(config, made):
    done, late = made
    assert not late
    (cell,) = done
    assert tuple(done[cell]) == FEW
    again, _ = table.run(config)
    assert again == done
    text = table.page(done, ["something"])
    for name in FEW:
        assert f"| {name} " in text
    assert "256 transitions of the test task" in text and "Not done: something" in text
    scores = {name: table.scores([record]) for name, record in done[cell].items()}
    (told,) = table.listening(scores)
    assert told.count("\n") == 3 and "| PEARL, told another task |" in told and told in text
    assert table.listening({"PEARL": scores["PEARL"]}) == []
    pearl = done[cell]["PEARL"]
    assert pearl["numbers"] > 100 and pearl["minutes"] > 0 and pearl["act_ms"] > 0


def test_rows_are_drawn_and_kept_as_files_that_compare_reads(made, tmp_path):
    done, _ = made
    (picture,) = table.draw(done, tmp_path)
    assert picture.stat().st_size > 10_000
    (kept,) = table.write_rows(done, tmp_path)
    assert table.write_rows(done, tmp_path) == [kept], "written over"
    found, _ = side_by_side.read(kept)
    assert tuple(found) == FEW


def test_pipelines_are_joined(config, made):
    done, _ = made
    (cell,) = done
    records = done[cell]["PEARL"]
    other = {**records, "score": {**records["score"], "pipelines": [1]}}
    found = table.scores([records, other])
    assert found.pipelines == (0, 1) and found.num_pipelines == 2
    assert found.returns.shape[0] == 2


def test_listening_counts_the_pipelines_that_both_rows_have(made):
    done, _ = made
    (cell,) = done
    record = done[cell]["PEARL"]

    def scored(pipeline: int, shift: float):
        score = record["score"]
        returns = (np.array(score["returns"], float) + shift).tolist()
        return {**record, "score": {**score, "pipelines": [pipeline], "returns": returns}}

    ours = table.scores([scored(0, 5.0), scored(1, -5.0), scored(2, 5.0)])
    theirs = table.scores([scored(0, 0.0), scored(1, 0.0)])
    (told,) = table.listening({"PEARL": ours, "PEARL, prior": theirs})
    assert " 1 of 2 |" in told


def test_time_that_is_over_is_said(config):
    short = replace(config, rows=("MT-ORL",), minutes=0.0)
    done, late = table.run(short)
    assert not done and late == ["cheetah-vel-macaw/sixteenth/0/MT-ORL"]


def test_names_that_are_none_are_refused_before_any_work(config, tmp_path):
    config = replace(config, out=tmp_path / "new")
    with pytest.raises(BadSetting, match="Did you mean 'MACAW'"):
        table.run(replace(config, rows=("MACAV",)))
    with pytest.raises(UnknownSplit):
        table.run(replace(config, splits=("half-and-half",)))
    with pytest.raises(BadSetting, match="no experts of 'metaworld' are planned"):
        replace(config, families=("metaworld",))
    assert not (tmp_path / "new").exists()


def test_specialized_experts_stand_beside_independent_ones(lab):
    whole = replace(lab, cell=replace(lab.cell, split="full"))
    own, decoded = (page.ROWS[name](whole).maker.weights for name in (SPECIALIST, DECODED))
    zoo = hp.Zoo.load("zoos/cheetah-vel/specialized-full")
    np.testing.assert_array_equal(own, zoo.only(whole.split.test).finals.weights)
    np.testing.assert_array_equal(own, page.ROWS[SPECIALIST](lab).maker.weights)
    lost, spread = np.abs(decoded - own).mean(), np.abs(own - own.mean(axis=0)).mean()
    assert 0 < lost < spread
    written = page.ROWS[REGRESSION](whole).maker.generate(whole.split.test).weights
    assert np.abs(written - own).mean() < spread


def test_look_ups_told_a_prompt_are_as_trivial_as_look_ups():
    names = NEAREST, NEAREST_INDEPENDENT, INTERPOLATED
    assert all(protocol.is_trivial(f"{name}, told a prompt") for name in names)
    assert not protocol.is_trivial(f"{page.CHANGED}, told a prompt")
    assert f"{NEAREST}, told a prompt" in page.ROWS


def test_an_independent_expert_is_looked_up_among_those_of_training_tasks(lab):
    made = page.told_truly(lab, NEAREST_INDEPENDENT)
    written = made.maker.generate(lab.split.test).weights
    known = lab.experts.only(lab.split.train)
    assert (written[:, None] == known.finals.weights).all(axis=2).any(axis=1).all()
    assert made.env_steps == len(lab.split.train) * lab.experts.training.env_steps
    wise = page.told_prompt(lab, "HypLatent")
    assert wise.fits == ("prompt-reader", "hyplatent"), "its own fit counts, too"


def test_one_split_rows_stand_in_full_alone(config):
    cell = Cell("cheetah-vel", "macaw", "sixteenth")
    plain = replace(config, rows=None)
    left = set(page.ROWS) - set(table.names(plain, cell))
    assert left == set(page.ONE_SPLIT)
    assert table.names(plain, replace(cell, split="full")) == list(page.ROWS)
    ant = table.cells(replace(config, families=("ant-dir-endless",), splits=("full",), pipelines=3))
    assert [(c.grid, c.pipeline) for c in ant] == [("t2da", 0), ("t2da", 1), ("t2da", 2)]
    assert hp.family("ant-dir-endless").grid("t2da").contexts.shape == (50, 1)
