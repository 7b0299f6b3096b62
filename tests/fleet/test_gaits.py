"""Rhythmic gaits: scored by relabeling, better round by round, and what fills a base's replay."""

from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy import fleet
from hyperpolicy.envs import Worlds, family
from hyperpolicy.errors import BadSetting
from hyperpolicy.fleet import gaits, loop
from hyperpolicy.fleet.gaits import GaitConfig, _actions, _random, _returns, perform, search
from hyperpolicy.rl.sac import SacConfig

ANT = family("ant-dir")
CONTEXTS = np.array([[0.3], [2.0]])
SMALL = GaitConfig(population=8, rounds=3, elites=2)
TINY = fleet.Schedule(
    num_updates=8,
    num_envs=2,
    updates_per_step=4,
    batch=8,
    fill_steps=6,
    num_checkpoints=1,
    num_evaluations=1,
    episodes=1,
)


def test_relabeled_returns_are_the_worlds_own():
    some = _random(np.random.default_rng(0), 3, ANT.action_size)
    found = _returns(ANT, CONTEXTS, some, seed=5)
    worlds = Worlds(ANT, np.repeat(CONTEXTS[1:], 3, axis=0), seed=5 + np.arange(3))
    worlds.reset()
    total, alive = np.zeros(3), np.ones(3, bool)
    for action in _actions(ANT, some, ANT.horizon_steps):
        step = worlds.step(action)
        total, alive = total + alive * step.reward, alive & ~step.terminated
    np.testing.assert_allclose(found[1], total, rtol=1e-4)


def test_search_keeps_each_contexts_best_and_gets_better():
    short = search(replace(SMALL, rounds=1), ANT, CONTEXTS)[1]
    found, scores = search(SMALL, ANT, CONTEXTS)
    assert found.shape == (2, 2, 25) and scores.shape == (2, 2)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (scores >= short).all() and (scores[:, 0] > short[:, 0]).any()


def test_worlds_play_their_own_gaits_in_turn():
    some = _random(np.random.default_rng(1), 6, ANT.action_size).reshape(3, 2, -1)
    exact = perform(replace(SMALL, noise=0.0), ANT, some, 450)
    assert exact.shape == (450, 3, 8)
    np.testing.assert_allclose(exact[:200], _actions(ANT, some[:, 0], 200))
    np.testing.assert_allclose(exact[200:400], _actions(ANT, some[:, 1], 200))
    np.testing.assert_allclose(exact[400:], exact[:50])
    noisy = perform(SMALL, ANT, some, 450)
    assert np.abs(noisy).max() <= 1.0
    assert 0.03 < (noisy - exact).std() < 0.1  # clipping takes some away


def test_bases_are_filled_by_gaits_that_are_searched_once(tmp_path, monkeypatch):
    seen, run = [], loop.run
    monkeypatch.setattr(loop, "run", lambda *a, **k: seen.append(k["filling"]) or run(*a, **k))
    out = tmp_path / "bases"
    [base] = fleet.train_bases(SacConfig(width=8), ANT, [CONTEXTS], TINY, [3], out, SMALL)
    assert base.provenance["env_steps"] == TINY.env_steps + 8 * 3 * 200
    found, _ = search(SMALL, ANT, CONTEXTS, 3)  # one context a world
    turned = np.stack([found[0], found[1][::-1]])  # world j begins with gait j
    np.testing.assert_allclose(seen[0][:, 0], perform(SMALL, ANT, turned, 6, 3), atol=1e-6)
    monkeypatch.setattr(gaits, "search", lambda *a: pytest.fail("searched again"))
    fleet.train_bases(SacConfig(width=8), ANT, [CONTEXTS], TINY, [3], out, SMALL)
    np.testing.assert_array_equal(seen[0], seen[1])
    with pytest.raises(BadSetting, match="another start"):
        fleet.train_bases(SacConfig(width=8), ANT, [CONTEXTS], TINY, [3], out)


def test_experts_have_gaits_of_their_own_context_alone(tmp_path, monkeypatch):
    pools, looked_for = [], gaits.search
    monkeypatch.setattr(
        gaits,
        "search",
        lambda cfg, f, pool, seed: pools.append(pool) or looked_for(cfg, f, pool, seed),
    )
    cfg = SacConfig(width=8)
    zoo = fleet.train(cfg, ANT, CONTEXTS, TINY, out=tmp_path / "run", gaits=SMALL)
    np.testing.assert_array_equal(pools, CONTEXTS[:, None])
    assert zoo.provenance["env_steps_per_expert"] == TINY.env_steps + SMALL.env_steps(ANT)
    with pytest.raises(BadSetting, match="fill their replay themselves"):
        fleet.train(cfg, ANT, CONTEXTS, TINY, zoo.finals, gaits=SMALL)


def test_settings_that_cannot_be():
    with pytest.raises(BadSetting, match="no more elites than gaits"):
        GaitConfig(population=2, elites=3)
