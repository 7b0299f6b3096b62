"""Memorization audit: are generated policies copies of training checkpoints, or mixtures of two?

Every policy is compared with every training row, by weights and by what it does; the smallest of
each distance counts. Controls go through the same comparison: training rows with noise, mean
weights of two rows, training experts against the others, checkpoints against their own expert's
others, and experts that training never saw.

The question and the controls are those of Zeng, Yin, Xu & Liu (2025), "Generative Modeling of
Weights: Generalization or Memorization?", arXiv:2506.07998; distance in actions takes the place of
their overlap of wrong predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import files
from hyperpolicy.errors import BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.evaluate.tables import NONE, markdown, number
from hyperpolicy.nets.policy import Policies
from hyperpolicy.zoo import Zoo

GENERATED = "generated"
CHECKPOINT = "experts and their own other checkpoints"
NOISE = "nearest row + noise of the same size"
MEAN = "mean of the two nearest experts' rows"
EXPERT = "training experts and the others"
HELD_OUT = "held-out experts"

AT_ONCE = 256
"""Policies that act at once, to bound memory."""


@dataclass(frozen=True)
class Distances:
    """How far n policies are from the training rows that come nearest to them."""

    weights: tuple[float, ...]
    """L2 distance to the nearest row."""
    actions: tuple[float, ...]
    """Root mean squared difference of deterministic actions in [-1, 1] to the row that acts most
    alike, which may be another one."""
    nearest: tuple[int, ...]
    """The row nearest in weights."""
    most_alike: tuple[int, ...]
    """The row that acts most alike."""


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

    @property
    def copies(self) -> dict[str, int] | None:
        """How many generated policies are nearer to a training row than an expert typically is
        (median) to its own nearest checkpoint, in weights and in actions; None where experts have
        only one row."""
        if CHECKPOINT not in self.groups:
            return None
        ours, theirs = self.groups[GENERATED], self.groups[CHECKPOINT]
        pairs = {"weights": (ours.weights, theirs.weights)}
        pairs["actions"] = (ours.actions, theirs.actions)
        return {name: int(np.sum(a < np.median(b))) for name, (a, b) in pairs.items()}

    def table(self) -> str:
        """Markdown: a line for each group, medians and ranges; and a sentence on copies."""
        header = ["policies", "n", "weights", "relative", "range", "actions", "relative", "range"]
        rows = []
        for name, found in self.groups.items():
            cells = [name, str(len(found.weights))]
            pairs = zip((found.weights, found.actions), self.between_experts, (2, 4), strict=True)
            for values, unit, digits in pairs:
                middle, ends = float(np.median(values)), (min(values), max(values))
                cells += [number(middle, digits), number(middle / unit, 3)]
                cells.append(" … ".join(number(end, digits) for end in ends))
            rows.append(cells)
        weights, actions = self.between_experts
        note = (
            "Distance to the nearest training row: median, relative to the median distance between "
            f"two training experts ({number(weights, 2)} in weights, {number(actions, 4)} in "
            f"actions, rms over {self.num_states} observations), and range."
        )
        return "\n\n".join([markdown(header, rows), note, *self._sentence()])

    def _sentence(self) -> list[str]:
        if self.copies is None:
            return []
        n = len(self.groups[GENERATED].weights)
        return [
            f"Of {n} generated policies {self.copies['weights']} in weights and "
            f"{self.copies['actions']} in actions are nearer to a training row than an expert "
            "typically is to its own nearest checkpoint."
        ]

    def to_json(self) -> dict:
        return asdict(self) | {"copies": self.copies}

    @classmethod
    def from_json(cls, record: dict) -> "Audit":
        """The audit `to_json` wrote.

        Raises:
            BadFile: not such a record.
        """
        try:
            groups = {
                name: Distances(**{column: tuple(values) for column, values in found.items()})
                for name, found in record["groups"].items()
            }
            return cls(groups, tuple(record["between_experts"]), record["num_states"])
        except (KeyError, TypeError, AttributeError) as error:
            raise BadFile(f"this is no audit: {error!r}") from None

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
    rows = _Rows(training, states)
    found = rows.distances(generated.weights)
    nearest = np.array(found.nearest)
    noise = _same_size_noise(generated.weights - training.weights[nearest], seed)
    second = rows.nearest_of_another_expert(generated.weights, nearest)
    groups = {
        GENERATED: found,
        NOISE: rows.distances(training.weights[nearest] + noise),
        MEAN: rows.distances((training.weights[nearest] + training.weights[second]) / 2),
    }
    finals, expert = training.final_rows, training.expert
    own = (expert[finals][:, None] == expert) & (finals[:, None] != np.arange(len(expert)))
    if own.any(axis=1).all():
        groups[CHECKPOINT] = rows.distances(training.weights[finals], own)
    others = expert[finals][:, None] != expert
    groups[EXPERT] = rows.distances(training.weights[finals], others)
    if held_out is not None:
        groups[HELD_OUT] = rows.distances(held_out.weights)
    return Audit(groups, rows.between(finals), len(states))


def probe_states(zoo: Zoo, count: int = 512, seed: int = 0) -> Float[np.ndarray, "s o"]:
    """At most `count` observations drawn from all experts' replay.

    Raises:
        BadZoo: the zoo holds no observations.
    """
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
    header = ["policies", "weights", "actions", "nearer than a checkpoint, weights", "actions"]
    rows = []
    for name, one in found.items():
        copies = [str(n) for n in (one.copies or {}).values()] or [NONE] * 2
        rows.append([name, *_relative(one, GENERATED), *copies])
    first = next(iter(found.values()))
    for control in (CHECKPOINT, EXPERT, HELD_OUT):
        if control in first.groups:
            rows.append([control, *_relative(first, control), NONE, NONE])
    text = "Median distance to the nearest training row, in units of the distance between experts:"
    return f"{text}\n\n{markdown(header, rows)}\n"


def _relative(audit: Audit, group: str) -> list[str]:
    distances = audit.groups[group]
    pairs = zip((distances.weights, distances.actions), audit.between_experts, strict=True)
    return [number(float(np.median(values)) / unit, 3) for values, unit in pairs]


# --- Parts --------------------------------------------------------------------------------
class _Rows:
    """Training rows, by their weights and by their actions on the states."""

    def __init__(self, zoo: Zoo, states: Float[np.ndarray, "s o"]):
        self.spec, self.expert, self.weights = zoo.spec, zoo.expert, zoo.weights
        self.states = np.asarray(states, np.float32)
        self.actions = self._act(zoo.weights)

    def distances(
        self, weights: Float[np.ndarray, "n p"], allowed: Bool[np.ndarray, "n r"] | None = None
    ) -> Distances:
        """Of n policies to the rows each is `allowed` to be compared with, all by default."""
        if allowed is None:
            allowed = np.ones((len(weights), len(self.weights)), bool)
        by_weight = np.where(allowed, _norms(weights, self.weights), np.inf)
        by_action = np.where(allowed, _rms(self._act(weights), self.actions), np.inf)
        return Distances(
            tuple(by_weight.min(axis=1).tolist()),
            tuple(by_action.min(axis=1).tolist()),
            tuple(by_weight.argmin(axis=1).tolist()),
            tuple(by_action.argmin(axis=1).tolist()),
        )

    def nearest_of_another_expert(
        self, weights: Float[np.ndarray, "n p"], rows: Int[np.ndarray, " n"]
    ) -> Int[np.ndarray, " n"]:
        """The row nearest to each policy among those of other experts than its row's."""
        others = self.expert[rows][:, None] != self.expert
        return np.where(others, _norms(weights, self.weights), np.inf).argmin(axis=1)

    def between(self, rows: Int[np.ndarray, " x"]) -> tuple[float, float]:
        """Median distance of two of the rows, in weights and in actions."""
        pairs = np.triu_indices(len(rows), 1)
        weights, actions = self.weights[rows], self.actions[rows]
        return (
            float(np.median(_norms(weights, weights)[pairs])),
            float(np.median(_rms(actions, actions)[pairs])),
        )

    def _act(self, weights: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n sa"]:
        found = []
        for start in range(0, len(weights), AT_ONCE):
            block = Policies(weights[start : start + AT_ONCE], self.spec)
            obs = np.broadcast_to(self.states, (len(block), *self.states.shape))
            found.append(block.act(obs).reshape(len(block), -1))
        return np.concatenate(found)


def _norms(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "n r"]:
    """‖aᵢ − bⱼ‖, by subtraction: exactly 0 for a copy."""
    return np.stack([np.linalg.norm(b - one, axis=1) for one in a])


def _rms(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "n r"]:
    return _norms(a, b) / np.sqrt(a.shape[1])


def _same_size_noise(steps: Float[np.ndarray, "n p"], seed: int) -> Float[np.ndarray, "n p"]:
    """Steps of the same lengths in random directions."""
    noise = np.random.default_rng(seed).normal(size=steps.shape).astype(np.float32)
    lengths = np.linalg.norm(steps, axis=1) / np.linalg.norm(noise, axis=1)
    return noise * lengths[:, None]


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
