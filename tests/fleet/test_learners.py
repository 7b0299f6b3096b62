"""Every learner of the table as a fleet, through the one loop: alone it is the same, neighbors do
not matter, a killed run ends as one left alone, and what updates measure is logged."""

import json
import os
import signal
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import cli, fleet, rl, seeds
from hyperpolicy.envs import family
from hyperpolicy.fleet.start import Start, given
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.run.job import METRICS, SNAPSHOT, Job
from hyperpolicy.zoo import Zoo

CHEETAH = family("cheetah-vel")
CONTEXTS = np.array([[0.5], [1.0], [1.5]])
KEPT = {"num_checkpoints": 2, "num_evaluations": 2, "episodes": 1, "num_states": 8, "num_envs": 2}
SCHEDULES = {
    "replay": fleet.Schedule(num_updates=12, updates_per_step=2, batch=8, fill_steps=4, **KEPT),
    "rounds": fleet.RoundSchedule(num_rounds=4, round_steps=8, average_from=0.5, **KEPT),
}
every_learner = pytest.mark.parametrize("name", rl.LEARNERS)


def plan_of(name: str) -> fleet.Plan:
    """A tiny plan of the learner."""
    cfg = rl.config(name)(hidden=(8, 8))
    kind, _ = fleet.PLANS[cfg.learner.learns_from]
    return kind(cfg, SCHEDULES[cfg.learner.learns_from])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """name → (zoo, its directory), trained without interruption; seed 3."""

    @cache
    def trained(name: str):
        out = tmp_path_factory.mktemp(name) / "run"
        return fleet.train(plan_of(name), CHEETAH, CONTEXTS, seed=3, out=out), out

    return trained


def records(out) -> list[dict]:
    lines = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def interrupt_after(monkeypatch, turns: int) -> None:
    """Ctrl-C when so many turns are done."""
    advance, count = Job.advance, [0]

    def counted(*args):
        count[0] += 1
        if count[0] == turns:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(*args)

    monkeypatch.setattr(Job, "advance", counted)


@every_learner
@pytest.mark.parametrize("command", ["train cheetah-vel", "tune cheetah-vel --context 1"])
def test_its_settings_are_options(name, command):
    """Of the commands that take any learner: no option means two things."""
    found = cli.parse(f"{command} --out o --learner {name} --discount 0.9".split())
    held = found.config if hasattr(found, "config") else found
    assert held.cfg.learner.name == name and held.cfg.discount == 0.9


FAST = ("sac", "ppo")  # one learner from replay, one from rounds; the others take as long


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in rl.LEARNERS],
)
def test_fleet_equals_solo(name, whole, monkeypatch):
    """Expert 1 of three, trained alone with its own seed, ends at the same weights."""
    together, _ = whole(name)
    monkeypatch.setattr(seeds, "learners", lambda seed, n: np.array([3 * seeds.LEARNERS + 1]))
    alone = fleet.train(plan_of(name), CHEETAH, CONTEXTS[1:2], seed=3)
    np.testing.assert_allclose(
        alone.finals.weights[0], together.finals.weights[1], rtol=1e-3, atol=1e-3
    )
    assert np.abs(together.finals.weights[0] - together.finals.weights[1]).max() > 1e-2


@every_learner
def test_neighbors_do_not_matter(name, whole):
    """With another task for expert 1, experts 0 and 2 are bit for bit the same."""
    before, _ = whole(name)
    after = fleet.train(plan_of(name), CHEETAH, np.array([[0.5], [2.5], [1.5]]), seed=3)
    learned = before.critics is not None, after.critics is not None
    pairs = [(before.finals.weights, after.finals.weights)]
    pairs += [(before.critics, after.critics)] if all(learned) else []
    same = [np.all(a.reshape(3, -1) == b.reshape(3, -1), axis=1) for a, b in pairs]
    np.testing.assert_array_equal(np.all(same, axis=0), [True, False, True])


@every_learner
def test_killed_and_resumed_is_bit_equal(name, whole, tmp_path, monkeypatch):
    """A run stopped by Ctrl-C between its evaluations and called again ends as one left alone."""
    alone, its_out = whole(name)
    out, again = tmp_path / "run", (plan_of(name), CHEETAH, CONTEXTS)
    turns = plan_of(name).schedule.turns
    interrupt_after(monkeypatch, turns - 1)
    with pytest.raises(KeyboardInterrupt):
        fleet.train(*again, seed=3, out=out)
    monkeypatch.undo()
    assert (out / SNAPSHOT).exists()
    resumed = fleet.train(*again, seed=3, out=out)
    np.testing.assert_array_equal(resumed.weights, alone.weights)
    np.testing.assert_array_equal(resumed.states, alone.states)
    if alone.critics is not None:
        np.testing.assert_array_equal(resumed.critics, alone.critics)
    assert records(out) == records(its_out)
    assert sorted(p.name for p in out.iterdir()) == ["metrics.jsonl", "run.json", "zoo"]


@every_learner
def test_what_updates_measure_is_logged(name, whole):
    zoo, out = whole(name)
    first, middle, last = records(out)
    assert first["updates"] == first["env_steps"] == 0
    steps = plan_of(name).schedule.steps(plan_of(name).schedule.turns)
    assert last["env_steps"] == steps == zoo.training.env_steps
    measured = set(middle) - set(first)
    assert {"loss/actor", "grad_norm/actor"} <= measured and set(last) == set(middle)
    assert all(np.isfinite(line[one]).all() for line in (middle, last) for one in measured)
    assert all(len(last[one]) == 3 for one in measured)


@every_learner
def test_a_zoo_holds_what_the_learner_leaves(name, whole):
    zoo, out = whole(name)
    assert Zoo.verify(out / "zoo") == []
    assert zoo.weights.shape == (3 * 3, zoo.spec.size) and zoo.states.shape == (3, 8, 20)
    assert np.isfinite(zoo.returns[zoo.final_rows]).all()
    learner = plan_of(name).cfg.learner
    assert (zoo.critics is None) == (learner.learns_from == "rounds")
    assert zoo.provenance["learner"] == name


@every_learner
def test_a_turn_is_compiled_once(name):
    """A number of weak type at the start, where an update leaves a strong one, would compile all
    of it twice."""
    cfg = plan_of(name).cfg
    state = jax.eval_shape(lambda: cfg.learner.init(cfg, Spaces(20, 0, 6), jax.random.key(0)))
    assert not [leaf for leaf in jax.tree.leaves(state) if leaf.weak_type]


@every_learner
def test_given_actors_are_the_start(name, whole):
    """A learner begins with the actions it is given: nothing was learned after no update."""
    plan, policies = plan_of(name), whole(name)[0].finals
    start = Start(policies).check(None, policies.spec, 3)
    begin = given(plan.cfg, CHEETAH, CONTEXTS, start, 3)(np.arange(3, dtype=np.uint32))
    obs = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], begin)
        ours = plan.cfg.learner.act(plan.cfg, one, jnp.asarray(obs))
        np.testing.assert_allclose(ours, policies[[i] * 4].act(obs), atol=1e-3)
