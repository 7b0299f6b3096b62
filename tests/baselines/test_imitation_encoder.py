"""The imitation encoder: published sizes, what it learns from, and what it knows when it acts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.baselines import imitation_encoder as page
from hyperpolicy.baselines.imitation_encoder import (
    Before,
    EncoderNet,
    ImitationEncoder,
    ImitationEncoderConfig,
)
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape
from hyperpolicy.generate import behavior
from hyperpolicy.generate.behavior import Rows
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.rollout import returns

SHORT = ImitationEncoderConfig(hidden=5, embed=4, steps=30, batch=16, episodes=2)
HORIZON = 12


@pytest.fixture(scope="module")
def zoo():
    """Untrained experts of three speeds, in short episodes, without critics."""
    family = replace(hp.family("cheetah-vel"), horizon_steps=HORIZON)
    contexts, spec = np.array([[0.3], [1.5], [2.4]]), PolicySpec(20, 6, (5, 5))
    weights = np.random.default_rng(0).normal(0, 0.3, (3, spec.size)).astype(np.float32)
    return hp.Zoo(
        spec,
        family,
        weights,
        expert=np.arange(3),
        updates=np.full(3, 10),
        final=np.ones(3, bool),
        returns=np.full(3, -9.0, np.float32),
        contexts=contexts,
    )


@pytest.fixture(scope="module")
def data(zoo):
    return behavior.rollouts(
        SHORT.policy.lesson(zoo), SHORT.policy.episodes, SHORT.policy.discount, SHORT.policy.values
    )


@pytest.fixture(scope="module")
def made(zoo):
    return page.fit_seeds(SHORT, zoo, (3, 4))


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_sizes_are_the_published_ones():
    cfg, spec = ImitationEncoderConfig(hidden=256, embed=256), PolicySpec(17, 6, (256,), ("relu",))
    net = jax.eval_shape(lambda key: EncoderNet.init(cfg, spec, key), jax.random.key(0))
    assert size((net.trunk, net.mean, net.log_var)) == 203_520
    assert size(net.told) == 475_334


# --- What it learns from ------------------------------------------------------------------
def test_the_step_before_is_of_the_same_episode(data):
    rows = data.rows
    first = np.asarray(page.starts(rows))
    assert (np.flatnonzero(first[0]) == [0, HORIZON]).all() and (first == first[:1]).all()
    past = page.before(rows)
    assert (past.obs[:, [0, HORIZON]] == 0).all() and (past.action[:, [0, HORIZON]] == 0).all()
    inside = [i for i in range(2 * HORIZON) if i not in (0, HORIZON)]
    back = [i - 1 for i in inside]
    np.testing.assert_array_equal(past.obs[:, inside], rows.obs[:, back])
    np.testing.assert_array_equal(past.action[:, inside], rows.action[:, back])


def test_episodes_of_any_lengths_and_repeated_ones_begin_anew():
    """Episodes of 2, 1 and 2 steps, the last one after a task that ended where it begins; then
    from the front again."""
    states = np.arange(8.0).reshape(8, 1)
    obs, after = states[[0, 1, 3, 4, 5, 0, 1]], states[[1, 2, 4, 5, 6, 1, 2]]
    ended = np.array([0, 0, 1, 0, 0, 0, 0.0])
    zeros = np.zeros(7)
    parts = obs, np.ones((7, 2)), zeros, after, ended, zeros
    rows = Rows(*(jnp.asarray(x, jnp.float32)[None] for x in parts))
    assert np.asarray(page.starts(rows))[0].tolist() == [1, 0, 1, 1, 0, 1, 0]
    np.testing.assert_array_equal(page.before(rows).obs[0, :, 0], [0, 0, 0, 0, 4, 0, 0])


def test_what_is_predicted_is_never_seen(data, made):
    """Another action at a step changes what is guessed after it, and only there."""
    net = jax.tree.map(jnp.asarray, made[0].net)
    guess = jax.vmap(lambda past: net.guess(past)[0])
    rows = jax.tree.map(lambda leaf: leaf[:1], data.rows)
    other = rows._replace(action=rows.action.at[0, 4].add(0.5))
    one, two = (
        guess(jax.tree.map(lambda leaf: leaf[0], page.before(some))) for some in (rows, other)
    )
    assert np.flatnonzero(np.abs(one - two).max(axis=1) > 1e-6).tolist() == [5]


def test_the_loss_is_its_equation(made):
    rng = np.random.default_rng(0)
    net = jax.tree.map(jnp.asarray, made[0].net)
    parts = (rng.normal(size=(3, width)) for width in (20, 6, 20, 6, 4))
    past_obs, past_action, obs, action, noise = (jnp.asarray(x, jnp.float32) for x in parts)
    found = page.losses(net, Before(past_obs, past_action), obs, action, noise)
    gaps, kls = [], []
    for i in range(3):
        mean, log_var = map(np.asarray, net.guess(Before(past_obs[i], past_action[i])))
        z = mean + np.exp(log_var / 2) * np.asarray(noise[i])
        gaps.append(np.mean((np.asarray(net.act(jnp.asarray(z), obs[i])) - action[i]) ** 2))
        kls.append(sum((m**2 + np.exp(v) - 1 - v) / 2 for m, v in zip(mean, log_var, strict=True)))
    np.testing.assert_allclose(found["loss/action"], np.mean(gaps), rtol=1e-4)
    np.testing.assert_allclose(found["loss/kl"], np.mean(kls), rtol=1e-4)
    assert page.divergence(jnp.zeros(4), jnp.zeros(4)) == 0


def test_it_learns_what_one_expert_does(zoo):
    """With one expert there is nothing to guess."""
    alone = zoo.only(zoo.contexts[:1])
    cfg = replace(SHORT, hidden=16, steps=600, batch=32, rate=3e-3, episodes=1)
    made = page.fit(cfg, alone)
    data = behavior.rollouts(
        cfg.policy.lesson(alone), cfg.policy.episodes, cfg.policy.discount, cfg.policy.values
    )
    past = jax.tree.map(lambda leaf: leaf[0], page.before(data.rows))
    acted = jax.vmap(lambda b, s: made.net.act(made.net.guess(b)[0], s))(past, data.rows.obs[0])
    gap = np.mean((np.asarray(acted) - data.rows.action[0]) ** 2)
    assert gap < 0.2 * np.mean(np.asarray(data.rows.action[0]) ** 2)


# --- How it acts --------------------------------------------------------------------------
class Ending:
    """A step after which the second world's episode ended."""

    terminated = np.array([[False, True], [False, False]])
    truncated = np.array([[False, False], [False, False]])


