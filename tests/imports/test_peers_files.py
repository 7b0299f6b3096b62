"""Policies out of files that other libraries wrote, in the peers' own environment.

`python benchmarks/peers.py` makes it; without it these tests are skipped.
"""

import subprocess
from pathlib import Path

import pytest

PYTHON = Path(__file__).parents[2] / ".venv-peers/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-peers: python benchmarks/peers.py"),
]
BEFORE = """
import sys
from pathlib import Path
import numpy as np
from hyperpolicy import imports
from hyperpolicy.errors import BadFile
from hyperpolicy.imports.layers import Hints

there = Path(sys.argv[1])
rng = np.random.default_rng(0)

def same(path, obs, wanted, hints=Hints(), low=-1.0, high=1.0):
    found = imports.read(path, hints)
    acted = imports.policies([found]).act(obs[None].astype(np.float32))[0]
    plain = 2.0 * (np.asarray(wanted) - low) / (high - low) - 1.0
    gap = np.abs(acted - plain).max()
    assert gap < 1e-4, (path.name, gap)
    assert np.abs(found.act(obs) - plain).max() < 1e-4
    return found
"""
SB3 = """
import torch
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3

kwargs = {
    "tanh": {}, "relu": {"activation_fn": torch.nn.ReLU, "net_arch": [16, 8, 4]},
    "elu": {"activation_fn": torch.nn.ELU},
}
for kind in (PPO, A2C, SAC, TD3, DDPG):
    for name, settings in kwargs.items():
        if kind in (SAC, TD3, DDPG) and name == "tanh":
            continue
        model = kind("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(settings), seed=1)
        for part in model.policy.parameters():
            part.data.mul_(3.0)
        path = there / f"{kind.__name__}-{name}.zip"
        model.save(path)
        obs = rng.normal(0, 1, (64, 3)).astype(np.float32)
        wanted = model.predict(obs, deterministic=True)[0]
        found = same(path, obs, wanted, Hints(low=-2.0, high=2.0), -2.0, 2.0)
        assert set(found.activations) == {name}, (path, found.activations)
        assert found.output == ("clip" if kind in (PPO, A2C) else "tanh")
"""
STATE_DICTS = """
import torch
from torch import nn

class Ppo(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
        layers = nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)
        self.actor_mean = nn.Sequential(*layers)
        self.actor_logstd = nn.Parameter(torch.zeros(1, 2))

class Sac(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(5, 16), nn.Linear(16, 16)
        self.fc_mean, self.fc_logstd = nn.Linear(16, 2), nn.Linear(16, 2)
        self.register_buffer("action_scale", torch.ones(2))

    def forward(self, x):
        x = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        return torch.tanh(self.fc_mean(x))

obs = rng.normal(size=(32, 5)).astype(np.float32)
seen = torch.tensor(obs)
ppo, sac = Ppo(), Sac()
torch.save(ppo.state_dict(), there / "ppo.pt")
with torch.no_grad():
    same(there / "ppo.pt", obs, ppo.actor_mean(seen).clamp(-1, 1).numpy())
    torch.save(sac.state_dict(), there / "sac.pth")
    same(there / "sac.pth", obs, sac(seen).numpy())
    actor = nn.Sequential(nn.Linear(5, 8), nn.ELU(), nn.Linear(8, 2))
    state = {f"actor.{k}": v for k, v in actor.state_dict().items()} | {"std": torch.ones(2)}
    torch.save({"model_state_dict": state, "iter": 3}, there / "rsl.pt")
    same(there / "rsl.pt", obs, actor(seen).clamp(-1, 1).numpy())
torch.save(ppo, there / "whole.pt")
try:
    imports.read(there / "whole.pt")
except BadFile as error:
    assert "save model.state_dict() alone" in str(error), error
else:
    raise AssertionError("a pickled module was opened")
"""
SBX = """
from sbx import PPO
model = PPO("MlpPolicy", "Pendulum-v1", seed=1)
model.save(there / "sbx.zip")
try:
    imports.read(there / "sbx.zip")
except BadFile as error:
    assert "SBX's models keep their networks in a pickle" in str(error), error
else:
    raise AssertionError("opened")
import jax
from safetensors.numpy import save_file
params = model.policy.actor_state.params["params"]
leaves = jax.tree_util.tree_leaves_with_path(params)
named = {".".join(str(k.key) for k in path): np.asarray(x) for path, x in leaves}
save_file(named, there / "sbx.safetensors")
obs = rng.normal(size=(16, 3)).astype(np.float32)
wanted = model.predict(obs, deterministic=True)[0]
hints = Hints(activation="tanh", output="clip", low=-2.0, high=2.0)
same(there / "sbx.safetensors", obs, wanted, hints, -2.0, 2.0)
"""


@pytest.mark.parametrize(
    "script", [SB3, STATE_DICTS, SBX], ids=["stable-baselines3", "state-dicts", "sbx"]
)
def test_actions_are_those_of_the_library(script, tmp_path):
    (tmp_path / "it.py").write_text(BEFORE + script)
    done = subprocess.run([PYTHON, tmp_path / "it.py", tmp_path], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]
