"""Scores are data: what is printed is computed from the returns, and survives a round trip."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hyperpolicy import rollout, seeds
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs import family
from hyperpolicy.envs.locomotion import CheetahVel
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape
from hyperpolicy.evaluate import Row, Score, score
from hyperpolicy.evaluate.protocol import usual_episodes
from hyperpolicy.evaluate.scoring import score_demonstrated
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies

FAMILY = CheetahVel(horizon_steps=8)
CONTEXTS = np.array([[0.5], [2.0]])
SPEC = PolicySpec(20, 6, (4,), ("tanh",))


@dataclass(frozen=True)
class Noisy:
    """A generator whose policies depend on its training seed, the context and the noise seed."""

    training_seed: int

    def generate(self, contexts, seed=0) -> Policies:
        rows = [
            np.random.default_rng([self.training_seed, seed, int(1000 * c)]).normal(size=SPEC.size)
            for c in contexts[:, 0]
        ]
        return Policies(np.array(rows), SPEC)


def made_up(returns, seed: int = 0) -> Score:
    returns = np.asarray(returns, float)
    contexts = np.arange(returns.shape[2], dtype=float)[:, None]
    tasks = tuple(f"{x:g} m/s" for x in contexts[:, 0])
    return Score("cheetah-vel", contexts, tasks, returns, seed=seed)


def test_every_return_stands_where_it_belongs():
    generators = [Noisy(0), Noisy(1), Noisy(2)]
    found = score(Row(generators, env_steps=7, draws=2), FAMILY, CONTEXTS, episodes=3)
    assert found.returns.shape == (3, 2, 2, 3)
    assert found.tasks == ("0.5 m/s", "2 m/s")
    assert (found.num_seeds, found.env_steps, found.given) == (3, 7, "true context")
    alone = rollout.returns(Noisy(2).generate(CONTEXTS[1:], seed=1), FAMILY, CONTEXTS[1:], 3)
    np.testing.assert_allclose(found.returns[2, 1, 1], alone[0], rtol=1e-5)


def test_policies_and_bare_actions_have_one_draw():
    policies = Noisy(0).generate(CONTEXTS)
    found = score(Row([policies], draws=5), FAMILY, CONTEXTS, episodes=2)
    np.testing.assert_array_equal(
        found.returns[0, 0], rollout.returns(policies, FAMILY, CONTEXTS, episodes=2)
    )
    still = score(rollout.zero(FAMILY), FAMILY, CONTEXTS, episodes=2)
    assert still.returns.shape == (1, 1, 2, 2)


def test_statistics_come_from_the_returns():
    found = made_up([[[[1, 3], [10, 20]]], [[[2, 2], [30, 40]]]])
    assert found.mean == pytest.approx(13.5)
    np.testing.assert_allclose(found.task_means, [2.0, 25.0])
    assert found.task(1).mean == 25.0
    low, high = found.interval
    assert low < found.mean < high
    assert found.over == "pipelines not recorded: 2 fits" and np.isnan(found.new_pipeline).all()


@pytest.mark.parametrize(
    ("pipelines", "over"),
    [
        (None, "one pipeline: 3 fits"),
        ((0, 0, 0), "one pipeline: 3 fits"),
        ((0, 1, 2), "3 pipelines"),
        ((4, 4, 7), "2 pipelines"),
        ((), "untrained: 3 fits"),
    ],
)
def test_what_came_out_of_one_training_is_said(pipelines, over):
    makers = [Noisy(0), Noisy(1), Noisy(2)]
    found = score(Row(makers, pipelines=pipelines), FAMILY, CONTEXTS, 2)
    assert found.over == over
    assert np.isnan(found.new_pipeline).all() == ("pipelines" not in over)
    assert Score.from_json(json.loads(json.dumps(found.to_json()))).over == over
    with pytest.raises(BadSetting, match="2 pipelines for 1 makers"):
        score(Row([Noisy(0)], pipelines=(0, 1)), FAMILY, CONTEXTS, 2)


def test_a_score_carries_its_protocol(tmp_path):
    found = score(Noisy(0), FAMILY, CONTEXTS, 2)
    card = found.protocol
    assert (card.family, card.horizon_steps, card.action) == ("cheetah-vel", 8, "deterministic")
    assert (card.grid, card.success) == ("none", "none")
    assert Score.load(found.save(tmp_path / "s.json")).protocol == card
    on_grid = score(Noisy(0), FAMILY, FAMILY.grid("macaw").contexts[:2], 1)
    assert on_grid.protocol.grid == "macaw"


def test_families_have_their_usual_number_of_starts():
    assert usual_episodes(family("ant-dir")) == 100
    assert usual_episodes(family("metaworld")) == 20
    assert score(Noisy(0), FAMILY, CONTEXTS).returns.shape[3] == 10


@pytest.mark.parametrize("bad", [{"episodes": 0}, {"episodes": 10**6}, {"seed": -1}])
def test_numbers_that_cannot_be_are_told(bad):
    with pytest.raises(BadSetting):
        score(Noisy(0), FAMILY, CONTEXTS, **bad)


def test_rates_have_intervals_of_a_width():
    sure = with_success(np.ones((1, 1, 2, 20)))
    low, high = sure.successes.interval
    assert 0.85 < low < 1.0 and high == 1.0
    assert np.isnan(made_up(np.full((1, 1, 2, 20), -3.0)).interval).all()


def test_table_shows_every_task_and_all():
    table = made_up([[[[-1, -3], [-10, -20]]]]).table()
    assert "| 0 m/s   |        −2.0 |" in table
    assert "| **all** |        −8.5 |" in table
    assert (
        "1 run × 1 draw × 2 episodes a task. Intervals: one pipeline: 2 starts, which says" in table
    )


def test_broken_episodes_are_seen():
    found = made_up([[[[1.0, np.nan]]]])
    assert "broken" in found.table()


def test_normalized_puts_random_at_0_and_the_expert_at_1():
    random, expert = made_up([[[[-300, -290], [-200, -200]]]]), made_up([[[[-10], [-20]]]])
    np.testing.assert_allclose(expert.normalized(random, expert).task_means, 1.0)
    np.testing.assert_allclose(random.normalized(random, expert).task_means, 0.0, atol=1e-12)
    half = made_up([[[[-152.5], [-110.0]]]])
    np.testing.assert_allclose(half.normalized(random, expert).task_means, 0.5)
    with pytest.raises(BadSetting, match="score the same on 0 m/s"):
        half.normalized(expert, expert)
    with pytest.raises(BadShape, match="other tasks"):
        half.normalized(random.task(0), expert)


def test_best_draws_are_chosen_on_other_episodes():
    lucky = made_up([[[[9, 9]], [[1, 1]], [[5, 5]]]], seed=1)
    found = made_up([[[[2, 4]], [[7, 7]], [[0, 0]]]], seed=0)
    assert found.best(1, lucky).mean == 3.0, "draw 0 looked best on the other episodes"
    assert found.best(2, lucky).mean == 1.5
    assert found.best(3, lucky).mean == found.mean
    with pytest.raises(BadSetting, match="another seed"):
        found.best(1, found)
    with pytest.raises(BadSetting, match="best 4 of 3"):
        found.best(4, lucky)


def test_json_and_files_keep_everything(tmp_path):
    found = score(Row([Noisy(0)], 5, draws=2), FAMILY, CONTEXTS, episodes=2, seed=3)
    returns = found.returns.copy()
    returns[0, 0, 0, 0] = np.nan
    broken = Score.from_json(found.to_json() | {"returns": returns.tolist()})
    text = json.dumps(broken.to_json(), allow_nan=False)
    back = Score.from_json(json.loads(text))
    np.testing.assert_array_equal(back.returns, returns)
    np.testing.assert_array_equal(back.contexts, CONTEXTS)
    assert (back.tasks, back.seed, back.env_steps) == (found.tasks, 3, 5)
    path = found.save(tmp_path / "score.json")
    np.testing.assert_array_equal(Score.load(path).returns, found.returns)
    with pytest.raises(AlreadyExists):
        found.save(path)


def test_foreign_records_are_refused():
    whole = made_up([[[[1.0]]]]).to_json()
    for change in ({"more": 1}, {"returns": 1}, {"returns": [[[[1.0], [2.0]]]]}, {"tasks": None}):
        with pytest.raises(BadFile, match="no score"):
            Score.from_json(whole | change)
    for record in ({}, {"returns": 1}):
        with pytest.raises(BadFile, match="no score"):
            Score.from_json(record)


def test_nothing_to_score_is_an_error():
    with pytest.raises(BadSetting, match="at least one"):
        score([], FAMILY, CONTEXTS)
    with pytest.raises(BadSetting, match="draws=0; give 1 to 1,000"):
        score(Row([Noisy(0)], draws=0), FAMILY, CONTEXTS)


# --- Success ------------------------------------------------------------------------------
def with_success(success, returns=None, seed: int = 0) -> Score:
    success = np.array(success, float)
    returns = success if returns is None else np.array(returns, float)
    k = success.shape[2]
    names = tuple(f"task {i}" for i in range(k))
    return Score(
        "metaworld", np.arange(k)[:, None] * 1.0, names, returns, seed=seed, success=success
    )


def test_success_rates_and_qualified_policies(tmp_path):
    found = with_success([[[[1, 1, 1]], [[1, 0, 1]], [[0, 0, 0]], [[1, 1, 1]]]])  # four draws
    assert found.successes.mean == pytest.approx(8 / 12)
    assert found.qualified == 0.5
    again = Score.load(found.save(tmp_path / "s.json"))
    np.testing.assert_array_equal(again.success, found.success)
    with pytest.raises(BadSetting, match="returns only"):
        found.successes.successes  # noqa: B018


def test_a_score_of_successes_alone_keeps_no_returns(tmp_path):
    success = np.array([[[[1.0, 0.0]], [[0.0, 0.0]]]])
    found = with_success(success, np.full(success.shape, np.nan))
    assert found.to_json()["returns"] is None
    again = Score.load(found.save(tmp_path / "score.json"))
    np.testing.assert_array_equal(again.success, success)
    assert again.returns.shape == success.shape and np.isnan(again.returns).all()


def test_the_best_draws_are_those_with_most_successes_elsewhere():
    here = with_success([[[[1, 1]], [[0, 0]], [[1, 0]]]])
    there = with_success([[[[0, 0]], [[1, 0]], [[1, 0]]]], [[[[9, 9]], [[1, 1]], [[2, 2]]]], seed=1)
    chosen = here.best(1, chosen_by=there)  # most successes, then the higher return: draw 2
    assert chosen.success.tolist() == [[[[1.0, 0.0]]]]
    assert here.best(2, chosen_by=there).successes.mean == pytest.approx(1 / 4)


def test_draws_of_a_task_are_its_demonstrations():
    """Two makers, three demonstrations a task; what each policy does depends on its own one."""
    arm = family("metaworld")
    arm_spec = PolicySpec(39, 4, (2,), ("relu",))

    class Maker:
        def __init__(self, scale):
            self.scale = scale

        def generate(self, given, seed=0):
            marks = given.opening[:, :1] * self.scale
            return Policies(np.repeat(marks, arm_spec.size, axis=1), arm_spec)

    short = replace(arm, horizon_steps=3)
    tasks = arm.contexts(["window-open", "door-open"])
    contexts = np.repeat(tasks, [4, 3], axis=0)
    opening = np.zeros((7, 1020), np.float32)
    opening[:, 0] = np.arange(7) / 10
    demos = Demonstrations(arm, contexts, opening, np.zeros((7, 117)))
    shown = [demos.of(task) for task in tasks]
    row = Row([Maker(1.0), Maker(-1.0)], draws=3)
    found = score_demonstrated(row, short, shown, 2)
    assert found.returns.shape == found.success.shape == (2, 3, 2, 2)
    assert found.tasks == ("window-open", "door-open") and found.given.startswith("one dem")
    assert found.protocol.starts.startswith("drawn anew") and found.num_pipelines == 1
    alone = Maker(-1.0).generate(demos[5:6])  # door-open's second: the fifth policy of all
    own = seeds.episodes(0, 6 * 2).reshape(6, 2)
    want = rollout.results(alone, short, tasks[1:], own[4:5]).returns[0]
    np.testing.assert_allclose(found.returns[1, 1, 1], want, rtol=1e-5)
    with pytest.raises(BadSetting, match="there are 3 demonstrations of a task"):
        score_demonstrated(replace(row, draws=4), short, shown)
