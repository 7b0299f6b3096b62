"""Decision Transformer, Prompt-DT and their variants: batches, what they learn to read, memory."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.baselines import decision_model
from hyperpolicy.baselines import decision_transformer as page
from hyperpolicy.baselines.decider import constant_target
from hyperpolicy.baselines.decision_model import DecisionModel
from hyperpolicy.baselines.decision_transformer import DecisionConfig
from hyperpolicy.data import by_task
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.given import Contexts
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.envs import Step
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape
from hyperpolicy.nets.transformer import KEEP
from hyperpolicy.rollout import record, returns

HORIZON = 12
FAMILY = replace(hp.family("cheetah-vel"), horizon_steps=HORIZON)
CONTEXTS = np.array([[0.3], [1.5], [2.7]])
PUSH = np.array([-0.6, 0.0, 0.6])
"""What experts do in every joint, whatever they see: each task has an action of its own."""
TINY = DecisionConfig(
    context=4, piece_steps=3, width=16, layers=1, dropout=0.0, each=8, steps=150, rate=3e-3
)


def pushing(push) -> hp.Policies:
    """Policies whose actions are constant."""
    spec = hp.PolicySpec(20, 6, (2,), ("relu",), head="deterministic")
    weights = np.zeros((len(push), spec.size), np.float32)
    weights[:, -6:] = np.arctanh(push)[:, None]
    return hp.Policies(weights, spec)


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    return record(pushing(PUSH), FAMILY, CONTEXTS, episodes=3, made_by="pushing")


@pytest.fixture(scope="module")
def prompts(episodes) -> Prompts:
    return Prompts.cut(episodes, CONTEXTS, steps=3)


@pytest.fixture(scope="module")
def prompted(episodes) -> list[DecisionModel]:
    return decision_model.fit_seeds(TINY, episodes, CONTEXTS, seeds=(0, 1))


@pytest.fixture(scope="module")
def blind(episodes) -> DecisionModel:
    return decision_model.fit(replace(TINY, told="nothing", returns=False), episodes, CONTEXTS)


def played(actor) -> np.ndarray:
    """Mean action of each of three policies in task 1.5."""
    made = record(actor, FAMILY, np.tile(CONTEXTS[1:2], (3, 1)), episodes=1, made_by="it")
    return np.array([one.action.mean() for one in made])


# --- Batches ------------------------------------------------------------------------------
def test_windows_are_padded_at_the_left(episodes):
    data, _ = page.prepare(TINY, episodes, CONTEXTS, None)
    keys = jax.random.split(jax.random.key(0), 200)
    steps, action = jax.jit(
        jax.vmap(lambda k: page.window(data.history, jnp.int32(1), 4, True, k))
    )(keys)
    there, t = np.asarray(steps.there), np.asarray(steps.t)
    assert there[:, -1].all() and (np.diff(there.astype(int), axis=1) >= 0).all()
    assert t[:, -1].max() == HORIZON - 1 and set(there.sum(axis=1)) == {1, 2, 3, 4}
    first = np.where(there, t, 99).min(axis=1)
    assert set(first) == set(range(HORIZON))  # from a step drawn uniformly
    assert (there.sum(axis=1) == np.minimum(4, HORIZON - first)).all()
    i = np.flatnonzero(first == 5)[0]
    own = by_task.trajectories(episodes, CONTEXTS)
    to_go = own.to_go[1, :, 5:9] / TINY.scale
    assert np.isclose(steps.to_go[i], to_go).all(axis=1).any()
    np.testing.assert_allclose(action[i], PUSH[1], atol=1e-6)


def test_longer_episodes_are_drawn_more_often():
    length = jnp.array([[3, 9, 0]])
    zeros = jnp.zeros((1, 3, 9))
    wide = jnp.zeros((1, 3, 10, 2)).at[0, 1].set(1.0).at[0, 2].set(jnp.nan)
    data = by_task.Trajectories(wide, jnp.zeros((1, 3, 9, 1)), zeros, zeros, length)
    draw = jax.vmap(lambda k: page.window(data, jnp.int32(0), 1, True, k)[0].obs[0, 0])
    found = np.asarray(draw(jax.random.split(jax.random.key(1), 2000)))
    assert found.mean() == pytest.approx(0.75, abs=0.03)


def test_pieces_come_from_the_end_or_anywhere(episodes):
    data, _ = page.prepare(TINY, episodes, CONTEXTS, None)
    keys = jax.random.split(jax.random.key(0), 100)
    for where, firsts in (("end", {HORIZON - 4}), ("anywhere", set(range(HORIZON - 2)))):
        cut = jax.vmap(lambda k, w=where: page.piece(data.shown, jnp.int32(0), 3, w, k))
        assert set(np.asarray(cut(keys).t)[:, 0].tolist()) == firsts


def test_without_returns_the_history_has_none_and_the_prompt_keeps_its_own(episodes):
    cfg = replace(TINY, returns=False)
    data, _ = page.prepare(cfg, episodes, CONTEXTS, None)
    steps, prompt, _ = page.draw(cfg, data, jax.random.key(0))
    assert not steps.to_go.any() and prompt.to_go.any()


def test_the_loss_is_of_the_steps_that_are_there(episodes):
    data, _ = page.prepare(TINY, episodes, CONTEXTS, None)
    steps, prompt, action = page.draw(TINY, data, jax.random.key(0))
    net = page.init(TINY, FAMILY, jax.random.key(1))
    there = np.asarray(steps.there)
    assert not there.all()
    found = np.asarray(jax.vmap(net)(steps, prompt))
    gaps = [((found[i, j] - action[i, j]) ** 2).mean() for i, j in np.argwhere(there)]
    assert page.loss(net, steps, prompt, action, KEEP) == pytest.approx(np.mean(gaps), rel=1e-5)


# --- What it reads ------------------------------------------------------------------------
def test_told_a_prompt_it_does_the_task_of_the_prompt(prompted, prompts):
    for model in prompted:
        low, middle, high = played(model.actor(prompts))
        assert low < -0.5 < middle < 0.5 < high
        high, middle, low = played(model.actor(prompts[[2, 1, 0]]))
        assert low < -0.5 < middle < 0.5 < high


def test_told_nothing_it_does_the_mean_of_all_tasks_and_finetuned_its_own(blind, episodes):
    assert np.abs(played(blind.actor(None, 3))).max() < 0.5
    tuned = decision_model.finetune(blind, episodes, CONTEXTS, steps=60, batch=16, rate=3e-3)
    np.testing.assert_allclose(played(tuned), PUSH, atol=0.1)
    assert "60 gradient steps" in tuned.column
    again = played(tuned.take(np.array([2, 2, 0])))
    np.testing.assert_allclose(again, PUSH[[2, 2, 0]], atol=0.1)
    np.testing.assert_array_equal(played(blind.actor(None, 3)), played(blind.actor(None, 3)))


def test_told_the_context_it_does_the_task_of_the_context(episodes):
    model = decision_model.fit(replace(TINY, told="context"), episodes, CONTEXTS)
    low, middle, high = played(model.actor(CONTEXTS))
    assert low < -0.5 < middle < 0.5 < high
    assert model.actor(CONTEXTS).column == Contexts.column
    given = Contexts(FAMILY, CONTEXTS)
    np.testing.assert_array_equal(played(model.actor(given)), played(model.actor(CONTEXTS)))


def test_it_follows_the_return_it_is_asked_for():
    """Two ways to act in one task, one of which is paid: asked for pay it acts that way."""
    here, some = CONTEXTS[:1], []
    for pay in (-1.0, 1.0):
        found = record(pushing([0.6 * pay]), FAMILY, here, 3, made_by="it")
        some += [one._replace(reward=np.full(HORIZON, pay, np.float32)) for one in found]
    cfg = replace(TINY, told="nothing", context=1, scale=float(HORIZON), steps=300)
    episodes = Episodes.of(FAMILY, some)
    low, high = (
        played(decision_model.fit(replace(cfg, target=pay), episodes, here).actor(None, 3)).mean()
        for pay in (-12.0, 12.0)
    )
    assert low < -0.2 and high > 0.2


# --- Acting -------------------------------------------------------------------------------
def test_actions_are_those_of_the_network_on_the_whole_past(prompted, prompts):
    """Step by step, in an episode longer than the memory, against the network on its window."""
    model = prompted[0]
    actor = model.actor(prompts)
    carry, rng = actor.start(3, 2), np.random.default_rng(0)
    seen, done, owed = [], [], [np.full((3, 2), 0.0)]
    zeros = np.zeros((3, 2))
    for t in range(6):
        obs = rng.normal(size=(3, 2, 20)).astype(np.float32)
        action, carry = actor.act(carry, obs, np.zeros(2, np.uint32))
        mean, scale = map(np.asarray, model.moments)
        seen.append((obs - mean) * scale)
        done.append(action)
        first = max(0, t + 1 - TINY.context)
        window = slice(first, t + 1)
        acted = [*done[first:t], np.zeros_like(action)]
        l = t + 1 - first
        steps = page.Steps(
            jnp.asarray(np.stack(owed[window], axis=2)[1, 1], jnp.float32),
            jnp.asarray(np.stack(seen[window], axis=2)[1, 1]),
            jnp.asarray(np.stack(acted, axis=2)[1, 1]),
            jnp.arange(first, t + 1),
            jnp.ones(l, bool),
        )
        own = jax.tree.map(lambda x: x[1], actor.prompt)
        np.testing.assert_allclose(model.net(steps, own)[-1], action[1, 1], atol=1e-5)
        reward = rng.normal(size=(3, 2))
        owed.append(owed[-1] - reward / TINY.scale)
        false = zeros.astype(bool)
        carry = actor.observe(carry, Step(obs, reward, false, false, obs, zeros[..., None], false))


def test_an_episode_begins_with_an_empty_memory(prompted, prompts):
    actor = prompted[0].actor(prompts)
    carry, obs = actor.start(3, 1), np.ones((3, 1, 20), np.float32)
    first, carry = actor.act(carry, obs, np.zeros(2, np.uint32))
    ended = np.array([[True], [False], [False]])
    nothing = np.zeros((3, 1))
    step = Step(obs, nothing + 3.0, ended, ended & False, obs, nothing[..., None], ended & False)
    carry = actor.observe(carry, step)
    assert carry.t.tolist() == [[0], [1], [1]] and carry.owed[0, 0] == 0.0
    again, _ = actor.act(carry, obs, np.zeros(2, np.uint32))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[1] != again[1]).any()


def test_the_constant_target_is_fed_at_every_step(episodes):
    cfg = replace(TINY, told="nothing", returns=False, target=250.0)
    model = DecisionModel(
        FAMILY,
        cfg,
        page.init(cfg, FAMILY, jax.random.key(0)),
        page.prepare(cfg, episodes, CONTEXTS, None)[1],
    )
    plain = model.actor(None, 3)
    quirk = constant_target(plain)
    zeros = np.zeros((3, 1))
    no = zeros.astype(bool)
    step = Step(
        np.zeros((3, 1, 20)), zeros - 9.0, no, no, np.zeros((3, 1, 20)), zeros[..., None], no
    )
    for actor, fed in ((plain, 0.0), (quirk, 0.5)):
        carry = actor.start(3, 1)
        assert (actor.observe(carry, step).owed == fed).all() and (carry.owed == fed).all()


def test_policies_and_starts_do_not_mix(prompted, prompts):
    """Told together or alone, in two episodes or one: the same returns."""
    actor = prompted[0].actor(prompts)
    both = returns(actor, FAMILY, CONTEXTS, episodes=2)
    alone = returns(actor.take(np.array([1])), FAMILY, CONTEXTS[1:2], episodes=2)
    np.testing.assert_allclose(both[1:2], alone, rtol=1e-5)


# --- Files and refusals --------------------------------------------------------------------
def test_a_model_is_the_same_when_read_back(prompted, prompts, tmp_path):
    path = prompted[0].save(tmp_path / "model.safetensors")
    again = DecisionModel.load(path)
    assert again.config == prompted[0].config and again.family == FAMILY
    np.testing.assert_array_equal(played(again.actor(prompts)), played(prompted[0].actor(prompts)))
    with pytest.raises(AlreadyExists):
        prompted[0].save(path)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadFile):
        DecisionModel.load(path)


def test_seeds_side_by_side_are_seeds_alone(prompted, episodes):
    alone = decision_model.fit(TINY, episodes, CONTEXTS, seed=1)
    for one, two in zip(jax.tree.leaves(alone.net), jax.tree.leaves(prompted[1].net), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-3)


def test_it_says_what_it_can_be_given(prompted, blind, prompts, episodes):
    model = prompted[0]
    with pytest.raises(BadSetting, match="being told prompts; it cannot be given contexts"):
        model.actor(CONTEXTS)
    with pytest.raises(BadSetting, match="being told prompts; it cannot be given nothing"):
        model.actor(None, 3)
    with pytest.raises(BadSetting, match="being told nothing; it cannot be given prompts"):
        blind.actor(prompts)
    with pytest.raises(BadSetting, match="prompts of 2 steps; this model was fitted on 3"):
        model.actor(Prompts.cut(episodes, CONTEXTS, steps=2))
    with pytest.raises(BadSetting, match="for one that is told nothing"):
        decision_model.finetune(model, episodes, CONTEXTS)
    ant = replace(FAMILY, name="other")
    with pytest.raises(BadSetting, match="prompts of other for a model of cheetah-vel"):
        model.actor(replace(prompts, family=ant))


def test_data_that_cannot_be_learned_from_are_refused(episodes, as_user):
    with pytest.raises(BadSetting, match="context=20 steps, and the longest episode has 12"):
        decision_model.fit(replace(TINY, context=20), episodes, CONTEXTS)
    with pytest.raises(BadSetting, match="pieces of 13 steps"):
        decision_model.fit(replace(TINY, piece_steps=13), episodes, CONTEXTS)
    with pytest.raises(BadSetting, match="no episodes of 2 m/s"):
        decision_model.fit(TINY, episodes, np.array([[2.0]]))
    with pytest.raises(BadSetting, match="width=16 is no multiple of heads=3"):
        replace(TINY, heads=3)


def test_acting_refuses_what_does_not_fit(prompted, prompts, as_user):
    actor = prompted[0].actor(prompts)
    with pytest.raises(BadShape, match="told of 3 tasks and asked to act in 2"):
        returns(actor, FAMILY, CONTEXTS[:2], episodes=1)
    with pytest.raises(BadShape, match="observations have 27 numbers"):
        actor.act(actor.start(3, 1), np.zeros((3, 1, 27), np.float32), np.zeros(2, np.uint32))
