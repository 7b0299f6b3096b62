"""A policy as its layers, whoever trained it; and what becomes of some of them: `Policies`.

Deterministic actions are kept exactly. How a policy explored is not: others clamp log σ or keep it
apart from what is seen, so policies that are imported have none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from hyperpolicy.errors import BadFile, BadSetting, BadShape
from hyperpolicy.nets.policy import ACTIVATIONS, PolicySpec
from hyperpolicy.policies import Policies

Output = Literal["tanh", "clip"]
CLOSE = 1e-4
"""Largest difference of an action that rounding explains, in [−1, 1]."""
READERS = {
    ".zip": ("sb3", "a Stable-Baselines3 model"),
    ".pt": ("torch_state", "a PyTorch state dict"),
    ".pth": ("torch_state", "a PyTorch state dict"),
    ".cleanrl_model": ("torch_state", "a PyTorch state dict of CleanRL's"),
    ".safetensors": ("named", "named arrays"),
    ".npz": ("named", "named arrays"),
    ".onnx": ("onnx_chain", "an ONNX file of an MLP"),
}
"""suffix → the page that reads it."""


@dataclass(frozen=True)
class Layers:
    """An MLP from observations to actions."""

    weights: tuple[Float[np.ndarray, "_ _"], ...]
    """[i, o] of each layer, the last of which gives μ."""
    biases: tuple[Float[np.ndarray, " _"], ...]
    activations: tuple[str, ...]
    """Of the hidden layers."""
    output: Output = "tanh"
    """What becomes of μ: tanh, or cut to the range of actions."""
    low: float = -1.0
    high: float = 1.0
    """The range of actions; what −1 and 1 stand for."""
    mean: Float[np.ndarray, " _"] | None = None
    """Of observations; the first layer sees (obs − mean) · scale."""
    scale: Float[np.ndarray, " _"] | None = None

    def __post_init__(self):
        sizes = [w.shape for w in self.weights]
        fits = all(a[1] == b[0] for a, b in pairwise(sizes))
        biases = [len(b) for b in self.biases] == [o for _, o in sizes]
        if len(sizes) < 2 or not fits or not biases or len(self.activations) != len(sizes) - 1:
            raise BadShape(
                f"layers of shapes {sizes} with {len(self.activations)} activations are no chain "
                "of one or more hidden layers and a last one"
            )
        for name in self.activations:
            if name not in ACTIVATIONS:
                raise BadSetting(
                    f"activation {name!r}; hidden layers here have one of {', '.join(ACTIVATIONS)}"
                )

    @property
    def spec(self) -> PolicySpec:
        """Of the policy."""
        hidden = tuple(w.shape[1] for w in self.weights[:-1])
        obs, action = self.weights[0].shape[0], self.weights[-1].shape[1]
        return PolicySpec(obs, action, hidden, self.activations, "deterministic", self.output)

    @property
    def flat(self) -> Float[np.ndarray, " p"]:
        """The flat vector: what observations are normalized by, and the range of actions, folded
        into the first and the last layer."""
        weights, biases = list(self.weights), list(self.biases)
        if self.mean is not None:
            scale = np.ones_like(self.mean) if self.scale is None else self.scale
            biases[0] = biases[0] - (self.mean * scale) @ weights[0]
            weights[0] = weights[0] * scale[:, None]
        if self.output == "clip":
            half, middle = 0.5 * (self.high - self.low), 0.5 * (self.high + self.low)
            weights[-1], biases[-1] = weights[-1] / half, (biases[-1] - middle) / half
        parts = [x.ravel() for pair in zip(weights, biases, strict=True) for x in pair]
        return np.concatenate(parts).astype(np.float32)

    def act(self, obs: Float[np.ndarray, "n o"]) -> Float[np.ndarray, "n a"]:
        """Actions in [−1, 1], in double precision: what the policy is to do."""
        x = np.asarray(obs, float)
        if self.mean is not None:
            x = (x - self.mean) * (1.0 if self.scale is None else self.scale)
        functions: dict[str, Callable] = {
            "relu": lambda x: np.maximum(x, 0),
            "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            "tanh": np.tanh,
            "swish": lambda x: x / (1.0 + np.exp(-x)),
        }
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for (w, b), name in zip(hidden, self.activations, strict=True):
            x = functions[name](x @ w + b)
        x = x @ last[0] + last[1]
        if self.output == "tanh":
            return np.tanh(x)
        half, middle = 0.5 * (self.high - self.low), 0.5 * (self.high + self.low)
        return np.clip((x - middle) / half, -1.0, 1.0)


@dataclass(frozen=True)
class Hints:
    """What a file does not say."""

    activation: str | None = None
    """Of all hidden layers."""
    output: Output | None = None
    low: float | None = None
    high: float | None = None
    """The range of actions."""
    prefix: str = ""
    """With which the names of the policy's layers begin."""
    mean: Float[np.ndarray, " _"] | None = None
    scale: Float[np.ndarray, " _"] | None = None
    """What observations were normalized by, where the file does not hold it."""

    def onto(self, found: Layers) -> Layers:
        """The layers with what is said here in place of what was guessed. Raises BadSetting: the
        ends of actions the wrong way round; BadShape: a normalizer of another width."""
        changed: dict[str, Any] = {
            name: value
            for name in ("output", "low", "high", "mean", "scale")
            if (value := getattr(self, name)) is not None
        }
        if self.activation is not None:
            changed["activations"] = (self.activation,) * len(found.activations)
        made = replace(found, **changed)
        if not made.low < made.high:
            raise BadSetting(f"actions from {made.low} to {made.high}; give the lower end first")
        for x in (made.mean, made.scale):
            if x is not None and x.shape != (made.spec.obs,):
                raise BadShape(
                    f"a normalizer of {x.shape} for observations of {made.spec.obs} numbers"
                )
        return made


