"""Our Decision Transformer against `transformers`' with the same weights, in the peers' own
environment.

`python benchmarks/peers.py` makes it; without it this test is skipped.
"""

import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperpolicy.nets.decision import DecisionNet, Steps

PYTHON = Path(__file__).parents[2] / ".venv-peers/bin/python"
THEIRS = """
import sys
import numpy as np
import torch
from transformers import DecisionTransformerConfig, DecisionTransformerModel

held = np.load(sys.argv[1])
obs, action, d, layers, heads, horizon = held["sizes"].tolist()
config = DecisionTransformerConfig(
    state_dim=obs, act_dim=action, hidden_size=d, max_ep_len=horizon, n_layer=layers,
    n_head=heads, n_inner=4 * d, activation_function="relu", resid_pdrop=0.0, embd_pdrop=0.0,
    attn_pdrop=0.0,
)
model = DecisionTransformerModel(config).eval()
state = model.state_dict()
mine = {name.removeprefix("w/"): held[name] for name in held.files if name.startswith("w/")}
mine["encoder.wpe.weight"] = np.zeros(state["encoder.wpe.weight"].shape, np.float32)
for name, value in mine.items():
    assert state[name].shape == value.shape, (name, state[name].shape, value.shape)
    state[name] = torch.tensor(value)
unread = "predict_state", "predict_return", "wte", "attn.bias", "attn.masked_bias"
untold = [name for name in state if name not in mine and not any(x in name for x in unread)]
assert not untold, untold
model.load_state_dict(state)
with torch.no_grad():
    out = model(
        states=torch.tensor(held["obs"]), actions=torch.tensor(held["action"]),
        rewards=torch.zeros(held["to_go"].shape + (1,)),
        returns_to_go=torch.tensor(held["to_go"])[..., None],
        timesteps=torch.tensor(held["t"]), attention_mask=torch.tensor(held["there"]).long(),
    )
np.save(sys.argv[2], out.action_preds.numpy())
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-peers: python benchmarks/peers.py"),
]


def named(net: DecisionNet) -> dict[str, np.ndarray]:
    """Our weights by their names; they keep a linear layer's as [out, in], a block's as we do."""
    found: dict[str, np.ndarray] = {}

    def put(name, layer, turned):
        weight = np.asarray(layer.weight)
        found[f"{name}.weight"] = weight.T if turned else weight
        found[f"{name}.bias"] = np.asarray(layer.bias)

    seen = net.history
    for name, layer in (("return", seen.to_go), ("state", seen.obs), ("action", seen.action)):
        put(f"embed_{name}", layer, True)
    found["embed_timestep.weight"] = np.asarray(seen.time)
    put("embed_ln", net.norm, False)
    for i, block in enumerate(net.gpt.blocks):
        parts = {
            "ln_1": block.attention_norm,
            "attn.c_attn": block.project,
            "attn.c_proj": block.mix,
            "ln_2": block.network_norm,
            "mlp.c_fc": block.up,
            "mlp.c_proj": block.down,
        }
        for name, layer in parts.items():
            put(f"encoder.h.{i}.{name}", layer, False)
    put("encoder.ln_f", net.gpt.norm, False)
    put("predict_action.0", net.head, True)
    return found


def test_equal_weights_give_equal_actions(tmp_path):
    sizes = {"obs": 5, "action": 3, "d": 16, "layers": 2, "heads": 2, "horizon": 40}
    net = DecisionNet.init((5, 3, 40), 16, 2, 2, jax.random.key(0))
    rng = np.random.default_rng(0)
    net = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), net)
    b, l = 4, 7
    there = np.arange(l) >= np.array([0, 2, 5, 6])[:, None]
    given = {
        "obs": rng.normal(size=(b, l, 5)),
        "action": rng.normal(size=(b, l, 3)),
        "to_go": rng.normal(size=(b, l)),
    }
    given = {name: x.astype(np.float32) for name, x in given.items()}
    t = rng.integers(0, 40, (b, l))
    weights = {f"w/{name}": x for name, x in named(net).items()}
    held = {"sizes": np.array(list(sizes.values())), "t": t, "there": there}
    np.savez(tmp_path / "held.npz", **held, **given, **weights)
    (tmp_path / "theirs.py").write_text(THEIRS)
    paths = [tmp_path / name for name in ("theirs.py", "held.npz", "out.npy")]
    done = subprocess.run([PYTHON, *paths], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    steps = Steps(
        *(jnp.asarray(given[name]) for name in ("to_go", "obs", "action")),
        jnp.asarray(t),
        jnp.asarray(there),
    )
    ours = np.asarray(jax.vmap(net)(steps))
    np.testing.assert_allclose(ours[there], np.load(paths[2])[there], atol=2e-5)
