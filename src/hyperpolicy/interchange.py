"""Make-An-Agent's published files ⇄ a zoo and its demonstrations.

Paper: Liang et al., NeurIPS 2024 (arXiv:2407.10973), with its released code and data. A file,
written by PyTorch, is a dict of three tensors, row i of each of one policy:

    param [r, 22664]   39 → 128 (ELU) → 128 (ReLU) → μ 4, log σ 4: W₁ b₁ W₂ b₂ W_μ b_μ W_σ b_σ
    traj  [r, 1020]    the opening of an episode that succeeded } as `demonstrations` lays them out
    task  [r, 117]     its ending                               }

PyTorch keeps a layer's W as [out, in] and we as [in, out]; apart from that nothing changes, and
there and back is the identity. A file says neither which task it is of nor what its policies
return: the task is told, returns are not measured, and places in the file stand for updates.

Departures from the released code:
D1  The actor there clamps log σ to [−20, 2], ours squashes it into [−5, 2] by tanh. The numbers are
    kept as they are: deterministic actions tanh(μ) are the same, sampled ones are not.
D2  Only tensors are read. There `torch.load` unpickles, and so runs, whatever a file holds.
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import files
from hyperpolicy.data.demonstrations import Demonstrations, widths
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.errors import BadFile, BadSetting, BadShape, BadZoo, MissingExtra
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.zoo import Zoo

FAMILY = MetaWorld()
SPEC = PolicySpec(FAMILY.obs_size, FAMILY.action_size, (128, 128), ("elu", "relu"))
WIDTHS = dict(zip(("param", "traj", "task"), (SPEC.size, *widths(FAMILY)), strict=True))
"""Numbers in a row of each tensor."""
LARGEST = float(np.finfo(np.float16).max)
"""Zoos and demonstrations are stored as float16."""
LAYOUT = "Make-An-Agent's layout is a dict of tensors 'param', 'traj' and 'task', by torch.save"
SAMPLING = (
    "log σ was made for a clamp to [−20, 2] and is squashed into [−5, 2] by tanh here: sampled "
    "actions differ from the released actor's, deterministic ones do not"
)


# --- Files --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tensors:
    """The three tensors of a file, as arrays."""

    param: Float[np.ndarray, "r p"]
    traj: Float[np.ndarray, "r f"]
    task: Float[np.ndarray, "r g"]

    def __post_init__(self):
        shapes = {name: np.shape(getattr(self, name)) for name in WIDTHS}
        for name, width in WIDTHS.items():
            if shapes[name][1:] != (width,):
                raise BadShape(
                    f"{name!r} has shape {list(shapes[name])}, not [r, {width}]: 'param' is "
                    f"[r, {WIDTHS['param']}], 'traj' [r, {WIDTHS['traj']}], 'task' "
                    f"[r, {WIDTHS['task']}] (the released `processed` files hold latents instead)"
                )
        rows = {name: shape[0] for name, shape in shapes.items()}
        if len(set(rows.values())) != 1 or not rows["param"]:
            counted = ", ".join(f"{n} in {name!r}" for name, n in rows.items())
            raise BadShape(f"rows do not match: {counted}; there is one a policy, at least one")
        for name in WIDTHS:
            array = np.asarray(getattr(self, name))
            bad = np.flatnonzero(~(np.abs(array) <= LARGEST).all(axis=1))  # NaN compares false
            if len(bad):
                raise BadShape(
                    f"row {bad[0]} of {name!r} has numbers that are not finite, or beyond "
                    f"±{LARGEST:.0f}; leave such rows out of all three tensors"
                )
            object.__setattr__(self, name, array.astype(np.float32))

    def __len__(self) -> int:
        return len(self.param)

    def save(self, path: str | Path) -> Path:
        """Write the three tensors, float32, as PyTorch does; an existing file is an error. Raises
        MissingExtra: torch is not installed; AlreadyExists, DiskFull: as `files.write`."""
        torch = _torch()
        files.check_space(path, 4 * len(self) * sum(WIDTHS.values()))
        held = {name: torch.tensor(getattr(self, name)) for name in WIDTHS}

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:  # torch's own files do not say that a disk is full
                torch.save(held, file)

        return files.write(path, write)

    @classmethod
    def load(cls, path: str | Path) -> "Tensors":
        """The tensors of the file at `path`, as float32; nothing but tensors is ever read. Raises
        MissingExtra: torch is not installed; BadFile: it is missing, damaged, or holds something
        else."""
        torch = _torch()
        held = _read(torch, path)
        missing = WIDTHS.keys() - held.keys() if isinstance(held, dict) else set(WIDTHS)
        if missing:
            names = ", ".join(repr(name) for name in WIDTHS if name in missing)
            raise BadFile(f"{path} lacks {names}; {LAYOUT}")
        for name in WIDTHS:
            tensor = held[name]
            if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
                raise BadFile(f"{path}: {name!r} is not a tensor of floating-point numbers")
            if tensor.layout != torch.strided:
                raise BadFile(f"{path}: {name!r} is sparse; save its to_dense()")
        try:
            return cls(*(held[name].detach().float().numpy() for name in WIDTHS))
        except BadShape as fault:
            raise BadFile(f"{path}: {fault}") from None


def _torch():
    try:
        import torch
    except ImportError:
        raise MissingExtra(
            "Make-An-Agent's files need PyTorch: pip install 'hyperpolicy[torch]'"
        ) from None
    return torch


def _read(torch, path: str | Path):
    """What torch finds in a file of tensors."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except OSError as fault:
        raise BadFile(f"cannot read {path}: {fault.strerror or fault}") from None
    except pickle.UnpicklingError as fault:
        found = re.search(r"GLOBAL (\S+)", str(fault))
        if not found:
            raise BadFile(f"{path} is no file of tensors; {LAYOUT}") from None
        raise BadFile(
            f"{path} holds {found[1]} besides tensors, which could run code and is not read; "
            f"{LAYOUT}"
        ) from None
    except Exception as fault:  # what torch raises at a damaged file is of many kinds
        first = f"{fault}".partition("\n")[0]
        raise BadFile(f"{path} is not a whole torch file ({first or 'it ends early'})") from None


