"""A policy out of a Stable-Baselines3 model (.zip): PPO, A2C, SAC, TD3, DDPG with `MlpPolicy`.

The zip holds `policy.pth`, tensors, and `data`, JSON among which there are pickles: these are not
opened. What the JSON says in words beside a pickle is read, such as the activation's class.
SBX's models are pickles altogether and are refused.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from hyperpolicy.errors import BadFile
from hyperpolicy.imports import named
from hyperpolicy.imports.layers import Hints, Layers
from hyperpolicy.imports.torch_state import tensors

CLASSES = {"Tanh": "tanh", "ReLU": "relu", "ELU": "elu", "SiLU": "swish"}


def read(path: Path, hints: Hints) -> Layers:
    """Raises BadFile, BadSetting, MissingExtra: as `layers.read`."""
    try:
        with zipfile.ZipFile(path) as held:
            names = set(held.namelist())
            about = json.loads(held.read("data")) if "data" in names else {}
            data = held.read("policy.pth") if "policy.pth" in names else None
    except (zipfile.BadZipFile, json.JSONDecodeError, OSError, RuntimeError) as error:
        raise BadFile(f"{path} is no model of Stable-Baselines3, or damaged: {error}") from None
    if data is None:
        what = "SBX's models keep their networks in a pickle, which runs code when it is opened; "
        raise BadFile(
            f"{path} holds no policy.pth. {what if about else ''}save the arrays by name as "
            "safetensors instead, as docs/own-experts.md shows"
        )
    arrays = tensors(data, str(path))
    if any(re.search(r"\.(?:cnn|conv|lstm)", name) for name in arrays):
        raise BadFile(f"{path}: its policy sees images or remembers; only MLPs are taken")
    return named.of_arrays(arrays, str(path), hints, _activation(about, arrays))


def _activation(about: dict[str, Any], arrays: dict[str, Any]) -> str | None:
    """What the settings say; else the default of on-policy algorithms, tanh."""
    settings = about.get("policy_kwargs")
    said = json.dumps(settings) if settings else ""
    for name, ours in CLASSES.items():
        if re.search(rf"activation\.{name}\b", said):
            return ours
    other = re.search(r"activation\.(\w+)", said)
    if other:
        raise BadFile(f"hidden layers with {other[1]}; here they have one of {', '.join(CLASSES)}")
    return "tanh" if any(name.startswith("mlp_extractor") for name in arrays) else None
