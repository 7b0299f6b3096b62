"""A policy out of named arrays: a safetensors or .npz file, or a PyTorch state dict.

Names tell what is a layer of the policy. Known are

    mlp_extractor.policy_net.0.weight …, action_net.weight          Stable-Baselines3's PPO and A2C
    actor.latent_pi.0.weight …, actor.mu.weight                     … SAC
    actor.mu.0.weight …                                             … TD3 and DDPG
    actor_mean.0.weight …                                           CleanRL's PPO
    fc1.weight, fc2.weight, fc_mean.weight or fc_mu.weight          CleanRL's SAC, TD3 and DDPG
    actor.0.weight …, actor.mlp.0.weight …                          rsl_rl
    …hidden_0.kernel …                                              Brax
    …Dense_0.kernel …                                               flax: SBX

and any others whose names begin with a prefix that is given, in the order of their numbers.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperpolicy import files
from hyperpolicy.errors import BadFile, BadSetting
from hyperpolicy.imports.layers import Hints, Layers, Output


class Pattern(NamedTuple):
    """Which names are layers of a policy, in the order of their numbers; and what goes with it."""

    who: str
    hidden: str
    last: str | None
    """None: the last of `hidden`."""
    activation: str | None
    output: Output | None
    spread: bool = False
    """Whether the last layer gives how far to explore too, behind the mean."""


RSL_RL = r"(?:(?:model|actor)_state_dict\.)?"

PATTERNS = (
    Pattern(
        "Stable-Baselines3's PPO or A2C",
        r"mlp_extractor\.policy_net\.(\d+)",
        r"action_net",
        None,
        "clip",
    ),
    Pattern("Stable-Baselines3's SAC", r"actor\.latent_pi\.(\d+)", r"actor\.mu", "relu", "tanh"),
    Pattern("Stable-Baselines3's TD3 or DDPG", r"actor\.mu\.(\d+)", None, "relu", "tanh"),
    Pattern("CleanRL's PPO", r"actor_mean\.(\d+)", None, "tanh", "clip"),
    Pattern(
        "CleanRL's SAC, TD3 or DDPG",
        r"(?:actor\.)?fc(\d+)",
        r"(?:actor\.)?fc_(?:mean|mu)",
        "relu",
        "tanh",
    ),
    Pattern("rsl_rl", RSL_RL + r"(?:actor\.|mlp\.)+(\d+)", None, "elu", "clip"),
    Pattern("Brax", r"(?:.*\.)?hidden_(\d+)", None, "swish", "tanh", spread=True),
    Pattern("flax", r".*?Dense_(\d+)", None, None, None),
)
NORMALIZERS = (
    (
        RSL_RL + r"(?:actor_)?obs_normalizer\._mean",
        RSL_RL + r"(?:actor_)?obs_normalizer\._std",
        0.01,
    ),
    (r"obs_norm_state_dict\._mean", r"obs_norm_state_dict\._std", 0.01),
    (r"normalizer\.mean", r"normalizer\.std", 0.0),
)
"""Names of mean and standard deviation, and what is added to the latter."""
WEIGHTS, BIAS = r"\.(?:weight|kernel)", "bias"


def read(path: Path, hints: Hints) -> Layers:
    """Raises BadFile, BadSetting: as `layers.read`."""
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
        except (OSError, ValueError, EOFError) as error:
            raise BadFile(f"{path} holds no plain arrays: {error}") from None
    else:
        arrays, _ = files.load_arrays(path)
    return of_arrays(arrays, str(path), hints)


def of_arrays(
    arrays: Mapping[str, Any], where: str, hints: Hints, activation: str | None = None
) -> Layers:
    """The policy among named arrays; `activation` is what else the file says."""
    pattern = _pattern(arrays, where, hints)
    names = _ordered(arrays, pattern)
    layers = [_layer(arrays, name, where) for name in names]
    if pattern.spread:
        weight, bias = layers[-1]
        layers[-1] = weight[:, : len(bias) // 2], bias[: len(bias) // 2]
    activation = hints.activation or activation or pattern.activation
    output = hints.output or pattern.output
    if activation is None or output is None:
        missing = [
            option
            for option, value in (("--activation", activation), ("--output", output))
            if value is None
        ]
        raise BadSetting(
            f"{where} looks like {pattern.who} and does not say all; give {' and '.join(missing)}"
        )
    weights, biases = zip(*layers, strict=True)
    hidden = (activation,) * (len(names) - 1)
    mean, scale = _normalizer(arrays)
    return Layers(tuple(weights), tuple(biases), hidden, output, mean=mean, scale=scale)


def _normalizer(arrays: Mapping[str, Any]):
    """Mean and scale of observations under names that are known; None where there are none.

    rsl_rl divides by σ + 0.01; Brax keeps mean and std beside the policy.
    """
    for mean, std, least in NORMALIZERS:
        found = [[x for name, x in arrays.items() if re.fullmatch(p, name)] for p in (mean, std)]
        if [len(one) for one in found] == [1, 1]:
            mu, sigma = (np.asarray(one[0], float).ravel() for one in found)
            return mu, 1.0 / (sigma + least)
    return None, None


def _pattern(arrays: Mapping[str, Any], where: str, hints: Hints) -> Pattern:
    if hints.prefix:
        own = re.escape(hints.prefix)
        found = Pattern(f"layers called {hints.prefix}…", rf"{own}\D*?(\d+)", None, None, None)
        if _ordered(arrays, found):
            return found
        raise BadFile(
            f"{where} has no layers whose names begin with {hints.prefix!r}{_there(arrays)}"
        )
    for pattern in PATTERNS:
        if len(_ordered(arrays, pattern)) > 1:
            return pattern
    known = "; ".join(pattern.who for pattern in PATTERNS)
    raise BadFile(
        f"{where} has no layers under names that are known ({known}); give --prefix{_there(arrays)}"
    )


def _there(arrays: Mapping[str, Any]) -> str:
    names = sorted(name for name in arrays if getattr(arrays[name], "ndim", 0) == 2)
    return f"; matrices there: {', '.join(names[:8]) or 'none'}" + ("…" if len(names) > 8 else "")


def _ordered(arrays: Mapping[str, Any], pattern: Pattern) -> list[str]:
    """The names of a policy's weights, in order; [] where the last one is missing."""
    found = []
    for name in arrays:
        match = re.fullmatch(pattern.hidden + WEIGHTS, name)
        if match and getattr(arrays[name], "ndim", 0) == 2:
            found.append((int(match[1]), name))
    names = [name for _, name in sorted(found)]
    if pattern.last is None:
        return names
    last = [name for name in arrays if re.fullmatch(pattern.last + WEIGHTS, name)]
    return [*names, *last] if len(last) == 1 and names else []


def _layer(arrays: Mapping[str, Any], name: str, where: str):
    """Weight [i, o] and bias; PyTorch keeps [o, i], flax [i, o]."""
    stem, kind = name.rsplit(".", 1)
    weight = np.asarray(arrays[name], np.float64)
    if not np.isfinite(weight).all():
        raise BadFile(f"{where}: {name} holds numbers that are not finite")
    weight = weight if kind == "kernel" else weight.T
    bias = arrays.get(f"{stem}.{BIAS}")
    bias = np.zeros(weight.shape[1]) if bias is None else np.asarray(bias, np.float64)
    return weight, bias
