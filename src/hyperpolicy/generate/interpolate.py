"""The trivial generators of every table: the nearest expert, and two neighbors' mixed weights."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate.generator import Generator, check_zoo, from_zoo
from hyperpolicy.zoo import Zoo


class Nearest(eqx.Module):
    """The expert whose context is nearest, unchanged."""

    kind: ClassVar[str] = "nearest"
    contexts: Float[Array | np.ndarray, "x c"]
    weights: Float[Array | np.ndarray, "x p"]

    def write(self, family: Family, contexts, seed: int) -> Float[np.ndarray, "n p"]:
        gaps = family.context.distance(contexts, np.asarray(self.contexts))
        return np.asarray(self.weights)[gaps.argmin(axis=1)]

    def settings(self) -> dict:
        return {"experts": len(self.contexts)}

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec) -> "Nearest":
        return _shapes(cls, settings["experts"], family, spec)


class Linear(eqx.Module):
    """(1 − s)·θ_i + s·θ_j of the two neighboring experts; the end ones beyond the trained range.

    On a circle the last expert's neighbor is the first.
    """

    kind: ClassVar[str] = "linear"
    contexts: Float[Array | np.ndarray, "x c"]
    weights: Float[Array | np.ndarray, "x p"]

    def write(self, family: Family, contexts, seed: int) -> Float[np.ndarray, "n p"]:
        order = np.argsort(self.contexts[:, 0])
        known, x = self.contexts[order, 0], contexts[:, 0]
        period = family.context.period[0]
        if period is None:
            x = np.clip(x, known[0], known[-1])
        else:
            known, order = np.append(known, known[0] + period), np.append(order, order[0])
            x = known[0] + np.mod(x - known[0], period)
        right = np.clip(np.searchsorted(known, x), min(1, len(known) - 1), len(known) - 1)
        left = np.maximum(right - 1, 0)
        width = known[right] - known[left]
        share = np.where(width > 0, (x - known[left]) / np.where(width > 0, width, 1.0), 0.0)
        share = share[:, None].astype(np.float32)
        return (1.0 - share) * self.weights[order[left]] + share * self.weights[order[right]]

    def settings(self) -> dict:
        return {"experts": len(self.contexts)}

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec) -> "Linear":
        return _shapes(cls, settings["experts"], family, spec)


def nearest(zoo: Zoo) -> Generator:
    """Looks up the nearest of `zoo`'s experts."""
    check_zoo(zoo)
    return from_zoo(zoo, Nearest(np.asarray(zoo.contexts, float), zoo.finals.weights), {})


def linear(zoo: Zoo) -> Generator:
    """Interpolates between the two neighbors among `zoo`'s experts.

    Raises:
        BadSetting: contexts of more than one number; neighbors are not defined there.
    """
    family = check_zoo(zoo)
    if family.context.size != 1:
        raise BadSetting(
            f"linear interpolation needs contexts of one number; {family.name} has "
            f"{family.context.size}: take the nearest expert or the regression"
        )
    return from_zoo(zoo, Linear(np.asarray(zoo.contexts, float), zoo.finals.weights), {})


def _shapes(cls, experts: int, family: Family, spec):
    shapes = ((experts, family.context.size), (experts, spec.size))
    return jax.eval_shape(lambda: cls(*map(jnp.zeros, shapes)))
