"""Conditioned policies: folding changes no action, distillation learns from the experts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import envs
from hyperpolicy.errors import BadShape, BadZoo
from hyperpolicy.generate import generator
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.writers import conditioned
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.nets.policy import PolicySpec, act
from hyperpolicy.policies import Policies


def conditioned_weights(spec: PolicySpec) -> np.ndarray:
    return np.asarray(spec.flatten(spec.init(jax.random.key(0))))


@pytest.mark.parametrize(("name", "context"), [("cheetah-vel", 1.3), ("ant-dir", 2.0)])
def test_folding_changes_no_action(name, context):
    family = envs.family(name)
    plain = PolicySpec(family.obs_size, family.action_size, (8, 8))
    spec = conditioned.conditioned_spec(plain, family.context.encoded_size)
    weights = conditioned_weights(spec)
    made = conditioned.from_weights(hp.family(name), spec, weights, [[0.0], [3.0]], {})
    policies = made.generate([[context]])
    obs = np.random.default_rng(0).normal(size=(1, 7, family.obs_size)).astype(np.float32)
    encoded = family.context.encode(np.array([[context]]))[0]
    inputs = np.concatenate([obs[0], np.tile(encoded, (7, 1))], axis=1).astype(np.float32)
    whole = jax.vmap(lambda s: act(spec.unflatten(jnp.asarray(weights)), s))(inputs)
    np.testing.assert_allclose(policies.act(obs)[0], whole, atol=1e-5)
    assert np.abs(whole).max() > 1e-3


def test_save_and_load_is_identity(tmp_path):
    family = envs.family("cheetah-vel")
    spec = conditioned.conditioned_spec(PolicySpec(20, 6, (8, 8)), family.context.encoded_size)
    made = conditioned.from_weights(family, spec, conditioned_weights(spec), [[0], [3]], {})
    made.save(tmp_path / "g")
    again = generator.load(tmp_path / "g")
    np.testing.assert_array_equal(again.generate([[1.0]]).weights, made.generate([[1.0]]).weights)


def test_weights_of_another_shape():
    spec = PolicySpec(20, 6, (8, 8))  # without the context's input
    with pytest.raises(BadShape, match="takes 21"):
        conditioned.from_weights(
            hp.family("cheetah-vel"), spec, conditioned_weights(spec), [[1.0]], {}
        )


def test_distillation_acts_as_the_experts_do(zoo):
    distilled = fit(DistillConfig(steps=600, batch=64), zoo)
    other = Policies(zoo.finals.weights[::-1], zoo.spec)
    wanted = zoo.finals.act(zoo.states)

    def gap(policies):
        return float(np.mean((policies.act(zoo.states) - wanted) ** 2))

    assert gap(distilled.generate(zoo.contexts)) < 0.5 * gap(other)
    assert distilled.spec == zoo.spec
    again = fit(DistillConfig(steps=600, batch=64), zoo)
    np.testing.assert_array_equal(again.model.writer.weights, distilled.model.writer.weights)


def test_distillation_needs_observations(blind_zoo):
    with pytest.raises(BadZoo, match="no observations"):
        fit(DistillConfig(steps=1), blind_zoo)
