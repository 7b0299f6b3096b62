"""Fine-tuning: where critics start, what is refused, and that nothing is lost."""

import json
import warnings
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy import fleet
from hyperpolicy.envs import family
from hyperpolicy.errors import BadContext, BadSetting, BadShape, BadZoo
from hyperpolicy.fleet import Start
from hyperpolicy.fleet.judging import Effort, fit_critics
from hyperpolicy.generate import critics, tune
from hyperpolicy.generate.tune_config import GENTLE, TuneConfig
from hyperpolicy.generate.writers import lookup
from hyperpolicy.nets.mlp import CriticSpec, value
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.rl import sac
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rl.td_sac import TdSacConfig
from hyperpolicy.rollout import experience, returns
from hyperpolicy.seeds import EVALUATION_WHILE_TRAINING
from hyperpolicy.zoo import Training, Zoo

ANT = family("ant-dir")
TINY = fleet.Schedule(
    num_updates=4,
    num_envs=2,
    updates_per_step=2,
    batch=8,
    fill_steps=4,
    num_checkpoints=1,
    num_evaluations=1,
    episodes=1,
    num_states=4,
)
PLAN = fleet.OffPolicy(SacConfig(hidden=(4, 4)), TINY)
SHORT = TuneConfig(steps=270, fill_steps=256, evaluate_every=7, episodes=1, judge_updates=2)


@pytest.fixture(scope="module")
def zoo(make_ant_zoo):
    """Three untrained experts with critics."""
    plain, rng = make_ant_zoo([0.5, 2.5, 4.5]), np.random.default_rng(0)
    critics = CriticSpec(27, 8, plain.spec.hidden)
    return replace(
        plain,
        critics=rng.normal(0, 0.2, (3, 2, critics.size)).astype(np.float32),
        states=rng.normal(size=(3, 4, 27)).astype(np.float32),
        log_alpha=np.full(3, -3.0, np.float32),
        provenance={"seed": 0},
    )


