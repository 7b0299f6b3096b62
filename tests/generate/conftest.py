"""A tiny zoo of Cheetah-Vel policies whose weights are smooth in the speed."""

from dataclasses import replace

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.zoo import Zoo

SPEC = PolicySpec(20, 6, (4, 4))


def smooth_zoo(num_experts: int = 6, num_checkpoints: int = 2, noise: float = 0.0) -> Zoo:
    """θ(v) = θ₀ + v θ₁ + v² θ₂, with `noise` on the checkpoints before the final one."""
    rng = np.random.default_rng(0)
    contexts = np.linspace(0.3, 2.7, num_experts)[:, None]
    parts = rng.normal(scale=0.2, size=(3, SPEC.size))
    finals = np.concatenate([contexts**0, contexts, contexts**2], axis=1) @ parts
    expert = np.repeat(np.arange(num_experts), num_checkpoints + 1)
    final = np.tile(np.arange(num_checkpoints + 1) == num_checkpoints, num_experts)
    jitter = noise * rng.normal(size=(len(expert), SPEC.size))
    return Zoo(
        spec=SPEC,
        family=hp.family("cheetah-vel"),
        weights=(finals[expert] + np.where(final[:, None], 0.0, jitter)).astype(np.float32),
        expert=expert,
        updates=np.tile(np.arange(num_checkpoints + 1) * 100, num_experts),
        final=final,
        returns=np.full(len(expert), np.nan, np.float32),
        contexts=contexts,
        states=rng.normal(size=(num_experts, 8, SPEC.obs)).astype(np.float32),
        provenance={"grid": "made up"},
    )


def round_zoo(angles) -> Zoo:
    """One ant policy per angle, its weights smooth on the circle."""
    spec = PolicySpec(27, 8, (4, 4))
    rng = np.random.default_rng(1)
    angles = np.asarray(angles, float)[:, None]
    parts = rng.normal(scale=0.2, size=(3, spec.size))
    weights = np.concatenate([angles**0, np.sin(angles), np.cos(angles)], axis=1) @ parts
    rows = np.arange(len(angles))
    return Zoo(
        spec=spec,
        family=hp.family("ant-dir"),
        weights=weights.astype(np.float32),
        expert=rows,
        updates=rows * 0,
        final=rows >= 0,
        returns=np.full(len(rows), np.nan, np.float32),
        contexts=angles,
    )


@pytest.fixture(scope="session")
def zoo() -> Zoo:
    return smooth_zoo()


@pytest.fixture(scope="session")
def blind_zoo(zoo) -> Zoo:
    """The same without observations."""
    return replace(zoo, states=None)


@pytest.fixture(scope="session")
def make_zoo():
    return smooth_zoo


@pytest.fixture(scope="session")
def make_ant_zoo():
    return round_zoo
