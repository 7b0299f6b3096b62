"""Policies at tasks that they were not trained on: who knows of them, and that nothing else
moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets import elsewhere
from hyperpolicy.nets.care import MixtureConfig
from hyperpolicy.nets.encoders import EncoderConfig
from hyperpolicy.nets.multi_head import MultiHeadConfig
from hyperpolicy.nets.multi_task import MultiTaskSpec
from hyperpolicy.nets.ptsl import PtslConfig
from hyperpolicy.nets.soft_modules import SoftModulesOfMtrlConfig
from hyperpolicy.nets.trunks import PlainConfig

ROWS = np.random.default_rng(0).normal(size=(3, 6)).round(3)
TABLE = tuple(map(tuple, ROWS.tolist()))
CARE = EncoderConfig("language", 5, MixtureConfig(experts=2, width=5), TABLE)
OBS = jnp.linspace(-1.0, 1.0, 7)


def spec(encoder: EncoderConfig, trunk) -> MultiTaskSpec:
    return MultiTaskSpec(7, 2, 3, encoder, trunk)


@pytest.mark.parametrize("trunk", [PlainConfig((6, 6)), SoftModulesOfMtrlConfig(8, told=5)])
def test_a_sentence_that_is_known_gives_the_known_task(trunk):
    """With the sentences in another order a task is found under its new number."""
    own = spec(CARE, trunk)
    net = own.init(jax.random.key(0))
    other = elsewhere.specification(own, 2, (TABLE[2], TABLE[0]))
    moved = other.unflatten(other.flatten(elsewhere.network(other, net)))
    for new, old in ((0, 2), (1, 0)):
        assert np.array_equal(moved(OBS, new), net(OBS, old))


def test_ptsl_acts_with_what_tasks_share():
    own = spec(CARE, PtslConfig((6, 6), 3))
    net = own.init(jax.random.key(0))  # whose tasks change nothing yet
    other = elsewhere.specification(own, 1, TABLE[1:2])
    np.testing.assert_allclose(elsewhere.network(other, net)(OBS, 0), net(OBS, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "trunk", "says"),
    [
        (EncoderConfig("one-hot"), PlainConfig((4,)), "knows nothing of other tasks"),
        (EncoderConfig("embedding", 4), PlainConfig((4,)), "told='embedding'"),
        (EncoderConfig(), MultiHeadConfig((4,)), "MultiHead"),
        (CARE, PlainConfig((4,)), "0 sentences for 2 tasks"),
    ],
)
def test_who_knows_nothing_of_other_tasks_says_so(encoder, trunk, says):
    with pytest.raises(BadSetting, match=says):
        elsewhere.specification(spec(encoder, trunk), 2)
