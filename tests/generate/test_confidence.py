"""How sure a policy is: signals, what they are worth, and what is shown of them."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from hyperpolicy import cli, headers
from hyperpolicy.errors import BadContext, BadFile, BadSetting, BadZoo
from hyperpolicy.generate import confidence, fitting, signals
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.generator import load
from hyperpolicy.generate.signals import Asked, Evidence
from hyperpolicy.generate.writers import lookup
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.regression import RegressionConfig

from .conftest import smooth_zoo
from .test_critics import Q, planted_critics

GAN = HypLatentConfig(
    encoder=PcaConfig(3), generator_hidden=(6,), discriminator_hidden=(6,), batch=4, steps=20
)


@pytest.fixture(scope="module")
def judged_zoo(zoo):
    """The zoo with critics that like a first action of 0.5."""
    return replace(zoo, critics=np.tile(planted_critics(), (len(zoo.contexts), 1, 1)))


@pytest.fixture
def planted(monkeypatch):
    """Written policies return the less the larger the speed, which one signal knows and one does
    not."""

    def plant(slope: float):
        experts = smooth_zoo(16).finals.weights

        def returns(policies, family, contexts, episodes, seed):
            gaps = np.abs(policies.weights[:, None] - experts[None]).max(axis=-1).min(axis=1)
            lost = np.where(gaps < 1e-6, 0.0, slope * contexts[:, 0])
            return np.tile(-lost[:, None], (1, episodes))

        def speed(asked):
            return asked.contexts[:, 0]

        def noise(asked):
            return np.sin(1e4 * asked.contexts[:, 0])

        monkeypatch.setattr(confidence, "returns", returns)
        for name, measure in (("speed", speed), ("noise", noise)):
            monkeypatch.setitem(signals.SIGNALS, name, signals.Signal(measure, lambda *_: ""))

    return plant


# --- Signals ------------------------------------------------------------------------------
def test_distance_counts_in_steps_of_the_training_contexts(zoo):
    asked = Asked(lookup.linear(zoo), Evidence.of(zoo), np.array([[0.3], [0.54], [2.94]]), 0)
    np.testing.assert_allclose(signals.distance(asked), [0.0, 0.5, 0.5], atol=1e-6)


def test_fits_disagree_between_experts_and_not_at_them(zoo):
    others = [lookup.linear(zoo.only(zoo.contexts[rows])) for rows in ([0, 2, 4, 5], [0, 1, 3, 5])]
    contexts = np.concatenate([zoo.contexts[:1], zoo.contexts[1:2]])
    asked = Asked(lookup.linear(zoo), Evidence.of(zoo, others), contexts, 0)
    at_all, at_some = signals.disagreement(asked)
    assert at_all < 1e-6 < at_some


def test_draws_spread_and_a_kept_discriminator_doubts(judged_zoo):
    made = fitting.fit(replace(GAN, keep_discriminator=True), judged_zoo)
    evidence = Evidence.of(judged_zoo)
    asked = Asked(made, evidence, np.array([[0.5], [1.5]]), 0)
    assert set(signals.possible(made, evidence)) == {"distance", "draws", "lost value", "disbelief"}
    assert (signals.draws(asked) > 0).all()
    logit = made.model.writer.judge.logit
    given = made.accept(asked.contexts)
    from hyperpolicy.generate.parts import row_keys

    latents = made.model.writer.write(made.model.reader.read(given), row_keys(0, 2))
    np.testing.assert_allclose(signals.disbelief(asked), [-float(logit(z)) for z in latents], 1e-5)


def test_a_kept_discriminator_is_saved_and_loaded(zoo, tmp_path):
    made = fitting.fit(replace(GAN, keep_discriminator=True), zoo, out=tmp_path / "g")
    found = load(tmp_path / "g")
    z = jnp.zeros(3)
    assert float(found.model.writer.judge.logit(z)) == float(made.model.writer.judge.logit(z))
    plain = fitting.fit(GAN, zoo)
    assert plain.model.writer.judge is None
    assert signals.possible(plain, Evidence.of(zoo)) == ["distance", "draws"]
    np.testing.assert_array_equal(
        plain.generate([[1.0]]).weights, made.generate([[1.0]]).weights
    )  # keeping it changes nothing


def test_lost_value_is_that_of_the_nearest_experts_critics(judged_zoo):
    """Q(s, a) = −|a₀ − 0.5| − 0.1 there, so what is lost is known."""
    made, evidence = lookup.linear(judged_zoo), Evidence.of(judged_zoo)
    context = judged_zoo.contexts[2:3] + 0.1
    asked = Asked(made, evidence, context, 0)
    states = evidence.states[2]
    acts = [p.act(states[None])[0, :, 0] for p in (judged_zoo.finals[2], made.generate(context))]
    own, written = (-np.abs(a - 0.5).mean() for a in acts)
    np.testing.assert_allclose(signals.lost_value(asked), [own - written], atol=1e-5)


# --- What they are worth ------------------------------------------------------------------
def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, (2, 30)).astype(float)
    assert confidence.correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert confidence.correlation(a, np.zeros(30)) == 0.0


def test_the_interval_of_a_rank_correlation_covers():
    rng, inside = np.random.default_rng(1), 0
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # of a normal pair with correlation 0.6
    for _ in range(400):
        x = rng.multivariate_normal(np.zeros(2), [[1, 0.6], [0.6, 1]], 35)
        low, high = confidence.correlation_interval(confidence.correlation(*x.T), 35)
        inside += low <= truth <= high
    assert 0.92 <= inside / 400 <= 0.98
    assert confidence.correlation_interval(0.9, 4) == (-1.0, 1.0)


def test_a_judgment_rises_with_doubt_and_nine_of_ten_lie_below():
    rng = np.random.default_rng(2)
    x = rng.uniform(size=200)
    shortfall = 3 * x + rng.normal(scale=0.5, size=200)
    found = confidence.judge(x, x, shortfall)
    assert (np.diff(found.expected[np.argsort(x)]) >= -1e-9).all()
    assert 0.88 <= (shortfall <= found.bound).mean() <= 0.94
    new = rng.uniform(size=500)
    said = confidence.judge(new, x, shortfall)
    covered = 3 * new + rng.normal(scale=0.5, size=500) <= said.bound
    assert 0.84 <= covered.mean() <= 0.96


def test_a_signal_that_tells_is_chosen_and_others_are_not(tmp_path, planted):
    zoo = smooth_zoo(16)
    config, path = RegressionConfig(degree=1), tmp_path / "g"
    fitting.fit(config, zoo, out=path)
    planted(10.0)
    found = confidence.calibrate(config, zoo, path, folds=4, episodes=2)
    known = {one.name: one.correlation for one in found.header.signals}
    assert set(known) == {"distance", "disagreement", "speed", "noise"}
    assert found.header.chosen == "speed" and known["speed"] == 1.0 and abs(known["noise"]) < 0.5
    np.testing.assert_allclose(sorted(found.header.shortfall), 10.0 * zoo.contexts[:, 0], atol=1e-3)
    generator = load(path)
    again = confidence.load(path, generator)
    said = again.of(generator, [[0.4], [1.5]])
    np.testing.assert_allclose(said.expected, [4.0, 15.0], atol=1e-2)
    np.testing.assert_allclose(said.bound, said.expected, atol=1e-2)
    with pytest.raises(BadSetting, match="no other fits"):  # they were not chosen, so not kept
        found.of(generator, [[0.4], [1.5]], signal="disagreement")

    planted(0.0)
    fitting.fit(config, zoo, out=tmp_path / "flat")
    flat = confidence.calibrate(config, zoo, tmp_path / "flat", folds=4, episodes=2)
    assert flat.header.chosen is None and flat.of(generator, [[1.0]]) is None
    with pytest.raises(BadSetting, match="no signal 'luck'"):
        flat.of(generator, [[1.0]], signal="luck")


def test_other_fits_are_kept_where_they_are_looked_at(tmp_path, planted, monkeypatch):
    zoo, config, path = smooth_zoo(16), RegressionConfig(degree=1), tmp_path / "g"
    fitting.fit(config, zoo, out=path)
    planted(10.0)
    telling = signals.SIGNALS.pop("speed").measure
    own = signals.SIGNALS["disagreement"]
    with monkeypatch.context() as patch:
        patch.setitem(signals.SIGNALS, "disagreement", own._replace(measure=telling))
        found = confidence.calibrate(config, zoo, path, folds=4, episodes=1)
    signals.SIGNALS["speed"] = own  # for the fixture to take away again
    assert found.header.chosen == "disagreement"
    generator = load(path)
    again = confidence.load(path, generator)
    assert len(again.evidence.committee) == confidence.FITS
    contexts = np.array([[0.4], [1.5]])
    ways = [
        signals.disagreement(Asked(generator, seen.evidence, contexts, 0))
        for seen in (found, again)
    ]
    np.testing.assert_allclose(*ways, rtol=0.02)  # kept as float16


def test_a_stopped_measurement_goes_on(tmp_path, monkeypatch, planted):
    zoo, config, path = smooth_zoo(8), RegressionConfig(degree=1), tmp_path / "g"
    fitting.fit(config, zoo, out=path)
    own, calls = confidence.held_out, []

    def stopping(*args, **more):
        calls.append(args[3].tolist())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return own(*args, **more)

    planted(10.0)
    monkeypatch.setattr(confidence, "held_out", stopping)
    with pytest.raises(KeyboardInterrupt):
        confidence.calibrate(config, zoo, path, folds=2, episodes=1)
    confidence.calibrate(config, zoo, path, folds=2, episodes=1)
    assert calls == [[0, 2, 4, 6], [1, 3, 5, 7], [1, 3, 5, 7]]  # the first fold is not played again


def test_what_does_not_fit_is_refused(zoo, tmp_path):
    config, path = RegressionConfig(degree=1), tmp_path / "g"
    generator = fitting.fit(config, zoo, out=path)
    with pytest.raises(BadSetting, match=r"6 training contexts allow 2 to 3"):
        confidence.calibrate(config, zoo, path, folds=4)
    with pytest.raises(BadContext, match="not fitted on"):
        confidence.calibrate(config, zoo.only(zoo.contexts[:4]), path, folds=2)
    held = confidence.Held(zoo.contexts, np.zeros(6), {"distance": np.zeros(6)})
    wrong = confidence.header_of(held, 2, 1, "0" * 64)
    headers.write(path / confidence.HEADER, wrong)
    with pytest.raises(BadFile, match="another generator"):
        confidence.load(path, generator)
    (path / confidence.HEADER).write_text('{"format": "hyperpolicy-confidence-1"}')
    with pytest.raises(BadFile, match="damaged"):
        confidence.load(path, generator)


# --- Draws --------------------------------------------------------------------------------
def test_critics_choose_the_draw_that_they_value_most(judged_zoo):
    made = fitting.fit(GAN, judged_zoo)
    contexts = judged_zoo.contexts[:2] + 0.05
    chosen = confidence.preferred(made, judged_zoo, contexts, num=6)
    states = judged_zoo.states[:2]
    gap = [
        np.abs(made.generate(contexts, seed=k).act(states)[..., 0] - 0.5).mean(axis=1)
        for k in range(6)
    ]
    best = np.abs(chosen.act(states)[..., 0] - 0.5).mean(axis=1)
    np.testing.assert_allclose(best, np.min(gap, axis=0), atol=1e-5)
    with pytest.raises(BadSetting, match="draws nothing"):
        confidence.preferred(lookup.linear(judged_zoo), judged_zoo, contexts, 4)
    with pytest.raises(BadZoo, match="observations"):
        confidence.preferred(made, replace(judged_zoo, states=None), contexts, 4)


def test_ranks_say_what_critics_know_of_draws(judged_zoo, monkeypatch):
    """Where returns are what the critics value, the preferred draw is the best one."""
    part = judged_zoo.only(judged_zoo.contexts[:4])

    def valued(policies, family, contexts, episodes, seed):
        nearest = family.context.distance(contexts, part.contexts).argmin(axis=1)
        action = policies.act(part.states[nearest])[..., 0]
        return -np.abs(action - 0.5).mean(axis=1, keepdims=True)

    monkeypatch.setattr(confidence, "returns", valued)
    held = confidence.held_out(GAN, judged_zoo, np.arange(4), np.arange(4, 6), 1, num_draws=5)
    np.testing.assert_allclose(held.ranks[:, 0], 1.0, atol=1e-6)
    np.testing.assert_allclose(held.ranks[:, 1], held.ranks[:, 2], atol=1e-6)
    header = confidence.header_of(held, 2, 1, "0" * 64)
    assert header.ranking.correlation == 1.0 and header.ranking.gain == header.ranking.best
    assert Q.size == part.critics.shape[2]


# --- The commands -------------------------------------------------------------------------
def test_fit_measures_and_generate_shows(tmp_path, planted, capsys):
    zoo = smooth_zoo(16)
    zoo.save(tmp_path / "zoo")
    planted(10.0)
    config = RegressionConfig(degree=1)
    fitting.fit(config, zoo, out=tmp_path / "g")
    confidence.calibrate(config, zoo, tmp_path / "g", folds=4, episodes=1)
    line = f"generate {tmp_path / 'g'} --context 0.5 --out {tmp_path / 'p.safetensors'}"
    assert cli.main(line.split()) == 0
    assert "nine of ten below" in capsys.readouterr().out.replace("\n", " ")
    line = line.replace("p.safe", "q.safe") + f" --draws 4 --zoo {tmp_path / 'zoo'}"
    assert cli.main(line.split()) == 2
    assert "was not measured" in capsys.readouterr().err
