"""Fitted methods as files: one safetensors file with the method's name, family, configuration and
arrays, named by where they stand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import msgspec
import numpy as np
from msgspec import Struct

from hyperpolicy import headers
from hyperpolicy.bounds import Bounded
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadFile, BadSetting

Format = Literal["hyperpolicy-baseline-1"]
FORMAT: Format = "hyperpolicy-baseline-1"


class BaselineHeader(Struct, frozen=True):
    """Of a file of a fitted method."""

    format: Format
    method: headers.PlainName
    family: headers.Record
    config: headers.Record
    provenance: headers.Record


class Fitted(NamedTuple):
    """What a file holds."""

    family: Family
    config: Any
    tree: Any
    """Of NumPy arrays."""
    provenance: dict


def save(path: str | Path, method: str, fitted: Fitted) -> Path:
    """Write one safetensors file; an existing file is an error."""
    config = msgspec.to_builtins(fitted.config)
    family = fitted.family.record()
    header = BaselineHeader(FORMAT, method, family, config, fitted.provenance)
    return headers.save_arrays(path, _named(fitted.tree), header)


def load(
    path: str | Path, method: str, kind: type[Bounded], blank: Callable[[Family, Any], Any]
) -> Fitted:
    """What `save` wrote; `blank(family, config)` is a tree of the same structure, with any numbers.

    Raises:
        BadFile: it holds another method, is damaged, or holds numbers that are not finite.
    """
    arrays, header = headers.load_arrays(path, BaselineHeader, ())
    if header.method != method:
        raise BadFile(f"{path} holds a fit of {header.method}, not of {method}")
    family = read_family(header.family)
    try:
        config = msgspec.convert(header.config, kind)
    except (msgspec.ValidationError, BadSetting) as error:
        raise BadFile(f"{path}: this configuration of {method} is damaged: {error}") from None
    like = jax.eval_shape(lambda: blank(family, config))
    wanted = {name: leaf.shape for name, leaf in _named(like).items()}
    if wanted != {name: x.shape for name, x in arrays.items()}:
        raise BadFile(f"{path} does not fit its header; it is damaged, or of another version")
    tree = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])
    return Fitted(family, config, tree, header.provenance)


def size(tree) -> int:
    """Numbers in a tree of arrays."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def _named(tree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
