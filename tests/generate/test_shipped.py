"""What comes with the package works: every generator opens, and its policies do something."""

import sys
from pathlib import Path

import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy import rollout
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs.metaworld import crews
from hyperpolicy.generate import shipped

ROOT = Path(__file__).parents[2]


def test_all_are_known():
    assert shipped() == ["ant-dir", "cheetah-run", "cheetah-vel", "metaworld"]


@pytest.mark.parametrize(
    ("name", "contexts"), [("cheetah-vel", [[0.31], [2.17]]), ("ant-dir", None)]
)
def test_policies_beat_standing_still(name, contexts):
    family = hp.family(name)
    split = family.grid("macaw").split("full")
    contexts = split.test[:2] if contexts is None else np.array(contexts)
    policies = hp.load(name).generate(contexts)
    found = rollout.returns(policies, family, contexts, episodes=2)
    still = rollout.returns(rollout.zero(family), family, contexts, episodes=2)
    assert (found.mean(axis=1) > still.mean(axis=1)).all()


def test_a_cheetah_told_speed_and_length_runs_in_dm_controls_own_environment():
    """Four hidden contexts; results/shipped-cheetah.json has a hundred."""
    pytest.importorskip("dm_control")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from shipped_cheetah import returns
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    told = np.array([[-5.3, 0.37], [-2.2, 0.61], [1.4, 0.44], [3.7, 0.58]])
    assert np.mean(returns(told, seed=7)) > 800


def test_one_demonstration_of_each_seen_task_is_enough():
    """On configurations that neither the demonstrations nor the tables have."""
    shown = Demonstrations.load(ROOT / "zoos/metaworld/amt-hyp/demonstrations.safetensors")
    family = hp.family("metaworld")
    tasks = family.grid("amt-hyp").split("seen").train
    first = shown[[np.flatnonzero((shown.contexts == task).all(axis=1))[0] for task in tasks]]
    policies = hp.load("metaworld").generate(first)
    found = rollout.success_rate(policies, family, tasks, 1, seed=7)
    assert found.sum() >= 6
    crews.dismiss()
