"""GenHyper: losses by hand, who learns what, seeds side by side, kill and resume."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadZoo
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate import loop
from hyperpolicy.generate.codecs import Coder
from hyperpolicy.generate.fitting import fit, fit_seeds
from hyperpolicy.generate.lesson import Minibatch, behavior_loss
from hyperpolicy.generate.writers import gan, genhyper, hyplatent
from hyperpolicy.generate.writers.genhyper import PAPER, GenHyperConfig, GenHyperState, Task
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.run import job

CFG = GenHyperConfig(
    generator_hidden=(6,),
    discriminator_hidden=(6,),
    noise=2,
    behavior=1.0,
    states=3,
    batch=16,
    steps=40,
    dim=3,
)
SPEC = PolicySpec(20, 6, (4, 4))


@pytest.fixture(scope="module")
def toy() -> tuple[GenHyperState, Minibatch]:
    keys = jax.random.split(jax.random.key(1), 5)
    shapes = (6, 2), (6, 1), (6, SPEC.size), (6, 3, 20), (6, 3, 6)
    batch = Minibatch(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)))
    normalizer = jax.tree.map(jnp.asarray, genhyper.spread(np.asarray(batch.target)))
    state = jax.jit(lambda: genhyper.init(CFG, SPEC, normalizer, 1, jax.random.key(0)))()
    return state, batch


# --- The page -----------------------------------------------------------------------------
def test_published_sizes():
    """Spec, appendix B 1, on Meta-World's policy: condition and noise of 128 numbers each."""
    spec, cfg = PolicySpec(39, 4, (128, 128), ("elu", "relu")), replace(PAPER, noise=128)
    coder = jax.eval_shape(lambda: Coder.init(spec, cfg.dim, jax.random.key(0)))
    nets = jax.eval_shape(lambda: gan.make_networks(cfg, 2 * cfg.dim, 128, jax.random.key(0)))
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(coder) == 46_417_920
    assert size(nets.generator) == 6_043_392
    assert size(nets.discriminator) == 3_738_753


def test_encoder_loss_by_hand(toy):
    ((nets, encoder), _), batch = toy
    coder, fake = encoder.coder, jax.random.normal(jax.random.key(5), (6, encoder.size))
    args = fake, CFG, batch, jax.random.key(2)
    loss, metrics = genhyper.encoder_loss((nets.discriminator, coder), *args)
    tokens = jnp.stack([coder.tokens(x) for x in batch.target])
    rebuilt = np.stack([coder.weights(t) for t in tokens])
    gap = np.mean((rebuilt - batch.target) ** 2)
    np.testing.assert_allclose(loss, metrics["loss/discriminator"] + 1e3 * gap, rtol=1e-5)
    real = jax.vmap(nets.discriminator.logit)(tokens.reshape(6, -1))
    np.testing.assert_allclose(metrics["belief/real"], np.mean(jax.nn.sigmoid(real)), rtol=1e-5)


def test_generator_loss_is_the_weighted_sum_of_its_parts(toy):
    ((nets, encoder), _), batch = toy
    tokens, key = jax.vmap(encoder.coder.tokens)(batch.target), jax.random.key(2)
    args = nets.discriminator, Task(CFG, SPEC, batch), tokens, key
    loss, (_, parts) = genhyper.generator_loss((nets.generator, encoder), *args)
    made, _ = skip_mlp.train(nets.generator, batch.inputs, CFG.dropout, jax.random.split(key)[0])
    weights = jax.vmap(encoder.decode)(made)
    gap = np.mean((jax.vmap(encoder.normalizer)(weights) - batch.target) ** 2)
    np.testing.assert_allclose(parts["loss/mse"], gap, rtol=1e-4)
    unlike = behavior_loss(SPEC, weights, batch.states, batch.actions)
    np.testing.assert_allclose(parts["loss/behavior"], unlike, rtol=1e-4)
    total = 1e3 * (parts["loss/mse"] + parts["loss/reconstruction"])
    total += parts["loss/adversarial"] + parts["loss/behavior"]
    np.testing.assert_allclose(loss, total, rtol=1e-5)


def moved(before, after) -> dict[str, bool]:
    """Which networks differ between two (nets, encoder)."""

    def parts(nets, encoder):
        f, coder = nets.discriminator, encoder.coder
        named = {"G": nets.generator, "trunk": f.trunk, "real": f.real, "Q": f.auxiliary}
        named |= {"E": genhyper.encoder_side((f, coder))[2:], "D": coder.decoders}
        return named | {"normalizer": encoder.normalizer}

    old, new = parts(*before), parts(*after)
    same = {name: jax.tree.map(np.array_equal, old[name], new[name]) for name in old}
    return {name for name, equal in same.items() if not all(jax.tree.leaves(equal))}


