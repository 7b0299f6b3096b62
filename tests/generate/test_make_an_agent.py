"""Make-An-Agent: loss and average by hand, clusters from conditions, seeds, kill and resume."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperpolicy import files
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import codecs, loop
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.codecs import Autoencoder, AutoencoderConfig, PcaConfig
from hyperpolicy.generate.lesson import Minibatch, Pairs, of_zoo, pairs
from hyperpolicy.generate.parts import EncodedContext, Frame, Model
from hyperpolicy.generate.writers import make_an_agent
from hyperpolicy.generate.writers.make_an_agent import MakeAnAgent, MakeAnAgentConfig
from hyperpolicy.nets.film_mlp import FilmMlpConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.nets.unet1d import Unet1dConfig
from hyperpolicy.run import job

KEY = jax.random.key(0)
SPEC, CHEETAH = PolicySpec(2, 1, (3,)), family("cheetah-vel")
CFG = MakeAnAgentConfig(
    encoder=PcaConfig(2),
    net=FilmMlpConfig(width=32, blocks=1, embedding=8),
    rate=3e-3,
    batch=64,
    steps=630,
)
UNET = Unet1dConfig(channels=(4, 8), groups=2, embedding=4)
CENTERS = np.array([[-1.0, 0.0], [1.0, 0.4], [1.0, -0.4]])
"""Of the clusters, on the plane that weights lie on: one of its directions is wider."""
PLANE = np.linalg.qr(np.random.default_rng(3).normal(size=(SPEC.size, 2)))[0].T


def batch_of(size: int) -> Minibatch:
    keys = jax.random.split(jax.random.key(1))
    latents = jax.random.uniform(keys[1], (size, 2), minval=-1.0, maxval=1.0)
    return Minibatch(
        jnp.zeros((size, 0)), jax.random.normal(keys[0], (size, 1)), latents, None, None
    )


def zeros():
    net = FilmMlpConfig(width=2, blocks=1, embedding=2).init(2, 1, KEY)
    return jax.tree.map(jnp.zeros_like, net)


ZEROS = jax.jit(zeros)()
"""A network that answers 0, and whose block puts out its input."""
loss = jax.jit(lambda net, batch: make_an_agent.loss(CFG, net, batch, jax.random.key(2)))


# --- The page -----------------------------------------------------------------------------
def test_loss_of_a_known_network():
    """A network that answers b has E[(b − z)²], whatever the noise."""
    answer, batch = jnp.array([0.5, -0.25]), batch_of(6)
    net = eqx.tree_at(lambda n: n.last.bias, ZEROS, answer)
    want = np.mean((answer[None] - batch.target) ** 2)
    np.testing.assert_allclose(loss(net, batch), want, rtol=1e-5)


def test_loss_is_of_noised_latents():
    """A network that answers what it is given errs by the noise that was added."""
    where = lambda n: (n.first.weight, n.last.weight)  # noqa: E731
    net = eqx.tree_at(where, ZEROS, (jnp.eye(2), jnp.eye(2)))
    alphas = make_an_agent.schedule(100)
    want = (1 - alphas) + (1 - np.sqrt(alphas)) ** 2 / 3.0  # E[z²] = 1/3
    np.testing.assert_allclose(loss(net, batch_of(20_000)), want.mean(), rtol=0.03)


def test_share_the_average_keeps():
    share = jax.vmap(lambda i: make_an_agent.kept_share(MakeAnAgentConfig(), i))
    got = share(jnp.array([0, 1, 2, 3, 10_001, 10_000_000]))
    want = [0.0, 0.0, 1 - 2**-0.75, 1 - 3**-0.75, 1 - 10_001**-0.75, 0.9999]
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.fixture(scope="module")
def updated():
    """States before and after each of four updates."""
    step = jax.jit(lambda state, i, key: make_an_agent.update(CFG, state, batch_of(6), i, key)[0])
    states = [make_an_agent.init(CFG, 2, 1, KEY)]
    for i in range(4):
        states.append(step(states[-1], jnp.asarray(i), jax.random.key(i)))
    return states


def test_average_follows_the_weights(updated):
    nets = [np.asarray(state.net.first.weight) for state in updated[1:]]
    averages = [np.asarray(state.average.first.weight) for state in updated[1:]]
    np.testing.assert_array_equal(averages[0], nets[0])
    np.testing.assert_array_equal(averages[1], nets[1])
    kept = [1 - 2**-0.75, 1 - 3**-0.75]
    third = kept[0] * nets[1] + (1 - kept[0]) * nets[2]
    np.testing.assert_allclose(averages[2], third, rtol=1e-4, atol=1e-6)
    fourth = kept[1] * third + (1 - kept[1]) * nets[3]
    np.testing.assert_allclose(averages[3], fourth, rtol=1e-4, atol=1e-6)
    assert np.abs(averages[3] - nets[3]).max() > 1e-4


def test_weights_decay_apart_from_the_gradient():
    """With no gradient θ shrinks by rate · decay, under the rate of the cycle's step."""
    cfg = MakeAnAgentConfig(rate=0.1, weight_decay=0.5, first_cycle=2)
    tx, params = make_an_agent.optimizer(cfg), {"w": jnp.array([2.0, -3.0])}
    adam = tx.init(params)
    for rate in (0.1, 0.05, 0.1, 0.1 * (1 + np.cos(np.pi / 4)) / 2):
        updates, adam = tx.update({"w": jnp.zeros(2)}, adam, params)
        np.testing.assert_allclose(updates["w"], -rate * 0.5 * params["w"], rtol=1e-4)
        params = optax.apply_updates(params, updates)


