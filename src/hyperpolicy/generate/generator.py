"""A generator: contexts or demonstrations → Policies, whatever kind of model writes the weights;
and its directory.

    config.json          kind, family, policy, training contexts, the model's settings, checksums
    weights.safetensors  the model's arrays, named by where they stand in it; float16 is read as
                         float32
    provenance.json      configuration, seed, zoo, library versions

`config.json` is written last: a directory without it is not a generator.
"""

import warnings
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float

from hyperpolicy import files, headers, seeds
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs import ContextSpace, Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import AlreadyExists, BadContext, BadFile, BadZoo, UnknownGenerator, unknown
from hyperpolicy.headers import GeneratorHeader
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.zoo import Zoo

FORMAT = "hyperpolicy-generator-2"
HEADER, WEIGHTS, PROVENANCE = "config.json", "weights.safetensors", "provenance.json"
SHIPPED = Path(__file__).parent / "shipped"
KINDS = {
    "regression": "regression:Regression",
    "hyplatent": "latent_model:HypLatent",
    "genhyper": "latent_model:GenHyper",
    "critics": "critics:Critics",
    "conditioned": "conditioned:Conditioned",
    "demonstrated": "demonstrated:Demonstrated",
    "nearest": "interpolate:Nearest",
    "linear": "interpolate:Linear",
    "residual": "residual:Residual",
    "symmetric": "symmetric:Symmetric",
}


@runtime_checkable
class Model(Protocol):
    """What writes the weights: a pytree of arrays and a few JSON settings."""

    kind: ClassVar[str]

    def write(
        self, family: Family, given: Float[np.ndarray, "n c"], seed: int
    ) -> Float[np.ndarray, "n p"]:
        """Flat policy weights, one row a context; a demonstration's numbers stand for a context
        where a model reads those."""
        ...

    def settings(self) -> dict:
        """Sizes and choices, as JSON, that `skeleton` needs."""
        ...

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec: PolicySpec) -> "Model":
        """A model of the same structure whose leaves have shapes and no numbers."""
        ...


@dataclass(frozen=True)
class Generator:
    """Writes one policy per context. `fit`, `load` and the trivial rows all return this."""

    family: Family
    spec: PolicySpec
    trained_contexts: Float[np.ndarray, "x c"]
    model: Model
    provenance: dict = field(default_factory=dict)

    def generate(self, given, seed: int = 0) -> Policies:
        """One policy a context or demonstration; `seed` draws the noise of generators that take
        some.

        `given` is contexts [n, c], in the family's units; or `Demonstrations`, for a generator that
        was fitted on some. Row i depends on row i of these, i and `seed` only.

        Raises:
            BadContext: wrong shape, not finite, or outside what physics allows; or contexts for a
                generator that reads demonstrations, and the other way round.

        Warns:
            UserWarning: a context lies outside the trained range.
        """
        if self.takes_demonstrations or isinstance(given, Demonstrations):
            rows = self.check_demonstrations(given).rows
        else:
            rows = self.check(given)
        return Policies(self.model.write(self.family, rows, seeds.small(seed)), self.spec)

    @property
    def takes_demonstrations(self) -> bool:
        """Whether it reads demonstrations and no contexts."""
        return self.model.kind == "demonstrated"

    def check_demonstrations(self, given) -> Demonstrations:
        """What was given, if these are demonstrations this generator can read.

        Raises:
            BadContext: they are none, or of another family; or it reads contexts.
        """
        if not self.takes_demonstrations:
            raise BadContext("this generator reads contexts [n, c], not demonstrations")
        if not isinstance(given, Demonstrations):
            raise BadContext(
                "this generator reads demonstrations; give hp.Demonstrations, for example "
                "Demonstrations.load(file)"
            )
        if given.family.name != self.family.name:
            raise BadContext(
                f"demonstrations of {given.family.name} for a generator of {self.family.name}"
            )
        return given

    def check(self, contexts) -> Float[np.ndarray, "n c"]:
        """The contexts as an array; raises and warns as `generate` does."""
        contexts = self.family.context.check(contexts)
        outside = beyond(self.family.context, self.trained_contexts, contexts)
        if outside.any():
            low, high = self.trained_contexts.min(axis=0), self.trained_contexts.max(axis=0)
            warnings.warn(
                f"{outside.sum()} of {len(contexts)} contexts, such as "
                f"{contexts[outside][0].tolist()}, lie outside the trained range "
                f"{low.tolist()} … {high.tolist()}; what is written there is an extrapolation",
                stacklevel=3,
            )
        return contexts

    def save(self, path: str | Path, compact: bool = False) -> Path:
        """Write the generator as a new directory; it appears whole or not at all.

        `compact` rounds matrices to float16: half the size, and weights that differ in the third
        digit. Vectors stay: the offset of a number that hardly varies is large.

        Raises:
            AlreadyExists: something is at `path`.
        """
        path = Path(path)
        if path.exists():
            raise AlreadyExists(f"{path} exists; choose another name or remove it first")
        with files.directory(path) as new:
            write(self, new, compact)
        return path


def from_zoo(zoo: Zoo, model: Model, provenance: dict) -> Generator:
    """A generator fitted on `zoo`, which its provenance remembers."""
    record = {
        "kind": model.kind,
        **provenance,
        "versions": library_versions(),
        "zoo": zoo.provenance,
    }
    return Generator(zoo.family, zoo.spec, np.asarray(zoo.contexts, float), model, record)


