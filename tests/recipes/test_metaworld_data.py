"""Meta-World's data on a family whose every step is a success, with episodes of 70 steps."""

from dataclasses import dataclass, replace

import gymnasium
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import files, registration, rollout
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs import registry
from hyperpolicy.envs.metaworld import MetaWorld, crews
from hyperpolicy.envs.metaworld.scripted import Scripted
from hyperpolicy.errors import BadZoo
from hyperpolicy.policies import Policies
from hyperpolicy.recipes import stage
from hyperpolicy.recipes.amt_hyp import data as recipe
from hyperpolicy.recipes.amt_hyp.presets import SMOKE_DATA


@dataclass(frozen=True, kw_only=True)
class Easy(MetaWorld):
    name: str = "easy-arm"
    horizon_steps: int = 70

    def success(self, outcome):
        return np.asarray(outcome)[..., 0] > -1.0


@dataclass(frozen=True, kw_only=True)
class Hard(Easy):
    def success(self, outcome):
        return np.zeros(np.shape(outcome)[:-1], bool)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    family = hp.envs.register(Easy())  # as its zoos are read again
    yield recipe.provide(SMOKE_DATA, out, family), out
    crews.dismiss()
    del registry.FAMILIES[family.name]
    gymnasium.registry.pop(registration.id_of(family.name))


@pytest.mark.slow
def test_every_stage_leaves_what_the_next_one_needs(made):
    data, _ = made
    seen = Easy().grid("amt-hyp").split("seen").train
    assert len(data.zoo) == 8 * 3 and data.zoo.spec.activations == ("elu", "relu")
    assert len(data.train) == len(data.rows) == 24
    np.testing.assert_array_equal(data.train.contexts, data.zoo.row_contexts[data.rows])
    assert len(data.test) == 16 * SMOKE_DATA.test
    for context in seen:
        own = data.test.of(context)
        assert len(own) == SMOKE_DATA.test
        goals = own.ending[:, 36:39]  # the goal in the first state of the ending
        assert len(np.unique(goals, axis=0)) == SMOKE_DATA.test, "each in another configuration"


def test_no_two_rows_are_shown_in_one_configuration(made):
    data, _ = made
    own = {row: set(data.train.starts[data.rows == row].tolist()) for row in np.unique(data.rows)}
    assert len(own) > 1 and len(set.union(*own.values())) == sum(map(len, own.values()))
    assert not set.union(*own.values()) & set(data.test.starts.tolist())


def test_tasks_of_few_rows_show_more_and_scripts_stand_in(made, tmp_path):
    zoo = made[0].zoo
    few = zoo.take(np.flatnonzero(zoo.final | (zoo.expert == 1)))
    counts = np.bincount(few.expert)
    assert counts[0] == 1 < counts[1], "a task of one row, and one of several"
    preset, index = replace(SMOKE_DATA, shown_task=3), tmp_path / "shown.json"
    script = Scripted([few.family.task_name(few.contexts[2])], 0.3, 0)
    recipe.training_demonstrations(preset, few.family, few, {2: script}, index)
    shown = Demonstrations.load(index.with_suffix(".safetensors"))
    rows = np.array(files.load_json(index)["rows"])
    tasks = np.bincount(few.expert[rows])
    assert tasks[0] == 3 and tasks[1] == counts[1] * -(-3 // counts[1])
    assert tasks[2] == 6, "three of its final row, three of its script"
    np.testing.assert_array_equal(shown.contexts, few.row_contexts[rows])
    assert len(set(shown.starts.tolist())) == len(rows)


def test_nothing_is_computed_twice(made, monkeypatch):
    data, out = made
    spent = stage.read(out / "minutes.json")
    demos = [f"demonstrations, {which}" for which in ("training", "seen tasks", "unseen tasks")]
    assert list(spent) == ["base", "experts", "gate", *demos] and min(spent.values()) > 0
    for name in ("results", "trace", "collect"):
        monkeypatch.setattr(recipe.rollout, name, lambda *a, **k: pytest.fail("computed again"))
    again = recipe.provide(SMOKE_DATA, out, Easy())
    np.testing.assert_array_equal(again.zoo.weights, data.zoo.weights)
    np.testing.assert_array_equal(again.test.opening, data.test.opening)
    assert stage.read(out / "minutes.json") == spent


def test_a_gate_goes_on_where_it_was_stopped(made, tmp_path, monkeypatch):
    data, _ = made
    zoo, asked, whole = data.zoo, [], []

    def rate(who, family, contexts, episodes, seed):
        if len(asked) == 3 and not whole:
            raise KeyboardInterrupt
        asked.append(contexts[0].tolist())
        return who.weights[:, 0]

    monkeypatch.setattr(recipe.rollout, "success_rate", rate)
    with pytest.raises(KeyboardInterrupt):
        recipe.gate(SMOKE_DATA, Easy(), zoo, tmp_path)
    whole.append(True)
    found = recipe.gate(SMOKE_DATA, Easy(), zoo, tmp_path)
    assert asked == zoo.contexts.tolist(), "each expert once"
    np.testing.assert_allclose(found["success"], zoo.weights[:, 0])


def test_only_checkpoints_that_succeed_everywhere_are_kept(made):
    data, _ = made
    zoo, share = data.zoo, np.linspace(0, 1, 24)
    kept = recipe.passed(zoo, share.tolist())
    assert len(kept) == 8 and kept.final.all()  # the last row is final and the only whole success
    np.testing.assert_array_equal(kept.weights, zoo.weights[zoo.final])
    share[:8] = 1.0
    kept = recipe.passed(zoo, share.tolist())
    assert len(kept) == 16 and kept.final.sum() == 8


def test_a_task_nobody_solves_is_named(made):
    data, _ = made
    with pytest.raises(BadZoo, match="0 of 15 episodes on window-open succeeded"):
        actor = rollout.Greedy(data.zoo.finals[0])
        recipe.enough(SMOKE_DATA, Hard(), data.zoo.contexts[:1], actor)


def test_experts_start_from_one_policy_and_learn_from_scripts(made):
    """The base's tasks differ in the first bias alone; so little was learned that experts still
    lie near it."""
    data, out = made
    record = data.zoo.provenance
    assert record["start"] == "given" and record["scripted_steps_per_expert"] == 8 * (20 + 500)
    base = Policies.load(out / "base.safetensors")
    differs = np.flatnonzero((base.weights != base.weights[:1]).any(axis=0))
    first = 39 * 8
    assert set(differs) <= set(range(first, first + 8)) and len(differs)
    moved = np.abs(data.zoo.finals.act(data.zoo.states) - base.act(data.zoo.states))
    assert 0 < moved.mean() < 0.1
    assert (out / "experts/zoo").exists()
    loaded = Demonstrations.load(out / "demonstrations-unseen.safetensors")
    assert len(loaded) == 8 * SMOKE_DATA.test
