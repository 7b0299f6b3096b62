"""Score: the returns of a method on test tasks, from which everything printed is computed."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.envs import FAMILIES
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.evaluate import records, stats
from hyperpolicy.evaluate.protocol import (
    CONTEXT,
    NOT_RECORDED,
    NOTHING,
    Protocol,
    grid_of,
)
from hyperpolicy.evaluate.tables import interval_text, markdown, number


@dataclass(frozen=True)
class Score:
    """Undiscounted returns of one method: s runs (fits), d noise draws, k tasks, e episodes."""

    family: str
    contexts: Float[np.ndarray, "k c"]
    tasks: tuple[str, ...]
    """The contexts with their units, for reading."""
    returns: Float[np.ndarray, "s d k e"]
    """NaN where a simulation broke, or where episodes ended at their first success."""
    given: str = CONTEXT
    """What the method gets of the test task."""
    env_steps: int | None = None
    """Environment steps spent to train the method once, experts included; None where unknown."""
    seed: int = 0
    """Of the episodes."""
    success: Float[np.ndarray, "s d k e"] | None = None
    """1 where an episode had a success at any step; None in families without."""
    pipelines: tuple[int, ...] | None = None
    """The training pipeline (base, experts, generator) that each of the s runs came out of; () if
    nothing was trained, None where it was not recorded."""
    protocol: Protocol | None = None
    """How it was measured; None where it was not recorded."""
    rates: bool = False
    """Whether the returns are successes, 0 or 1."""

    # --- Statistics -----------------------------------------------------------------------
    @property
    def num_seeds(self) -> int:
        """Runs: fits, of one pipeline or of several."""
        return self.returns.shape[0]

    @property
    def num_pipelines(self) -> int | None:
        """Pipelines behind the runs, 0 if nothing was trained; None where it was not recorded."""
        if self.pipelines is None:
            return 1 if self.num_seeds == 1 and self.given != NOTHING else None
        return len(set(self.pipelines))

    @property
    def mean(self) -> float:
        return float(stats.by_pipeline(self.returns, self.pipelines).mean())

    @property
    def iqm(self) -> float:
        """Interquartile mean over runs and tasks."""
        return stats.iqm(self.returns)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean, over what `over` says; NaN where it cannot be known."""
        compute = stats.rate_interval if self.rates else stats.interval
        return compute(self.returns, self.pipelines)

    @property
    def new_pipeline(self) -> tuple[float, float]:
        """Where the mean of one new pipeline lies in 95 % of cases; NaN for fewer than two."""
        low, high = stats.prediction(self.returns, self.pipelines)
        return (max(0.0, low), min(1.0, high)) if self.rates and low == low else (low, high)

    @property
    def over(self) -> str:
        """What the interval is over: '3 pipelines', or 'one pipeline: 3 fits', which knows nothing
        of training luck."""
        level, rows = stats.units(self.returns, self.pipelines)
        found = _count(len(rows), level.removesuffix("s"))
        if level == "pipelines":
            return found
        if self.num_pipelines is None:
            return f"pipelines {NOT_RECORDED}: {found}"
        return f"{'one pipeline' if self.num_pipelines else 'untrained'}: {found}"

    @property
    def card(self) -> Protocol:
        """Its protocol, or what can be known of one that was not recorded: family and grid."""
        known = FAMILIES.get(self.family)
        grid = grid_of(known, self.contexts) if known else None
        return self.protocol or Protocol(self.family, grid)

    @property
    def task_means(self) -> Float[np.ndarray, " k"]:
        return self.returns.mean(axis=(0, 1, 3))

    @property
    def successes(self) -> "Score":
        """The same score with successes for returns: its mean is a success rate. Raises BadSetting:
        the family knows no success."""
        if self.success is None:
            raise BadSetting(f"{self.family} knows returns only, no success")
        return replace(self, returns=self.success.astype(float), success=None, rates=True)

    @property
    def qualified(self) -> float:
        """Share of policies that succeeded in every episode (Make-An-Agent)."""
        return float(self.successes.returns.min(axis=-1).mean())

    def task(self, i: int) -> "Score":
        """The score on task i alone."""
        here = [i]
        return replace(
            self,
            contexts=self.contexts[here],
            tasks=(self.tasks[i],),
            returns=self.returns[:, :, here],
            success=None if self.success is None else self.success[:, :, here],
        )

    def normalized(self, random: "Score", expert: "Score") -> "Score":
        """(return − random) / (expert − random), task by task, with the others' task means. Raises
        BadShape: the scores are of other tasks; BadSetting: expert and random are equal on a task.
        """
        for other in (random, expert):
            if other.tasks != self.tasks:
                raise BadShape(f"scores of other tasks: {other.tasks} and {self.tasks}")
        floor = random.task_means[:, None]
        span = expert.task_means[:, None] - floor
        if (span == 0).any():
            task = self.tasks[int(np.argmin(np.abs(span)))]
            raise BadSetting(f"expert and random score the same on {task}; nothing to divide by")
        returns = (self.returns - floor) / span
        return replace(self, returns=returns, success=None, rates=False)

    def minus(self, other: "Score", paired: bool = True) -> tuple[float, float]:
        """The 95 % interval of the difference of means; `paired` says that both played the same
        starts, and that pipelines of one number are the same ones. Raises BadShape: the scores are
        of other tasks."""
        if other.tasks != self.tasks:
            raise BadShape(f"scores of other tasks: {other.tasks} and {self.tasks}")
        both = self.pipelines, other.pipelines
        same = paired and self.seed == other.seed
        return stats.difference(self.returns, other.returns, both, same)

    def best(self, count: int, chosen_by: "Score") -> "Score":
        """The `count` draws that did best in `chosen_by`, seed by seed and task by task: those with
        most successes where it knows them, of these those with the highest return.

        `chosen_by` scores the same draws on other episodes: choosing and reporting on the same ones
        would report luck. Raises BadSetting: the same episodes, or more draws than there are;
        BadShape: not the same seeds, draws and tasks.
        """
        if chosen_by.seed == self.seed:
            raise BadSetting(
                f"both scores use episodes of seed {self.seed}; choose on another seed"
            )
        if not 1 <= count <= self.returns.shape[1]:
            raise BadSetting(f"the best {count} of {self.returns.shape[1]} draws do not exist")
        if chosen_by.returns.shape[:3] != self.returns.shape[:3]:
            raise BadShape(
                f"chosen by returns {chosen_by.returns.shape}, reported on {self.returns.shape}; "
                "seeds, draws and tasks must agree"
            )
        merit = [chosen_by.returns.mean(axis=-1)]
        if chosen_by.success is not None:
            merit.append(chosen_by.success.mean(axis=-1))
        order = np.lexsort([-m for m in merit], axis=1)[:, :count, :, None]
        pick = partial(np.take_along_axis, indices=order, axis=1)
        success = None if self.success is None else pick(self.success)
        return replace(self, returns=pick(self.returns), success=success)

    # --- Out ------------------------------------------------------------------------------
    def table(self) -> str:
        """Markdown: one line a task, then all of them, and what the intervals are over."""
        parts = [(name, self.task(i)) for i, name in enumerate(self.tasks)]
        header = ["task", "mean return", "95 % interval", "worst episode", "best episode"]
        rows = []
        for name, part in [*parts, ("**all**", self)]:
            ends = (number(part.returns.min()), number(part.returns.max()))
            rows.append([name, number(part.mean), interval_text(part.interval), *ends])
        s, d, _, e = self.returns.shape
        note = f"{self.family}: {_count(s, 'run')} × {_count(d, 'draw')} × "
        note += f"{_count(e, 'episode')} a task. Intervals: {self.over}"
        if self.num_pipelines == 1:
            note += ", which says nothing of training luck"
        return f"{markdown(header, rows)}\n\n{note}."

    def to_json(self) -> dict:
        """Strict JSON: null for NaN."""
        record = asdict(self)
        if self.success is None:
            del record["success"]
        else:
            record["success"] = self.success.astype(int).tolist()
        unknown = self.success is not None and np.isnan(self.returns).all()
        returns = None if unknown else listed(self.returns)
        return record | {"contexts": listed(self.contexts), "returns": returns}

    @classmethod
    def from_json(cls, record: dict) -> "Score":
        """The score `to_json` wrote, or an older version's. Raises BadFile: not such a record."""
        return cls(**records.parts(record))

    def save(self, path: str | Path) -> Path:
        """Write JSON; an existing file is an error."""
        return files.save_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Score":
        """Raises BadFile: no file, or not one that `save` wrote."""
        return cls.from_json(records.read_json(path))


def listed(numbers) -> list | float | None:
    """Numbers as JSON has them: NaN, which it has not, becomes null."""
    array = np.asarray(numbers, float)
    plain = array.astype(object)
    plain[~np.isfinite(array)] = None
    return plain.tolist()


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
