"""Another engine: who can be stepped by it, that a score says so, and how close it is."""

from importlib.util import find_spec

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import cli, engine
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, MissingExtra
from hyperpolicy.evaluate import protocol

needs_mjx = pytest.mark.skipif(find_spec("mujoco.mjx") is None, reason="needs mujoco-mjx")


def test_an_unknown_engine(capsys):
    assert cli.main(["--engine", "warp", "play", "cheetah-vel", "--context", "1"]) == 2
    assert "engines: mujoco, mjx" in capsys.readouterr().err
    assert cli.main(["play", "cheetah-vel", "--context", "1", "--engine"]) == 2
    assert "wants the name" in capsys.readouterr().err
    assert engine.name() == "mujoco"  # of that command alone


def test_a_score_says_which_engine_made_it():
    fam, context = family("cheetah-vel"), np.array([[1.0]])
    native = protocol.of(fam, context)
    with engine.chosen("mjx"):
        other = protocol.of(fam, context)
        assert engine.record() == {"engine": "mjx"}
    assert other.unlike(native) == ["engine mjx, not mujoco"]
    assert engine.record() == {}


def test_families_with_worlds_of_their_own_refuse_it():
    pytest.importorskip("metaworld")
    fam = family("metaworld")
    with engine.chosen("mjx"), pytest.raises(BadSetting, match="have their own"):
        fam.worlds(fam.contexts(["reach"]))


def test_without_it_the_extra_is_named():
    if find_spec("mujoco.mjx") is None:
        with engine.chosen("mjx"), pytest.raises(MissingExtra, match=r"hyperpolicy\[mjx\]"):
            family("cheetah-vel").worlds([[1.0]])


@needs_mjx
def test_bodies_that_differ_are_refused():
    pytest.importorskip("dm_control")
    fam = family("cheetah-run")
    some = np.stack([fam.context.usual] * 2)
    some[1, fam.context.names.index("length")] *= 1.1
    with engine.chosen("mjx"), pytest.raises(BadSetting, match="worlds of one body"):
        fam.worlds(some)


@pytest.mark.slow
@needs_mjx
@pytest.mark.parametrize("name", ["cheetah-vel", "ant-dir"])
def test_the_engines_agree(name):
    """The same starts, close for some steps, and the same returns within the starts' spread."""
    fam, generator = family(name), hp.load(name)
    contexts = np.array([[0.7], [1.6]])
    policies = generator.generate(contexts)
    worlds = [fam.worlds(contexts, seed=3)]
    with engine.chosen("mjx"):
        worlds.append(fam.worlds(contexts, seed=3))
    obs = [one.reset() for one in worlds]
    np.testing.assert_allclose(*obs, atol=2e-5)
    for _ in range(2):
        steps = [one.step(policies.act(x)) for one, x in zip(worlds, obs, strict=True)]
        obs = [step.obs for step in steps]
    np.testing.assert_allclose(*obs, atol=0.05)
    kept = worlds[1].snapshot()
    first = worlds[1].step(policies.act(obs[1]))
    worlds[1].restore(kept)
    again = worlds[1].step(policies.act(obs[1]))
    np.testing.assert_array_equal(first.obs, again.obs)
    found = [hp.rollout.returns(policies, fam, contexts, 10)]
    with engine.chosen("mjx"):
        found.append(hp.rollout.returns(policies, fam, contexts, 10))
    gap = np.abs(found[0].mean(axis=1) - found[1].mean(axis=1))
    assert (gap < 3 * found[0].std(axis=1) / np.sqrt(10) + 0.02 * np.abs(found[0].mean())).all()
