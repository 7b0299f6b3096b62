"""A generator: contexts or demonstrations → Policies; and its directory.

    config.json          family, policy, training contexts, what its parts are, checksums
    weights.safetensors  the parts' arrays, named by where they stand; float16 is read as float32
    provenance.json      configuration, seed, zoo, library versions

`config.json` is written last: a directory without it is not a generator.
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float

from hyperpolicy import files, headers, seeds
from hyperpolicy.data.given import Contexts, Given
from hyperpolicy.envs import ContextSpace, Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import (
    AlreadyExists,
    BadContext,
    BadFile,
    BadSetting,
    MissingExtra,
    NoHub,
    UnknownGenerator,
    unknown,
)
from hyperpolicy.generate.parts import Frame, Model, row_keys
from hyperpolicy.headers import GeneratorHeader, Vectors
from hyperpolicy.hub import places, remote
from hyperpolicy.nets.mlp import CriticSpec
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.zoo import Zoo

FORMAT = "hyperpolicy-generator-3"
HEADER, WEIGHTS, PROVENANCE = "config.json", "weights.safetensors", "provenance.json"
SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class Generator:
    """Writes one policy per row of what it is given. `fit`, `load` and the trivial rows return
    this."""

    family: Family
    spec: PolicySpec
    trained_contexts: Float[np.ndarray, "x c"]
    model: Model
    provenance: dict = field(default_factory=dict)
    writes: Vectors = "policies"
    """What its vectors are: policies, or the twin critics that stand beside them."""

    def generate(self, given, seed: int = 0) -> Policies:
        """One policy for each context or demonstration; `seed` draws the noise of generators that
        take some.

        `given` is what `takes` says; bare numbers [n, c] are contexts in the family's units. Row i
        depends on row i of these, i and `seed` only.

        Raises:
            BadContext: another type than it takes, or of another family; contexts of a wrong shape,
                not finite, or outside what physics allows.
            BadSetting: it writes critics and no policies.

        Warns:
            UserWarning: a context lies outside the trained range.
        """
        if self.writes != "policies":
            raise BadSetting(
                "this generator writes critics, not policies; open it with generate.critics.load"
            )
        return Policies(self.vectors(given, seed), self.spec)

    def vectors(self, given, seed: int = 0) -> Float[np.ndarray, "n p"]:
        """The flat vectors themselves; arguments, errors and warnings as `generate`."""
        given = self.accept(given)
        return self.model.vectors(given, row_keys(seeds.small(seed), len(given)))

    @property
    def kind(self) -> str:
        """What its writer is called in files and tables."""
        return self.model.writer.kind

    @property
    def takes(self) -> type[Given]:
        """What it reads: `Contexts`, `Demonstrations`."""
        return self.model.reader.takes

    @property
    def column(self) -> str:
        """What the column "given" of a table says about it."""
        return self.model.reader.column

    def accept(self, given) -> Given:
        """`given` as a value of the type this generator takes; errors and warnings as `generate`.

        Its own type's errors come first: bare numbers are contexts.
        """
        found = type(given) if isinstance(given, Given) else Contexts
        if found is not self.takes:
            raise BadContext(
                f"this generator reads {self.takes.name}, not {found.name}; give "
                f"hyperpolicy.{self.takes.__name__}"
            )
        if not isinstance(given, Given):
            given = Contexts(self.family, self.family.context.check(given))
        if given.family.name != self.family.name:
            raise BadContext(
                f"{given.name} of {given.family.name} for a generator of {self.family.name}"
            )
        if found is not Contexts:
            self._warn_of_fold(given)
            return given
        outside = beyond(self.family.context, self.trained_contexts, given.contexts)
        if outside.any():
            low, high = self.trained_contexts.min(axis=0), self.trained_contexts.max(axis=0)
            warnings.warn(
                f"{outside.sum()} of {len(outside)} contexts, such as "
                f"{given.contexts[outside][0].tolist()}, lie outside the trained range "
                f"{low.tolist()} … {high.tolist()}; what is written there is an extrapolation",
                stacklevel=4,
            )
        return given

    def _warn_of_fold(self, given: Given) -> None:
        """Of a fold's generator that is shown tasks it was trained on: folds ask about others."""
        split = str(self.provenance.get("zoo", {}).get("split", ""))
        known = np.isin(given.contexts, self.trained_contexts).all(axis=1)
        if split.startswith("fold-") and known.any():
            name = self.family.task_name(given.contexts[known][0])
            warnings.warn(
                f"this generator of {split} was trained on {name}, which it is shown; what it does "
                "there says nothing of tasks nobody trained on",
                stacklevel=5,
            )

    def save(self, path: str | Path, compact: bool = False) -> Path:
        """Write the generator as a new directory; it appears whole or not at all.

        `compact` rounds matrices to float16: half the size, and weights that differ in the third
        digit. Vectors stay: the offset of a number that hardly varies is large. Raises
        AlreadyExists: something is at `path`.
        """
        path = Path(path)
        if path.exists():
            raise AlreadyExists(f"{path} exists; choose another name or remove it first")
        with files.directory(path) as new:
            write(self, new, compact)
        return path


