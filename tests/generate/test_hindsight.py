"""In hindsight: what is asked for is what would have earned the most, whatever body it is for."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.generate import fit
from hyperpolicy.generate.generator import load
from hyperpolicy.generate.library import Library, questions
from hyperpolicy.generate.writers import hindsight, lookup
from hyperpolicy.generate.writers.hindsight import HindsightConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.rollout import record
from hyperpolicy.zoo import Zoo

from .conftest import round_zoo, smooth_zoo

FEW = HindsightConfig(points=9, gains=(1.0,), finalists=(99,), episodes=(1,), kept=20)


@pytest.fixture(scope="module")
def zoo():
    made = smooth_zoo()
    return replace(made, family=replace(made.family, horizon_steps=20))


@pytest.fixture(scope="module")
def made(zoo):
    return hindsight.around(lookup.linear(zoo), zoo, FEW)


def test_what_is_asked_for_would_have_earned_the_most(zoo, made):
    """Against whole episodes of every policy, played again and labeled by hand."""
    writer, family = made.model.writer, zoo.family
    asked = np.asarray(writer.asked)[0]
    with pytest.warns(UserWarning, match="trained range"):
        policies = lookup.linear(zoo).generate(asked)
    seen = list(record(policies, family, asked, seed=1))
    for context in np.array([[0.5], [1.4], [2.6]]):
        labels = np.repeat(context[None], 20, axis=0)
        earned = [family.reward(x.action, x.outcome, labels).mean() for x in seen]
        best = asked[int(np.argmax(earned))]
        np.testing.assert_allclose(writer.chosen(context[None])[0][0], best)
        np.testing.assert_allclose(
            made.generate([context]).weights, lookup.linear(zoo).generate([best]).weights, atol=1e-6
        )


def test_contexts_asked_for_reach_beyond_the_trained_range(zoo, made):
    asked = np.asarray(made.model.writer.asked)[0, :, 0]
    assert asked.min() == pytest.approx(max(0.0, 0.3 - 0.25 * 2.4)) and asked.max() == 3.0
    assert all(np.isclose(asked, x).any() for x in zoo.contexts[:, 0])
    assert made.provenance[hindsight.ENV_STEPS] == 2 * len(asked) * 20


def test_asked_of_the_nearest_expert_it_is_the_best_expert(zoo):
    best = hindsight.around(lookup.nearest(zoo), zoo, FEW).generate([[0.4], [2.0]]).weights
    gaps = np.abs(best[:, None] - zoo.finals.weights[None]).max(axis=-1)
    assert (gaps.min(axis=1) == 0).all()


def test_it_is_kept_read_back_and_says_what_it_knows(zoo, made, tmp_path):
    made.save(tmp_path / "g")
    again = load(tmp_path / "g")
    contexts = np.array([[0.6], [2.2]])
    np.testing.assert_array_equal(again.generate(contexts).weights, made.generate(contexts).weights)
    assert again.model.reader.column == "true context, the reward's formula"


def test_a_directory_is_asked_too(zoo, tmp_path):
    lookup.linear(zoo).save(tmp_path / "source")
    config = replace(FEW, source=tmp_path / "source")
    found = fit(config, zoo, out=tmp_path / "g")
    assert load(tmp_path / "g").kind == found.kind == "hindsight"
    with pytest.raises(BadSetting, match="no effect beside source"):
        replace(config, base=tmp_path).check_unused()


def test_a_circle_is_asked_all_around():
    zoo = round_zoo(np.linspace(0, 2 * np.pi, 5, endpoint=False))
    zoo = replace(zoo, family=replace(zoo.family, horizon_steps=5))
    asked = questions(zoo.family, zoo.contexts, FEW.points, FEW.reach)[:, 0]
    assert asked.min() == 0 and asked.max() > 1.7 * np.pi


def test_gains_make_policies_weaker(zoo):
    """Half of each output's argument; without a choice of contexts the gain alone is chosen."""
    source, context = lookup.linear(zoo), np.array([[1.0]])
    made = hindsight.around(source, zoo, replace(FEW, gains=(0.5, 0.25)))
    asked, gain = made.model.writer.chosen(context)
    assert gain[0] in (0.5, 0.25) and made.model.writer.gain.size == 2 * len(
        questions(zoo.family, zoo.contexts, FEW.points, FEW.reach)
    )
    obs = np.random.default_rng(0).normal(size=(1, 3, 20)).astype(np.float32)
    plain = np.arctanh(source.generate(asked).act(obs))
    np.testing.assert_allclose(made.generate(context).act(obs), np.tanh(gain * plain), atol=1e-4)


