"""Hidden units in another order, and ReLU units at another scale: the same policy, other numbers.

Permutations are matched by weights as in Ainsworth, Hayase & Srinivasa (2023), "Git Re-Basin",
arXiv:2209.04836; scales are balanced as in Stock et al. (2019), "Equi-normalization of Neural
Networks", arXiv:1902.10416. Departure:
  D1  layers are visited in order, not at random, and matching starts twice: from the order as it is
      and from incoming weights alone; the better end is kept. So it is deterministic, never ends
      further from the reference than it began, and finds a planted permutation.

A flat layer, weight then bias, is one matrix [i + 1, o] whose last row is the bias: column u of it
is all that enters unit u. Everything is computed in float64. Tanh units could also change sign;
that is not matched.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from hyperpolicy.errors import BadShape
from hyperpolicy.nets.policy import PolicySpec

Orders = list[Int[np.ndarray, " _"]]
"""For each hidden layer: new unit j is old unit order[j]."""
Factors = list[Float[np.ndarray, " _"]]
"""For each hidden layer: what a unit's incoming weights are multiplied by, outgoing divided."""

MAX_ROUNDS, BALANCED = 1000, 1e-12
"""Balancing ends after so many rounds, or when no factor differs more from 1."""
LEAST_GAIN = 1e-9
"""Relative gain below which a new order counts as rounding."""


# --- Scale --------------------------------------------------------------------------------
def balance(spec: PolicySpec, weights: Float[np.ndarray, " p"]) -> Factors:
    """Factors > 0 that make ‖incoming‖ = ‖outgoing‖ for every ReLU unit, bias counted as incoming.

    Of all policies that differ only in their units' scales, the balanced one has the smallest
    ‖θ‖², and there is only one: the problem is convex in log factors. Units without incoming or
    without outgoing weights have no such scale and keep theirs, as do units of other activations.
    """
    weights = np.asarray(weights, float)
    total = [np.ones(units) for units in spec.hidden]
    for _ in range(MAX_ROUNDS):
        furthest = 0.0
        for layer in range(len(spec.hidden)):
            if spec.activations[layer] != "relu":
                continue
            matrices = _matrices(spec, weights)
            incoming = np.linalg.norm(matrices[layer], axis=0)
            leaving = np.concatenate([matrices[k][:-1] for k in _after(spec, layer)], axis=1)
            outgoing = np.linalg.norm(leaving, axis=1)
            alive = (incoming > 0) & (outgoing > 0)
            factor = np.sqrt(np.where(alive, outgoing, 1.0) / np.where(alive, incoming, 1.0))
            one = [factor if k == layer else np.ones_like(f) for k, f in enumerate(total)]
            weights = rescale(spec, weights, one)
            total[layer] = total[layer] * factor
            furthest = max(furthest, np.abs(factor - 1.0).max())
        if furthest < BALANCED:
            break
    return total


def rescale(
    spec: PolicySpec, weights: Float[np.ndarray, "*n p"], factors: Factors
) -> Float[np.ndarray, "*n p"]:
    """Weights with every hidden unit scaled; the same function if factors of ReLU units are > 0 and
    the others are 1."""
    matrices = _matrices(spec, weights)
    for layer, factor in enumerate(factors):
        matrices[layer] = matrices[layer] * factor
        for k in _after(spec, layer):
            matrices[k] = np.concatenate(
                [matrices[k][..., :-1, :] / factor[:, None], matrices[k][..., -1:, :]], axis=-2
            )
    return _flat(matrices, weights)


# --- Order --------------------------------------------------------------------------------
def match(
    spec: PolicySpec, weights: Float[np.ndarray, " p"], reference: Float[np.ndarray, " p"]
) -> Orders:
    """Orders that bring weights near to the reference: argmax of θ_ref · permute(θ), layer by layer
    by linear assignment, until nothing changes (a local maximum; D1)."""
    inner = _matrices(spec, reference)
    as_is = [np.arange(units) for units in spec.hidden]
    from_inputs = list(as_is)  # units matched by what enters them, from the first layer on
    for layer in range(len(spec.hidden)):
        now = _matrices(spec, permute(spec, weights, from_inputs))
        from_inputs[layer] = _assign(inner[layer].T @ now[layer])
    ends = [_climb(spec, weights, inner, begin) for begin in (as_is, from_inputs)]
    moved = [_matrices(spec, permute(spec, weights, orders)) for orders in ends]
    gains = [float(sum(map(np.vdot, inner, now))) for now in moved]
    return ends[1] if gains[1] > gains[0] + LEAST_GAIN * abs(gains[0]) else ends[0]


def permute(
    spec: PolicySpec, weights: Float[np.ndarray, "*n p"], orders: Orders
) -> Float[np.ndarray, "*n p"]:
    """Weights with their hidden units in a new order; the same function."""
    matrices = _matrices(spec, weights)
    for layer, order in enumerate(orders):
        matrices[layer] = matrices[layer][..., order]
        for k in _after(spec, layer):
            bias = spec.hidden[layer]
            matrices[k] = matrices[k][..., np.append(order, bias), :]
    return _flat(matrices, weights)


def _climb(spec: PolicySpec, weights, inner, orders: Orders) -> Orders:
    orders, changed = list(orders), True
    while changed:
        changed = False
        for layer in range(len(spec.hidden)):
            now = _matrices(spec, permute(spec, weights, orders))
            likeness = inner[layer].T @ now[layer]
            for k in _after(spec, layer):
                likeness = likeness + inner[k][:-1] @ now[k][:-1].T
            order = _assign(likeness)
            before, after = np.trace(likeness), likeness[np.arange(len(order)), order].sum()
            if after > before + LEAST_GAIN * np.abs(likeness).sum() / len(order):
                orders[layer], changed = orders[layer][order], True
    return orders


def _assign(likeness: Float[np.ndarray, "u u"]) -> Int[np.ndarray, " u"]:
    """For each row its column, no column twice, the sum as large as can be."""
    return linear_sum_assignment(likeness, maximize=True)[1]


# --- Parts --------------------------------------------------------------------------------
def _matrices(spec: PolicySpec, weights) -> list[np.ndarray]:
    """Every layer as [*n, i + 1, o], the bias last, in float64; BadShape: not weights of `spec`."""
    weights = np.asarray(weights, float)
    if weights.shape[-1:] != (spec.size,):
        raise BadShape(f"weights {weights.shape}; a policy of {spec} has {spec.size} numbers")
    parts = np.split(weights, np.cumsum(spec.layer_sizes)[:-1], axis=-1)
    shapes = ((*weights.shape[:-1], i + 1, o) for i, o in spec.layers)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _flat(matrices: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    parts = [m.reshape(*m.shape[:-2], -1) for m in matrices]
    return np.concatenate(parts, axis=-1).astype(np.asarray(like).dtype)


def _after(spec: PolicySpec, layer: int) -> list[int]:
    """The layers that a hidden layer's units feed: the next, or all heads."""
    last = layer + 1 == len(spec.hidden)
    return list(range(layer + 1, len(spec.layers) if last else layer + 2))
