"""The study of many tasks: sizes, cells that are read again, protocols that are unlike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperpolicy import files
from hyperpolicy.errors import BadFile, BadSetting, UnknownTask
from hyperpolicy.recipes.multi_task import methods, study, tables
from hyperpolicy.recipes.multi_task.methods import METHODS, SMALL, UNLIKE
from hyperpolicy.recipes.multi_task.study import Cell, StudyConfig

TABLE = tuple(map(tuple, np.random.default_rng(0).normal(size=(10, 256)).round(3).tolist()))


@pytest.mark.parametrize("name", ["CARE + PTSL", "BRC", "MOORE", "MT-PPO, told its task"])
def test_methods_are_as_large_as_the_plain_network(name):
    wanted = methods.count(methods.learner("MT-SAC, told its task", SMALL, 10, TABLE), 10)
    found = methods.count(methods.learner(name, SMALL, 10, TABLE), 10)
    assert 0.96 * wanted <= found <= wanted


@pytest.mark.slow
def test_every_method_is_as_large_as_the_plain_network():
    wanted = methods.count(methods.learner("MT-SAC, told its task", SMALL, 10, TABLE), 10)
    for name in set(METHODS) - set(UNLIKE):
        found = methods.count(methods.learner(name, SMALL, 10, TABLE), 10)
        assert 0.96 * wanted <= found <= wanted, name


def test_the_two_protocols():
    ptsl, other = StudyConfig(), StudyConfig(protocol="mw+")
    assert (ptsl.family.horizon_steps, ptsl.family.reward_version, ptsl.family.frozen) == (
        150,
        "v1",
        True,
    )
    assert (other.family.horizon_steps, other.family.reward_version, other.family.frozen) == (
        500,
        "v2",
        False,
    )
    plan = study.plan_of(replace(ptsl, steps=60_000), "MT-SAC")
    assert plan.schedule.fill_steps == plan.schedule.first_updates == 1_500
    assert plan.schedule.turns == 60_000 and plan.schedule.batch == 320
    assert ptsl.card() != other.card()


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    config = StudyConfig(
        out=tmp_path_factory.mktemp("study"),
        methods=("MT-SAC", "PTSL"),
        seeds=(3, 4),
        steps=160,
        evaluations=1,
        tasks=("reach", "push", "door-open"),
        leave_out=("push",),
    )
    return config, study.run(config)[0]


def test_cells_hold_what_was_measured(studied):
    config, found = studied
    assert list(found) == ["MT-SAC", "PTSL"] and [c.seed for c in found["PTSL"]] == [3, 4]
    one = found["PTSL"][0]
    assert one.steps == [160] and len(one.any_step) == 2 and one.card == config.card()
    assert one.card["tasks"] == "reach push door-open without push"
    assert 0 <= one.end <= 1 and one.minutes > 0
    assert one.died_at == -1
    policies, row = study.policy(config, "PTSL", 3)
    tested = policies.results(row, 1, study.TEST_SEED)
    assert np.array_equal(tested.success.mean(axis=1), one.any_step)


def test_tasks_left_out_are_tested_by_who_knows_of_them(studied):
    config, found = studied
    assert all(len(cell.left_out) == 1 for cells in found.values() for cell in cells)
    assert "| left-out tasks |" in tables.table(found, config)
    with pytest.raises(UnknownTask, match="Did you mean 'push'"):
        _ = replace(config, leave_out=("pusch",)).contexts
    with pytest.raises(BadSetting, match="leave one to train"):
        _ = replace(config, leave_out=config.tasks).contexts


def test_no_time_is_no_work(studied, tmp_path, monkeypatch):
    config, found = studied
    monkeypatch.setattr(study, "_train", lambda *args: pytest.fail("work began"))
    assert study.run(replace(config, out=tmp_path / "new", minutes=0.0)) == ({}, ["MT-SAC", "PTSL"])
    later = study.run(replace(config, seeds=(3, 4, 5), minutes=0.0))
    assert later == (found, ["MT-SAC", "PTSL"])


def test_ppo_is_planned_with_as_many_steps():
    config = StudyConfig(steps=60_000)
    schedule = study.plan_of(config, "MT-PPO, told its task").schedule
    assert schedule.steps(schedule.turns) == 60_000 * 10


def test_goals_are_one_table_a_seed(studied):
    config, _ = studied
    goals = files.load_json(config.out / "goals-3-4.json")
    seeds = [[task["seed"] for task in goals[seed].values()] for seed in ("3", "4")]
    assert next(iter(goals["3"])) == "reach" and not set(seeds[0]) & set(seeds[1])
    for name in ("MT-SAC", "PTSL"):
        policies, row = study.policy(config, name, 4)
        assert policies.goals[row].tolist() == [seeds[1][0], seeds[1][2]]


def test_cells_are_read_again_and_unlike_ones_refused(studied, monkeypatch):
    config, found = studied
    monkeypatch.setattr(study, "_train", lambda *args: pytest.fail("work began"))
    assert study.run(config) == (found, [])
    with pytest.raises(BadSetting, match="steps of every task: 160, here 300"):
        study.run(replace(config, steps=300))
    with pytest.raises(BadSetting, match="one episode or more"):
        replace(config, steps=100)
    with pytest.raises(BadSetting, match="Did you mean 'CARE'"):
        study.run(replace(config, methods=("CARR",)))


@pytest.mark.parametrize(
    "changed",
    [{"card": None}, {"train": []}, {"any_step": []}, {"any_step": "abc"}, {"returns": [1.0]}],
)
def test_a_damaged_cell_is_named(studied, tmp_path, changed):
    config, _ = studied
    place = tmp_path / "mt-sac"
    place.mkdir()
    cell = files.load_json(config.out / "mt-sac/seed-3.json")
    files.save_json(place / "seed-3.json", cell | changed)
    with pytest.raises(BadFile, match="is no cell of a study; remove it"):
        study.run(replace(config, out=tmp_path, methods=("MT-SAC",), seeds=(3,)))


def test_cells_that_ship_are_read_again():
    root = Path(__file__).parents[2] / "results"
    whole = StudyConfig(out=root / "mt10-small", minutes=0.0)
    half = replace(whole, out=root / "mt10-ablations", steps=30_000)
    paper = replace(whole, out=root / "mt10-paper", steps=2_000, preset="paper")
    for config, count in ((whole, 25), (half, 9), (paper, 8)):
        cells = sorted(config.out.glob("*/seed-*.json"))
        assert len(cells) == count
        for cell in cells:
            assert study._read(config, cell).numbers > 100_000


def test_goals_written_down_are_those_of_the_tasks(studied, tmp_path):
    config, _ = studied
    for tasks in (("reach", "push"), ("push", "window-open")):
        other = replace(config, out=tmp_path, tasks=tasks, leave_out=(), minutes=0.0)
        study.run(other)
        assert list(files.load_json(tmp_path / "goals-3-4.json")["3"]) == list(tasks)


def test_no_seed_stands_twice():
    with pytest.raises(BadSetting, match="none twice"):
        StudyConfig(seeds=(0, 0))


def test_tables_and_curves(studied):
    config, found = studied
    text = tables.page(found, config)
    assert "goals one a task, from the seed" in text and "| PTSL" in text
    assert tables.curves(found, config, config.out / "curves.png").exists()


def test_differences_are_paired_by_seed():
    def cell(method, seed, success):
        parts = [success] * 10, [0.0] * 10, [0.0] * 10
        return Cell(method, seed, {}, 1, [10], [0.0], [0.0], *parts, 1.0, -1)

    found = {
        "a": [cell("a", s, x) for s, x in enumerate((0.1, 0.5, 0.9))],
        "b": [cell("b", s, x) for s, x in enumerate((0.0, 0.4, 0.7))],
    }
    assert tables.best(found) == "a"
    low, high = tables.student(np.array([0.1, 0.1, 0.1]))
    assert low == pytest.approx(0.1) and high == pytest.approx(0.1)
    assert "[−0.010, 0.277]" in tables.table(found, StudyConfig())
    assert tables.middle(found["a"]) == pytest.approx(0.5, abs=0.1)


def test_published_points_are_of_the_same_steps_or_earlier():
    assert tables.published("mt10", 60_000)[0] == 50_000
    at, found = tables.published("mt10", 200_000)
    assert at == 200_000 and found["CARE + PTSL"] == 0.51
    assert tables.published("mt50", 1_000_000)[1]["PTSL"] == 0.61
    assert tables.published("mt10", 250_000)[1]["MT-SAC"] == 0.43
    assert tables.published("mt10", 10_000) == (0, {}) == tables.published("mt25", 200_000)