def read(path: str | Path, hints: Hints = Hints()) -> Layers:
    """The policy in a file, by its suffix.

    Raises:
        BadFile: no such file, of another kind, damaged, or one that would run code.
        BadSetting: something that the file does not say and `hints` neither.
        MissingExtra: what is needed to read it is not installed.
    """
    path = Path(path)
    if path.suffix in (".pkl", ".pickle"):
        raise BadFile(
            f"{path} is a pickle, which runs code when it is opened; save the arrays by name "
            "instead, as docs/own-experts.md shows"
        )
    if path.suffix not in READERS:
        kinds = ", ".join(f"{suffix} ({what})" for suffix, (_, what) in READERS.items())
        raise BadFile(f"{path}: no reader for {path.suffix or 'a file without suffix'!r}; {kinds}")
    if not path.is_file():
        raise BadFile(f"{path} is no file")
    page, _ = READERS[path.suffix]
    return hints.onto(import_module(f"hyperpolicy.imports.{page}").read(path, hints))


def policies(found: Sequence[Layers]) -> Policies:
    """Policies of some files. Raises BadShape: they differ in sizes, activations or outputs."""
    first = found[0].spec
    for i, one in enumerate(found):
        if one.spec != first:
            raise BadShape(
                f"policy {i} is {one.spec}, the first {first}; policies of one zoo are alike"
            )
    return Policies(np.stack([one.flat for one in found]), first)


def check(
    found: Layers, obs: Float[np.ndarray, "n o"], action: Float[np.ndarray, "n a"], name: str
) -> float:
    """The largest difference between a policy's actions and those recorded, in [−1, 1].

    Raises:
        BadShape: recordings of other sizes.
        BadFile: the actions differ.
    """
    policy, spec = policies([found]), found.spec
    obs, action = np.asarray(obs, np.float32), np.asarray(action, float)
    wanted = (len(obs), spec.obs), (len(obs), spec.action)
    if (obs.shape, action.shape) != wanted:
        raise BadShape(
            f"{name}: recorded observations {obs.shape} and actions {action.shape}; the policy "
            f"takes [n, {spec.obs}] and gives [n, {spec.action}]"
        )
    plain = np.clip(2.0 * (action - found.low) / (found.high - found.low) - 1.0, -1.0, 1.0)
    gap = float(np.abs(policy.act(obs[None])[0] - plain).max())
    if gap > CLOSE:
        raise BadFile(
            f"{name}: its actions differ by up to {gap:.2g} from those recorded; are observations "
            "in the same order, normalized the same way, and activation, output and range right "
            "(--activation, --output, --normalizer, --action-low, --action-high)?"
        )
    return gap
