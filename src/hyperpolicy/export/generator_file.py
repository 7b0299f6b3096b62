"""A generator as an ONNX file: contexts [batch, c] → flat weights of policies [batch, p] (extra
`[export]`), for generators that nothing is drawn for and that are told contexts.

    context → reader → condition → writer → latent → codec → weights

Each part is a few plain operators. Interpolation is a sum of hat functions: expert i counts with
max(0, min((x − left)/(x_i − left), (right − x)/(right − x_i))). What is affine in its input (to
fold a base, principal components) is one product, found by asking the part itself.
"""

import os
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from hyperpolicy import files
from hyperpolicy.data.given import Contexts
from hyperpolicy.errors import AlreadyExists, BadSetting
from hyperpolicy.export.onnx_file import IR, OPSET, load_onnx
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.parts import row_keys
from hyperpolicy.generate.writers.conditioned import fold

FORMAT = "hyperpolicy-generator-onnx-1"


class Graph:
    """Operators and constants under names of their own."""

    def __init__(self, encoded: int) -> None:
        """`encoded` numbers are in an encoded context."""
        self.nodes: list[Any] = []
        self.held: list[Any] = []
        self.encoded = encoded

    def constant(self, value, kind=np.float32) -> str:
        """The name of a constant."""
        from onnx import numpy_helper

        name = f"c{len(self.held)}"
        array = np.ascontiguousarray(np.asarray(value, kind))
        self.held.append(numpy_helper.from_array(array, name))
        return name

    def put(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """The name of an operator's output; inputs that are no names become constants."""
        from onnx import helper

        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [out], **attributes))
        return out

    def column(self, x: str, i: int) -> str:
        """Column i of a matrix, [batch, 1]."""
        return self.put("Gather", x, self.constant([i], np.int64), axis=1)


# --- Writing ------------------------------------------------------------------------------
def write(generator: Generator, path: str | Path) -> Path:
    """The new ONNX file of a generator.

    Raises:
        MissingExtra: onnx is not installed.
        BadSetting: a generator that draws noise, reads something else than contexts, or has parts
            that are not written here.
        AlreadyExists, DiskFull: it cannot be written; nothing is left half written.
    """
    onnx = load_onnx()
    from onnx import TensorProto, helper

    model, family = generator.model, generator.family
    if generator.takes is not Contexts:
        raise BadSetting(
            f"this generator reads {generator.takes.name}; only those that read contexts are "
            "exported whole: export the policies that it writes"
        )
    for part in (model.reader, model.writer, model.codec):
        if part.kind not in PARTS:
            raise BadSetting(
                f"generators with a {part.kind} are not exported whole; known parts: "
                f"{', '.join(PARTS)}. Export the policies that it writes"
            )
    graph, last = Graph(family.context.encoded_size), "context"
    for part in (model.reader, model.writer, model.codec):
        last = PARTS[part.kind](graph, last, part)
    graph.nodes.append(helper.make_node("Identity", [last], ["weights"]))

    def port(name: str, size: int):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

    ends = [port("context", family.context.size)], [port("weights", generator.spec.size)]
    made = helper.make_model(
        helper.make_graph(graph.nodes, "generator", *ends, graph.held),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="hyperpolicy",
    )
    made.ir_version = IR
    helper.set_model_props(made, _about(generator))
    onnx.checker.check_model(made, full_check=True)
    if os.path.lexists(path):
        raise AlreadyExists(f"{path} exists; choose another name or remove it first")
    return files.write(path, lambda p: p.write_bytes(made.SerializeToString()))


def _about(generator: Generator) -> dict[str, str]:
    import json

    spec, space = generator.spec, generator.family.context
    layers = [list(pair) for pair in spec.layers]
    found = {
        "format": FORMAT,
        "family": generator.family.name,
        "kind": generator.kind,
        "context": [{"name": x.name, "unit": x.unit} for x in space.coordinates],
        "trained_contexts": generator.trained_contexts.tolist(),
        "weights": "layer by layer, weight [in, out] row by row, then bias",
        "layers": layers,
        "activations": [*spec.activations, spec.output],
    }
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}


def gap(generator: Generator, path: Path, contexts) -> float:
    """The largest difference of a weight that a file writes for some contexts. Raises MissingExtra:
    onnxruntime is not installed."""
    from hyperpolicy.export.onnx_file import open_session

    session = open_session(path)
    given = Contexts(generator.family, contexts)
    ours = generator.model.vectors(given, row_keys(0, len(given)))
    theirs = session.run(None, {"context": np.asarray(given.contexts, np.float32)})[0]
    return float(np.abs(theirs - ours).max())


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
    "linear": _hats,
    "nearest": _nearest,
    "conditioned": _conditioned,
    "residual": _residual,
    "regression": _regression,
    "identity": _same,
    "pca": _pca,
}
"""kind of a part → its operators."""
