"""Environments in processes that never load JAX, and in forks of one that has used it."""

import subprocess
import sys

ALONE = """
import sys
import gymnasium, hyperpolicy
for name in ("CheetahVel", "AntDirRadians", "Metaworld"):
    env = gymnasium.make(f"hyperpolicy/{name}-v0")
    env.reset(seed=0)
    env.step(env.action_space.sample())
assert "jax" not in sys.modules
"""
FORKED = """
import warnings
import gymnasium
import hyperpolicy as hp

family = hp.family("cheetah-vel")
env = gymnasium.make("hyperpolicy/CheetahVel-v0", velocity=1.0)
env.reset(seed=0)
env.step(env.action_space.sample())
envs = gymnasium.make_vec("hyperpolicy/AntDir-v0", num_envs=3)
envs.reset(seed=0)
envs.step(envs.action_space.sample())
policies = hp.load("cheetah-vel").generate([[1.0]])
hp.evaluate.score(policies, family, [[1.0]], episodes=1)       # JAX's threads run now

warnings.simplefilter("ignore")  # that a process with threads is forked
forked = gymnasium.make_vec(
    "hyperpolicy/CheetahVel-v0", num_envs=2, vectorization_mode="async", velocity=1.0
)
first, _ = forked.reset(seed=3)
for _ in range(210):
    obs, *_ = forked.step(forked.action_space.sample())
again = gymnasium.make_vec("hyperpolicy/CheetahVel-v0", num_envs=2, velocity=1.0)
assert (again.reset(seed=3)[0] == first).all()
forked.close()
"""


def run(code: str) -> None:
    """In a process of its own, which must end within a minute."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr


def test_no_environment_loads_jax():
    run(ALONE)


def test_async_environments_run_after_ours_were_used():
    run(FORKED)