def quietly(*args, **kwargs):
    """A tiny budget may well spoil a policy; the warning has a test of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tune.tune(*args, **kwargs)


@pytest.fixture(scope="module")
def run(zoo, tmp_path_factory):
    out = tmp_path_factory.mktemp("tune") / "run"
    return quietly(SHORT, lookup.linear(zoo), [[0.7], [0.7]], out=out), out


def test_a_tuned_policy_starts_as_the_generator_wrote_it(run, zoo):
    tuned, out = run
    start = lookup.linear(zoo).generate([[0.7], [0.7]])
    np.testing.assert_array_equal(tuned.start.weights, start.weights)
    lines = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["env_steps"] for line in lines] == [0, 263, 270]
    found = returns(start, ANT, np.full((2, 1), 0.7), 1, EVALUATION_WHILE_TRAINING)
    np.testing.assert_allclose(lines[0]["return"], found.mean(axis=1), atol=1e-3)
    assert tuned.zoo.provenance["critics"] == "warm-up"


def test_rows_of_one_context_differ_by_their_randomness(run):
    tuned, _ = run
    assert len(tuned.zoo.contexts) == 2
    assert Zoo.verify(run[1] / "zoo") == []


def test_a_finished_run_is_read_back(run, zoo):
    tuned, out = run
    again = quietly(SHORT, lookup.linear(zoo), [[0.7], [0.7]], out=out)
    np.testing.assert_array_equal(again.zoo.weights, tuned.zoo.weights)


OTHERS = ("random", "interpolated", "nearest", "generated")


@pytest.mark.parametrize(
    "kind", ["fitted", *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)]
)
@pytest.mark.slow
def test_every_start_trains(zoo, kind):
    config = replace(SHORT, critics=kind)
    tuned = quietly(config, lookup.linear(zoo), [[0.7]], zoo)
    assert np.isfinite(tuned.after).all() and tuned.zoo.provenance["critics"] == kind
    assert np.abs(tuned.zoo.finals.weights - tuned.start.weights).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nearest", "warm-up"])
def test_learners_leave_out_what_their_critics_do(zoo, kind):
    shifted = replace(zoo, training=Training(usual_reward=1.0))
    config = replace(SHORT, critics=kind)
    tuned = quietly(config, lookup.linear(zoo), [[0.7]], shifted)
    expected = 1.0 if kind == "nearest" else 0.0
    assert tuned.zoo.training.usual_reward == expected
    start = Start(zoo.finals, zoo.critics, zoo.log_alpha, usual_reward=1.0)
    with pytest.raises(BadSetting, match="leave out a reward of 1"):
        fleet.train(PLAN, ANT, zoo.contexts, start)


@pytest.mark.slow
def test_ppo_tunes_within_its_budget(zoo, tmp_path):
    config = replace(SHORT, steps=1_800, cfg=PpoConfig(warmup_rounds=1))
    start = lookup.linear(zoo)
    tuned = quietly(config, start, [[0.7], [2.0]], out=tmp_path / "run")
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line["env_steps"] for line in lines]
    assert steps[0] == 0 and steps[-1] == 200 + 3 * 512  # an episode that looks, three rounds
    found = returns(tuned.start, ANT, np.array([[0.7], [2.0]]), 1, EVALUATION_WHILE_TRAINING)
    np.testing.assert_allclose(lines[0]["return"], found.mean(axis=1), atol=0.5)
    assert np.abs(tuned.zoo.finals.weights - tuned.start.weights).max() > 1e-3
    assert tuned.zoo.critics is None and Zoo.verify(tmp_path / "run/zoo") == []
    with pytest.raises(BadSetting, match="critics='nearest' has no effect with --learner ppo"):
        replace(config, critics="nearest").refuse_unused()
    with pytest.raises(BadSetting, match="give at least 1224 steps"):
        tune.tune(replace(config, steps=1_000), start, [[0.7]])


def test_the_better_of_both_is_offered(run):
    tuned, _ = run
    low, high = np.zeros((2, 3)), np.ones((2, 3))
    np.testing.assert_array_equal(
        tuned._replace(before=high, after=low).better.weights, tuned.start.weights
    )
    np.testing.assert_array_equal(
        tuned._replace(before=low, after=high).better.weights, tuned.zoo.finals.weights
    )


def test_a_policy_made_worse_is_reported(zoo, monkeypatch):
    scores = iter([np.ones((1, 10)), np.zeros((1, 10))])
    monkeypatch.setattr(tune, "returns", lambda *a: next(scores))
    with pytest.warns(UserWarning, match="its start returned 1.0; both are kept"):
        tune.tune(SHORT, lookup.linear(zoo), [[0.7]])


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (TuneConfig(steps=100), BadSetting, "filling one batch takes 256"),
        (TuneConfig(fill_steps=10), BadSetting, "a fill_steps of at least 256"),
        (TuneConfig(critics="nearest"), BadSetting, "give the zoo"),
    ],
)
def test_what_cannot_be_tuned(zoo, config, error, message):
    with pytest.raises(error, match=message):
        tune.tune(config, lookup.linear(zoo), [[0.7]])


@pytest.mark.parametrize("name", ["evaluate_every", "episodes", "neighbors", "judge_updates"])
def test_counts_are_at_least_one(name):
    with pytest.raises(BadSetting, match=f"{name}=0"):
        TuneConfig(**{name: 0})


@pytest.mark.slow
def test_a_run_with_other_critics_is_another_run(zoo, tmp_path):
    """Its result must not be read back under the wrong name."""
    generator, out = lookup.linear(zoo), tmp_path / "run"
    quietly(replace(SHORT, critics="random"), generator, [[0.7]], out=out)
    with pytest.raises(BadSetting, match="holds a run with another start"):
        tune.tune(replace(SHORT, critics="nearest"), generator, [[0.7]], zoo, out=out)
    assert Zoo.load(out / "zoo").provenance["critics"] == "random"


def test_bad_contexts_and_foreign_zoos(zoo, make_zoo):
    generator = lookup.linear(zoo)
    with pytest.raises(BadContext, match="finite"):
        tune.tune(SHORT, generator, [[np.nan]])
    with pytest.raises(BadContext, match="columns direction in rad"):
        tune.tune(SHORT, generator, [[]])
    with pytest.raises(BadZoo, match="the zoo holds cheetah-vel"):
        tune.tune(SHORT, generator, [[0.7]], make_zoo())
    unseen = replace(zoo, contexts=zoo.contexts + 0.1)
    with pytest.raises(BadZoo, match="has seen no expert of this zoo"):
        tune.tune(SHORT, generator, [[0.7]], unseen)


# --- Critics fitted offline ---------------------------------------------------------------
def test_experience_is_replay_rows_with_true_outcomes(zoo):
    rows = experience(zoo.finals, ANT, zoo.contexts, steps=5, worlds=3)
    parts = np.split(rows, [27, 35, 37, 64, 65], axis=2)
    obs, action, outcome, next_obs, ended, context = parts
    assert rows.shape == (3, 15, 66) and np.abs(action).max() <= 1.0
    np.testing.assert_array_equal(next_obs[:, :3], obs[:, 3:6])  # three worlds a step
    assert np.abs(outcome).max() > 0 and set(np.unique(ended)) <= {0.0, 1.0}
    np.testing.assert_array_equal(context, np.float32(np.repeat(zoo.contexts[:, None], 15, 1)))
    again = experience(zoo.finals, ANT, zoo.contexts, steps=5, worlds=3)
    np.testing.assert_array_equal(again, rows)


def test_fitted_critics_come_near_the_bellman_equation(zoo):
    """On one transition that ends the task the value must become the reward, relabeled."""
    rng = np.random.default_rng(0)
    row = rng.normal(size=66).astype(np.float32) * 0.3
    row[64] = 1.0  # terminated; the context behind it is not asked
    rows = np.tile(row, (2, 8, 1))
    contexts = np.array([[0.5], [2.5]])
    start = Start(zoo.finals[:2], critics.nearest(zoo).generate(contexts), np.zeros(2, np.float32))
    cfg = SacConfig(hidden=(4, 4))
    fitted = fit_critics(cfg, ANT, contexts, start, rows, Effort(1_500, 8))
    np.testing.assert_array_equal(fitted.policies.weights, start.policies.weights)
    spec = sac.critic_spec(cfg, 27, 8)
    for i, context in enumerate(contexts):
        twins = spec.unflatten(jnp.asarray(fitted.critics[i]))
        found = np.asarray(value(twins, jnp.asarray(row[:27]), jnp.asarray(row[27:35])))
        reward = float(ANT.reward(row[27:35], row[35:37], context))
        np.testing.assert_allclose(found, reward, atol=0.05)


def test_fitting_refuses_too_little_and_foreign_rows(zoo):
    contexts = zoo.contexts
    start = Start(zoo.finals, critics.nearest(zoo).generate(contexts), np.zeros(3, np.float32))
    cfg = SacConfig(hidden=(4, 4))
    with pytest.raises(BadSetting, match="as many transitions as fill a batch"):
        fit_critics(cfg, ANT, contexts, start, np.zeros((3, 8, 66), np.float32))
    with pytest.raises(BadShape, match="rows of 66 numbers"):
        fit_critics(cfg, ANT, contexts, start, np.zeros((3, 300, 49), np.float32))


def test_networks_are_the_generators():
    """Layers of any number and width; critics go with ReLU ones only."""
    spec = PolicySpec(27, 8, (4, 3, 5), ("relu", "relu", "relu"))
    plan = SHORT.plan(spec, 200)
    assert plan.cfg.hidden == (4, 3, 5) and plan.cfg.learner.policy(plan.cfg, 27, 8) == spec
    odd = replace(spec, activations=("relu", "elu", "relu"))
    with pytest.raises(BadZoo, match="ReLU layers, as actors must"):
        SHORT.plan(odd, 200)
    longer = replace(SHORT, steps=5_000, cfg=PpoConfig())
    assert longer.plan(odd, 200).cfg.activations == odd.activations


def test_settings_without_effect_are_refused():
    """What is the generator's, or comes out of the zoo with the critics."""
    TuneConfig().refuse_unused()
    for config, name in (
        (TuneConfig(cfg=TdSacConfig(hidden=(8, 8))), "hidden"),
        (TuneConfig(critics="nearest", cfg=replace(GENTLE["td-sac"], usual_reward=1.0)), "usual"),
        (TuneConfig(critics="random", cfg=replace(GENTLE["td-sac"], warmup_updates=7)), "warmup"),
        (TuneConfig(neighbors=3), "neighbors"),
    ):
        with pytest.raises(BadSetting, match=f"{name}.* has no effect"):
            config.refuse_unused()