def write(generator: Generator, path: str | Path, compact: bool = False) -> None:
    """Write a generator's three files into the directory `path`, `config.json` last."""
    path, model = Path(path), generator.model
    arrays = {name: np.asarray(leaf) for name, leaf in _named(model).items()}
    if compact:
        arrays = {name: _rounded(x) for name, x in arrays.items()}
    files.save_json(path / PROVENANCE, generator.provenance, overwrite=True)
    files.save_arrays(path / WEIGHTS, arrays, overwrite=True)
    header = GeneratorHeader(
        format=FORMAT,
        kind=model.kind,
        family=generator.family.record(),
        policy=generator.spec.header,
        trained_contexts=tuple(map(tuple, generator.trained_contexts.tolist())),
        settings=model.settings(),
        checksums={name: files.checksum(path / name) for name in (PROVENANCE, WEIGHTS)},
    )
    headers.write(path / HEADER, header)


def _rounded(x: np.ndarray) -> np.ndarray:
    """A matrix as float16 where its numbers fit; anything else as it is."""
    matrix = x.ndim > 1 and np.issubdtype(x.dtype, np.floating)
    fits = matrix and np.abs(x).max(initial=0.0) <= np.finfo(np.float16).max
    return x.astype(np.float16) if fits else x


def load(name_or_path: str | Path) -> Generator:
    """A shipped generator by name, or one's own from its directory.

    Raises:
        UnknownGenerator: neither a shipped name nor a generator's directory.
        BadFile: its files are damaged, truncated or of another version.
    """
    known = shipped()
    path = SHIPPED / name_or_path if str(name_or_path) in known else Path(name_or_path)
    if not (path / HEADER).is_file():
        if path.exists():
            raise UnknownGenerator(f"{path} is not a generator: it has no {HEADER}")
        raise unknown(UnknownGenerator, "generator", "Shipped", str(name_or_path), known)
    return _read(path)


def shipped() -> list[str]:
    """Names of the generators that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def kind_of(name: str) -> type[Any]:
    """The model called `name` in a generator's directory."""
    module, _, kind = KINDS[name].partition(":")
    return getattr(import_module(f"hyperpolicy.generate.{module}"), kind)


def check_zoo(zoo: Zoo) -> Family:
    """The zoo's family, once its rows are fit to train on.

    Raises:
        BadZoo: its policies do not fit its family, an expert has no final row, or weights are not
            finite.
    """
    tasks = zoo.family
    if (zoo.spec.obs, zoo.spec.action) != (tasks.obs_size, tasks.action_size):
        raise BadZoo(
            f"this zoo's policies take {zoo.spec.obs} observations and give {zoo.spec.action} "
            f"actions; {tasks.name} has {tasks.obs_size} and {tasks.action_size}"
        )
    if len(zoo.final_rows) != len(zoo.contexts):
        raise BadZoo(
            f"this zoo has {len(zoo.final_rows)} final rows for {len(zoo.contexts)} experts; one "
            "each is needed"
        )
    if not np.isfinite(zoo.weights).all():
        raise BadZoo(
            "this zoo holds weights that are not finite; `hyperpolicy zoo verify` says which"
        )
    return tasks


def beyond(
    space: ContextSpace, trained: Float[np.ndarray, "x c"], contexts: Float[np.ndarray, "n c"]
) -> Bool[np.ndarray, " n"]:
    """Where a context lies outside the box of the trained ones.

    On a circle every angle lies between two trained ones; those in a gap of half a circle or more
    count as outside.
    """
    outside = np.zeros(len(contexts), bool)
    for i, period in enumerate(space.period):
        known, x = np.sort(trained[:, i]), contexts[:, i]
        if period is not None:
            gaps = np.diff(known, append=known[0] + period)
            widest = int(gaps.argmax())
            if gaps[widest] < period / 2:
                continue
            origin = known[(widest + 1) % len(known)]  # the trained arc starts where the gap ends
            known, x = np.array([0.0, period - gaps[widest]]), np.mod(x - origin, period)
        slack = 1e-9 * max(1.0, np.abs(known).max())
        outside |= (x < known[0] - slack) | (x > known[-1] + slack)
    return outside


def _read(path: Path) -> Generator:
    header = headers.read(path / HEADER, GeneratorHeader, FORMAT)
    if header.kind not in KINDS:
        kind = header.kind
        raise BadFile(f"{path} holds a {kind!r}; this version reads: {', '.join(KINDS)}")
    headers.check_sums(path, header.checksums, (WEIGHTS, PROVENANCE))
    stored, _ = files.load_arrays(path / WEIGHTS)
    headers.check_finite(stored, path / WEIGHTS)
    arrays = {k: x.astype(np.float32) if x.dtype == np.float16 else x for k, x in stored.items()}
    tasks, spec = read_family(header.family), PolicySpec.of(header.policy)
    contexts = np.array(header.trained_contexts, float, ndmin=2)
    try:
        tasks.context.check(contexts)
        like = kind_of(header.kind).skeleton(header.settings, tasks, spec)
        wanted = {name: leaf.shape for name, leaf in _named(like).items()}
    except _DAMAGES as error:
        raise BadFile(f"{path / HEADER} is damaged ({error!r})") from None
    found = {name: array.shape for name, array in arrays.items()}
    if found != wanted:
        name = next(n for n in wanted | found if found.get(n) != wanted.get(n))
        raise BadFile(
            f"{path / WEIGHTS} does not fit its {HEADER}: {name} has shape {found.get(name)}, "
            f"expected {wanted.get(name)}"
        )
    model = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])
    return Generator(tasks, spec, contexts, model, files.load_json(path / PROVENANCE))


_DAMAGES = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, BadContext)
"""What a model's `skeleton` raises where settings are not its own."""


def _named(model: Model) -> dict:
    leaves = jax.tree_util.tree_leaves_with_path(model)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