def test_it_acts_by_its_last_step_and_forgets_it_with_the_episode(made):
    actor = made[0]
    obs = np.random.default_rng(0).normal(size=(3, 2, 2, 20)).astype(np.float32)
    carry = actor.start(2, 2)
    first, carry = actor.act(carry, obs[0], None)
    assert first.shape == (2, 2, 6) and (np.abs(first) <= 1).all()
    mean, scale = (np.asarray(x) for x in actor.moments)
    np.testing.assert_allclose(carry.obs, (obs[0] - mean) * scale, rtol=1e-4, atol=1e-5)
    kept = actor.observe(carry, Ending())
    assert (kept.obs[0, 1] == 0).all() and (kept.action[0, 1] == 0).all()
    np.testing.assert_array_equal(kept.obs[1], carry.obs[1])
    second, _ = actor.act(kept, obs[1], None)
    fresh, _ = actor.act(actor.start(2, 2), obs[1], None)
    differs = np.abs(second - fresh).max(axis=-1) > 1e-6
    assert differs.tolist() == [[True, False], [True, True]]


def test_a_rollout_does_what_training_saw(made, zoo):
    """Its own episodes, cut into rows, are predicted by their steps before."""
    actor, contexts = made[0], zoo.contexts[:2]
    found = hp.rollout.record(actor, zoo.family, contexts, episodes=1)
    mean, scale = (np.asarray(x) for x in actor.moments)
    for one in found:
        seen = ((one.obs[:-1] - mean) * scale).astype(np.float32)
        past = Before(*(np.concatenate([0 * x[:1], x[:-1]]) for x in (seen, one.action)))
        acted = jax.vmap(lambda b, s: actor.net.act(actor.net.guess(b)[0], s))(past, seen)
        np.testing.assert_allclose(acted, one.action, atol=1e-4)
    assert found.index.made_by.tolist() == ["ImitationEncoder"] * 2


def test_it_knows_nothing_of_contexts_and_takes_turns(made, zoo):
    wide = returns(made[0], zoo.family, zoo.contexts, 2)
    assert wide.shape == (3, 2)
    narrow = replace(zoo.family, most_worlds=2)
    np.testing.assert_allclose(returns(made[0], narrow, zoo.contexts, 2), wide, rtol=1e-3)
    assert made[0].take(np.array([1, 1])) is made[0] and made[0].column == "its own last step"


# --- Fits and files -----------------------------------------------------------------------
def test_seeds_side_by_side_differ(made):
    assert [one.provenance["seed"] for one in made] == [3, 4]
    assert not np.array_equal(made[0].net.mean.weight, made[1].net.mean.weight)
    with pytest.raises(BadSetting, match="kl"):
        replace(SHORT, kl=-1.0)


def test_what_is_saved_comes_back(made, tmp_path):
    path = made[0].save(tmp_path / "e.safetensors")
    again = ImitationEncoder.load(path)
    assert again.family == made[0].family and again.provenance["config"]["hidden"] == 5
    obs = np.ones((1, 1, 20), np.float32)
    one, two = (actor.act(actor.start(1, 1), obs, None)[0] for actor in (made[0], again))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(AlreadyExists):
        made[0].save(path)


def test_files_that_hold_none(made, tmp_path, zoo):
    with pytest.raises(BadFile, match="does not exist"):
        ImitationEncoder.load(tmp_path / "none")
    path = zoo.finals.save(tmp_path / "policies")
    with pytest.raises(BadFile, match="ImitationEncoderHeader"):
        ImitationEncoder.load(path)
    whole = made[0].save(tmp_path / "whole")
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:-50])
    with pytest.raises(BadFile, match="not a whole"):
        ImitationEncoder.load(tmp_path / "cut")
    wide = replace(made[0], moments=behavior.Moments(*(np.ones(7, np.float32),) * 2))
    with pytest.raises(BadFile, match="does not fit"):
        ImitationEncoder.load(wide.save(tmp_path / "wide"))


def test_observations_of_another_family_are_refused(made, as_user):
    with pytest.raises(BadShape, match="fitted on cheetah-vel"):
        made[0].act(made[0].start(1, 1), np.zeros((1, 1, 9), np.float32), None)
