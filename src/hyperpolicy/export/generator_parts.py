"""Parts of generators as operators of an ONNX graph: a function a kind, and the table of them.

Interpolation is a sum of hat functions: expert i counts with max(0, min((x − left)/(x_i − left),
(right − x)/(right − x_i))). What is affine in its input (to fold a base, principal components) is
one product, found by asking the part itself.
"""

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any

import jax.numpy as jnp
import numpy as np

from hyperpolicy.errors import BadSetting
from hyperpolicy.export.graph import Graph
from hyperpolicy.generate.writers.conditioned import fold
from hyperpolicy.nets.skip_mlp import EPSILON


# --- Readers ------------------------------------------------------------------------------
def _same(graph: Graph, x: str, part) -> str:
    return x


def _encode(graph: Graph, x: str, part, columns: list[int] | None = None) -> str:
    """`ContextSpace.encode`."""
    coordinates = part.space.coordinates
    found = []
    for i in range(len(coordinates)) if columns is None else columns:
        one, value = coordinates[i], graph.column(x, i)
        if one.role == "task":
            which = np.arange(one.encoded_size, dtype=np.float32)[None]
            found.append(graph.put("Cast", graph.put("Equal", value, which), to=1))
        elif one.period is None:
            scale = 2.0 / (one.high - one.low)
            scaled = graph.put("Mul", value, scale)
            found.append(graph.put("Add", scaled, -1.0 - scale * one.low))
        else:
            angle = graph.put("Mul", value, 2.0 * np.pi / one.period)
            found += [graph.put("Sin", angle), graph.put("Cos", angle)]
    return found[0] if len(found) == 1 else graph.put("Concat", *found, axis=1)


def _varying(graph: Graph, x: str, part) -> str:
    return _encode(graph, x, part, list(part.columns))


def _demonstration(graph: Graph, x: str, part) -> str:
    """h, or (h, v), of opening and ending in one row, each number scaled."""
    embedding, maps = part.embedding, part.embedding.maps
    o, s = (n.scale.shape[-1] for n in (embedding.opening_normalizer, embedding.ending_normalizer))
    opening, ending = graph.split(x, (o, s))
    opening = graph.scaled(opening, embedding.opening_normalizer)
    *hidden, last = maps.opening.layers
    for layer in hidden:
        opening = graph.put("Relu", graph.linear(opening, layer))
    found = graph.linear(opening, last)
    if part.told == "both":
        ending = graph.linear(graph.scaled(ending, embedding.ending_normalizer), maps.ending.first)
        norm = maps.ending.norm
        numbers = [np.asarray(norm.weight), np.asarray(norm.bias)]
        ending = graph.put("LayerNormalization", ending, *numbers, epsilon=norm.eps)
        ending = graph.linear(graph.put("Tanh", ending), maps.ending.last)
        found = graph.put("Concat", found, ending, axis=1)
    return graph.scaled(found, part.normalizer)


# --- Writers ------------------------------------------------------------------------------
def _hats(graph: Graph, x: str, part) -> str:
    """Interpolated weights along the one coordinate in which experts differ."""
    contexts, weights = np.asarray(part.contexts, float), np.asarray(part.weights)
    varying = np.flatnonzero((contexts != contexts[:1]).any(axis=0)).tolist()
    if len(varying) > 1:
        raise BadSetting(
            "interpolation in several coordinates is not exported whole; export the policies that "
            "it writes"
        )
    column = (varying or [0])[0]
    order = np.argsort(contexts[:, column])
    known, value = contexts[order, column], graph.column(x, column)
    period = part.space.period[column]
    if period is None:
        value = graph.put("Clip", value, known[0], known[-1])
    else:
        order, known = np.append(order, order[0]), np.append(known, known[0] + period)
        ahead = graph.put("Add", value, period - known[0])
        value = graph.put("Add", graph.put("Mod", ahead, period, fmod=1), known[0])
    left = np.append(known[0] - 1.0, known[:-1])
    right = np.append(known[1:], known[-1] + 1.0)
    up = graph.put("Div", graph.put("Sub", value, left[None]), (known - left)[None])
    down = graph.put("Div", graph.put("Sub", right[None], value), (right - known)[None])
    shares = graph.put("Max", graph.put("Min", up, down), 0.0)
    return graph.put("MatMul", shares, weights[order])


