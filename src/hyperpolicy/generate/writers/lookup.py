"""The trivial generators of every table: the nearest expert, and neighbors' mixed weights."""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial import Delaunay, QhullError

from hyperpolicy.envs import ContextSpace
from hyperpolicy.generate.generator import Generator, from_zoo
from hyperpolicy.generate.lesson import check_zoo
from hyperpolicy.generate.parts import Frame, Identity, Model, PlainContext, Rows
from hyperpolicy.zoo import Zoo

MOST_TRIANGULATED = 3
"""Dimensions; in more, triangulations are huge and hulls empty."""


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

    On a circle the last expert's neighbor is the first. Where experts differ in several
    coordinates, neighbors are the corners of the simplex of their Delaunay triangulation that holds
    the context, each with its barycentric coordinate (`shares`).
    """

    kind: ClassVar[str] = "linear"

    def write(self, conditions, keys) -> Float[np.ndarray, "n p"]:
        contexts, conditions = np.asarray(self.contexts, float), np.asarray(conditions, float)
        varying = np.flatnonzero((contexts != contexts[:1]).any(axis=0)).tolist()
        if len(varying) > 1:
            scale = (self.space.high - self.space.low)[varying]
            found = shares(contexts[:, varying] / scale, conditions[:, varying] / scale)
            return np.asarray(found.astype(np.float32) @ self.weights)
        column = (varying or [0])[0]
        order = np.argsort(contexts[:, column])
        known, x = contexts[order, column], conditions[:, column]
        period = self.space.period[column]
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


def shares(
    known: Float[np.ndarray, "x d"], asked: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n x"]:
    """What each known point adds to the interpolation at those asked for; rows sum to 1.

    Barycentric coordinates in the Delaunay triangulation of up to MOST_TRIANGULATED dimensions.
    Beyond the hull, in more dimensions, or where all points lie on one line, the 2d nearest points
    count by the inverse square of their distance (Shepard 1968).
    """
    gaps = np.sqrt(((asked[:, None] - known[None]) ** 2).sum(axis=-1))
    near = gaps <= np.sort(gaps, axis=1)[:, : 2 * known.shape[1]][:, -1:]
    found = np.where(near, 1.0 / np.maximum(gaps, 1e-9) ** 2, 0.0)
    found /= found.sum(axis=1, keepdims=True)
    dimensions = known.shape[1]
    if dimensions > MOST_TRIANGULATED or len(known) <= dimensions:
        return found
    try:
        mesh = Delaunay(known)
    except QhullError:
        return found
    simplex = mesh.find_simplex(asked, tol=1e-9)
    inside = np.flatnonzero(simplex >= 0)
    transform = mesh.transform[simplex[inside]]
    part = np.einsum("nij,nj->ni", transform[:, :-1], asked[inside] - transform[:, -1])
    corners = np.concatenate([part, 1.0 - part.sum(axis=1, keepdims=True)], axis=1)
    found[inside] = 0.0
    found[inside[:, None], mesh.simplices[simplex[inside]]] = corners
    return found


def nearest(zoo: Zoo) -> Generator:
    """Looks up the nearest of `zoo`'s experts."""
    return from_zoo(zoo, model(Nearest, zoo), {})


def linear(zoo: Zoo) -> Generator:
    """Interpolates between the neighbors among `zoo`'s experts."""
    return from_zoo(zoo, model(Interpolated, zoo), {})


def model(kind: type[Lookup], zoo: Zoo, vectors: Float[np.ndarray, "x p"] | None = None) -> Model:
    """A table of `zoo`'s experts, or of other vectors, one for each of them; errors as
    `check_zoo`."""
    space = check_zoo(zoo).context
    vectors = zoo.finals.weights if vectors is None else vectors
    table = kind(np.asarray(zoo.contexts, float), vectors, space)
    return Model(PlainContext(space), table, Identity(vectors.shape[1]))
