"""A graph of ONNX's operators, put together one by one, and written as ONNX (extra `[export]`)."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np


class Node(NamedTuple):
    """An operator of ONNX, with the names of its inputs and of its output."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


class Graph:
    """Operators and constants under names of their own."""

    def __init__(self, encoded: int) -> None:
        """`encoded` numbers are in an encoded context."""
        self.nodes: list[Node] = []
        self.held: dict[str, np.ndarray] = {}
        self.encoded = encoded
        self.ports: dict[str, int] = {}
        """Inputs of the graph, and how many numbers each has."""

    def port(self, name: str, size: int) -> str:
        """An input of the graph, [batch, size]."""
        self.ports[name] = size
        return name

    def constant(self, value, kind=np.float32) -> str:
        """The name of a constant."""
        name = f"c{len(self.held)}"
        self.held[name] = np.ascontiguousarray(np.asarray(value, kind))
        return name

    def put(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """The name of an operator's output; inputs that are no names become constants."""
        names = tuple(x if isinstance(x, str) else self.constant(x) for x in inputs)
        out = f"v{len(self.nodes)}"
        self.nodes.append(Node(operator, names, out, attributes))
        return out

    def linear(self, x: str, layer: Any) -> str:
        """x W + b of a layer."""
        return self.put("Gemm", x, np.asarray(layer.weight), np.asarray(layer.bias))

    def scaled(self, x: str, normalizer: Any) -> str:
        """x · scale + offset."""
        factor = np.asarray(normalizer.scale)[None]
        return self.put("Add", self.put("Mul", x, factor), np.asarray(normalizer.offset)[None])

    def split(self, x: str, sizes: tuple[int, ...]) -> list[str]:
        """The columns of a matrix in parts, one after the other."""
        ends = np.cumsum((0, *sizes))
        return [
            self.put("Gather", x, self.constant(np.arange(a, b), np.int64), axis=1)
            for a, b in pairwise(ends)
        ]

    def column(self, x: str, i: int) -> str:
        """Column i of a matrix, [batch, 1]."""
        return self.put("Gather", x, self.constant([i], np.int64), axis=1)

    def onnx(self, last: str, output: str) -> tuple[list[Any], list[Any]]:
        """Nodes and constants as ONNX has them; `last` comes out, under the name `output`."""
        from onnx import helper, numpy_helper

        nodes = [
            helper.make_node(n.operator, n.inputs, [n.output], **n.attributes) for n in self.nodes
        ]
        nodes.append(helper.make_node("Identity", [last], [output]))
        return nodes, [numpy_helper.from_array(x, name) for name, x in self.held.items()]
