"""Zoo: checkpoints of many experts, their contexts, returns, critics, and where they came from.

`disk.py` says how they lie in files.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import files, headers
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import AlreadyExists, BadContext, BadFile, BadZoo, HyperpolicyError
from hyperpolicy.headers import IndexRow, Training
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.zoo import disk

PER_ROW = ("weights", "updates", "final", "returns")
PER_EXPERT = ("contexts", *disk.ARRAYS)


@dataclass(frozen=True)
class Zoo:
    """Rows r are checkpoints of experts x; one row of each expert is final (averaged weights)."""

    spec: PolicySpec
    family: Family
    weights: Float[np.ndarray, "r p"]
    expert: Int[np.ndarray, " r"]
    updates: Int[np.ndarray, " r"]
    """Gradient updates done when the row was taken."""
    final: Bool[np.ndarray, " r"]
    returns: Float[np.ndarray, " r"]
    """Mean deterministic return, NaN where it was not measured."""
    contexts: Float[np.ndarray, "x c"]
    critics: Float[np.ndarray, "x 2 q"] | None = None
    """Each expert's last target critics."""
    states: Float[np.ndarray, "x s o"] | None = None
    """Observations drawn from each expert's replay."""
    log_alpha: Float[np.ndarray, " x"] | None = None
    """Each expert's last temperature, log of reward per nat."""
    training: Training = Training()
    """How the experts were trained, as far as later steps decide by it."""
    provenance: dict = field(default_factory=dict)
    """Where the zoo comes from, for readers; nothing is decided by it."""

    def __post_init__(self):
        rows, experts = len(self.weights), len(self.contexts)
        if not rows or not experts:
            raise BadZoo("a zoo needs at least one row; this one has none")
        sizes = {len(self.expert), len(self.updates), len(self.final), len(self.returns)}
        if sizes != {rows} or self.weights.shape[1] != self.spec.size:
            raise BadZoo(
                f"rows do not fit: weights {self.weights.shape}, a policy has {self.spec.size} "
                "numbers"
            )
        if self.contexts.shape[1] != self.family.context.size:
            raise BadZoo(
                f"contexts {self.contexts.shape} do not fit {self.family.name}, whose contexts are "
                f"{self.family.context.label}"
            )
        if self.expert.min() < 0 or self.expert.max() >= experts:
            raise BadZoo(f"rows of expert {self.expert.max()}; this zoo has {experts}")

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def row_contexts(self) -> Float[np.ndarray, "r c"]:
        """The context of every row."""
        return self.contexts[self.expert]

    @property
    def final_rows(self) -> Int[np.ndarray, " x"]:
        """The final row of each expert, in expert order."""
        rows = np.flatnonzero(self.final)
        return rows[np.argsort(self.expert[rows])]

    @property
    def finals(self) -> Policies:
        """The experts: one policy each, in the order of `contexts`."""
        return Policies(self.weights[self.final_rows], self.spec)

    @property
    def policies(self) -> Policies:
        """Every row as a policy."""
        return Policies(self.weights, self.spec)

    def take(self, rows) -> "Zoo":
        """The zoo of some rows, by number and in that order, and of the experts they are of."""
        kept, expert = np.unique(self.expert[rows], return_inverse=True)
        return self._part(np.arange(len(self))[rows], expert, kept)

    def only(self, contexts) -> "Zoo":
        """The experts at `contexts` [k, c], in that order, with all their rows; directions wrap.

        Raises:
            BadZoo: no expert stands at one of the contexts.
        """
        contexts = np.asarray(contexts, np.float64)
        gaps = self.family.context.distance(contexts, self.contexts)
        chosen = gaps.argmin(axis=1)
        missing = gaps.min(axis=1) > 1e-6
        if missing.any():
            raise BadZoo(
                f"no expert at context {contexts[missing][0].tolist()}; this zoo has "
                f"{len(self.contexts)} experts from {self.contexts[0].tolist()} to "
                f"{self.contexts[-1].tolist()}"
            )
        rows = [np.flatnonzero(self.expert == x) for x in chosen]
        expert = np.repeat(np.arange(len(chosen)), [len(own) for own in rows])
        return self._part(np.concatenate(rows), expert, chosen)

    def _part(self, rows, expert, kept) -> "Zoo":
        """The zoo of `rows`, which are of the experts numbered `expert` among the `kept` ones."""
        of_rows = {name: getattr(self, name)[rows] for name in PER_ROW}
        of_experts = {
            name: getattr(self, name)[kept]
            for name in PER_EXPERT
            if getattr(self, name) is not None
        }
        return replace(self, expert=expert, **of_rows, **of_experts)

    def _index(self, shard: int) -> list[IndexRow]:
        """What the index says of each row."""
        known = np.isfinite(self.returns)
        return [
            IndexRow(
                shard=shard,
                expert=int(self.expert[i]),
                context=tuple(self.row_contexts[i].tolist()),
                updates=int(self.updates[i]),
                final=bool(self.final[i]),
                mean_return=round(float(self.returns[i]), 4) if known[i] else None,
            )
            for i in range(len(self))
        ]

    # --- on disk --------------------------------------------------------------------------
    def save(self, path: str | Path, beside: Callable[[Path], object] | None = None) -> Path:
        """Write the zoo as a new directory; it appears whole or not at all.

        `beside` writes further files into it, which get checksums too.

        Raises:
            AlreadyExists: something is at `path`.
            DiskFull: not enough space; nothing is left behind.
        """
        path = Path(path)
        if path.exists():
            raise AlreadyExists(f"{path} exists; choose another name or remove it first")
        files.check_space(path, 3 * self.weights.size)
        with files.directory(path) as new:
            experts = {"contexts": self.contexts}
            for name in ("critics", "states"):
                if getattr(self, name) is not None:
                    experts[name] = getattr(self, name).astype(np.float16)
            if self.log_alpha is not None:
                experts["log_alpha"] = np.asarray(self.log_alpha, np.float32)
            files.save_arrays(new / "experts.safetensors", experts)
            disk.write_shard(new, 0, self.weights, self._index(shard=0))
            if beside is not None:
                beside(new)
            provenance = library_versions() | self.provenance
            with_version = {"mujoco": self.training.mujoco or version("mujoco")}
            training = msgspec.structs.replace(self.training, **with_version)
            disk.write_header(new, self.spec, self.family, training, provenance, 1)
        return path

    def append(self, path: str | Path) -> Path:
        """Add this zoo's checkpoints to the one at `path`, which has the same experts.

        Raises:
            BadZoo: another family, policy, or other experts; a second final row of an expert.
        """
        if self.final.any():
            raise BadZoo("only checkpoints can be appended; every expert has its final row already")
        path = Path(path)
        header, index = disk.read_header(path)
        there = disk.read_experts(path, header)["contexts"]
        family, spec = read_family(header.family), PolicySpec.of(header.policy)
        if (family, spec) != (self.family, self.spec) or not np.array_equal(there, self.contexts):
            raise BadZoo(
                f"{path} holds policies of {family.name} and {spec}; only rows of the same "
                "family, policy and experts can be appended"
            )
        number = len(header.shards)
        disk.write_shard(path, number, self.weights, [*index, *self._index(shard=number)])
        disk.write_header(
            path, self.spec, self.family, header.training, header.provenance, number + 1
        )
        return path

    @classmethod
    def load(cls, path: str | Path, rows: Int[np.ndarray, " k"] | None = None) -> "Zoo":
        """The zoo at `path`, or only some of its `rows` (read without reading the others).

        Warns where it was made with another MuJoCo version.

        Raises:
            BadZoo: not a zoo, half written, or its files do not fit each other.
        """
        path = Path(path)
        header, index = disk.read_header(path)
        made_with, here = header.training.mujoco, version("mujoco")
        if made_with not in ("", here):
            warnings.warn(
                f"zoo {path} was made with MuJoCo {made_with}, this is {here}: physics, and so "
                "returns, may differ",
                stacklevel=2,
            )
        rows = np.arange(len(index)) if rows is None else np.asarray(rows, int)
        if len(rows) and (rows.min() < -len(index) or rows.max() >= len(index)):
            raise BadZoo(f"{path} has rows 0 … {len(index) - 1}, asked for {rows.tolist()[:8]}")
        chosen, experts = [index[i] for i in rows], disk.read_experts(path, header)
        returns = [np.nan if row.mean_return is None else row.mean_return for row in chosen]
        return cls(
            spec=PolicySpec.of(header.policy),
            family=_family(path, header.family, experts["contexts"]),
            weights=disk.read_rows(path, header, rows % max(len(index), 1)),
            expert=np.array([row.expert for row in chosen], int),
            updates=np.array([row.updates for row in chosen], int),
            final=np.array([row.final for row in chosen], bool),
            returns=np.array(returns, np.float32),
            training=header.training,
            provenance=header.provenance,
            **experts,
        )

    @staticmethod
    def verify(path: str | Path) -> list[str]:
        """Every fault found in the zoo at `path`: headers, checksums, sizes, numbers that are not
        finite, an index that does not fit the experts."""
        path = Path(path)
        try:
            header, index = disk.read_header(path)
        except HyperpolicyError as error:
            return [str(error)]
        faults = []
        for name in header.checksums:
            try:
                headers.check_sums(path, header.checksums, [name])
            except BadFile as error:
                faults.append(str(error))
        if faults:
            return faults
        try:
            zoo = Zoo.load(path)
        except HyperpolicyError as error:
            return [str(error)]
        told = np.array([row.context for row in index], float).reshape(len(index), -1)
        if not np.array_equal(told, zoo.row_contexts):
            faults.append("index.jsonl names other contexts than experts.safetensors")
        if len(zoo.final_rows) != len(zoo.contexts):
            faults.append(f"{len(zoo.final_rows)} final rows for {len(zoo.contexts)} experts")
        return faults


def _family(path: Path, record: dict, contexts: Float[np.ndarray, "x c"]) -> Family:
    """A zoo's family, once its contexts fit it."""
    try:
        found = read_family(record)
        found.context.check(contexts)
    except (BadFile, BadContext) as error:
        raise BadZoo(f"{path}: {error}") from None
    return found
