"""A policy as an ONNX file of plain operators (extra `[export]`), and an actor that runs such ones.

    observation [batch, o] float32 → Gemm → activation → … → Gemm → Tanh → scale → action [batch, a]

Normalization was folded into the first layer before (`nets/fold.py`); the metadata are the
contract's.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hyperpolicy import files
from hyperpolicy.envs import Family
from hyperpolicy.errors import AlreadyExists, BadFile, BadShape, MissingExtra
from hyperpolicy.export.contract import Contract, layers
from hyperpolicy.policies import Actor, Policies

OPSET, IR = 17, 8
"""Of 2022: what microcontrollers' compilers and old runtimes read."""
OPERATORS = {"relu": "Relu", "elu": "Elu", "tanh": "Tanh", "clip": "Clip"}
SUFFIX = ".onnx"


# --- Writing ------------------------------------------------------------------------------
def write(policy: Policies, contract: Contract, path: str | Path) -> Path:
    """The new ONNX file of one policy.

    Raises:
        MissingExtra: onnx is not installed.
        BadShape: not one policy of the contract's family.
        AlreadyExists, DiskFull: it cannot be written; nothing is left half written.
    """
    contract.check(policy)
    model = _model(policy, contract)
    if os.path.lexists(path):
        raise AlreadyExists(f"{path} exists; choose another name or remove it first")
    return files.write(path, lambda p: p.write_bytes(model.SerializeToString()))


def _model(policy: Policies, contract: Contract):
    onnx = load_onnx()
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value):
        return numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)

    nodes, held, last, activation = [], [], "observation", ""
    for n, (weight, bias, activation) in enumerate(layers(policy)):
        held += [constant(f"weight_{n}", weight), constant(f"bias_{n}", bias)]
        names = [last, f"weight_{n}", f"bias_{n}"]
        nodes.append(helper.make_node("Gemm", names, [f"sum_{n}"], f"layer_{n}"))
        last = f"hidden_{n}"
        limits = ["least", "most"] if activation == "clip" else []
        if activation == "swish":
            nodes.append(helper.make_node("Sigmoid", [f"sum_{n}"], [f"gate_{n}"]))
            nodes.append(helper.make_node("Mul", [f"sum_{n}", f"gate_{n}"], [last]))
            continue
        nodes.append(helper.make_node(OPERATORS[activation], [f"sum_{n}", *limits], [last]))
    if activation == "clip":
        held += [constant("least", -1.0), constant("most", 1.0)]
    factor, offset = contract.scale
    held += [constant("factor", factor), constant("offset", offset)]
    nodes.append(helper.make_node("Mul", [last, "factor"], ["scaled"]))
    nodes.append(helper.make_node("Add", ["scaled", "offset"], ["action"]))
    family = contract.family

    def port(name: str, size: int):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

    ends = [port("observation", family.obs_size)], [port("action", family.action_size)]
    graph = helper.make_graph(nodes, "policy", *ends, held)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="hyperpolicy"
    )
    made.ir_version = IR
    helper.set_model_props(made, contract.strings())
    onnx.checker.check_model(made, full_check=True)
    return made


def load_onnx():
    """The package. Raises MissingExtra: it is not installed."""
    try:
        import onnx
    except ImportError:
        raise MissingExtra("onnx is not installed; pip install 'hyperpolicy[export]'") from None
    return onnx


# --- Running ------------------------------------------------------------------------------
def open_session(path: Path) -> Any:
    """A model in onnxruntime, on one thread. Raises MissingExtra: it is not installed; BadFile: no
    model that it reads."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra(
            "onnxruntime is not installed; pip install 'hyperpolicy[export]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has exceptions of its own, of no common class
        said = " ".join(str(error).split())[:200]
        raise BadFile(f"{path} is no ONNX model that onnxruntime reads: {said}") from None


@dataclass(frozen=True)
class OnnxActor(Actor):
    """Acts by an ONNX file in onnxruntime: observations [batch, o] → actions [batch, a], in the
    units of its contract, brought back to [−1, 1]. Every policy of a rollout is this one."""

    path: Path
    family: Family

    @cached_property
    def session(self) -> Any:
        """Raises MissingExtra, BadFile: as `open_session`, or not one input and one output."""
        found = open_session(self.path)
        if (len(found.get_inputs()), len(found.get_outputs())) != (1, 1):
            raise BadFile(f"{self.path} has not one input and one output; give a policy's file")
        return found

    @cached_property
    def ends(self) -> tuple[float, float]:
        """What −1 and 1 stand for, by the metadata; themselves where nothing is said."""
        import json

        known = self.session.get_modelmeta().custom_metadata_map
        try:
            said = json.loads(known["action"])
            return float(said["low"]), float(said["high"])
        except (KeyError, TypeError, ValueError):
            return -1.0, 1.0

    def act(self, carry, obs, key):
        """Raises BadShape: the model takes other observations, or gives other actions."""
        n, e, o = obs.shape
        port = self.session.get_inputs()[0]
        if port.shape[-1] != o:
            raise BadShape(
                f"{self.path} takes observations of {port.shape[-1]} numbers; {self.family.name} "
                f"has {o}"
            )
        rows = np.ascontiguousarray(obs, np.float32).reshape(n * e, o)
        action = self.session.run(None, {port.name: rows})[0]
        if action.shape != (n * e, self.family.action_size):
            raise BadShape(
                f"{self.path} gives actions of shape {list(action.shape)}; {self.family.name} "
                f"takes [{n * e}, {self.family.action_size}]"
            )
        low, high = self.ends
        return (2.0 * (action - low) / (high - low) - 1.0).reshape(n, e, -1), carry

    def take(self, rows):
        return self
