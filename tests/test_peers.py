"""Our environments as Stable-Baselines3 uses them, in the peers' own environment.

`python benchmarks/peers.py` makes it; without it these tests are skipped.
"""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-peers/bin/python"
CHECKED = """
import gymnasium, hyperpolicy
from hyperpolicy.registration import SHIPPED, id_of
from stable_baselines3.common.env_checker import check_env

for family in SHIPPED:
    if not family.startswith("metaworld"):   # its package is not among the peers
        check_env(gymnasium.make(id_of(family)).unwrapped, skip_render_check=True)
"""
SUBPROCESSES = """
import gymnasium, hyperpolicy
import hyperpolicy as hp
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv


def main():
    env = gymnasium.make("hyperpolicy/CheetahVel-v0", velocity=1.0)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    policies = hp.load("cheetah-vel").generate([[1.0]])
    hp.evaluate.score(policies, hp.family("cheetah-vel"), [[1.0]], episodes=1)   # JAX runs now
    for method in ("fork", "spawn"):
        envs = make_vec_env(
            "hyperpolicy/AntDir-v0",
            n_envs=2,
            seed=3,
            env_kwargs={"direction": 1.0},
            vec_env_cls=SubprocVecEnv,
            vec_env_kwargs={"start_method": method},
        )
        learner = PPO("MlpPolicy", envs, n_steps=64, batch_size=64, n_epochs=1, seed=0)
        learner.learn(256)
        envs.close()


if __name__ == "__main__":
    main()
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-peers: python benchmarks/peers.py"),
]


def run(code: str, place: Path) -> None:
    """In a file of its own, as processes that are spawned read it again."""
    (place / "main.py").write_text(code)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX", "XLA"))}
    command = [PYTHON, "-W", "error::UserWarning:hyperpolicy", "main.py"]
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=240
    )
    assert not done.returncode, done.stderr


def test_its_checker_is_content(tmp_path):
    run(CHECKED, tmp_path)


def test_it_learns_in_subprocesses_after_ours_were_used(tmp_path):
    run(SUBPROCESSES, tmp_path)
