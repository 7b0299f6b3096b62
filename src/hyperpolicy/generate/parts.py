"""The three parts of a generator, the model they make, and the parts that nothing is learned by.

    reader   given → condition
    writer   condition, key → latent
    codec    latent → flat weights, and back

Every part is a pytree: its leaves are its arrays, and `settings` are the sizes and choices that
its `blank` needs to make a part of the same structure, with any numbers.
"""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from jaxtyping import Key as Keys

from hyperpolicy.data.given import Contexts, Given
from hyperpolicy.envs import ContextSpace, Family
from hyperpolicy.generate import kinds
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.types import Key

Rows = Float[np.ndarray | Array, "n _"]
"""One row of numbers for each task."""


class Frame(NamedTuple):
    """What a part has to fit."""

    family: Family
    spec: PolicySpec
    vector: int
    """p, numbers in what a codec decodes to: a policy, or twin critics."""
    condition: int = 0
    """d, known once there is a reader."""
    latent: int = 0
    """z, known once there is a codec."""


@runtime_checkable
class Part(Protocol):
    kind: ClassVar[str]
    """Its name in `kinds.KINDS`."""

    def settings(self) -> dict:
        """Sizes and choices, as JSON."""

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> Any:
        """A part with these settings and any numbers; it is asked for its shapes only."""


@runtime_checkable
class Reader(Part, Protocol):
    takes: ClassVar[type[Given]]
    """What it reads."""
    column: ClassVar[str]
    """What the column "given" of a table says about its generators."""

    @property
    def size(self) -> int:
        """d, numbers in a condition."""

    def read(self, given: Given) -> Rows:
        """The condition [d] of each task; row i depends on row i alone."""


@runtime_checkable
class Writer(Part, Protocol):
    def write(self, conditions: Rows, keys: Keys[Array, " n"]) -> Rows:
        """A latent [z] for each condition; row i depends on condition and key i alone."""


@runtime_checkable
class Codec(Part, Protocol):
    @property
    def size(self) -> int:
        """z, numbers in a latent."""

    def encode(self, weights: Float[Array, " p"]) -> Float[Array, " z"]:
        """The latent of one vector of weights."""

    def decode(self, latent: Float[Array, " z"]) -> Float[Array, " p"]:
        """The weights of one latent."""

    def decode_rows(self, latents: Rows) -> Float[np.ndarray, "n p"]:
        """The weights of many latents."""


class RowWriter(eqx.Module):
    """A writer that says how it writes ONE latent; `vmap` makes many."""

    @abstractmethod
    def __call__(self, condition: Float[Array, " d"], key: Key) -> Float[Array, " z"]:
        """The latent for one condition; `key` draws its noise."""

    def write(self, conditions: Rows, keys: Keys[Array, " n"]) -> Float[Array, "n z"]:
        return _write_rows(self, jnp.asarray(conditions, jnp.float32), keys)


@jax.jit
def _write_rows(writer: RowWriter, conditions: Float[Array, "n d"], keys: Keys[Array, " n"]):
    return jax.vmap(lambda condition, key: writer(condition, key))(conditions, keys)


@jax.jit
def decode_rows(codec: Codec, latents: Float[Array, "n z"]) -> Float[Array, "n p"]:
    """The weights of many latents, as one program."""
    return jax.vmap(codec.decode)(latents)


class Model(eqx.Module):
    """Reader · Writer · Codec."""

    reader: Reader
    writer: Writer
    codec: Codec

    def vectors(self, given: Given, keys: Keys[Array, " n"]) -> Float[np.ndarray, "n p"]:
        """Flat weights, one row for each row of `given`."""
        return self.codec.decode_rows(self.writer.write(self.reader.read(given), keys))

    def settings(self) -> dict:
        """The kind and the settings of each part, as JSON."""
        return {name: record(getattr(self, name)) for name in ("reader", "writer", "codec")}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Model":
        """A model with these settings, made of `blank` parts."""
        reader, codec = (blank(settings[name], frame) for name in ("reader", "codec"))
        frame = frame._replace(condition=reader.size, latent=codec.size)
        return cls(reader, blank(settings["writer"], frame), codec)


def record(part: Part) -> dict:
    """The kind and the settings of a part, as JSON."""
    return {"kind": part.kind, **part.settings()}


def blank(settings: dict, frame: Frame) -> Any:
    """The part that `record` described; its leaves have shapes and no numbers.

    Raises BadFile for a kind that this version does not have.
    """
    return eqx.filter_eval_shape(lambda: kinds.part(settings["kind"]).blank(settings, frame))


def alike(one: Part, other: Part) -> bool:
    """Whether two parts are of one kind and hold the same numbers."""
    leaves = jax.tree.leaves(one), jax.tree.leaves(other)
    same = len(leaves[0]) == len(leaves[1]) and all(map(np.array_equal, *leaves))
    return same and record(one) == record(other)


def row_keys(seed: int, n: int) -> Keys[Array, " n"]:
    """A key for each of n rows; key i depends on `seed` and i only."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(n))


# --- Parts without anything learned -------------------------------------------------------
class PlainContext(eqx.Module):
    """Reads the context as it is, in the family's units."""

    kind: ClassVar[str] = "context"
    takes: ClassVar[type[Given]] = Contexts
    column: ClassVar[str] = Contexts.column
    space: ContextSpace = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.space.size

    def read(self, given: Given) -> Float[np.ndarray, "n c"]:
        return given.rows

    def settings(self) -> dict:
        return {}

    @classmethod
    def blank(cls, settings: dict, frame: Frame):
        return cls(frame.family.context)


class EncodedContext(PlainContext):
    """Reads the context as networks take it (`ContextSpace.encode`), each number in [−1, 1]."""

    kind: ClassVar[str] = "encoded-context"

    @property
    def size(self) -> int:
        return self.space.encoded_size

    def read(self, given: Given) -> Float[np.ndarray, "n d"]:
        return np.asarray(self.space.encode(given.rows))


class VaryingContext(PlainContext):
    """Reads the coordinates in which training contexts differ, each scaled to [−1, 1] (or told as
    `Coordinate.encode` says, where it is a circle or a choice)."""

    kind: ClassVar[str] = "varying-context"
    columns: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, space: ContextSpace, contexts: Float[np.ndarray, "x c"]) -> "VaryingContext":
        """The reader of the coordinates in which these contexts differ; all, where none does."""
        columns = np.flatnonzero((contexts != contexts[:1]).any(axis=0)).tolist()
        return cls(space, tuple(columns or range(space.size)))

    @property
    def size(self) -> int:
        return sum(self.space.coordinates[i].encoded_size for i in self.columns)

    def read(self, given: Given) -> Float[np.ndarray, "n d"]:
        parts = [self.space.coordinates[i].encode(given.rows[:, i], np) for i in self.columns]
        return np.stack([column for part in parts for column in part], axis=1)

    def settings(self) -> dict:
        return {"columns": list(self.columns)}

    @classmethod
    def blank(cls, settings: dict, frame: Frame):
        return cls(frame.family.context, tuple(settings["columns"]))


class Identity(eqx.Module):
    """The codec that changes nothing: a latent is the weights themselves."""

    kind: ClassVar[str] = "identity"
    size: int = eqx.field(static=True)

    def encode(self, weights: Float[Array, " p"]) -> Float[Array, " p"]:
        return weights

    def decode(self, latent: Float[Array, " p"]) -> Float[Array, " p"]:
        return latent

    def decode_rows(self, latents: Rows) -> Float[np.ndarray, "n p"]:
        return np.asarray(latents)

    def settings(self) -> dict:
        return {}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Identity":
        return cls(frame.vector)
