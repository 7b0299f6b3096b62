"""The trivial generators of every table: the nearest expert, and two neighbors' mixed weights."""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.envs import ContextSpace
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate.generator import Generator, from_zoo
from hyperpolicy.generate.lesson import check_zoo
from hyperpolicy.generate.parts import Frame, Identity, Model, PlainContext, Rows
from hyperpolicy.zoo import Zoo


class Lookup(eqx.Module):
    """A table of the training experts: contexts and vectors."""

    kind: ClassVar[str]
    contexts: Float[Array | np.ndarray, "x c"]
    weights: Float[Array | np.ndarray, "x p"]
    space: ContextSpace = eqx.field(static=True)

    @abstractmethod
    def write(self, conditions: Rows, keys) -> Float[np.ndarray, "n p"]:
        """A vector for each context; nothing is drawn."""

    def settings(self) -> dict:
        return {"experts": len(self.contexts)}

    @classmethod
    def blank(cls, settings: dict, frame: Frame):
        space, x = frame.family.context, settings["experts"]
        return cls(jnp.zeros((x, space.size)), jnp.zeros((x, frame.vector)), space)


class Nearest(Lookup):
    """The expert whose context is nearest, unchanged."""

    kind: ClassVar[str] = "nearest"

    def write(self, conditions, keys) -> Float[np.ndarray, "n p"]:
        gaps = self.space.distance(conditions, np.asarray(self.contexts))
        return np.asarray(self.weights)[gaps.argmin(axis=1)]


class Interpolated(Lookup):
    """(1 − s)·θ_i + s·θ_j of the two neighboring experts; the end ones beyond the trained range.

    On a circle the last expert's neighbor is the first.
    """

    kind: ClassVar[str] = "linear"

    def write(self, conditions, keys) -> Float[np.ndarray, "n p"]:
        order = np.argsort(self.contexts[:, 0])
        known, x = self.contexts[order, 0], conditions[:, 0]
        period = self.space.period[0]
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


def nearest(zoo: Zoo) -> Generator:
    """Looks up the nearest of `zoo`'s experts."""
    return from_zoo(zoo, model(Nearest, zoo), {})


def linear(zoo: Zoo) -> Generator:
    """Interpolates between the two neighbors among `zoo`'s experts. Raises BadSetting: contexts of
    more than one number; neighbors are not defined there."""
    return from_zoo(zoo, model(Interpolated, zoo), {})


def model(kind: type[Lookup], zoo: Zoo, vectors: Float[np.ndarray, "x p"] | None = None) -> Model:
    """A table of `zoo`'s experts, or of other vectors, one for each of them; errors as `check_zoo`,
    and BadSetting for neighbors among contexts of more than one number."""
    space = check_zoo(zoo).context
    if kind is Interpolated and space.size != 1:
        raise BadSetting(
            f"linear interpolation needs contexts of one number; {zoo.family.name} has "
            f"{space.size}: take the nearest expert or the regression"
        )
    vectors = zoo.finals.weights if vectors is None else vectors
    table = kind(np.asarray(zoo.contexts, float), vectors, space)
    return Model(PlainContext(space), table, Identity(vectors.shape[1]))