def test_bad_settings(clusters):
    with pytest.raises(BadSetting, match="11 sampling steps of 10 diffusion steps"):
        MakeAnAgentConfig(diffusion_steps=10, sampling_steps=11)
    with pytest.raises(BadSetting, match="batch=0"):
        MakeAnAgentConfig(batch=0)
    cfg = MakeAnAgentConfig(net=UNET, steps=1)
    encoder = encoders_of(clusters, 1, components=3)
    with pytest.raises(BadSetting, match="latent of 3 numbers does not make 2 tokens"):
        make_an_agent.train(cfg, run_of((0,), 1), clusters, SPEC, encoder)


# --- Fits ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def clusters() -> Pairs:
    """Condition −1 has one cluster of policies, condition 1 has two."""
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(3), 20)
    points = CENTERS[which] + 0.03 * rng.normal(size=(60, 2))
    weights = points @ PLANE + 0.01 * rng.normal(size=(60, SPEC.size))
    return Pairs(
        jnp.asarray(weights, jnp.float32),
        jnp.asarray(np.minimum(which, 1)),
        jnp.asarray(np.where(which > 0, 1.0, -1.0), jnp.float32)[:, None],
    )


def encoders_of(data: Pairs, count: int, components: int = 2):
    """One PCA per seed, all the same."""
    fitted = codecs.fit_pca(PcaConfig(components), np.asarray(data.weights))
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * count), fitted)


def run_of(seeds, steps: int, out=None) -> loop.FitJob:
    return loop.FitJob("make-an-agent", seeds, steps, out, {"test": "clusters"})


@pytest.fixture(scope="module")
def pair(clusters):
    encoder = encoders_of(clusters, 2)
    return make_an_agent.train(CFG, run_of((0, 1), CFG.steps), clusters, SPEC, encoder)


@jax.jit
def write(parts, conditions, keys):
    """The weights that a writer and its codec make of each condition."""
    writer, codec = parts
    return jax.vmap(lambda condition, key: codec.decode(writer(condition, key)))(conditions, keys)


def written(model, conditions, seed: int = 0):
    """A policy for each condition of one number."""
    conditions = jnp.asarray(conditions, jnp.float32)[:, None]
    keys = jax.random.split(jax.random.key(seed), len(conditions))
    return np.asarray(write(model, conditions, keys))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_condition_decides_on_the_cluster(pair, seed):
    """Of condition 1's two, single policies take one or the other, none the middle of both."""
    places = written(pair[seed], np.repeat([-1.0, 1.0], 100)) @ PLANE.T
    nearest = np.linalg.norm(places[:, None] - CENTERS, axis=2).argmin(axis=1)
    assert np.all(nearest[:100] == 0) and np.all(nearest[100:] > 0)
    share = (nearest[100:] == 1).mean()
    assert 0.2 < share < 0.8
    distance = np.linalg.norm(places - CENTERS[nearest], axis=1)
    assert np.quantile(distance, 0.9) < 0.15


def test_the_average_weights_are_kept(clusters, monkeypatch):
    def stopped(run, step, state, own, data):
        ones, twos = (jax.tree.map(lambda x, v=v: 0.0 * x + v, state.net) for v in (1.0, 2.0))
        return state._replace(net=ones, average=twos), np.array([-1])

    monkeypatch.setattr(loop, "train", stopped)
    codecs = encoders_of(clusters, 1)
    kept, _ = make_an_agent.train(CFG, run_of((0,), 1), clusters, SPEC, codecs)[0]
    assert {float(x) for leaf in jax.tree.leaves(kept.net) for x in leaf.ravel()} == {2.0}


def test_latents_lie_between_the_limits_of_training_rows(pair, clusters):
    writer, codec = pair[0]
    inside = lambda w: writer.normalizer(codec.encode(w))  # noqa: E731
    known = jax.vmap(inside)(clusters.weights)
    np.testing.assert_allclose(
        [known.min(axis=0), known.max(axis=0)], [[-1, -1], [1, 1]], atol=1e-5
    )
    made = jax.vmap(inside)(jnp.asarray(written(pair[0], np.linspace(-3, 3, 50))))
    assert np.abs(made).max() < 1 + 1e-4


