"""A policy for NumPy alone: `policy.npz`, and a short program beside it that acts by it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from hyperpolicy import files
from hyperpolicy.errors import AlreadyExists
from hyperpolicy.export.contract import Contract, layers
from hyperpolicy.policies import Policies

PROGRAM = '''"""Acts by {npz}. It needs NumPy and nothing else.

    from {module} import act
    action = act(observation)        # [{o}] → [{a}], or [n, {o}] → [n, {a}]

As a program it reads observations, one a line, and prints actions:

    python {module}.py < observations.txt

{task}
Observation: {what}
Action: {a} numbers from {low:g} to {high:g}, every {dt_s:g} s.
"""

import json
import sys
from pathlib import Path

import numpy as np

HELD = dict(np.load(Path(__file__).with_name("{npz}")))
ABOUT = json.loads(str(HELD["about"]))
ACTIVATIONS = {{
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "tanh": np.tanh,
    "swish": lambda x: x / (1 + np.exp(-x)),
    "clip": lambda x: np.clip(x, -1, 1),
}}


def act(observation):
    """The action for one observation, or for each of several."""
    x = np.asarray(observation, np.float32)
    for n, name in enumerate(ABOUT["activations"]):
        x = ACTIVATIONS[name](x @ HELD[f"weight_{{n}}"] + HELD[f"bias_{{n}}"])
    return x * HELD["factor"] + HELD["offset"]


if __name__ == "__main__":
    for line in sys.stdin:
        print(*act([float(word) for word in line.split()]))
'''


def write(policy: Policies, contract: Contract, path: str | Path) -> list[Path]:
    """The new file of one policy, `path` with the suffix .npz, and the program beside it.

    Raises:
        BadShape: not one policy of the contract's family.
        AlreadyExists, DiskFull: one of them cannot be written; nothing is left half written.
    """
    contract.check(policy)
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    program = path.with_name(_module(path.stem) + ".py")
    for one in (path, program):
        if os.path.lexists(one):
            raise AlreadyExists(f"{one} exists; choose another name or remove it first")
    held = layers(policy)
    arrays: dict[str, Any] = {f"weight_{n}": weight for n, (weight, _, _) in enumerate(held)}
    arrays |= {f"bias_{n}": bias for n, (_, bias, _) in enumerate(held)}
    factor, offset = contract.scale
    about = contract.record()
    arrays["about"] = np.array(json.dumps(about | {"activations": [name for *_, name in held]}))
    arrays |= {"factor": np.float32(factor), "offset": np.float32(offset)}

    def save(place: Path) -> None:
        with place.open("wb") as file:
            np.savez(file, **arrays)

    family = contract.family
    text = PROGRAM.format(
        npz=path.name,
        module=program.stem,
        o=family.obs_size,
        a=family.action_size,
        task=f"{family.name}, {about['task']}; {contract.origin or 'hyperpolicy'}",
        what=about["observation"]["what"],
        low=contract.action_low,
        high=contract.action_high,
        dt_s=family.dt_s,
    )
    files.write(path, save)
    try:
        files.write(program, lambda p: p.write_text(text, encoding="utf-8"))
    except BaseException:
        path.unlink()  # both or none
        raise
    return [path, program]


def _module(stem: str) -> str:
    """A name that can be imported."""
    plain = "".join(x if x.isalnum() else "_" for x in stem)
    return f"policy_{plain}" if plain[:1].isdigit() else plain