def from_zoo(
    zoo: Zoo,
    model: Model,
    provenance: dict,
    writes: Vectors = "policies",
    spec: PolicySpec | None = None,
) -> Generator:
    """A generator fitted on `zoo`, which its provenance remembers; it writes policies of `spec`,
    the zoo's unless another is given."""
    record = {
        "kind": model.writer.kind,
        **provenance,
        "versions": library_versions(),
        "zoo": zoo.provenance,
    }
    contexts = np.asarray(zoo.contexts, float)
    return Generator(zoo.family, spec or zoo.spec, contexts, model, record, writes)


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
        writes=generator.writes,
        **model.settings(),
        family=generator.family.record(),
        policy=generator.spec.header,
        trained_contexts=tuple(map(tuple, generator.trained_contexts.tolist())),
        checksums={name: files.checksum(path / name) for name in (PROVENANCE, WEIGHTS)},
    )
    headers.write(path / HEADER, header)


def _rounded(x: np.ndarray) -> np.ndarray:
    """A matrix as float16 where its numbers fit; anything else as it is."""
    matrix = x.ndim > 1 and np.issubdtype(x.dtype, np.floating)
    fits = matrix and np.abs(x).max(initial=0.0) <= np.finfo(np.float16).max
    return x.astype(np.float16) if fits else x


def load(name_or_path: str | Path) -> Generator:
    """A shipped generator by name, one's own from its directory, or `user/name` from a hub.

    Raises:
        UnknownGenerator: neither a shipped name nor a generator's directory.
        BadFile: its files are damaged, truncated or of another version.
        NoHub, MissingExtra: no folder has `user/name`, and no hub gives it.
    """
    known = shipped()
    path = SHIPPED / name_or_path if str(name_or_path) in known else Path(name_or_path)
    if not (path / HEADER).is_file():
        if path.exists():
            raise UnknownGenerator(f"{path} is not a generator: it has no {HEADER}")
        if _may_be_on_a_hub(name_or_path):
            return _read(_from_hub(str(name_or_path)))
        raise unknown(UnknownGenerator, "generator", "Shipped", str(name_or_path), known)
    return _read(path)


def _from_hub(name: str) -> Path:
    """The directory of a generator called `user/name`, fetched where no folder has it."""
    named = places.Named("model", name)
    try:
        return places.find(named) or remote.fetch(named, named.under(places.kept()), _read)
    except (NoHub, MissingExtra) as error:
        raise type(error)(f"there is no directory {name} here; {error}") from None


def _may_be_on_a_hub(name: str | Path) -> bool:
    """Whether it is no mistaken path into a directory of this machine."""
    return isinstance(name, str) and places.is_name(name) and not Path(name).parent.is_dir()


def shipped() -> list[str]:
    """Names of the generators that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


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
    headers.check_sums(path, header.checksums, (WEIGHTS, PROVENANCE))
    stored, _ = files.load_arrays(path / WEIGHTS)
    headers.check_finite(stored, path / WEIGHTS)
    arrays = {k: x.astype(np.float32) if x.dtype == np.float16 else x for k, x in stored.items()}
    tasks, spec = read_family(header.family), PolicySpec.of(header.policy)
    contexts = np.array(header.trained_contexts, float, ndmin=2)
    try:
        tasks.context.check(contexts)
        size = spec.size if header.writes == "policies" else 2 * critic_spec(spec).size
        frame = Frame(tasks, spec, size)
        parts = {name: getattr(header, name) for name in ("reader", "writer", "codec")}
        like = Model.blank(parts, frame)
        wanted = {name: leaf.shape for name, leaf in _named(like).items()}
    except BadFile as error:
        raise BadFile(f"{path / HEADER}: {error}") from None
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        BadContext,
    ) as error:
        raise BadFile(f"{path / HEADER} is damaged ({error!r})") from None
    found = {name: array.shape for name, array in arrays.items()}
    if found != wanted:
        name = next(n for n in wanted | found if found.get(n) != wanted.get(n))
        raise BadFile(
            f"{path / WEIGHTS} does not fit its {HEADER}: {name} has shape {found.get(name)}, "
            f"expected {wanted.get(name)}"
        )
    model = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])
    provenance = files.load_json(path / PROVENANCE)
    return Generator(tasks, spec, contexts, model, provenance, header.writes)


def critic_spec(spec: PolicySpec) -> CriticSpec:
    """The critics that stand beside policies of `spec`: hidden layers of the same widths, ReLU."""
    return CriticSpec(spec.obs, spec.action, spec.hidden)


def _named(model: Model) -> dict:
    leaves = jax.tree_util.tree_leaves_with_path(model)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
