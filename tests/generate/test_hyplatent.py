"""HypLatent: losses by hand, one update in order, seeds side by side, kill and resume."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperpolicy.errors import AlreadyExists, BadSetting, BadZoo
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate import loop
from hyperpolicy.generate.codecs import AutoencoderConfig, PcaConfig
from hyperpolicy.generate.fitting import fit, fit_seeds
from hyperpolicy.generate.lesson import Aim, Minibatch, behavior_loss, probe
from hyperpolicy.generate.writers import gan, hyplatent
from hyperpolicy.generate.writers.gan import Networks
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.recipes.amt_hyp import released
from hyperpolicy.run import job

CFG = HypLatentConfig(
    encoder=PcaConfig(3),
    generator_hidden=(6,),
    discriminator_hidden=(6,),
    noise=2,
    behavior=1.0,
    states=3,
    batch=16,
    steps=40,
)
SPEC = PolicySpec(20, 6, (4, 4))


class Mix:
    """A fixed linear decoder."""

    def decode(self, latent):
        return latent @ jax.random.normal(jax.random.key(9), (len(latent), SPEC.size))


AIM = Aim(SPEC, Mix())


@pytest.fixture(scope="module")
def toy() -> tuple[Networks, Minibatch]:
    nets = gan.make_networks(CFG, 3, 1, jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 5)
    shapes = (6, 2), (6, 1), (6, 3), (6, 3, 20), (6, 3, 6)
    return nets, Minibatch(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)))


# --- The page -----------------------------------------------------------------------------
def test_published_sizes():
    cfg = HypLatentConfig(
        generator_hidden=(1024, 512, 256), discriminator_hidden=(1024, 1024, 512), noise=128
    )
    nets = jax.eval_shape(lambda: gan.make_networks(cfg, 2048, 128, jax.random.key(0)))
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(nets.generator) == 6_043_392
    assert size(nets.discriminator) == 3_738_753


def test_generator_loss_is_the_weighted_sum_of_its_parts(toy):
    nets, batch = toy
    key = jax.random.key(2)
    loss, (_, parts) = hyplatent.generator_loss(nets.generator, nets, AIM, CFG, batch, key)
    made, _ = skip_mlp.train(nets.generator, batch.inputs, CFG.dropout, jax.random.split(key)[0])
    np.testing.assert_allclose(parts["loss/mse"], np.mean((made - batch.target) ** 2), rtol=1e-5)
    total = parts["loss/adversarial"] + 1e3 * parts["loss/mse"] + parts["loss/behavior"]
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    assert 0.1 < parts["loss/adversarial"] < 3.0


def test_discriminator_learns_to_tell(toy):
    nets, batch = toy
    real, fake = batch.target, batch.target + 3.0
    sure = lambda f: hyplatent.discriminator_loss(f, real, fake, jax.random.key(3))  # noqa: E731
    f, start = nets.discriminator, sure(nets.discriminator)
    grad = jax.jit(jax.grad(lambda f: sure(f)[0]))
    for _ in range(100):
        f = jax.tree.map(lambda a, g: a - 0.3 * g, f, grad(f))
    loss, metrics = sure(f)
    assert loss < 0.7 * start[0]
    assert metrics["belief/real"] > 0.7 > 0.3 > metrics["belief/fake"]


def test_behavior_loss_by_hand(zoo):
    states, actions = probe(zoo)
    finals = jnp.asarray(zoo.finals.weights)
    loss = jax.jit(lambda w: behavior_loss(zoo.spec, w, states, actions))
    np.testing.assert_allclose(loss(finals), 0.0, atol=1e-10)
    wrong = finals[::-1]
    want = np.mean((zoo.finals[::-1].act(zoo.states) - zoo.finals.act(zoo.states)) ** 2)
    np.testing.assert_allclose(loss(wrong), want, rtol=1e-4)


def test_behavior_loss_reaches_the_generator_through_the_decoder(toy):
    nets, batch = toy
    cfg = HypLatentConfig(**{**vars(CFG), "mse": 0.0, "adversarial": 0.0})
    grad = jax.grad(
        lambda g: hyplatent.generator_loss(g, nets, AIM, cfg, batch, jax.random.key(0))[0]
    )
    assert np.abs(grad(nets.generator).first.weight).max() > 0


def test_what_a_loss_does_not_reach_rests(toy):
    """D2: the auxiliary head learns in the third part only, the real/fake head in the first."""
    nets, batch = toy
    key, (f, _, q) = jax.random.key(4), hyplatent.init(CFG, 3, 1, jax.random.key(0)).adam
    first, _, _ = jax.jit(lambda: hyplatent.improve_discriminator(CFG, nets, f, batch, key))()
    third, _, _ = jax.jit(lambda: hyplatent.regularize(CFG, nets, q, batch, key))()
    old, same = nets.discriminator, np.testing.assert_array_equal
    same(first.discriminator.auxiliary.weight, old.auxiliary.weight)
    same(first.generator.first.weight, nets.generator.first.weight)
    assert np.any(first.discriminator.real.weight != old.real.weight)
    same(third.discriminator.real.weight, old.real.weight)
    assert np.any(third.discriminator.auxiliary.weight != old.auxiliary.weight)
    assert np.any(third.generator.first.weight != nets.generator.first.weight)


def test_two_steps_of_the_generator_and_the_legacy_sum(toy, monkeypatch):
    """With ∇½θ² = θ and plain steps of r: (1 − r)²θ; the released sum gives θ₁ − r(θ + θ₁)."""
    r, (nets, batch) = 0.25, toy
    for module in (hyplatent, released):
        monkeypatch.setattr(
            module, "generator_gradient", lambda c, a, nets, *_: (nets, nets.generator, {"l": 0.0})
        )
    monkeypatch.setattr(gan, "optimizer", lambda *_: optax.sgd(r))
    adam = optax.sgd(r).init(nets.generator)
    start = nets.generator.first.weight
    args = (CFG, AIM, nets, adam, batch, jax.random.key(0))
    clean = hyplatent.improve_generator(*args)[0].generator.first.weight
    summed = released.accumulate_gradients(*args)[0].generator.first.weight
    np.testing.assert_allclose(clean, (1 - r) ** 2 * start, rtol=1e-5)
    np.testing.assert_allclose(summed, (1 - r) * start - r * (2 - r) * start, rtol=1e-5)


def test_weight_decay_is_added_to_the_gradient():
    cfg = HypLatentConfig(weight_decay=1.0)
    params = {"w": jnp.array([2.0, -3.0])}
    tx = gan.optimizer(cfg.rate, cfg.weight_decay)
    updates, _ = tx.update({"w": jnp.zeros(2)}, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], [-2e-4, 2e-4], rtol=1e-4)  # Adam's first step


# --- Fits ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("fits") / "three"


@pytest.fixture(scope="module")
def three(zoo, out):
    return fit_seeds(CFG, zoo, (0, 1, 2), out)


def leaves(generator):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(generator.model)]


def test_seeds_together_equal_seeds_alone(three, zoo):
    v = np.array([[0.5], [1.7]])
    wanted = [g.generate(v).weights for g in three]
    for seed in (0, 2):
        alone = fit(CFG, zoo, seed).generate(v).weights
        np.testing.assert_allclose(alone, wanted[seed], atol=1e-2)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1


def test_writes_policies_with_noise_from_the_seed(three, zoo):
    v = np.array([[0.5], [1.7], [1.7]])
    a, b = three[0].generate(v, seed=0).weights, three[0].generate(v, seed=0).weights
    np.testing.assert_array_equal(a, b)
    assert a.shape == (3, zoo.spec.size)
    assert np.abs(a - three[0].generate(v, seed=1).weights).max() > 1e-6
    assert np.abs(a[1] - a[2]).max() > 1e-6  # rows draw their own noise
    np.testing.assert_allclose(three[0].generate(v[:2], seed=0).weights, a[:2], atol=1e-6)


def test_each_seed_has_its_directory(three, out):
    assert {p.name for p in out.iterdir()} == {"metrics.jsonl", "seed-0", "seed-1", "seed-2"}
    v = np.array([[1.1]])
    loaded = generators.load(out / "seed-2")
    np.testing.assert_array_equal(loaded.generate(v).weights, three[2].generate(v).weights)


def test_killed_and_resumed_is_bit_equal(zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_STEPS", 10)
    monkeypatch.setattr(job, "SNAPSHOT_S", -1.0)
    whole = fit(CFG, zoo, 1, tmp_path / "whole")
    log, calls = job.Job.log, []

    def killed(*args):
        log(*args)
        calls.append(1)
        if len(calls) == 3:  # 30 steps are done, 20 are in the snapshot
            raise KeyboardInterrupt

    monkeypatch.setattr(job.Job, "log", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(CFG, zoo, 1, tmp_path / "cut")
    with pytest.raises(BadSetting, match="holds a run with another seeds"):
        fit(CFG, zoo, 2, tmp_path / "cut")
    resumed = fit(CFG, zoo, 1, tmp_path / "cut")
    for a, b in zip(leaves(whole), leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)

    texts = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    logs = [[json.loads(line) for line in text.splitlines()] for text in texts]
    plain = [[{k: v for k, v in r.items() if k != "seconds"} for r in log] for log in logs]
    assert plain[0] == plain[1]
    assert [(r["step"], len(r["loss/mse"])) for r in plain[0]] == [(s, 1) for s in (10, 20, 30, 40)]
    assert not list(tmp_path.rglob(job.SNAPSHOT))
    loaded = generators.load(tmp_path / "cut")
    v = np.array([[1.1]])
    np.testing.assert_array_equal(loaded.generate(v).weights, whole.generate(v).weights)
    with pytest.raises(AlreadyExists):
        fit(CFG, zoo, 1, tmp_path / "cut")


def test_a_seed_that_dies_is_named_and_the_others_go_on(three, zoo, monkeypatch):
    make = PcaConfig.fit

    def spoiled(config, weights, spec, seeds, out):
        encoder = make(config, weights, spec, seeds, out)
        one = (jnp.arange(len(seeds)) == 1)[:, None]
        mean = jnp.where(one, jnp.nan, encoder.mean) if len(seeds) > 1 else encoder.mean * jnp.nan
        return eqx.tree_at(lambda e: e.mean, encoder, mean)

    monkeypatch.setattr(PcaConfig, "fit", spoiled)
    with pytest.warns(UserWarning, match="seed 1 at step 0; the other seeds went on"):
        alive = fit_seeds(CFG, zoo, (0, 1, 2))
    assert [g.provenance["seed"] for g in alive] == [0, 2]
    for a, b in zip(leaves(alive[1]), leaves(three[2]), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(BadSetting, match="seed 5 at step 0"):
        fit(CFG, zoo, 5)


@pytest.mark.slow
def test_works_on_autoencoder_latents(zoo, tmp_path):
    small = AutoencoderConfig(dim=4, steps=10)
    cfg = HypLatentConfig(**{**vars(CFG), "encoder": small, "behavior": 0.0, "steps": 5})
    made = fit(cfg, zoo, 3, tmp_path / "g")
    loaded = generators.load(tmp_path / "g")
    v = np.array([[1.1]])
    np.testing.assert_array_equal(loaded.generate(v).weights, made.generate(v).weights)
    assert loaded.provenance["seed"] == 3


def test_behavior_needs_observations(blind_zoo):
    with pytest.raises(BadZoo, match="no observations"):
        fit(CFG, blind_zoo)


@pytest.mark.slow
def test_without_gan_and_noise_it_is_a_regression(zoo):
    """Spec, appendix B 9: it has one answer a context, nearer to its expert than a neighbor is.

    It does not become exact: batch norm's moments follow which contexts a batch happened to draw.
    """
    cfg = HypLatentConfig(noise=0, adversarial=0.0, regularization=0.0, dropout=0.0, steps=2000)
    made, finals = fit(cfg, zoo), zoo.finals.weights
    written = made.generate(zoo.contexts, seed=1).weights
    np.testing.assert_array_equal(written, made.generate(zoo.contexts, seed=2).weights)
    to_neighbor = np.abs(np.diff(finals, axis=0)).mean()
    assert np.abs(finals.mean(axis=0) - finals).mean() > to_neighbor
    assert np.abs(written - finals).mean() < 0.5 * to_neighbor
