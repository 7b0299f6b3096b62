"""Score: the returns of a method on test tasks, from which everything printed is computed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.demonstrations import Demonstrations
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile, BadSetting, BadShape
from hyperpolicy.evaluate import stats
from hyperpolicy.evaluate.tables import interval_text, markdown, number
from hyperpolicy.nets.policy import Policies
from hyperpolicy.rollout import Actor, results

CONTEXT = "true context"
"""What a generator is given of a test task."""


DEMONSTRATION = "one demonstration of the test task"


@runtime_checkable
class Generator(Protocol):
    """Whoever writes policies for contexts [k, c] or demonstrations; `seed` draws its noise."""

    def generate(self, given, seed: int = 0) -> Policies: ...


Maker = Generator | Policies | Actor
"""What can be scored: a generator, one policy a context, or bare actions."""


@dataclass(frozen=True)
class Score:
    """Undiscounted returns of one method: s training seeds, d noise draws, k tasks, e episodes."""

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

    # --- Statistics -----------------------------------------------------------------------
    @property
    def num_seeds(self) -> int:
        """Training seeds."""
        return self.returns.shape[0]

    @property
    def mean(self) -> float:
        return float(stats.mean(self.returns))

    @property
    def iqm(self) -> float:
        """Interquartile mean over seeds and tasks."""
        return float(stats.iqm(self.returns))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean; `stats` says what is resampled."""
        return stats.interval(self.returns)

    @property
    def task_means(self) -> Float[np.ndarray, " k"]:
        return stats.task_means(self.returns)

    @property
    def num_broken(self) -> int:
        """Episodes whose simulation broke; one is enough to make the mean NaN."""
        return int(np.isnan(self.returns).sum())

    @property
    def successes(self) -> "Score":
        """The same score with successes for returns: its mean is a success rate.

        Raises:
            BadSetting: the family knows no success.
        """
        if self.success is None:
            raise BadSetting(f"{self.family} knows returns only, no success")
        return replace(self, returns=self.success.astype(float), success=None)

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
        """(return − random) / (expert − random), task by task, with the others' task means.

        Raises:
            BadShape: the scores are of other tasks.
            BadSetting: expert and random are equal on a task.
        """
        for other in (random, expert):
            if other.tasks != self.tasks:
                raise BadShape(f"scores of other tasks: {other.tasks} and {self.tasks}")
        floor = random.task_means[:, None]
        span = expert.task_means[:, None] - floor
        if (span == 0).any():
            task = self.tasks[int(np.argmin(np.abs(span)))]
            raise BadSetting(f"expert and random score the same on {task}; nothing to divide by")
        return replace(self, returns=(self.returns - floor) / span, success=None)

    def best(self, count: int, chosen_by: "Score") -> "Score":
        """The `count` draws that did best in `chosen_by`, seed by seed and task by task: those with
        most successes where it knows them, of these those with the highest return.

        `chosen_by` scores the same draws on other episodes: choosing and reporting on the same
        ones would report luck.

        Raises:
            BadSetting: the same episodes, or more draws than there are.
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
        """Markdown: one line a task, then all of them."""
        parts = [(name, self.task(i)) for i, name in enumerate(self.tasks)]
        header = ["task", "mean return", "95 % interval", "worst episode", "best episode"]
        rows = []
        for name, part in [*parts, ("**all**", self)]:
            ends = (number(part.returns.min()), number(part.returns.max()))
            rows.append([name, number(part.mean), interval_text(part.interval), *ends])
        s, d, _, e = self.returns.shape
        note = f"{self.family}: {_count(s, 'training seed')} × {_count(d, 'draw')} × "
        return f"{markdown(header, rows)}\n\n{note}{_count(e, 'episode')} a task."

    def to_json(self) -> dict:
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
        """The score `to_json` wrote.

        Raises:
            BadFile: not such a record.
        """
        try:
            contexts, returns = np.array(record["contexts"], float), record["returns"]
            if returns is None:  # only successes were looked at
                returns = np.full(np.shape(record["success"]), np.nan)
            returns = np.array(returns, float)
            if returns.ndim != 4 or returns.shape[2] != len(contexts):
                raise ValueError(f"returns {returns.shape} for {len(contexts)} contexts")
            read = {"contexts": contexts, "returns": returns, "tasks": tuple(record["tasks"])}
            if "success" in record:
                read["success"] = np.array(record["success"], float)
            return cls(**(record | read))
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"this is no score: {error}") from None

    def save(self, path: str | Path) -> Path:
        """Write JSON; an existing file is an error."""
        return files.save_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Score":
        return cls.from_json(files.load_json(path))


def score(
    makers: Maker | Sequence[Maker],
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    episodes: int = 10,
    draws: int = 1,
    seed: int = 0,
    given: str = CONTEXT,
    env_steps: int | None = None,
) -> Score:
    """The score of one maker, or of several that differ in their training seed, on `contexts`.

    A generator writes `draws` policies a context, draw i with noise seed i; other makers have one
    draw. `seed` picks the episodes, the same ones for every policy (see `rollout`).

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadShape: policies of another family, or not one a context.
        BadSetting: fewer than one episode, draw or maker.
    """
    contexts = family.context.check(contexts)
    runs = makers if isinstance(makers, Sequence) else [makers]
    if not runs or draws < 1:
        raise BadSetting(f"{len(runs)} makers and {draws} draws; give at least one of each")
    found = [_results(maker, family, contexts, episodes, draws, seed) for maker in runs]
    reached, success = (np.stack(part) for part in zip(*found, strict=True))
    return named(family, contexts, reached, success, given, env_steps, seed)


def score_demonstrated(
    makers: Sequence[Generator],
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    demonstrations: Demonstrations,
    policies: int = 100,
    episodes: int = 3,
    seed: int = 0,
    given: str = DEMONSTRATION,
    env_steps: int | None = None,
    until_success: bool = False,
) -> Score:
    """The score of makers that read demonstrations, one a training seed: the draws of a task are
    the policies written for its first `policies` demonstrations. `until_success` as in
    `rollout.results`.

    Raises:
        BadSetting: a task has fewer demonstrations, or as `score`.
        BadContext, BadShape: as `score`.
    """
    shown = [demonstrations.of(context) for context in family.context.check(contexts)]
    fewest = min(map(len, shown))
    if not makers or not 1 <= policies <= fewest:
        raise BadSetting(
            f"{policies} policies a task by {len(makers)} makers; there are {fewest} "
            "demonstrations of a task, and one maker is the least"
        )
    given_rows = [demos[:policies] for demos in shown]
    tasks = np.repeat(contexts, policies, axis=0)
    parts = []
    for maker in makers:
        made = [maker.generate(demos, seed=0) for demos in given_rows]
        who = Policies(np.concatenate([p.weights for p in made]), made[0].spec)
        found = results(who, family, tasks, episodes, seed, until_success)
        pair = (found.returns, found.success.astype(float))
        parts.append([x.reshape(len(contexts), policies, -1).swapaxes(0, 1) for x in pair])
    reached, success = (np.stack(part) for part in zip(*parts, strict=True))
    return named(family, contexts, reached, success, given, env_steps, seed)


def named(
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    reached: Float[np.ndarray, "s d k e"],
    success: Float[np.ndarray, "s d k e"],
    given: str,
    env_steps: int | None,
    seed: int,
) -> Score:
    """A score whose tasks bear the family's names; success where the family knows it."""
    tasks = tuple(family.task_name(context) for context in contexts)
    knows = family.success(np.zeros(family.outcome_size)) is not None
    return Score(
        family.name, contexts, tasks, reached, given, env_steps, seed, success if knows else None
    )


def listed(numbers) -> list | float | None:
    """Numbers as JSON has them: NaN, which it has not, becomes null."""
    array = np.asarray(numbers, float)
    plain = array.astype(object)
    plain[np.isnan(array)] = None
    return plain.tolist()


def _results(
    maker: Maker, family: Family, contexts, episodes: int, draws: int, seed: int
) -> tuple[Float[np.ndarray, "d k e"], Float[np.ndarray, "d k e"]]:
    """Returns and successes."""
    if not isinstance(maker, Generator):
        found = results(maker, family, contexts, episodes, seed)
        return found.returns[None], found.success[None].astype(float)
    drawn = [maker.generate(contexts, seed=draw) for draw in range(draws)]
    policies = Policies(np.concatenate([p.weights for p in drawn]), drawn[0].spec)
    found = results(policies, family, np.tile(contexts, (draws, 1)), episodes, seed)
    shape = (draws, len(contexts), episodes)
    return found.returns.reshape(shape), found.success.reshape(shape).astype(float)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n > 1 else ''}"
