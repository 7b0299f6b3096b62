"""The shape of the control suite's rewards: dm_control's `tolerance`, for many worlds at once, and
the named parts of a task's reward, each with a shape of its own.

`tolerance` is 1 within bounds and falls off outside them; at a distance of one margin it is
`value_at_margin`. With `xp=jax.numpy` it is differentiable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from hyperpolicy.envs.context import Numbers
from hyperpolicy.errors import BadSetting, unknown

Number = float | Numbers
Shape = Callable[[Numbers, float, Any], Numbers]


def _cosine(d, v, xp):
    scale = np.arccos(2 * v - 1) / np.pi
    return xp.where(abs(d * scale) < 1, (1 + xp.cos(np.pi * d * scale)) / 2, 0.0)


def _quadratic(d, v, xp):
    scaled = d * np.sqrt(1 - v)
    return xp.where(abs(scaled) < 1, 1 - scaled**2, 0.0)


SIGMOIDS: dict[str, Shape] = {
    "gaussian": lambda d, v, xp: xp.exp(-0.5 * (d * np.sqrt(-2 * np.log(v))) ** 2),
    "hyperbolic": lambda d, v, xp: 1 / xp.cosh(d * np.arccosh(1 / v)),
    "long_tail": lambda d, v, xp: 1 / ((d * np.sqrt(1 / v - 1)) ** 2 + 1),
    "reciprocal": lambda d, v, xp: 1 / (abs(d) * (1 / v - 1) + 1),
    "cosine": _cosine,
    "linear": lambda d, v, xp: xp.where(abs(d) * (1 - v) < 1, 1 - d * (1 - v), 0.0),
    "quadratic": _quadratic,
    "tanh_squared": lambda d, v, xp: 1 - xp.tanh(d * np.arctanh(np.sqrt(1 - v))) ** 2,
}
"""(distance in margins, value at one margin, array module) → value; 1 at distance 0."""
FROM_ZERO = ("cosine", "linear", "quadratic")
"""Shapes whose value at the margin may be 0."""


def tolerance(
    x: Numbers,
    low: Number = 0.0,
    high: Number = 0.0,
    margin: Number = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
    xp: Any = np,
) -> Numbers:
    """1 where low ≤ x ≤ high; else σ(distance / margin), or 0 where the margin is 0. All but the
    shape may be arrays."""
    outside = xp.maximum(low - x, x - high)
    wide = xp.where(margin > 0, margin, 1.0)
    shaped = SIGMOIDS[sigmoid](xp.maximum(outside, 0.0) / wide, value_at_margin, xp)
    return xp.where(outside <= 0, 1.0, xp.where(margin > 0, shaped, 0.0))


@dataclass(frozen=True)
class Component:
    """A named part of a reward: how it falls off outside its bounds."""

    name: str
    """As the Contextual Control Suite calls it."""
    sigmoid: str = "gaussian"
    value_at_margin: float = 0.1
    margin: Annotated[float, Meta(ge=0)] = 0.0
    """Where no coordinate of the context is the margin."""
    low: float | None = 0.0
    high: float | None = 0.0
    """Bounds; None: there is none on this side."""
    coordinate: str | None = None
    """The coordinate of the context that is its margin."""
    directed: bool = False
    """Whether the margin has a sign, the direction; bounds then begin at its absolute value."""

    def __post_init__(self):
        """Raises BadSetting: no such sigmoid, or a value at the margin that it cannot take."""
        if self.sigmoid not in SIGMOIDS:
            raise unknown(BadSetting, "sigmoid", "Sigmoids", self.sigmoid, SIGMOIDS)
        least = self.value_at_margin >= 0 if self.sigmoid in FROM_ZERO else self.value_at_margin > 0
        if not (least and self.value_at_margin < 1):
            opens = "[0, 1)" if self.sigmoid in FROM_ZERO else "(0, 1)"
            raise BadSetting(
                f"value_at_margin={self.value_at_margin:g} of a {self.sigmoid} {self.name}; give a "
                f"number in {opens}"
            )

    def __call__(self, x: Numbers, margin: Number, exact: bool, xp: Any) -> Numbers:
        """The part's value at `x`, for margins that have a sign where it is directed; `exact`: with
        the target as both bounds."""
        if not self.directed:
            low = -np.inf if self.low is None else self.low
            high = np.inf if self.high is None else self.high
            return tolerance(x, low, high, margin, self.sigmoid, self.value_at_margin, xp)
        target = abs(margin)
        high = target if exact else np.inf
        ahead = x * xp.sign(margin)
        return tolerance(ahead, target, high, target, self.sigmoid, self.value_at_margin, xp)
