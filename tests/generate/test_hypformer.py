"""HypFormer: losses by hand, what it learns, who does not matter, kill and resume, a round trip."""

import json
from dataclasses import asdict, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperpolicy import files
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.generate import loop, parts
from hyperpolicy.generate.codecs import Pca, PcaConfig
from hyperpolicy.generate.lesson import of_zoo, pairs
from hyperpolicy.generate.writers import gan, hypformer
from hyperpolicy.generate.writers.hypformer import HypFormer, HypFormerConfig, Samples
from hyperpolicy.generate.writers.hyplatent import HypLatent, HypLatentConfig
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.skip_mlp import SkipMlp
from hyperpolicy.nets.transformer import EVALUATION, Aggregator, Prediction
from hyperpolicy.run import job

CFG = HypFormerConfig(
    width=16, heads=4, ff=32, tokens=3, dropout=0.05, rate=1e-3, batch=32, steps=300
)
SEEDS, NOISE, Z = (0, 5), 2, 3


@pytest.fixture(scope="module")
def data(zoo):
    return pairs(of_zoo(zoo), False)


@pytest.fixture(scope="module")
def codecs(zoo):
    return PcaConfig(Z).fit(zoo.weights, zoo.spec, SEEDS)


@pytest.fixture(scope="module")
def base() -> HypLatent:
    """A writer for each seed that has learned nothing, on axis n."""

    @jax.jit
    @jax.vmap
    def make(seed):
        net = SkipMlp.init(NOISE + 1, (6,), Z, jax.random.key(seed))
        return HypLatent(net, skip_mlp.first_moments(net), NOISE)

    return make(jnp.asarray(SEEDS))


def make_run(seeds, out=None, config=CFG) -> loop.FitJob:
    return loop.FitJob("hypformer", seeds, config.steps, out, {"config": asdict(config)})


def pick(tree, n):
    return jax.tree.map(lambda leaf: leaf[n], tree)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("fits") / "both"


@pytest.fixture(scope="module")
def both(data, codecs, base, out) -> dict[int, tuple[HypFormer, Pca]]:
    return hypformer.train(CFG, make_run(SEEDS, out), data, codecs, base)


@jax.jit
def write(parts, conditions, keys):
    """The weights that a writer and its codec make of each condition."""
    writer, codec = parts
    return jax.vmap(lambda condition, key: codec.decode(writer(condition, key)))(conditions, keys)


