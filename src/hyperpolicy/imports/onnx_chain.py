"""A policy out of an ONNX file whose graph is one chain: an MLP, perhaps with a normalizer before
and a scale behind (extra `[export]`).

    [Sub, Div, Mul] → Gemm, or MatMul and Add → Relu, Elu, Tanh → … → [Tanh, Clip] → [Mul] → [Add]

Swish is the one place where two ways join: x · Sigmoid(x).
"""

from pathlib import Path
from typing import Any

import numpy as np

from hyperpolicy.errors import BadFile, MissingExtra
from hyperpolicy.imports.layers import Hints, Layers, Output

ACTIVATIONS = {"Relu": "relu", "Elu": "elu", "Tanh": "tanh", "Swish": "swish"}
SUPPORTED = "Gemm, MatMul, Add, Sub, Mul, Div, Relu, Elu, Tanh, Swish, Clip, Identity, Cast"


def read(path: Path, hints: Hints) -> Layers:
    """Raises BadFile: other operators, or no chain; MissingExtra: onnx is not installed."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise MissingExtra("onnx is not installed; pip install 'hyperpolicy[export]'") from None
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's own exceptions
        raise BadFile(f"{path} is no ONNX file, or damaged: {type(error).__name__}") from None
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            held[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    chain = _chain(graph, held, path)
    return _layers(chain, path)


def _chain(graph, held: dict[str, Any], path: Path) -> list[tuple[str, list[Any], dict]]:
    """The operators from the input to the output, each with its constants and attributes."""
    inputs = [port.name for port in graph.input if port.name not in held]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise BadFile(f"{path} has not one input and one output; give a policy's file")
    now = inputs[0]
    found: list[tuple[str, list[Any], dict]] = []
    while now != graph.output[0].name:
        users = [node for node in graph.node if now in node.input]
        if (joined := _swish(users, now)) is not None:
            found.append(("Swish", [], {}))
            now = joined
            continue
        if len(users) != 1:
            raise BadFile(f"{path}: {now} goes {len(users)} ways; only a chain of layers is taken")
        node = users[0]
        if node.op_type not in SUPPORTED.split(", "):
            raise BadFile(f"{path} has the operator {node.op_type}; taken are {SUPPORTED}")
        constants = [held.get(name) for name in node.input if name and name != now]
        if any(one is None for one in constants):
            raise BadFile(f"{path}: {node.op_type} joins two ways; only a chain of layers is taken")
        first = node.input[0] == now
        about = {one.name: one.f if one.type == 1 else one.i for one in node.attribute}
        found.append((node.op_type, constants, about | {"first": first}))
        now = node.output[0]
    return found


def _swish(users, now: str) -> str | None:
    """The name of x · Sigmoid(x), where that is what becomes of x."""
    kinds = {node.op_type: node for node in users}
    if set(kinds) != {"Sigmoid", "Mul"} or len(users) != 2:
        return None
    gate, product = kinds["Sigmoid"], kinds["Mul"]
    return product.output[0] if set(product.input) == {now, gate.output[0]} else None


def _layers(chain: list[tuple[str, list[Any], dict]], path: Path) -> Layers:
    weights: list[Any] = []
    biases: list[Any] = []
    activations: list[str] = []
    mean: Any = None
    scale: Any = None
    output: Output = "clip"
    low, high = -1.0, 1.0
    behind = False  # what ends the network has passed
    for name, constants, about in chain:
        if name in ("Identity", "Cast"):
            continue
        if name in ("Gemm", "MatMul"):
            weight = np.asarray(constants[0], float)
            weight = weight.T if about.get("transB", 0) else weight
            weights.append(weight * about.get("alpha", 1.0))
            bias = constants[1] if len(constants) > 1 else np.zeros(weight.shape[1])
            biases.append(np.asarray(bias, float) * about.get("beta", 1.0))
        elif name in ACTIVATIONS:
            activations.append(ACTIVATIONS[name])
        elif name == "Clip":
            behind = True
            low, high = _limits(constants, path)
        elif not weights:
            mean, scale = _normalizer(name, constants[0], about, mean, scale, path)
        elif name == "Add" and len(activations) < len(weights) and not behind:
            biases[-1] = biases[-1] + np.asarray(constants[0], float).ravel()
        else:
            behind = True
            factor, offset = _scale(name, constants[0], path)
            low, high = factor * low + offset, factor * high + offset
            if len(activations) < len(weights):  # what is cut is in the robot's units
                weights[-1], biases[-1] = factor * weights[-1], factor * biases[-1] + offset
    if len(activations) == len(weights):
        last = activations.pop()
        if last != "tanh":
            raise BadFile(f"{path} ends with {last}; actions are squashed by tanh or cut")
        output = "tanh"
    shapes = tuple(weights), tuple(biases), tuple(activations)
    return Layers(*shapes, output, low, high, mean, scale)


def _normalizer(name: str, constant, about: dict, mean, scale, path: Path):
    """(obs − mean) · scale after one operator more."""
    x = np.asarray(constant, float).ravel()
    if not about["first"]:
        raise BadFile(f"{path}: {name} of a constant and the observation; give it the other way")
    if name in ("Sub", "Add") and scale is None:
        shift = x if name == "Sub" else -x
        return (shift if mean is None else mean + shift), None
    if name in ("Div", "Mul"):
        factor = 1.0 / x if name == "Div" else x
        ones = np.zeros_like(factor) if mean is None else mean
        return ones, factor if scale is None else scale * factor
    raise BadFile(
        f"{path}: {name} after the observations are scaled; only (obs − mean) · scale is taken"
    )


def _limits(constants, path: Path) -> tuple[float, float]:
    """Where actions are cut."""
    ends = [float(np.asarray(one).ravel()[0]) for one in constants]
    if len(ends) != 2:
        raise BadFile(f"{path}: Clip without two limits; give it the range of actions")
    return ends[0], ends[1]


def _scale(name: str, constant, path: Path) -> tuple[float, float]:
    """Factor and offset of an operator behind the actions."""
    x = np.asarray(constant, float).ravel()
    if not np.allclose(x, x[0]) or name not in ("Mul", "Add"):
        raise BadFile(f"{path}: {name} behind the actions differs from motor to motor; take it out")
    return (float(x[0]), 0.0) if name == "Mul" else (1.0, float(x[0]))
