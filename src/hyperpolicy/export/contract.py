"""What a policy that leaves this package says of itself: its task, what it sees, what it does."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions

FORMAT = "hyperpolicy-policy-1"


@dataclass(frozen=True)
class Contract:
    """One policy of a family, for one context."""

    family: Family
    context: Float[np.ndarray, " c"]
    origin: str = ""
    """Who wrote it: a generator's name, a zoo."""
    action_low: float = -1.0
    action_high: float = 1.0
    """What the outputs −1 and 1 stand for on the robot: outputs are scaled to these, the same for
    every motor."""

    def __post_init__(self):
        if not self.action_low < self.action_high:
            raise BadSetting(
                f"actions from {self.action_low} to {self.action_high}; give the lower end first"
            )

    @property
    def scale(self) -> tuple[float, float]:
        """(factor, offset) from an output in [−1, 1] to an action."""
        half = 0.5 * (self.action_high - self.action_low)
        return half, self.action_low + half

    def check(self, policy: Policies) -> None:
        """Raises BadShape: not one policy, or of another family."""
        sizes = policy.spec.obs, policy.spec.action
        if len(policy) != 1 or sizes != (self.family.obs_size, self.family.action_size):
            raise BadShape(
                f"{len(policy)} policies of {sizes[0]} observations and {sizes[1]} actions; one of "
                f"{self.family.name} is exported at a time, {self.family.obs_size} and "
                f"{self.family.action_size}"
            )

    def record(self) -> dict[str, Any]:
        """As JSON."""
        family = self.family
        pairs = zip(family.context.names, family.context.units, self.context, strict=True)
        return {
            "format": FORMAT,
            "family": family.name,
            "task": family.task_name(self.context),
            "context": {name: {"value": float(x), "unit": unit} for name, unit, x in pairs},
            "observation": {
                "numbers": family.obs_size,
                "what": " ".join((type(family).__doc__ or "").split()),
            },
            "action": {
                "numbers": family.action_size,
                "low": self.action_low,
                "high": self.action_high,
                "kind": "deterministic",
            },
            "dt_s": family.dt_s,
            "origin": self.origin,
            "versions": library_versions(),
        }

    def strings(self) -> dict[str, str]:
        """As `metadata_props` has them: text alone, JSON where it is more."""
        found = self.record()
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}


def layers(policy: Policies) -> list[tuple[np.ndarray, np.ndarray, str]]:
    """Weight [i, o], bias [o] and activation of each layer of a deterministic policy, the last of
    which is the mean's."""
    spec = policy.spec
    found, first = [], 0
    names = (*spec.activations, spec.output)
    shapes = [*spec.layers[: len(spec.hidden) + 1]]
    numbers = policy.weights[0]
    for (i, o), name in zip(shapes, names, strict=True):
        weight = numbers[first : first + i * o].reshape(i, o)
        bias = numbers[first + i * o : first + i * o + o]
        found.append((weight, bias, name))
        first += i * o + o
    return found