# --- The page -----------------------------------------------------------------------------
def test_published_size():
    cfg = HypFormerConfig(width=256, heads=128, ff=2048)
    sizes = 2048, 128, cfg.width, cfg.heads, cfg.ff
    net = jax.eval_shape(lambda: Aggregator.init(*sizes, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(net)) == 3_387_904


def test_residue_is_measured_from_the_samples():
    """Halved squares up to an error of 1, from there on straight lines."""
    samples = jnp.array([[0.0, 1.0, 4.0], [2.0, 3.0, 6.0]])  # mean 1, 2, 5
    target = jnp.array([1.0, 2.5, 8.0])  # residues 0, 0.5, 3
    loss = hypformer.residue_loss(jnp.zeros(3), target, samples)
    np.testing.assert_allclose(loss, (0.0 + 0.125 + 2.5) / 3, rtol=1e-5)
    np.testing.assert_allclose(
        hypformer.residue_loss(jnp.array([0.0, 0.5, 3.0]), target, samples), 0
    )


def test_cosine_loss_is_one_minus_the_cosine():
    a, b = jnp.array([3.0, 4.0, 0.0]), jnp.array([0.0, 0.5, 0.0])
    np.testing.assert_allclose(hypformer.cosine_loss(a, b), 1 - 0.8, rtol=1e-6)
    np.testing.assert_allclose(hypformer.cosine_loss(a, 7.0 * a), 0.0, atol=1e-6)
    np.testing.assert_allclose(hypformer.cosine_loss(a, -a), 2.0, rtol=1e-6)


def test_loss_is_the_weighted_sum_of_its_parts(both):
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    batch, made = Samples(normal(5, 2, Z), normal(5, 1), normal(5, Z)), Prediction(*normal(2, 5, Z))
    cfg = replace(CFG, residue=2.0, cosine=3.0, mse=5.0)
    loss, parts = hypformer.loss(both[0][0].net, cfg, batch, EVALUATION, lambda *_: made)
    np.testing.assert_allclose(parts["loss/mse"], jnp.mean((made.total - batch.target) ** 2))
    miss = jnp.mean((batch.tokens.mean(axis=1) - batch.target) ** 2)
    np.testing.assert_allclose(parts["samples/mse"], miss, rtol=1e-5)
    each = [
        (2 * hypformer.residue_loss(*row[:3]) + 3 * hypformer.cosine_loss(row[3], row[1]))
        + 5 * hypformer.mse_loss(row[0] + row[3], row[1])
        for row in zip(made.residue, batch.target, batch.tokens, made.latent, strict=True)
    ]
    np.testing.assert_allclose(loss, np.mean(each), rtol=1e-5)


def test_samples_are_the_generators_in_evaluation_mode(base):
    one, m, key = pick(base, 0), jnp.array([0.3]), jax.random.key(1)
    samples = jax.jit(hypformer.sample, static_argnums=2)(one, m, 4, key)
    noises = jax.random.normal(key, (4, NOISE))
    for noise, got in zip(noises, samples, strict=True):
        want = skip_mlp.evaluate(one.net, one.running, jnp.concatenate([noise, m]))
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert np.abs(np.diff(samples, axis=0)).max(axis=1).min() > 1e-3


def test_draws_pairs_that_belong_together(base, codecs, data, zoo):
    one = pick(base, 0)
    latents = jax.vmap(pick(codecs, 0).encode)(data.weights)
    batch = jax.jit(partial(hypformer.draw, CFG))(data, one, latents, jax.random.key(2))
    assert batch.tokens.shape == (CFG.batch, CFG.tokens, Z)
    gap = jnp.abs(batch.target[:, None] - latents[None]).max(axis=2)
    experts = np.asarray(data.expert[gap.argmin(axis=1)])
    np.testing.assert_array_equal(batch.conditions, data.conditions[zoo.final_rows[experts]])
    assert len(set(experts.tolist())) > 3
    same = np.flatnonzero(experts == experts[0])[:2]
    assert np.abs(batch.tokens[same[0]] - batch.tokens[same[1]]).max() > 1e-3  # fresh noises


def test_optimizer_is_hyplatents():
    params, grads = {"w": jnp.array([2.0, -3.0])}, {"w": jnp.array([0.1, 0.0])}
    cfg = HypFormerConfig(rate=0.5, weight_decay=1.0)
    like = optax.chain(optax.add_decayed_weights(1.0), optax.adam(0.5, b1=0.5, b2=0.999))
    got, want = ({}, {})
    for name, tx in ((0, gan.optimizer(cfg.rate, cfg.weight_decay)), (1, like)):
        state = tx.init(params)
        for _ in range(3):
            updates, state = tx.update(grads, state, params)
        (got, want)[name].update(updates)
    np.testing.assert_allclose(got["w"], want["w"], rtol=1e-5)
    assert HypLatentConfig().rate == HypFormerConfig().rate == 2e-4


# --- Fits ---------------------------------------------------------------------------------
def test_learns_what_its_samples_do_not_show(both, base, zoo, out, data):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    finals, conditions = zoo.finals.weights, data.conditions[zoo.final_rows]
    for n in range(len(SEEDS)):
        assert lines[-1]["loss/mse"][n] < 0.2 * lines[-1]["samples/mse"][n]
        keys = jax.random.split(jax.random.key(n), len(finals))
        made = np.asarray(write(both[n], conditions, keys))
        plain = write((pick(base, n), both[n][1]), conditions, keys)
        assert np.abs(made - finals).mean() < 0.4 * np.abs(plain - finals).mean()


def test_the_base_rests(both, base):
    for n, (writer, _) in both.items():
        for a, b in zip(*map(jax.tree.leaves, (writer.base, pick(base, n))), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_seeds_together_equal_seeds_alone(both, data, codecs, base):
    second = (pick(x, slice(1, 2)) for x in (codecs, base))
    alone = hypformer.train(CFG, make_run(SEEDS[1:]), data, *second)[0]
    keys = jax.random.split(jax.random.key(0), len(data.conditions))
    wanted = [np.asarray(write(both[n], data.conditions, keys)) for n in (0, 1)]
    np.testing.assert_allclose(write(alone, data.conditions, keys), wanted[1], atol=1e-2)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.03


@pytest.mark.slow
def test_killed_and_resumed_is_bit_equal(both, data, codecs, base, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "SNAPSHOT_S", -1.0)
    log, calls = job.Job.log, []

    def killed(*args):
        log(*args)
        calls.append(1)
        if len(calls) == 2:  # 200 steps are done, 100 are in the snapshot
            raise KeyboardInterrupt

    monkeypatch.setattr(job.Job, "log", killed)
    with pytest.raises(KeyboardInterrupt):
        hypformer.train(CFG, make_run(SEEDS, tmp_path / "cut"), data, codecs, base)
    resumed = hypformer.train(CFG, make_run(SEEDS, tmp_path / "cut"), data, codecs, base)
    assert len(calls) == 4  # steps 200 and 300 came after the kill
    for a, b in zip(*map(jax.tree.leaves, (both, resumed)), strict=True):
        np.testing.assert_array_equal(a, b)


# --- Models -------------------------------------------------------------------------------
def test_neighbors_are_bit_identical(both):
    conditions, keys = jnp.linspace(-1, 1, 4)[:, None], jax.random.split(jax.random.key(0), 4)
    before, others = np.asarray(write(both[0], conditions, keys)), np.array([0, 1, 3])
    after = np.asarray(write(both[0], conditions.at[2].add(0.5), keys))
    np.testing.assert_array_equal(before[others], after[others])
    assert np.abs(before[2] - after[2]).max() > 1e-3


def test_noise_comes_from_the_key(both):
    conditions = jnp.zeros((3, 1))
    keys = jax.random.split(jax.random.key(0), 2)[jnp.array([0, 0, 1])]
    one, again, other = np.asarray(write(both[0], conditions, keys))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-6


def test_every_demonstration_of_a_set_counts(both):
    """All their tokens are attended together, in one sample."""
    write_set, key, (writer, _) = jax.jit(hypformer.write_for_set), jax.random.key(0), both[0]
    conditions = jnp.array([[-0.4], [-0.3], [-0.2]])
    made = write_set(writer, conditions, key)
    for j in range(3):
        moved = write_set(writer, conditions.at[j].add(0.3), key)
        assert np.abs(made - moved).max() > 1e-3

    @jax.jit
    def attend_together(model):
        samples = hypformer.sample_each(model.base, conditions, CFG.tokens, key)
        assert samples.shape == (3, CFG.tokens, Z)
        return model.net(samples.reshape(9, Z), conditions).total

    np.testing.assert_allclose(made, attend_together(writer), atol=1e-5)


def test_save_and_load_is_identity(both, zoo, tmp_path):
    writer, codec = both[1]
    files.save_tree(tmp_path / "writer.safetensors", writer, parts.record(writer))
    frame = parts.Frame(zoo.family, zoo.spec, zoo.spec.size, condition=1, latent=Z)
    blank = parts.blank(files.read_meta(tmp_path / "writer.safetensors"), frame)
    loaded, _ = files.load_tree(tmp_path / "writer.safetensors", blank)
    assert jax.tree.structure(loaded) == jax.tree.structure(writer)
    inputs = jnp.zeros((2, 1)), jax.random.split(jax.random.key(0), 2)
    same = (np.asarray(write((one, codec), *inputs)) for one in (loaded, writer))
    np.testing.assert_array_equal(*same)


# --- Bad input ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"heads": 3}, "heads=3 do not divide width=16 evenly"),
        ({"heads": 0}, "heads=0"),
        ({"tokens": 0}, "tokens=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"layer_dropout": -0.1}, "layer_dropout=-0.1"),
    ],
)
def test_impossible_settings(bad, message):
    with pytest.raises(BadSetting, match=message):
        replace(CFG, **bad)


def test_a_base_that_does_not_fit(data, codecs, base):
    with pytest.raises(BadShape, match="3 seeds need one"):
        hypformer.train(CFG, make_run((0, 1, 2)), data, codecs, base)
    with pytest.raises(BadShape, match="1 seeds need one"):
        hypformer.train(CFG, make_run((0,)), data, codecs, pick(base, 0))
    wide = data._replace(conditions=jnp.zeros((len(data.conditions), 2)))
    with pytest.raises(BadShape, match="conditions of 1 numbers, these have 2"):
        hypformer.train(CFG, make_run(SEEDS), wide, codecs, base)
