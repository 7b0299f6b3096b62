"""A generator as a page runs it: the operators of its export, and its constants."""

from typing import Any

import numpy as np

from hyperpolicy.data.given import Contexts
from hyperpolicy.errors import BadSetting
from hyperpolicy.export.generator_file import graph_of
from hyperpolicy.generate.generator import Generator
from hyperpolicy.page.pack import Pack

OPERATORS = set(
    "Abs Add ArgMin Cast Clip Concat Cos Div Equal Erf Gather Gemm Greater Identity "
    "LayerNormalization MatMul Max Min Mod Mul Relu Sin Sub Sum Tanh".split()
)
"""What the page's `graph.js` knows."""


def of(generator: Generator, pack: Pack) -> dict[str, Any]:
    """Operators and constants of a generator that reads contexts. Raises BadSetting: it reads
    something else, or has a part that is not exported."""
    if generator.takes is not Contexts:
        raise BadSetting(
            f"this generator reads {generator.takes.name}; pages have those that read contexts"
        )
    graph, last = graph_of(generator)
    unknown = {node.operator for node in graph.nodes} - OPERATORS
    if unknown:
        raise BadSetting(f"pages do not know the operators {', '.join(sorted(unknown))}")
    held = {}
    for name, x in graph.held.items():
        held[name] = pack.add(x, "i4" if np.issubdtype(x.dtype, np.integer) else "f4")
    return {
        "ports": graph.ports,
        "nodes": [[n.operator, list(n.inputs), n.output, n.attributes] for n in graph.nodes],
        "constants": held,
        "weights": last,
        "kind": generator.kind,
    }


def policy(generator: Generator) -> dict[str, Any]:
    """Layers of the policies it writes, the last of which is the mean's."""
    spec = generator.spec
    shapes = spec.layers[: len(spec.hidden) + 1]
    return {
        "layers": [list(shape) for shape in shapes],
        "activations": [*spec.activations, spec.output],
        "numbers": spec.size,
    }