# --- Arrays -------------------------------------------------------------------------------
def places(spec: PolicySpec) -> Int[np.ndarray, " p"]:
    """Where each number of our flat order stands in PyTorch's: ours = theirs[places]."""
    found, start = [], 0
    for i, o in spec.layers:
        end = start + i * o
        found += [np.arange(start, end).reshape(o, i).T.ravel(), np.arange(end, end + o)]
        start = end + o
    return np.concatenate(found)


def make_zoo(published: Mapping[str, Tensors]) -> tuple[Zoo, Demonstrations]:
    """A zoo with one expert a named task, and demonstration i of row i.

    Rows stand file by file; an expert's last one is final. D1 holds for sampled actions.

    Raises:
        UnknownTask: no such Meta-World task; the message suggests one.
        BadSetting: no task, or one under two names.
    """
    contexts = FAMILY.contexts(published)
    if not published or len(np.unique(contexts)) != len(contexts):
        raise BadSetting(f"tasks {list(published)}; name at least one, and each once")
    tables = list(published.values())
    counts = [len(table) for table in tables]
    param, traj, task = (np.concatenate([getattr(t, name) for t in tables]) for name in WIDTHS)
    expert = np.repeat(np.arange(len(tables)), counts)
    zoo = Zoo(
        spec=SPEC,
        family=FAMILY,
        weights=param[:, places(SPEC)],
        expert=expert,
        updates=np.fromiter(chain(*map(range, counts)), int),
        final=np.isin(np.arange(len(expert)), np.cumsum(counts) - 1),
        returns=np.full(len(expert), np.nan, np.float32),
        contexts=contexts,
        provenance={
            "imported": "Make-An-Agent's published layout",
            "tasks": [FAMILY.task_name(context) for context in contexts],
            "updates": "places in the file; the last row is called final and is no average",
            "sampling": SAMPLING,
        },
    )
    return zoo, Demonstrations(FAMILY, zoo.row_contexts, traj, task)


def make_tensors(zoo: Zoo, demonstrations: Demonstrations) -> Tensors:
    """All rows of a zoo in Make-An-Agent's layout, each with its demonstration; D1 holds for
    sampled actions.

    Raises:
        BadZoo: another family, or policies of other sizes or activations.
        BadShape: not one demonstration a row, of that row's task; or numbers beyond float16.
    """
    if zoo.family.name != FAMILY.name or zoo.spec != SPEC:
        raise BadZoo(
            f"a zoo of {zoo.family.name} with {zoo.spec}; the layout holds {FAMILY.name} with "
            f"{SPEC}: "
            "train experts with --hidden 128 128 --activations elu relu"
        )
    rows, shown = zoo.row_contexts, demonstrations.contexts
    if demonstrations.family.name != zoo.family.name or not np.array_equal(rows, shown):
        raise BadShape(
            f"{len(shown)} demonstrations of {demonstrations.family.name} for {len(rows)} rows; "
            "give one a row, of its task and in order (Zoo.load(path, rows) reads only the rows "
            "that have one, and `Demonstrations.cut` says of which episode each is)"
        )
    param = np.empty_like(zoo.weights)
    param[:, places(SPEC)] = zoo.weights
    return Tensors(param, demonstrations.opening, demonstrations.ending)


def beside(zoo: Path) -> Path:
    """Where the demonstrations of a zoo's rows lie, unless told otherwise.

    Not inside: a zoo counts what is in its directory.
    """
    return Path(f"{zoo}.demonstrations.safetensors")
