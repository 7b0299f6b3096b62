"""A generator as an ONNX file (extra `[export]`): contexts [batch, c] or demonstrations [batch, h]
→ flat weights of policies [batch, p].

    given → reader → condition → writer → latent → codec → weights

Each part is a few plain operators (`generator_parts.py`). A generator that draws noise has it as an
input of its own, standard normal [batch, noise].
"""

import json
import os
from pathlib import Path

import jax
import numpy as np

from hyperpolicy import files
from hyperpolicy.data.demonstrations import Demonstrations, widths
from hyperpolicy.data.given import Contexts, Given
from hyperpolicy.errors import AlreadyExists, BadSetting
from hyperpolicy.export.generator_parts import PARTS
from hyperpolicy.export.graph import Graph
from hyperpolicy.export.onnx_file import IR, OPSET, load_onnx, open_session
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.parts import row_keys

FORMAT = "hyperpolicy-generator-onnx-1"


# --- Writing ------------------------------------------------------------------------------
def write(generator: Generator, path: str | Path) -> Path:
    """The new ONNX file of a generator.

    Raises:
        MissingExtra: onnx is not installed.
        BadSetting: a generator with parts that are not written here.
        AlreadyExists, DiskFull: it cannot be written; nothing is left half written.
    """
    onnx = load_onnx()
    from onnx import TensorProto, helper

    graph, last = graph_of(generator)
    nodes, held = graph.onnx(last, "weights")

    def port(name: str, size: int):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

    ends = [port(*one) for one in graph.ports.items()], [port("weights", generator.spec.size)]
    made = helper.make_model(
        helper.make_graph(nodes, "generator", *ends, held),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="hyperpolicy",
    )
    made.ir_version = IR
    helper.set_model_props(made, _about(generator))
    onnx.checker.check_model(made, full_check=True)
    if os.path.lexists(path):
        raise AlreadyExists(f"{path} exists; choose another name or remove it first")
    return files.write(path, lambda p: p.write_bytes(made.SerializeToString()))


def graph_of(generator: Generator) -> tuple[Graph, str]:
    """A generator's operators, and the name of the weights. Raises BadSetting: a part that is not
    written here."""
    model, family = generator.model, generator.family
    for part in (model.reader, model.writer, model.codec):
        if part.kind not in PARTS:
            raise BadSetting(
                f"generators with a {part.kind} are not exported whole; known parts: "
                f"{', '.join(PARTS)}. Export the policies that it writes"
            )
    graph = Graph(family.context.encoded_size)
    last = graph.port(*_given(generator))
    for part in (model.reader, model.writer, model.codec):
        last = PARTS[part.kind](graph, last, part)
    return graph, last


def _given(generator: Generator) -> tuple[str, int]:
    """The input that a generator is told by, and how many numbers it has."""
    if generator.takes is Contexts:
        return "context", generator.family.context.size
    if generator.takes is Demonstrations:
        return "demonstration", sum(widths(generator.family))
    raise BadSetting(
        f"this generator reads {generator.takes.name}; those that read contexts or demonstrations "
        "are exported whole: export the policies that it writes"
    )


def _about(generator: Generator) -> dict[str, str]:
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


def gap(generator: Generator, path: Path, given: Given, seed: int = 0) -> float:
    """The largest difference of a weight that a file writes for some contexts or demonstrations,
    each with noise of its own. Raises MissingExtra: onnxruntime is not installed."""
    session, keys = open_session(path), row_keys(seed, len(given))
    told: dict[str, np.ndarray] = {_given(generator)[0]: np.asarray(given.rows, np.float32)}
    for port in session.get_inputs():
        if port.name == "noise":
            told["noise"] = np.stack([jax.random.normal(key, port.shape[-1:]) for key in keys])
    theirs = session.run(None, told)[0]
    return float(np.abs(theirs - generator.model.vectors(given, keys)).max())