def test_each_part_learns_its_own(toy):
    (start, (adam_f, adam_g, adam_q)), batch = toy
    (nets, encoder), key, task = start, jax.random.key(4), Task(CFG, SPEC, batch)
    first = jax.jit(lambda: genhyper.improve_encoder(task, start, adam_f, key))()
    second = jax.jit(lambda: genhyper.improve_generator(task, start, adam_g, key))()
    third = jax.jit(lambda: hyplatent.regularize(CFG, nets, adam_q, batch, key))()
    assert moved(start, first[0]) == {"trunk", "real", "E"}
    assert moved(start, second[0]) == {"G", "D"}
    assert moved(start, (third[0], encoder)) == {"G", "trunk", "Q"}


def test_spread_centers_and_gives_unit_variance(zoo):
    normalizer = genhyper.spread(zoo.weights)
    rows = normalizer(zoo.weights)
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(rows.std(), 1.0, rtol=1e-4)
    np.testing.assert_allclose(normalizer.invert(rows), zoo.weights, atol=1e-5)
    alone = genhyper.spread(zoo.weights[:1])
    np.testing.assert_allclose(alone.invert(alone(zoo.weights[:1])), zoo.weights[:1], atol=1e-5)


# --- Fits ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("fits") / "two"


@pytest.fixture(scope="module")
def two(zoo, out):
    return fit_seeds(CFG, zoo, (0, 1), out)


@pytest.fixture(scope="module")
def alone(zoo):
    return fit(CFG, zoo, 1)


def test_seeds_together_equal_seeds_alone(two, alone):
    v = np.array([[0.5], [1.7]])
    wanted = [g.generate(v).weights for g in two]
    np.testing.assert_allclose(alone.generate(v).weights, wanted[1], atol=1e-2)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.05


def test_rows_draw_their_own_noise_and_nothing_else(two):
    v = np.array([[0.5], [1.7], [1.7]])
    a, b = two[0].generate(v).weights, two[0].generate([[2.1], [1.7], [1.7]]).weights
    np.testing.assert_array_equal(a[1:], b[1:])
    assert np.abs(a[0] - b[0]).max() > 1e-6
    assert np.abs(a[1] - a[2]).max() > 1e-6
    assert np.abs(a - two[0].generate(v, seed=1).weights).max() > 1e-6


def test_each_seed_has_its_directory(two, out):
    assert {p.name for p in out.iterdir()} == {"metrics.jsonl", "seed-0", "seed-1"}
    v, loaded = np.array([[1.1]]), generators.load(out / "seed-1")
    assert loaded.kind == "genhyper"
    np.testing.assert_array_equal(loaded.generate(v).weights, two[1].generate(v).weights)


@pytest.mark.slow
def test_killed_and_resumed_is_bit_equal(alone, zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_STEPS", 10)
    monkeypatch.setattr(job, "SNAPSHOT_S", -1.0)
    log, calls = job.Job.log, []

    def killed(*args):
        log(*args)
        calls.append(1)
        if len(calls) == 3:  # 30 steps are done, 20 are in the snapshot
            raise KeyboardInterrupt

    monkeypatch.setattr(job.Job, "log", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(CFG, zoo, 1, tmp_path / "cut")
    resumed = fit(CFG, zoo, 1, tmp_path / "cut")
    jax.tree.map(np.testing.assert_array_equal, alone.model, resumed.model)


def test_behavior_needs_observations(blind_zoo):
    with pytest.raises(BadZoo, match="no observations"):
        fit(CFG, blind_zoo)


@pytest.mark.slow
def test_learns_the_zoo(zoo):
    """It writes experts nearer than a neighbor is, and rebuilds them far better than their mean.

    The rebuilding is not exact: E ends in a LayerNorm and loses how far a policy is from the mean,
    about a tenth of the variance here (docs/genhyper.md). What G writes is not limited by it.
    """
    cfg = GenHyperConfig(generator_hidden=(16,), discriminator_hidden=(16,), dim=8, batch=16)
    made, finals = fit(cfg, zoo), zoo.finals.weights
    spread = np.mean((finals.mean(axis=0) - finals) ** 2)
    encoder = made.model.codec
    rebuilt = np.stack([encoder.decode(encoder.encode(jnp.asarray(w))) for w in finals])
    written = made.generate(zoo.contexts).weights
    assert np.mean((rebuilt - finals) ** 2) < 0.2 * spread
    assert np.mean((written - finals) ** 2) < 0.1 * spread
    assert np.abs(written - finals).mean() < np.abs(np.diff(finals, axis=0)).mean()
