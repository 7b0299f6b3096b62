"""MT-SAC and BRC: published counts, losses by hand, conflicts, scales of rewards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.care import MixtureConfig, trained
from hyperpolicy.nets.encoders import EncoderConfig, FeedForwardConfig
from hyperpolicy.nets.ptsl import PtslConfig
from hyperpolicy.nets.soft_modules import SoftModulesOfMtrlConfig
from hyperpolicy.nets.trunks import PlainConfig
from hyperpolicy.rl import brc, conflicts, many_tasks, mtsac
from hyperpolicy.rl.brc import BrcConfig
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.rl.mtsac import MtSacConfig
from hyperpolicy.rl.reward_scale import ByReturns, Exponential, LargestDeviation
from hyperpolicy.types import Batch, Paid

SPACES = Spaces(5, 1, 2)
SMALL = MtSacConfig(tasks=3, encoder=EncoderConfig("one-hot"), trunk=PlainConfig((6, 6)))


def batch(k: int = 3, rows: int = 4, seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    b = k * rows
    task = np.repeat(np.arange(k), rows)[:, None].astype(np.float32)

    def draw(*shape):
        return random.normal(size=shape).astype(np.float32)

    obs, next_obs = (jnp.asarray(np.hstack([draw(b, 5), task])) for _ in range(2))
    ended = jnp.asarray((random.random(b) < 0.3).astype(np.float32))
    return Batch(obs, jnp.tanh(draw(b, 2)), jnp.asarray(draw(b)), next_obs, ended)


# --- Counts -------------------------------------------------------------------------------
TABLE = ((0.0,) * 768,) * 10
CARE = EncoderConfig("language", 50, MixtureConfig(), TABLE)


@pytest.mark.parametrize(
    ("encoder", "trunk", "published"),
    [
        (EncoderConfig(), PlainConfig(), 985_220),
        (CARE, PlainConfig(), 1_198_524),
        (CARE, PtslConfig(), 1_199_782),
        (CARE, PtslConfig((400, 400)), 1_010_824),
        (CARE, PtslConfig((400, 400), shared=False), 1_130_824),
        (CARE, PtslConfig((321,) * 3), 1_177_237),
        (CARE, PtslConfig((321,) * 3, residual="project"), 1_199_737),
        (EncoderConfig(), PtslConfig((367,) * 3), 1_122_975),
        (
            EncoderConfig("embedding", 50, FeedForwardConfig()),
            SoftModulesOfMtrlConfig(),
            297_576,
        ),
    ],
)
def test_published_counts_of_what_is_trained(encoder, trunk, published):
    cfg = MtSacConfig(encoder=encoder, trunk=trunk)
    state = jax.eval_shape(lambda: mtsac.init(cfg, Spaces(12, 1, 4), jax.random.key(0)))
    parts = state.encoder, state.actor, state.critics, state.log_alpha
    assert trained(parts) == published


# --- Losses -------------------------------------------------------------------------------
def test_losses_by_hand():
    state = mtsac.init(SMALL, SPACES, jax.random.key(1))
    state = state._replace(log_alpha=jnp.asarray([0.1, -0.5, 0.3]))
    own = mtsac.lesson(SMALL, state, batch(), jax.random.key(2))
    tasks = np.repeat(np.arange(3), 4)
    alpha = np.exp(np.asarray(state.log_alpha))[tasks]

    def told(obs):
        return np.hstack([np.asarray(obs), np.eye(3, dtype=np.float32)[tasks]])

    def forward(net, x):
        *inner, last = net.layers
        for layer in inner:
            x = np.maximum(x @ np.asarray(layer.weight) + np.asarray(layer.bias), 0)
        return x @ np.asarray(last.weight) + np.asarray(last.bias)

    def critics(nets, obs, action):
        seen = told(obs)
        x = np.hstack([seen[:, :5], np.asarray(action), seen[:, 5:]])
        one = lambda i: jax.tree.map(lambda leaf: leaf[i], nets.net)  # noqa: E731
        return np.hstack([forward(one(i), x) for i in range(2)])

    def policy(obs):
        out = forward(state.actor.net, told(obs))
        mean, raw = out[:, :2], out[:, 2:]
        std = np.exp(-20 + 11 * (np.tanh(raw) + 1))
        noise = np.asarray(jax.random.normal(own.key, mean.shape))
        action = np.tanh(mean + std * noise)
        density = (-0.5 * noise**2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(axis=1)
        return action, density - np.log(1 - action**2 + 1e-9).sum(axis=1)

    action, log_prob = policy(own.next_obs)
    next_v = critics(state.targets[1], own.next_obs, action).min(axis=1) - alpha * log_prob
    y = np.asarray(own.reward) + 0.99 * (1 - np.asarray(own.terminated)) * next_v
    q = critics(state.critics, own.obs, own.action)
    wanted = ((q - y[:, None]) ** 2).sum(axis=1).mean()
    params = state.encoder, state.critics
    found, mean_q = mtsac.critic_loss(params, state, own, SMALL)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    np.testing.assert_allclose(mean_q, q.mean(), rtol=1e-4)
    action, log_prob = policy(own.obs)
    wanted = (alpha * log_prob - critics(state.critics, own.obs, action).min(axis=1)).mean()
    found, density = mtsac.actor_loss(state.actor, state, own, SMALL)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    found = mtsac.temperature_loss(state.log_alpha, density, own, SMALL)
    np.testing.assert_allclose(found, (alpha * (-log_prob + 2.0)).mean(), rtol=1e-4)


def test_rewards_are_divided_by_their_tasks():
    state = mtsac.init(SMALL, SPACES, jax.random.key(1))
    scale = Exponential(jnp.zeros(3), jnp.asarray([1.0, 4.0, 9.0]))
    own = mtsac.lesson(SMALL, state._replace(scale=scale), batch(), jax.random.key(0))
    wanted = np.asarray(batch().reward) / np.repeat([1, 2, 3], 4)
    np.testing.assert_allclose(own.reward, wanted, rtol=1e-5)


def test_rows_of_other_tasks_do_not_move_a_temperature():
    one, other = batch(seed=0), batch(seed=1)
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a[:4], b[4:]]), one, other)
    state = mtsac.init(SMALL, SPACES, jax.random.key(1))
    found = [mtsac.improve_policy(SMALL, state, x)[0].log_alpha for x in (one, mixed)]
    assert found[0][0] == found[1][0] and not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("how", ["mean", "pcgrad", "gradnorm"])
def test_the_encoder_learns_from_critics_alone(how):
    cfg = MtSacConfig(
        tasks=3,
        encoder=EncoderConfig("embedding", 4, MixtureConfig(width=4)),
        trunk=PtslConfig((6, 6), rank=3, init="safe"),
        conflicts=how,
    )
    state = mtsac.init(cfg, SPACES, jax.random.key(1))
    judged, _ = mtsac.improve_critics(cfg, state, batch())
    acted, _ = mtsac.improve_policy(cfg, judged, batch())
    assert not np.array_equal(judged.encoder.task.row.rows, state.encoder.task.row.rows)
    same = map(np.array_equal, jax.tree.leaves(acted.encoder), jax.tree.leaves(judged.encoder))
    assert all(same)


def test_pcgrad_is_the_mean_where_gradients_agree():
    memory = conflicts.Memory.of(3)
    w, _ = conflicts.pcgrad(jnp.ones((3, 3)), jnp.ones(3), memory, jax.random.key(0))
    np.testing.assert_allclose(w, np.full(3, 1 / 3), rtol=1e-6)


def test_uniform_batches_take_any_rows():
    cfg = MtSacConfig(tasks=3, encoder=EncoderConfig("one-hot"), batches="uniform")
    rows, _ = many_tasks.rows_of(cfg, batch().obs)
    assert rows.task.tolist() == np.repeat([0, 1, 2], 4).tolist()
    with pytest.raises(BadSetting, match="batches='by-task'"):
        MtSacConfig(batches="uniform", conflicts="pcgrad")


# --- Conflicts ----------------------------------------------------------------------------
def test_pcgrad_equals_the_papers_loop():
    g = np.random.default_rng(3).normal(size=(4, 6))
    key = jax.random.key(5)
    memory = conflicts.Memory.of(4)
    w, _ = conflicts.pcgrad(jnp.asarray(g @ g.T, jnp.float32), jnp.ones(4), memory, key)
    found = []
    for i, own in enumerate(jax.random.split(key, 4)):
        step = g[i].copy()
        for j in np.asarray(jax.random.permutation(own, 4)):
            if j != i and step @ g[j] < 0:
                step -= step @ g[j] / (g[j] @ g[j]) * g[j]
        found.append(step)
    np.testing.assert_allclose(np.asarray(w) @ g, np.mean(found, axis=0), atol=1e-4)


def test_gradnorm_raises_the_weight_of_short_gradients():
    memory, products = conflicts.Memory.of(2), jnp.diag(jnp.asarray([4.0, 1.0]))
    for _ in range(3):
        w, memory = conflicts.gradnorm(products, jnp.ones(2), memory, jax.random.key(0))
    assert w[1] > w[0]
    np.testing.assert_allclose(w.sum(), 1.0, rtol=1e-6)
    slow = conflicts.gradnorm(jnp.eye(2), jnp.asarray([0.5, 1.0]), memory, jax.random.key(0))[0]
    assert slow[1] > slow[0]  # whose loss fell less


# --- Rewards ------------------------------------------------------------------------------
def test_the_largest_deviation_never_shrinks():
    known = LargestDeviation.of(1, 1, 10, 0.99)
    found = []
    for reward in (0.0, 500.0, 0.0, 0.0):
        paid = Paid(jnp.array([reward]), jnp.zeros(1), jnp.zeros(1))
        known = known.after(paid)
        found.append(float(known.divisors(jnp.ones(1), -4.0)[0]))
    assert found[0] == 1 and found[1] > 15 and found[1] == found[2] == found[3]
    assert float(known.now.var[0]) < found[1] ** 2  # which the moments did


def test_exponential_moments_in_closed_form():
    scale, rewards = Exponential.of(1, 1, 9, 0.99), [3.0, -1.0, 2.0]
    mean, var = 0.0, 1.0
    for reward in rewards:
        scale = scale.after(Paid(*(jnp.asarray([x]) for x in (reward, 0.0, 0.0))))
        mean = 0.999 * mean + 0.001 * reward
        var = 0.999 * var + 0.001 * (reward - mean) ** 2
    np.testing.assert_allclose(scale.divisors(jnp.ones(1), -4.0), [np.sqrt(var)], rtol=1e-5)


def test_largest_returns_by_hand():
    scale = ByReturns.of(2, 1, 5, 0.9)
    for reward, ended in (([1.0, 0.0], [0, 0]), ([2.0, 3.0], [0, 1]), ([-9.0, 1.0], [1, 0])):
        terminated = jnp.asarray([1.0, 0.0])
        parts = jnp.asarray(reward), terminated, jnp.asarray(ended, jnp.float32)
        scale = scale.after(Paid(*parts))
    first = max(abs(1 + 0.9 * 2 - 0.81 * 9), abs(2 - 0.9 * 9), 9)  # terminated
    lasting = 1.5 / 0.1  # the episode's mean reward for ever: at a time limit
    second = max(0.9 * 3 + 0.81 * lasting, 3 + 0.9 * lasting)
    np.testing.assert_allclose(scale.largest, [first, second], rtol=1e-5)
    by = scale.divisors(jnp.asarray([0.1, 0.1]), -2.0)
    np.testing.assert_allclose(by, (np.array([first, second]) + 0.1 * 2 / 0.2) / 10, rtol=1e-5)
    assert scale.steps.tolist() == [0.0, 1.0]


# --- BRC ----------------------------------------------------------------------------------
TINY = BrcConfig(tasks=3, embedding=4, width=6, critic_width=6, atoms=11, horizon=5)


def test_projection_equals_the_papers_loop():
    v = np.asarray(brc.atoms(TINY))
    random = np.random.default_rng(0)
    values, p = random.normal(scale=8, size=11), random.dirichlet(np.ones(11))
    wanted = np.zeros(11)
    for value, share in zip(values, p, strict=True):
        place = (np.clip(value, -10, 10) + 10) / 2
        low, high = int(np.floor(place)), int(np.ceil(place))
        wanted[low] += share * ((high - place) if high > low else 1.0)
        wanted[high] += share * (place - low)
    found = brc.project(TINY, jnp.asarray(values, jnp.float32), jnp.asarray(p, jnp.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    inside = np.abs(values) < 10
    if inside.all():
        np.testing.assert_allclose(found @ v, p @ values, atol=1e-4)


@pytest.mark.parametrize("batches", ["uniform", "by-task"])
def test_brc_learns_a_reward_that_is_always_the_same(batches):
    """r = 1, γ = 0.5, no entropy: the value is 2 / ρ."""
    cfg = BrcConfig(**(TINY.__dict__ | {"batches": batches, "discount": 0.5, "rate": 3e-3}))
    state = brc.init(cfg, SPACES, jax.random.key(0))
    state = state._replace(
        log_alpha=jnp.asarray(-30.0), scale=state.scale._replace(largest=jnp.full(3, 10.0))
    )
    rows = batch(rows=16)._replace(reward=jnp.ones(48), terminated=jnp.zeros(48))
    step = jax.jit(lambda s: brc.improve_critics(cfg, s, rows))
    for _ in range(1500):
        state, found = step(state)
    assert abs(float(found["q"]) - 2.0) < 0.1


def test_brc_updates_all_its_parts():
    state = brc.init(TINY, SPACES, jax.random.key(0))
    new, found = brc.update(TINY, state, batch(), jnp.int32(0))
    for part in ("encoder", "actor", "critics", "log_alpha"):
        a, b = (jax.tree.leaves(getattr(one, part)) for one in (state, new))
        assert not all(map(np.array_equal, a, b)), part
    assert all(np.isfinite(list(found.values())))
