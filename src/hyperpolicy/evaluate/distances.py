"""How far policies are from a zoo's rows, and from the segments between two of its experts.

Distances are taken in weights, ‖θ − θ'‖, and in actions: root mean squared difference of the
deterministic actions on the same observations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Zoo

AT_ONCE = 256
"""Policies that act at once, to bound memory."""


@dataclass(frozen=True)
class Distances:
    """How far n policies are from the training rows that come nearest to them."""

    weights: tuple[float, ...]
    """L2 distance to the nearest row."""
    actions: tuple[float, ...]
    """Root mean squared difference of deterministic actions in [-1, 1] to the row that acts most
    alike, which may be another one."""
    nearest: tuple[int, ...]
    """The row nearest in weights."""
    most_alike: tuple[int, ...]
    """The row that acts most alike."""


@dataclass(frozen=True)
class MixtureDistances:
    """How far n policies are from the nearest mixture (1 − λ)·θ_a + λ·θ_b of two experts."""

    weights: tuple[float, ...]
    """L2 distance to the mixture that comes nearest, of all pairs of experts and 0 ≤ λ ≤ 1."""
    actions: tuple[float, ...]
    """Root mean squared difference of deterministic actions to that mixture."""
    pair: tuple[tuple[int, int], ...]
    """Its experts a and b."""
    share: tuple[float, ...]
    """Its λ."""


class TrainingRows:
    """A zoo's rows, by their weights and by their actions on the states."""

    def __init__(self, zoo: Zoo, states: Float[np.ndarray, "s o"]):
        self.spec, self.expert, self.weights = zoo.spec, zoo.expert, zoo.weights
        self.experts = zoo.finals.weights
        self.states = np.asarray(states, np.float32)
        self.actions = self._act(zoo.weights)

    def distances(
        self, weights: Float[np.ndarray, "n p"], allowed: Bool[np.ndarray, "n r"] | None = None
    ) -> Distances:
        """Distances of n policies to the rows each is `allowed` to be compared with (all)."""
        if allowed is None:
            allowed = np.ones((len(weights), len(self.weights)), bool)
        by_weight = np.where(allowed, _norms(weights, self.weights), np.inf)
        by_action = np.where(allowed, _rms(self._act(weights), self.actions), np.inf)
        return Distances(
            tuple(by_weight.min(axis=1).tolist()),
            tuple(by_action.min(axis=1).tolist()),
            tuple(by_weight.argmin(axis=1).tolist()),
            tuple(by_action.argmin(axis=1).tolist()),
        )

    def segments(
        self, weights: Float[np.ndarray, "n p"], without: Sequence[int] | None = None
    ) -> MixtureDistances:
        """Distances of n policies to mixtures of two experts; policy i's leave out `without[i]`."""
        found = [
            nearest_mixture(one, self.experts, None if without is None else without[i])
            for i, one in enumerate(weights)
        ]
        mixtures = np.array([(1 - s) * self.experts[a] + s * self.experts[b] for a, b, s in found])
        gaps = self._act(weights) - self._act(mixtures)
        return MixtureDistances(
            tuple(np.linalg.norm(weights - mixtures, axis=1).tolist()),
            tuple(np.sqrt((gaps**2).mean(axis=1)).tolist()),
            tuple((a, b) for a, b, _ in found),
            tuple(s for *_, s in found),
        )

    def nearest_of_another_expert(
        self, weights: Float[np.ndarray, "n p"], rows: Int[np.ndarray, " n"]
    ) -> Int[np.ndarray, " n"]:
        """The row nearest to each policy among those of other experts than its row's."""
        others = self.expert[rows][:, None] != self.expert
        return np.where(others, _norms(weights, self.weights), np.inf).argmin(axis=1)

    def between(self, rows: Int[np.ndarray, " x"]) -> tuple[float, float]:
        """Median distance of two of the rows, in weights and in actions."""
        pairs = np.triu_indices(len(rows), 1)
        weights, actions = self.weights[rows], self.actions[rows]
        return (
            float(np.median(_norms(weights, weights)[pairs])),
            float(np.median(_rms(actions, actions)[pairs])),
        )

    def _act(self, weights: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n sa"]:
        found = []
        for start in range(0, len(weights), AT_ONCE):
            block = Policies(np.asarray(weights[start : start + AT_ONCE], np.float32), self.spec)
            obs = np.broadcast_to(self.states, (len(block), *self.states.shape))
            found.append(block.act(obs).reshape(len(block), -1))
        return np.concatenate(found)


def nearest_mixture(
    weights: Float[np.ndarray, " p"], experts: Float[np.ndarray, "x p"], without: int | None = None
) -> tuple[int, int, float]:
    """The experts a < b and the share λ in [0, 1] whose (1 − λ)·θ_a + λ·θ_b comes nearest.

    With g the products of all θ_i − θ, a pair's λ is (g_aa − g_ab)/‖θ_a − θ_b‖², clipped.
    """
    apart = experts.astype(np.float64) - weights
    g = apart @ apart.T
    a, b = np.triu_indices(len(experts), 1)
    aa, bb, ab = g[a, a], g[b, b], g[a, b]
    length = aa + bb - 2.0 * ab
    share = np.clip((aa - ab) / np.where(length > 0, length, 1.0), 0.0, 1.0)
    square = (1 - share) ** 2 * aa + share**2 * bb + 2 * share * (1 - share) * ab
    if without is not None:
        square[(a == without) | (b == without)] = np.inf
    best = int(square.argmin())
    return int(a[best]), int(b[best]), float(share[best])


def _norms(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "n r"]:
    """‖aᵢ − bⱼ‖, by subtraction: exactly 0 for a copy."""
    return np.stack([np.linalg.norm(b - one, axis=1) for one in a])


def _rms(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "n r"]:
    return _norms(a, b) / np.sqrt(a.shape[1])
