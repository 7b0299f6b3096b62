"""A policy out of a PyTorch state dict (extra `[torch]`): CleanRL's, rsl_rl's, anybody's.

Only tensors are read: `torch.load` with `weights_only=True` refuses everything else.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from hyperpolicy.errors import BadFile, MissingExtra
from hyperpolicy.imports import named
from hyperpolicy.imports.layers import Hints, Layers


def read(path: Path, hints: Hints) -> Layers:
    """Raises BadFile, BadSetting, MissingExtra: as `layers.read`."""
    arrays = tensors(path.read_bytes(), str(path))
    return named.of_arrays(arrays, str(path), hints)


def tensors(data: bytes, where: str) -> dict[str, Any]:
    """All tensors in nested dictionaries, as arrays by their dotted names; of several networks in a
    row the first, the actor, has no number before its names."""
    try:
        import torch
    except ImportError:
        raise MissingExtra(
            "PyTorch is not installed; pip install 'hyperpolicy[torch]', or save the arrays by "
            "name as safetensors, which needs no PyTorch here"
        ) from None
    try:
        held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise BadFile(
            f"{where} holds more than tensors, which would run code when it is opened; save "
            "model.state_dict() alone"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:150]
        raise BadFile(f"{where} is no file of PyTorch, or damaged: {said}") from None
    found: dict[str, Any] = {}
    _collect(held, "", found)
    return found


def _collect(part: Any, name: str, found: dict[str, Any]) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            _collect(value, f"{name}.{key}" if name else str(key), found)
    elif isinstance(part, tuple | list):
        for i, value in enumerate(part):
            _collect(value, f"{name}.{i}" if name else (str(i) if i else ""), found)
    elif hasattr(part, "detach"):
        found[name] = part.detach().cpu().numpy()
