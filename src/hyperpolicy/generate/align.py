"""Alignment: experts brought into one order of units, without changing what they do, so that
weights from different starts can be compared, mixed and learned from. Hidden units in another
order, and ReLU units at another scale, are the same policy in other numbers.

Permutations are matched by weights as in Ainsworth, Hayase & Srinivasa (2023), "Git Re-Basin",
arXiv:2209.04836; scales are balanced as in Stock et al. (2019), "Equi-normalization of Neural
Networks", arXiv:1902.10416. Departure:
  D1  layers are visited in order, not at random, and matching starts twice: from the order as it is
      and from incoming weights alone; the better end is kept. So it is deterministic, never ends
      further from the reference than it began, and finds a planted permutation.

A flat layer, weight then bias, is one matrix [i + 1, o] whose last row is the bias: column u of it
is all that enters unit u. Everything is computed in float64. Tanh units could also change sign;
that is not matched. All rows of an expert move with its final row, by one order and one set of
scales, so that its checkpoints stay one path. Critics are not touched: they see actions, never an
actor's units.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from hyperpolicy.errors import BadShape, BadZoo
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Zoo

Orders = list[Int[np.ndarray, " _"]]
"""For each hidden layer: new unit j is old unit order[j]."""
Factors = list[Float[np.ndarray, " _"]]
"""For each hidden layer: what a unit's incoming weights are multiplied by, outgoing divided."""

MAX_ROUNDS, BALANCED = 1000, 1e-12
"""Balancing ends after so many rounds, or when no factor differs more from 1."""
LEAST_GAIN = 1e-9
"""Relative gain below which a new order counts as rounding."""


# --- Zoos ---------------------------------------------------------------------------------
def align(zoo: Zoo, reference: Policies | None = None) -> Zoo:
    """The zoo with every expert matched to one reference: a policy of the same spec, of any zoo; by
    default the expert in the middle of the contexts. Raises BadZoo: the reference is not one policy
    of the zoo's spec; an expert has no final row."""
    scaled = balance(zoo)
    finals = scaled.finals.weights
    if reference is None:
        middle, _ = visits(zoo)[0]
        target, name = finals[middle], zoo.contexts[middle].tolist()
    else:
        if reference.spec != zoo.spec or len(reference) != 1:
            raise BadZoo(
                f"the reference holds {len(reference)} policies of {reference.spec}; give one of "
                f"{zoo.spec}"
            )
        target, name = reference.weights[0], "given"
        target = rescale(zoo.spec, target, balance_factors(zoo.spec, target))
    orders = [match(zoo.spec, weights, target) for weights in finals]
    return _permuted(scaled, orders, name)


def align_chain(zoo: Zoo) -> Zoo:
    """The zoo with every expert matched to its neighbor in context, from the middle outward.

    Neighbors differ least, so they match best; far ends drift apart more than with one reference.
    Raises BadZoo: an expert has no final row.
    """
    scaled = balance(zoo)
    aligned, orders = scaled.finals.weights.copy(), {}
    for x, neighbor in visits(zoo):
        orders[x] = match(zoo.spec, aligned[x], aligned[neighbor])
        aligned[x] = permute(zoo.spec, aligned[x], orders[x])
    return _permuted(scaled, [orders[x] for x in range(len(aligned))], "neighbors")


def balance(zoo: Zoo) -> Zoo:
    """The zoo with every ReLU unit at its canonical scale (`balance_factors`). Raises BadZoo: an
    expert has no final row."""
    if len(zoo.final_rows) != len(zoo.contexts):
        raise BadZoo(
            f"this zoo has {len(zoo.final_rows)} final rows for {len(zoo.contexts)} experts; "
            "every expert needs one, which says how its other rows move"
        )
    weights = zoo.weights.copy()
    for x, final in enumerate(zoo.finals.weights):
        rows, factors = zoo.expert == x, balance_factors(zoo.spec, final)
        weights[rows] = rescale(zoo.spec, weights[rows], factors)
    return replace(zoo, weights=weights)


def neighbor_gaps(zoo: Zoo) -> Float[np.ndarray, " g"]:
    """‖θ − θ'‖ of every expert and its neighbor in context: what alignment should make small."""
    finals = zoo.finals.weights
    pairs = np.array([pair for pair in visits(zoo) if pair[0] != pair[1]], int).reshape(-1, 2)
    return np.linalg.norm(finals[pairs[:, 0]] - finals[pairs[:, 1]], axis=1)


def visits(zoo: Zoo) -> list[tuple[int, int]]:
    """Every expert once, with its nearest in context among those before; first the one in the
    middle, with itself. The next is always the one nearest to any visited (Prim's spanning tree).
    """
    gaps = zoo.family.context.distance(zoo.contexts, zoo.contexts)
    middle = int(gaps.mean(axis=1).argmin())
    order = [(middle, middle)]
    while len(order) < len(gaps):
        seen = {x for x, _ in order}
        steps = ((gaps[x, y], x, y) for x in range(len(gaps)) if x not in seen for y in seen)
        _, x, y = min(steps)
        order.append((x, y))
    return order


def _permuted(zoo: Zoo, orders: list[Orders], reference: list | str) -> Zoo:
    weights = zoo.weights.copy()
    for x, order in enumerate(orders):
        rows = zoo.expert == x
        weights[rows] = permute(zoo.spec, weights[rows], order)
    record = {"aligned_to": reference}
    return replace(zoo, weights=weights, provenance=zoo.provenance | record)


# --- Scale --------------------------------------------------------------------------------
def balance_factors(spec: PolicySpec, weights: Float[np.ndarray, " p"]) -> Factors:
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