def test_equal_rewards_leave_nothing_to_choose(zoo):
    one = zoo.take(np.flatnonzero(zoo.expert == 0))
    with pytest.raises(BadZoo, match="need"):
        hindsight.around(lookup.nearest(one), one, FEW)


def test_another_body_is_corrected_as_the_nearest_one_was():
    pytest.importorskip("dm_control")
    family = replace(hp.family("finger-spin"), horizon_steps=8)
    contexts = family.context.check([[-6.0, 0.15], [6.0, 0.15], [-6.0, 0.3], [6.0, 0.3]])
    spec, n = PolicySpec(9, 2, (4, 4)), len(contexts)
    weights = np.random.default_rng(0).normal(0, 1.0, (n, spec.size)).astype(np.float32)
    arrays = {"expert": np.arange(n), "updates": np.zeros(n, int), "final": np.ones(n, bool)}
    zoo = Zoo(spec, family, weights, **arrays, returns=np.zeros(n, np.float32), contexts=contexts)
    made = hindsight.around(lookup.linear(zoo), zoo, FEW)
    writer = made.model.writer
    assert writer.action.shape[0] == 2
    tasks = family.context.check([[4.0, 0.16], [4.0, 0.29]])
    asked, _ = writer.chosen(tasks)
    np.testing.assert_array_equal(asked[:, 1:], tasks[:, 1:])
    for i, body in enumerate(np.asarray(writer.asked)[:, 0, 1]):
        assert abs(body - tasks[i, 1]) < 0.02
        best = writer.library(i).earned(family, tasks[i]).argmax()
        assert asked[i, 0] == writer.asked[i, best, 0]


def test_finalists_are_the_best_for_each_context(zoo):
    """The two of five policies whose speeds are near those asked for, then the next best."""
    outcome = np.repeat(np.array([9.0, 0.5, 1.5, 8.0, 2.5])[:, None, None], 4, axis=1)
    steps = np.zeros((5, 4, 6)), outcome
    library = Library(np.zeros((5, 1)), np.ones(5), *steps, np.ones(5))
    asked = np.array([[0.5], [1.5], [1.6]])
    assert library.earned(zoo.family, asked[0]).argmax() == 1
    for most, want in ((2, [1, 2]), (3, [1, 2, 4])):
        np.testing.assert_array_equal(library.finalists(zoo.family, asked, most), want)


def test_who_dies_early_earns_for_the_steps_it_lived():
    """Two ants of the same steps; one of them falls after a fifth of its episodes."""
    family = hp.family("ant-dir")
    rng = np.random.default_rng(0)
    action = np.repeat(rng.uniform(-1, 1, (1, 6, family.action_size)), 2, axis=0)
    outcome = np.repeat(rng.normal(size=(1, 6, family.outcome_size)) + 5.0, 2, axis=0)
    lived = np.array([0.2, 1.0])
    library = Library(np.zeros((2, 1)), np.ones(2), action, outcome, lived)
    earned = library.earned(family, np.array([0.3]))
    assert earned[0] == pytest.approx(0.2 * earned[1]) and abs(earned[1]) > 0.1


def test_a_round_without_its_episodes_is_refused():
    with pytest.raises(BadSetting, match="equally many"):
        replace(FEW, finalists=(9, 3), episodes=(1,))
