"""Alignment: experts brought into one order of units, without changing what they do, so that
weights from different starts can be compared, mixed and learned from. See `nets/symmetry.py`.

All rows of an expert move with its final row, by one order and one set of scales, so that its
checkpoints stay one path. Critics are not touched: they see actions, never an actor's units.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from hyperpolicy.errors import BadZoo
from hyperpolicy.nets import symmetry
from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Zoo


def align(zoo: Zoo, reference: Policies | None = None) -> Zoo:
    """The zoo with every expert matched to one reference: a policy of the same spec, of any zoo; by
    default the expert in the middle of the contexts.

    Raises:
        BadZoo: the reference is not one policy of the zoo's spec; an expert has no final row.
    """
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
        target = symmetry.rescale(zoo.spec, target, symmetry.balance(zoo.spec, target))
    orders = [symmetry.match(zoo.spec, weights, target) for weights in finals]
    return _permuted(scaled, orders, name)


def align_chain(zoo: Zoo) -> Zoo:
    """The zoo with every expert matched to its neighbor in context, from the middle outward.

    Neighbors differ least, so they match best; far ends drift apart more than with one reference.

    Raises:
        BadZoo: an expert has no final row.
    """
    scaled = balance(zoo)
    aligned, orders = scaled.finals.weights.copy(), {}
    for x, neighbor in visits(zoo):
        orders[x] = symmetry.match(zoo.spec, aligned[x], aligned[neighbor])
        aligned[x] = symmetry.permute(zoo.spec, aligned[x], orders[x])
    return _permuted(scaled, [orders[x] for x in range(len(aligned))], "neighbors")


def balance(zoo: Zoo) -> Zoo:
    """The zoo with every ReLU unit at its canonical scale (`symmetry.balance`).

    Raises:
        BadZoo: an expert has no final row.
    """
    if len(zoo.final_rows) != len(zoo.contexts):
        raise BadZoo(
            f"this zoo has {len(zoo.final_rows)} final rows for {len(zoo.contexts)} experts; "
            "every expert needs one, which says how its other rows move"
        )
    weights = zoo.weights.copy()
    for x, final in enumerate(zoo.finals.weights):
        rows, factors = zoo.expert == x, symmetry.balance(zoo.spec, final)
        weights[rows] = symmetry.rescale(zoo.spec, weights[rows], factors)
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


def _permuted(zoo: Zoo, orders: list[symmetry.Orders], reference: list | str) -> Zoo:
    weights = zoo.weights.copy()
    for x, order in enumerate(orders):
        rows = zoo.expert == x
        weights[rows] = symmetry.permute(zoo.spec, weights[rows], order)
    record = {"aligned_to": reference}
    return replace(zoo, weights=weights, provenance=zoo.provenance | record)