def _nearest(graph: Graph, x: str, part) -> str:
    """The weights of the expert at the least distance, as `ContextSpace.distance` has it."""
    contexts, space = np.asarray(part.contexts, float), part.space
    found = []
    for i, one in enumerate(space.coordinates):
        away = graph.put("Abs", graph.put("Sub", graph.column(x, i), contexts[None, :, i]))
        if one.role == "task":
            away = graph.put("Cast", graph.put("Greater", away, 0.5), to=1)
        elif one.period is not None:
            away = graph.put("Min", away, graph.put("Sub", float(one.period), away))
        width = one.high - one.low if space.size > 1 else 1.0
        scaled = graph.put("Div", away, width)
        found.append(graph.put("Mul", scaled, scaled))
    total = found[0] if len(found) == 1 else graph.put("Sum", *found)
    row = graph.put("ArgMin", total, axis=1, keepdims=0)
    return graph.put("Gather", graph.constant(np.asarray(part.weights)), row, axis=0)


def _affine(graph: Graph, x: str, function: Callable, size: int) -> str:
    """x M + b of a function that is affine in vectors of `size` numbers."""
    start = np.asarray(function(np.zeros(size, np.float32)), np.float64)
    steps = [function(row) for row in np.eye(size, dtype=np.float32)]
    matrix = np.stack([np.asarray(row, np.float64) - start for row in steps])
    return graph.put("Add", graph.put("MatMul", x, matrix), start[None])


def _conditioned(graph: Graph, x: str, part) -> str:
    """The folded base, for conditions of as many numbers as the graph's."""
    weights = jnp.asarray(part.weights)
    return _affine(graph, x, lambda row: fold(part.spec, weights, jnp.asarray(row)), graph.encoded)


def _residual(graph: Graph, x: str, part) -> str:
    """The folded base, and what experts changed."""
    encoded = _encode(graph, x, part.change)
    return graph.put("Add", _conditioned(graph, encoded, part.base), _hats(graph, x, part.change))


def _regression(graph: Graph, x: str, part) -> str:
    """The monomials, in the order of `regression.features`, times the coefficients."""
    coefficients = np.asarray(part.coefficients)
    d = _powers(len(coefficients), part.degree)
    columns = [graph.column(x, i) for i in range(d)]
    found = [graph.put("Add", graph.put("Mul", columns[0], 0.0), 1.0)]
    for power in range(1, part.degree + 1):
        for first, *rest in combinations_with_replacement(range(d), power):
            value = columns[first]
            for i in rest:
                value = graph.put("Mul", value, columns[i])
            found.append(value)
    features = found[0] if len(found) == 1 else graph.put("Concat", *found, axis=1)
    return graph.put("MatMul", features, coefficients)


def _gan(graph: Graph, x: str, part) -> str:
    """G(n, m) in evaluation mode; the noise n is an input of its own."""
    net = part.net
    x = graph.put("Concat", graph.port("noise", part.noise), x, axis=1)
    h, skips, running = graph.linear(x, net.first), [], iter(part.running)
    for block in net.down:
        skips.append(h)
        h = _block(graph, h, block, next(running))
    for block in net.up:
        h = graph.put("Add", _block(graph, h, block, next(running)), skips.pop())
    return graph.put("Add", graph.linear(h, net.last), skips.pop())


def _block(graph: Graph, x: str, block, moments) -> str:
    """Linear → batch norm by running moments → GELU."""
    unit = np.asarray(block.scale) / np.sqrt(np.asarray(moments.variance) + EPSILON)
    h = graph.put("Mul", graph.linear(x, block.linear), unit[None])
    h = graph.put("Add", h, (np.asarray(block.shift) - np.asarray(moments.mean) * unit)[None])
    bell = graph.put("Add", graph.put("Erf", graph.put("Mul", h, float(np.sqrt(0.5)))), 1.0)
    return graph.put("Mul", graph.put("Mul", h, bell), 0.5)


def _powers(monomials: int, degree: int) -> int:
    """How many numbers have so many monomials up to a degree."""
    from math import comb

    return next(d for d in range(1, 1000) if comb(d + degree, degree) == monomials or not degree)


# --- Codecs -------------------------------------------------------------------------------
def _pca(graph: Graph, x: str, part) -> str:
    return _affine(graph, x, lambda row: part.decode(jnp.asarray(row)), part.size)


PARTS: dict[str, Callable[[Graph, str, Any], str]] = {
    "context": _same,
    "encoded-context": _encode,
    "varying-context": _varying,
    "demonstration": _demonstration,
    "linear": _hats,
    "nearest": _nearest,
    "conditioned": _conditioned,
    "residual": _residual,
    "regression": _regression,
    "hyplatent": _gan,
    "identity": _same,
    "pca": _pca,
}
"""kind of a part → its operators."""
