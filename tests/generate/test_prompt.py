"""Prompts in place of contexts: what is guessed, and generators that go on from it."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.baselines import inferring
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.errors import BadContext, BadSetting
from hyperpolicy.generate import fit as fit_generator
from hyperpolicy.generate import prompt
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.prompt import PromptReaderConfig
from hyperpolicy.generate.writers import lookup
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.rollout import record, returns

HORIZON = 12
FAMILY = replace(hp.family("cheetah-vel"), horizon_steps=HORIZON)
CONTEXTS = np.array([[0.3], [1.5], [2.7]])
CONFIG = PromptReaderConfig(hidden=16, steps=400, batch=32, rate=3e-3, noise=0.01)


@pytest.fixture(scope="module")
def zoo():
    """Experts with a constant action each: the faster the task, the larger."""
    spec = hp.PolicySpec(20, 6, (3,), ("relu",), head="deterministic")
    weights = np.zeros((3, spec.size), np.float32)
    weights[:, -6:] = np.arctanh([-0.6, 0.0, 0.6])[:, None]
    return hp.Zoo(
        spec,
        FAMILY,
        weights,
        expert=np.arange(3),
        updates=np.full(3, 10),
        final=np.ones(3, bool),
        returns=np.full(3, -9.0, np.float32),
        contexts=CONTEXTS,
    )


@pytest.fixture(scope="module")
def episodes(zoo):
    return record(zoo.finals, FAMILY, CONTEXTS, episodes=4)


@pytest.fixture(scope="module")
def reader(episodes):
    shown = Prompts.cut(episodes, CONTEXTS, steps=3, where="anywhere", each=20)
    return prompt.fit(CONFIG, shown)


@pytest.mark.parametrize("name", ["cheetah-vel", "ant-dir", "metaworld", "cheetah-run"])
def test_decoding_is_the_inverse_of_encoding(name):
    family = hp.family(name)
    contexts = family.context.check(family.grids[0].contexts)
    found = family.context.decode(family.context.encode(contexts))
    assert family.context.distance(found, contexts).diagonal() == pytest.approx(0, abs=1e-6)
    wild = np.random.default_rng(0).normal(0, 9, (50, family.context.encoded_size))
    family.context.check(family.context.decode(wild))  # always a context


def test_several_prompts_of_a_task_stand_together(episodes):
    found = Prompts.cut(episodes, CONTEXTS, steps=3, where="start", each=2)
    np.testing.assert_array_equal(found.contexts[:, 0], np.repeat(CONTEXTS[:, 0], 2))
    assert (found.t == [[0, 1, 2]] * 6).all()


def test_the_context_is_guessed_from_new_prompts_of_any_length(reader, zoo):
    new = record(zoo.finals, FAMILY, CONTEXTS, episodes=3, seed=7)
    for steps in (2, 6):
        shown = Prompts.cut(new, CONTEXTS, steps=steps, where="anywhere")
        np.testing.assert_allclose(reader.contexts(shown), CONTEXTS, atol=0.3)
        turned = reader.contexts(shown[[2, 1, 0]])
        np.testing.assert_array_equal(turned, reader.contexts(shown)[::-1])


def test_the_order_of_steps_does_not_matter(reader, episodes):
    shown = Prompts.cut(episodes, CONTEXTS, steps=4)
    parts = (x[:, ::-1] for x in (shown.obs, shown.action, shown.reward, shown.to_go, shown.t))
    turned = Prompts(FAMILY, CONTEXTS, *parts)
    np.testing.assert_allclose(reader.contexts(shown), reader.contexts(turned), atol=1e-5)


@pytest.mark.filterwarnings("ignore:(?s).*outside the trained range")
def test_generators_are_told_prompts_in_place_of_contexts(reader, zoo, episodes, tmp_path):
    shown = Prompts.cut(episodes, CONTEXTS, steps=3)
    for plain in (lookup.linear(zoo), lookup.nearest(zoo)):
        told = prompt.told_prompts(plain, reader)
        assert told.takes is Prompts and told.column == Prompts.column
        guessed = plain.generate(reader.contexts(shown))
        np.testing.assert_array_equal(told.generate(shown).weights, guessed.weights)
        with pytest.raises(BadContext, match=r"reads prompts, not contexts; give hyper"):
            told.generate(CONTEXTS)
        again = hp.load(told.save(tmp_path / plain.kind))
        np.testing.assert_array_equal(again.generate(shown).weights, guessed.weights)
    with pytest.raises(BadSetting, match="this generator reads prompts; give one that reads con"):
        prompt.told_prompts(told, reader)
    with pytest.raises(BadSetting, match="prompts of cheetah-vel for a generator of other"):
        other = replace(FAMILY, name="other")
        prompt.told_prompts(replace(lookup.linear(zoo), family=other), reader)


def test_a_generator_may_be_fitted_on_prompts(reader, zoo, episodes):
    shown = Prompts.cut(episodes, CONTEXTS, steps=3, each=4)
    rows = np.repeat(np.arange(3), 4)
    config = HypLatentConfig(steps=3)
    made = fit_generator(config, Lesson(zoo, shown, rows, reader))
    assert made.generate(shown[:2]).weights.shape == (2, zoo.spec.size)


def test_prompts_of_one_task_teach_nothing(episodes):
    with pytest.raises(BadSetting, match="of one task"):
        prompt.fit(CONFIG, Prompts.cut(episodes, CONTEXTS[:1], steps=3))


# --- Unknown context ----------------------------------------------------------------------
@pytest.fixture(scope="module")
def unknowing(zoo):
    return inferring.fit(CONFIG, lookup.linear(zoo), CONTEXTS, every=3, asked=3)


def test_it_acts_by_what_its_own_steps_say(unknowing, zoo):
    actor, spent = unknowing
    assert spent == 9 * HORIZON
    assert actor.start_context.tolist() == [[1.5]]
    made = record(actor, FAMILY, CONTEXTS, episodes=2, made_by="it")
    first = np.array([one.action[:3] for one in made])
    np.testing.assert_allclose(first, 0.0, atol=1e-5)  # the middle task's policy
    late = np.array([one.action[6:].mean() for one in made]).reshape(3, 2).mean(axis=1)
    assert late[0] < late[1] < late[2] and late[2] - late[0] > 0.3


def test_episodes_and_worlds_do_not_mix(unknowing):
    actor, _ = unknowing
    both = returns(actor, FAMILY, CONTEXTS, episodes=2)
    alone = returns(actor.take(np.array([2])), FAMILY, CONTEXTS[2:], episodes=2)
    np.testing.assert_allclose(both[2:], alone, rtol=1e-5)


def test_a_new_episode_begins_with_the_first_policy(unknowing):
    from hyperpolicy.envs import Step

    actor, _ = unknowing
    carry = actor.start(2, 1)
    obs, zeros = np.zeros((2, 1, 20), np.float32), np.zeros((2, 1))
    for t in range(4):
        _, carry = actor.act(carry, obs, np.zeros(2, np.uint32))
        ended = np.array([[t == 3], [False]])
        step = Step(obs, zeros - 1.0, ended & False, ended, obs, zeros[..., None], ended & False)
        carry = actor.observe(carry, step)
    assert carry.t.tolist() == [[0], [4]] and not carry.total[0].any() and carry.total[1].any()
    fresh = jax.tree.map(lambda x: x[0], actor.start(2, 1))
    for one, two in zip(fresh, jax.tree.map(lambda x: x[0], carry), strict=True):
        np.testing.assert_array_equal(one, two)


def test_numbers_that_cannot_be_are_refused(zoo):
    with pytest.raises(BadSetting, match="give 1 or more of each"):
        inferring.fit(CONFIG, lookup.linear(zoo), CONTEXTS, every=0)
    with pytest.raises(BadSetting, match="every=13 steps; the shortest episode has 12"):
        inferring.fit(CONFIG, lookup.linear(zoo), CONTEXTS, every=13, asked=1)