def test_neighbors_are_bit_identical(pair):
    keys = jax.random.split(jax.random.key(5), 4)
    conditions = jnp.array([[-1.0], [-0.3], [0.4], [1.0]])
    before = write(pair[0], conditions, keys)
    after = write(pair[0], conditions.at[2].add(1.0), keys)
    rest = np.arange(4) != 2
    np.testing.assert_array_equal(before[rest], after[rest])
    assert not np.array_equal(before[2], after[2])


@pytest.mark.slow
def test_seeds_together_equal_seeds_alone(clusters):
    both = make_an_agent.train(CFG, run_of((4, 7), 40), clusters, SPEC, encoders_of(clusters, 2))
    four, seven = (written(both[n], [-1.0, 0.2, 1.0]) for n in (0, 1))
    assert np.abs(four - seven).max() > 0.05
    for seed, together in ((4, four), (7, seven)):
        codecs = encoders_of(clusters, 1)
        alone = make_an_agent.train(CFG, run_of((seed,), 40), clusters, SPEC, codecs)
        np.testing.assert_allclose(written(alone[0], [-1.0, 0.2, 1.0]), together, atol=1e-3)


@pytest.mark.slow
def test_killed_and_resumed_is_bit_equal(clusters, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_STEPS", 10)
    monkeypatch.setattr(job, "SNAPSHOT_S", -1.0)
    encoder = encoders_of(clusters, 1)

    def fit(out):
        return make_an_agent.train(CFG, run_of((3,), 30, out), clusters, SPEC, encoder)[0]

    whole, log, calls = fit(tmp_path / "whole"), job.Job.log, []

    def killed(*args):
        log(*args)
        calls.append(1)
        if len(calls) == 2:  # 20 steps are done, 10 are in the snapshot
            raise KeyboardInterrupt

    monkeypatch.setattr(job.Job, "log", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut")
    resumed = fit(tmp_path / "cut")
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    lines = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss/mse"][0] for line in lines]
    assert losses[-1] < 0.8 * losses[0]


def test_a_seed_that_dies_is_left_out(clusters):
    encoder = encoders_of(clusters, 2)
    spoiled = eqx.tree_at(lambda e: e.mean, encoder, encoder.mean.at[1].set(jnp.nan))
    with pytest.warns(UserWarning, match="seed 9 at step 0; the other seeds went on"):
        alive = make_an_agent.train(CFG, run_of((8, 9), 2), clusters, SPEC, spoiled)
    assert set(alive) == {0}


# --- Networks, encoders, files ------------------------------------------------------------
def random_writer(net, encoder) -> MakeAnAgent:
    """Its network's numbers drawn by NumPy, which compiles nothing."""
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(lambda: net.init(encoder.size, 1, KEY))
    fill = lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    return MakeAnAgent(jax.tree.map(fill, shapes), norm.blank(encoder.size), 20, 4)


def linear_encoder(clusters):
    return jax.tree.map(lambda leaf: leaf[0], encoders_of(clusters, 1))


def chunked_encoder(clusters):
    return Autoencoder(codecs.Coder.init(SPEC, 3, KEY), norm.blank(3))


@pytest.mark.parametrize(
    "net, make", [(CFG.net, linear_encoder), (UNET, chunked_encoder)], ids=["film-mlp", "unet1d"]
)
def test_saved_and_loaded(net, make, clusters, tmp_path):
    codec = make(clusters)
    model = Model(EncodedContext(CHEETAH.context), random_writer(net, codec), codec)
    files.save_tree(tmp_path / "model.safetensors", model)
    frame = Frame(CHEETAH, SPEC, SPEC.size)
    like = Model.blank(json.loads(json.dumps(model.settings())), frame)
    loaded, _ = files.load_tree(tmp_path / "model.safetensors", like)
    assert loaded.settings() == model.settings()
    made = [written((one.writer, one.codec), [0.5, -2.0]) for one in (loaded, model)]
    np.testing.assert_array_equal(*made)


@pytest.mark.slow
def test_a_unet_learns_on_autoencoder_latents(zoo):
    """It writes an expert for its speed, almost as near as the autoencoder rebuilds it."""
    net = Unet1dConfig(channels=(16, 32), groups=4, embedding=16)
    cfg = MakeAnAgentConfig(net=net, rate=3e-3, batch=32, steps=310)
    encoder = AutoencoderConfig(dim=16, steps=630, batch=16).fit(zoo.weights, zoo.spec, (0,))
    data, finals = pairs(of_zoo(zoo), with_behavior=False), zoo.finals.weights
    model = make_an_agent.train(cfg, run_of((0,), cfg.steps), data, zoo.spec, encoder)[0]
    gap = np.mean((written(model, data.conditions[zoo.final_rows, 0]) - finals) ** 2)
    assert gap < 0.1 * np.mean((finals - finals.mean(axis=0)) ** 2)
