"""Policies out of files that other libraries wrote, in the peers' own environment.

`python benchmarks/peers.py` makes it; without it these tests are skipped.
"""

import os
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
    "swish": {"activation_fn": torch.nn.SiLU},
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
    states = sac.state_dict(), Sac().state_dict(), Sac().state_dict()  # actor, two critics
    torch.save(states, there / "td3.cleanrl_model")
    same(there / "td3.cleanrl_model", obs, sac(seen).numpy())
    silu = nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 2))
    torch.save({f"actor.{k}": v for k, v in silu.state_dict().items()}, there / "silu.pt")
    hints = Hints(activation="swish")
    same(there / "silu.pt", obs, silu(seen).clamp(-1, 1).numpy(), hints)
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
RSL_RL = """
import torch
from tensordict import TensorDict
from rsl_rl.models import MLPModel

seen = torch.tensor(rng.normal(2, 3, (500, 5)).astype(np.float32))
obs = TensorDict({"policy": seen}, batch_size=[500])
for normalized in (False, True):
    kinds = {"class_name": "GaussianDistribution", "init_std": 1.0}
    groups = {"actor": ["policy"], "critic": ["policy"]}
    actor = MLPModel(obs, groups, "actor", 2, [16, 8], "elu", normalized, kinds)
    critic = MLPModel(obs, groups, "critic", 1, [16, 8], "elu", normalized)
    if normalized:
        for model in (actor, critic):
            model.train()
            model.obs_normalizer.update(seen)
            model.eval()
    path = there / f"model_{normalized}.pt"  # what PPO.save and the runner put together
    parts = {"actor_state_dict": actor.state_dict(), "critic_state_dict": critic.state_dict()}
    torch.save(parts | {"optimizer_state_dict": {}, "iter": 7, "infos": None}, path)
    with torch.no_grad():
        wanted = actor(obs).clamp(-1, 1).numpy()
    found = same(path, seen.numpy(), wanted)
    assert (found.mean is not None) == normalized
"""
BRAX = """
import jax
from brax.training.acme import running_statistics, specs
from brax.training.agents.ppo import networks
from safetensors.numpy import save_file

obs = rng.normal(1, 2, (64, 5)).astype(np.float32)
made = networks.make_ppo_networks(
    5, 2, preprocess_observations_fn=running_statistics.normalize,
    policy_hidden_layer_sizes=(16, 8),
)
normalizer = running_statistics.init_state(specs.Array((5,), np.dtype("float32")))
normalizer = running_statistics.update(normalizer, obs)
policy = made.policy_network.init(jax.random.key(0))
act = networks.make_inference_fn(made)((normalizer, policy), deterministic=True)
wanted = act(obs, jax.random.key(1))[0]

leaves = jax.tree_util.tree_leaves_with_path(policy["params"])
held = {".".join(k.key for k in path): np.asarray(x) for path, x in leaves}
held["normalizer.mean"] = np.asarray(normalizer.mean)
held["normalizer.std"] = np.asarray(normalizer.std)
save_file(held, there / "brax.safetensors")
found = same(there / "brax.safetensors", obs, wanted)
assert found.activations == ("swish", "swish") and found.spec.action == 2

from brax.io import model
model.save_params(there / "params.pkl", (normalizer, policy))
try:
    imports.read(there / "params.pkl")
except BadFile as error:
    assert "pickle" in str(error), error
else:
    raise AssertionError("opened")
"""
SCRIPTS = {
    "stable-baselines3": SB3,
    "state-dicts": STATE_DICTS,
    "sbx": SBX,
    "rsl_rl": RSL_RL,
    "brax": BRAX,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_actions_are_those_of_the_library(script, tmp_path):
    (tmp_path / "it.py").write_text(BEFORE + script)
    own = {
        k: v for k, v in os.environ.items() if k != "JAX_NUMPY_RANK_PROMOTION"
    }  # theirs promotes
    command = [PYTHON, tmp_path / "it.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    assert not done.returncode, done.stderr[-3000:]
