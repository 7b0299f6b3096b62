"""Fine-tuning by imitation: each policy learns from its own context's episodes, from no others."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.errors import BadContext, BadSetting, BadShape
from hyperpolicy.generate import adapt
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies

FAMILY = replace(hp.family("cheetah-vel"), horizon_steps=8)
SPEC = PolicySpec(20, 6, (4,), ("relu",))
CONTEXTS = np.array([[2.0], [0.5], [1.0]])
QUICK = {"passes": 3, "batch": 6, "rate": 1e-2}


def policies(seed: int, n: int = 3, spec: PolicySpec = SPEC) -> Policies:
    return Policies(np.random.default_rng(seed).normal(0, 0.3, (n, spec.size)), spec)


EXPERTS = policies(0)
WRITTEN = policies(1)


def shown(context: int, number: int, length: int = 8) -> Episode:
    """An expert's actions on random observations."""
    obs = np.random.default_rng([context, number]).normal(size=(length + 1, 20))
    obs = obs.astype(np.float32)
    action = EXPERTS[context].act(obs[None, :-1])[0]
    none = np.zeros(length, np.float32)
    ends = length < 8, length == 8
    about = none, none[:, None], *ends, number, context, "expert"
    return Episode(CONTEXTS[context], obs, action, *about)


EPISODES = Episodes.of(FAMILY, [shown(0, 0), shown(0, 1), shown(1, 0, 5), shown(2, 0)])


def gaps(some: Policies) -> np.ndarray:
    """Mean squared differences from the experts' actions."""
    obs = np.random.default_rng(9).normal(size=(3, 50, 20)).astype(np.float32)
    return ((some.act(obs) - EXPERTS.act(obs)) ** 2).mean(axis=(1, 2))


def test_policies_come_nearer_to_their_own_experts():
    many = Episodes.of(FAMILY, [shown(c, i) for c in range(3) for i in range(20)])
    tuned = adapt.finetune(WRITTEN, many, passes=20, batch=16, rate=1e-2)
    assert (gaps(tuned) < 0.3 * gaps(WRITTEN)).all()
    log_std = SPEC.layer_sizes[-1]
    np.testing.assert_array_equal(tuned.weights[:, -log_std:], WRITTEN.weights[:, -log_std:])


def test_together_is_as_alone():
    """Other policies, with more episodes or fewer, change nothing."""
    tuned = adapt.finetune(WRITTEN, EPISODES, **QUICK)
    for i, rows in enumerate(([0, 1], [2], [3])):
        alone = adapt.finetune(WRITTEN[i], EPISODES[rows], **QUICK)
        np.testing.assert_allclose(alone.weights[0], tuned.weights[i], rtol=1e-4, atol=1e-6)


def test_one_step_is_adams():
    """The first step goes `rate` against the gradient's sign, on all rows at once."""
    tuned = adapt.finetune(WRITTEN[2], EPISODES[[3]], passes=1, rate=1e-3)
    one = EPISODES.episode(3)
    grad = jax.grad(adapt.loss, argnums=1)(
        SPEC, *map(jnp.asarray, (WRITTEN.weights[2], one.obs[:-1], one.action, np.ones(8, bool)))
    )
    want = WRITTEN.weights[2] - 1e-3 * np.sign(grad) * (np.abs(grad) > 0)
    sure = (np.abs(grad) > 1e-5) | (np.asarray(grad) == 0)
    np.testing.assert_allclose(tuned.weights[0][sure], want[sure], atol=1e-5)


def test_every_row_counts_once_a_pass():
    rows = adapt.orders(np.array([16, 5]), adapt.FinetuneConfig(2, 1e-3, 6), 0)
    assert rows.shape == (2, 6, 6)
    for i, (k, each) in enumerate([(16, 3), (5, 1)]):
        for j in range(2):
            used = rows[i, j * each : (j + 1) * each]
            assert sorted(used[used >= 0]) == list(range(k))
        assert (rows[i, 2 * each :] == -1).all()
    assert not np.array_equal(rows[0, :3], rows[0, 3:])


def test_contexts_say_whose_episodes_are_whose():
    by_order = adapt.finetune(WRITTEN, EPISODES, **QUICK).weights
    turned = adapt.finetune(WRITTEN[[1, 0, 2]], EPISODES, **QUICK, contexts=CONTEXTS[[1, 0, 2]])
    np.testing.assert_allclose(turned.weights, by_order[[1, 0, 2]], rtol=1e-4, atol=1e-6)
    both = adapt.finetune(WRITTEN[[0, 0]], EPISODES, **QUICK, contexts=CONTEXTS[[0, 0]]).weights
    np.testing.assert_array_equal(both[0], both[1])


def test_the_seed_decides():
    first, again, other = (adapt.finetune(WRITTEN, EPISODES, **QUICK, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"passes": 0}, BadSetting, "passes=0"),
        ({"rate": 0.0}, BadSetting, "rate=0.0"),
        ({"batch": 0}, BadSetting, "batch=0"),
        ({"seed": -1}, BadSetting, "seed=-1"),
        ({"policies": WRITTEN[:2]}, BadShape, "2 policies and 3 contexts"),
        ({"policies": policies(1, spec=PolicySpec(9, 2))}, BadShape, "take 9 observations"),
        ({"contexts": [[2.0], [0.5], [1.5]]}, BadShape, r"no episode at .* \[1\.5\]"),
        ({"contexts": [[2.0], [0.5], [99.0]]}, BadContext, "outside"),
        ({"episodes": EPISODES[:0]}, BadShape, "3 policies and 0 contexts"),
    ],
)
def test_what_cannot_be(changed, error, text, as_user):
    with pytest.raises(error, match=text):
        adapt.finetune(**{"policies": WRITTEN, "episodes": EPISODES} | changed)


def test_numbers_that_are_not_finite_are_named():
    broken = replace(EPISODES[[3]], family=FAMILY)
    wild = Policies(np.full((1, SPEC.size), np.nan), SPEC)
    with pytest.raises(BadSetting, match="policy 0 stopped being finite"):
        adapt.finetune(wild, broken, passes=1)
