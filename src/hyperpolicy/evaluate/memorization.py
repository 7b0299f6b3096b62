"""Memorization audit: are generated policies copies of training checkpoints, or mixtures of two?

Every policy is compared with every training row, by weights and by what it does, and with every
mixture (1 − λ)·θ_a + λ·θ_b of two training experts; the smallest of each distance counts. Controls
go through the same comparison: training rows with noise, mean weights of two rows, training experts
against the others, checkpoints against their own expert's others, and experts that training never
saw.

The question and the controls are those of Zeng, Yin, Xu & Liu (2025), "Generative Modeling of
Weights: Generalization or Memorization?", arXiv:2506.07998; distance in actions takes the place of
their overlap of wrong predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.errors import BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.evaluate.distances import Distances, MixtureDistances, TrainingRows
from hyperpolicy.evaluate.tables import NONE, markdown, number
from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Zoo

GENERATED = "generated"
CHECKPOINT = "experts and their own other checkpoints"
NOISE = "nearest row + noise of the same size"
MEAN = "mean of the two nearest experts' rows"
EXPERT = "training experts and the others"
HELD_OUT = "held-out experts"


class Kinds(NamedTuple):
    """How many policies are what; the yardstick is the median distance from a training expert to
    its own nearest checkpoint."""

    near_duplicates: int
    """Nearer than that to a training row."""
    mixtures: int
    """No near-duplicates, and nearer than that to a mixture of two training experts."""
    neither: int


@dataclass(frozen=True)
class Audit:
    """Distances of generated policies and of controls; everything printed is computed from them."""

    groups: dict[str, Distances]
    """Generated policies first."""
    between_experts: tuple[float, float]
    """Median distance between two training experts, in weights and in actions: the unit of the
    relative columns."""
    num_states: int
    """Observations the actions were compared on."""
    segments: dict[str, MixtureDistances] = field(default_factory=dict)
    """Distances of the same policies to mixtures of two training experts; training experts are
    compared with mixtures of the others. Empty in audits saved before these were measured."""

    @property
    def copies(self) -> dict[str, int] | None:
        """How many generated policies are near-duplicates of a training row, in weights and in
        actions; None where experts have only one row."""
        near = self._near(self.groups[GENERATED])
        return {name: int(found.sum()) for name, found in near.items()} or None

    @property
    def kinds(self) -> dict[str, Kinds] | None:
        """What the generated policies are, in weights and in actions; None where experts have only
        one row, or where mixtures were not measured."""
        if not self.segments:
            return None
        near = self._near(self.groups[GENERATED])
        mixed = self._near(self.segments[GENERATED])
        found = {}
        for name, copies in near.items():
            kinds = copies, mixed[name] & ~copies, ~(mixed[name] | copies)
            found[name] = Kinds(*(int(kind.sum()) for kind in kinds))
        return found or None

    def _near(self, distances: Distances | MixtureDistances) -> dict[str, np.ndarray]:
        """Which policies are nearer than an expert typically is to its own nearest checkpoint, in
        weights and in actions; empty where experts have only one row."""
        own = self.groups.get(CHECKPOINT)
        if own is None:
            return {}
        return {
            "weights": np.array(distances.weights) < np.median(own.weights),
            "actions": np.array(distances.actions) < np.median(own.actions),
        }

    def table(self) -> str:
        """Markdown: a line for each group, medians and ranges; mixtures; and what policies are."""
        weights, actions = self.between_experts
        parts = [
            self._lines(self.groups, "policies"),
            "Distance to the nearest training row: median, relative to the median distance between "
            f"two training experts ({number(weights, 2)} in weights, {number(actions, 4)} in "
            f"actions, rms over {self.num_states} observations), and range.",
        ]
        if self.segments:
            parts += [
                self._lines(self.segments, "to mixtures of two experts"),
                "Distance to the nearest mixture (1 − λ)·θ_a + λ·θ_b of two training experts, in "
                "weights and in what that mixture does; experts: to mixtures of the others.",
            ]
        if (copies := self.copies) is not None:
            parts.append(
                f"Of {len(self.groups[GENERATED].weights)} generated policies {copies['weights']} "
                f"in weights and {copies['actions']} in actions are near-duplicates: nearer to a "
                "training row than an expert typically is to its own nearest checkpoint."
            )
        if (kinds := self.kinds) is not None:
            weight, action = kinds["weights"], kinds["actions"]
            parts.append(
                f"{weight.mixtures} in weights and {action.mixtures} in actions are mixtures: no "
                "near-duplicates, and nearer than that to a point between two training experts. "
                f"{weight.neither} and {action.neither} are neither."
            )
        return "\n\n".join(parts)

    def _lines(self, groups: Mapping[str, Distances | MixtureDistances], what: str) -> str:
        rows = []
        for name, found in groups.items():
            cells = [name, str(len(found.weights))]
            pairs = zip((found.weights, found.actions), self.between_experts, (2, 4), strict=True)
            for values, unit, digits in pairs:
                middle, ends = float(np.median(values)), (min(values), max(values))
                cells += [number(middle, digits), number(middle / unit, 3)]
                cells.append(" … ".join(number(end, digits) for end in ends))
            rows.append(cells)
        columns = ["weights", "relative", "range", "actions", "relative", "range"]
        return markdown([what, "n", *columns], rows)

    def to_json(self) -> dict:
        kinds = {name: found._asdict() for name, found in (self.kinds or {}).items()}
        return asdict(self) | {"copies": self.copies, "kinds": kinds or None}

    @classmethod
    def from_json(cls, record: dict) -> "Audit":
        """The audit `to_json` wrote. Raises BadFile: not such a record."""
        try:
            return msgspec.convert(record, cls)
        except msgspec.ValidationError as error:
            raise BadFile(f"this is no audit: {error}") from None

    def save(self, path: str | Path) -> Path:
        """Write JSON; an existing file is an error."""
        return files.save_json(path, self.to_json())


def audit(
    generated: Policies,
    training: Zoo,
    states: Float[np.ndarray, "s o"],
    held_out: Policies | None = None,
    seed: int = 0,
) -> Audit:
    """The audit of `generated` policies against the rows of the zoo that their generator saw.

    Actions are compared on `states`, for instance `probe_states(training)`. `seed` draws the noise.

    Raises:
        BadShape: policies or observations do not fit the zoo.
        BadSetting: a policy is not finite.
        BadZoo: fewer than two training experts: there is no distance between experts.
    """
    _check(generated, training, states, held_out)
    rows = TrainingRows(training, states)
    found = rows.distances(generated.weights)
    nearest = np.array(found.nearest)
    first = training.weights[nearest]
    noise = np.random.default_rng(seed).normal(size=first.shape).astype(np.float32)
    length = np.linalg.norm(generated.weights - first, axis=1) / np.linalg.norm(noise, axis=1)
    noisy = first + noise * length[:, None]
    second = rows.nearest_of_another_expert(generated.weights, nearest)
    mean = (first + training.weights[second]) / 2
    groups = {GENERATED: found, NOISE: rows.distances(noisy), MEAN: rows.distances(mean)}
    segments = {GENERATED: rows.segments(generated.weights), NOISE: rows.segments(noisy)}
    finals, expert = training.final_rows, training.expert
    own = (expert[finals][:, None] == expert) & (finals[:, None] != np.arange(len(expert)))
    if own.any(axis=1).all():
        groups[CHECKPOINT] = rows.distances(training.weights[finals], own)
    others = expert[finals][:, None] != expert
    groups[EXPERT] = rows.distances(training.weights[finals], others)
    if len(finals) > 2:
        segments[EXPERT] = rows.segments(training.weights[finals], range(len(finals)))
    if held_out is not None:
        groups[HELD_OUT] = rows.distances(held_out.weights)
        segments[HELD_OUT] = rows.segments(held_out.weights)
    return Audit(groups, rows.between(finals), len(states), segments)


def probe_states(zoo: Zoo, count: int = 512, seed: int = 0) -> Float[np.ndarray, "s o"]:
    """At most `count` observations drawn from all experts' replay. Raises BadZoo: the zoo holds no
    observations."""
    if zoo.states is None:
        raise BadZoo("this zoo holds no observations; give some that its policies meet")
    pool = zoo.states.reshape(-1, zoo.spec.obs)
    return np.random.default_rng(seed).permutation(pool)[:count]


def kept(path: Path, make: Callable[[], Audit]) -> Audit:
    """The audit in the file `path`; made and saved if there is none."""
    if not path.exists():
        make().save(path)
    return Audit.from_json(files.load_json(path))


def compared(found: Mapping[str, Audit]) -> str:
    """Markdown: a line for each of several generators, and the controls that they share."""
    header = ["policies", "to a row, weights", "actions", "to a mixture, weights", "actions"]
    header += ["near-duplicates, weights", "actions", "mixtures, weights", "actions"]
    rows = []
    for name, one in found.items():
        copies = [str(n) for n in (one.copies or {}).values()] or [NONE] * 2
        mixed = [str(kind.mixtures) for kind in (one.kinds or {}).values()] or [NONE] * 2
        rows.append([name, *_relative(one, GENERATED), *copies, *mixed])
    first = next(iter(found.values()))
    for control in (CHECKPOINT, EXPERT, HELD_OUT):
        if control in first.groups:
            rows.append([control, *_relative(first, control), *[NONE] * 4])
    text = (
        "Median distance to the nearest training row and to the nearest mixture of two training "
        "experts, in units of the distance between experts:"
    )
    return f"{text}\n\n{markdown(header, rows)}\n"


def _relative(audit: Audit, group: str) -> list[str]:
    """Four cells: to a row, to a mixture; in weights and in actions."""
    cells = []
    for found in (audit.groups[group], audit.segments.get(group)):
        if found is None:
            cells += [NONE] * 2
            continue
        pairs = zip((found.weights, found.actions), audit.between_experts, strict=True)
        cells += [number(float(np.median(values)) / unit, 3) for values, unit in pairs]
    return cells


# --- Parts --------------------------------------------------------------------------------
def _check(generated: Policies, training: Zoo, states, held_out: Policies | None) -> None:
    for policies in (generated, *([] if held_out is None else [held_out])):
        if policies.spec != training.spec or not len(policies):
            raise BadShape(
                f"{len(policies)} policies of {policies.spec} cannot be compared with rows of "
                f"{training.spec}; give at least one of the same spec"
            )
        broken = np.flatnonzero(~np.isfinite(policies.weights).all(axis=1))
        if len(broken):
            raise BadSetting(f"policies {broken.tolist()[:8]} are not finite; leave them out")
    shape = np.shape(states)
    if len(shape) != 2 or shape[1] != training.spec.obs or not shape[0]:
        raise BadShape(f"observations have shape {shape}; give [s, {training.spec.obs}]")
    if len(training.final_rows) < 2:
        raise BadZoo("one training expert has no distance to another; give a zoo of two or more")
