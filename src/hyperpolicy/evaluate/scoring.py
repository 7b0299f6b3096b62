"""Scoring: whoever makes policies, or acts, plays test tasks; the result is a `Score`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from hyperpolicy import seeds
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs import Family
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.errors import BadSetting
from hyperpolicy.evaluate import protocol
from hyperpolicy.evaluate.protocol import (
    CONTEXT,
    DEMONSTRATION,
    OWN_STARTS,
    REPLAYED,
    usual_episodes,
)
from hyperpolicy.evaluate.score import Score
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import Actor, results, successes

MOST_EPISODES, MOST_DRAWS = 10_000, 1_000
RELEASED_SEEDS = (720, 920)
"""Of released scripts' environments; each freezes one configuration."""


@runtime_checkable
class SupportsGenerate(Protocol):
    """Whoever writes policies for contexts [k, c] or demonstrations; `seed` draws its noise."""

    def generate(self, given, seed: int = 0) -> Policies: ...


@runtime_checkable
class SupportsActor(Protocol):
    """Whoever acts as demonstrations say: policy i of the actor is told demonstration i."""

    def actor(self, given: Demonstrations) -> Actor: ...


Told = SupportsGenerate | SupportsActor
"""Who is told demonstrations."""
Maker = SupportsGenerate | Policies | Actor
"""What can be scored: a generator, one policy a context, or bare actions."""


@dataclass(frozen=True)
class Row:
    """One row of a table to score: its makers, one for each run, and what it costs."""

    makers: Sequence[Maker | SupportsActor]
    env_steps: int | None = None
    """Environment steps spent to train it once, experts included."""
    draws: int = 1
    """Policies that a generator writes for each task: draws of its noise, or demonstrations."""
    given: str | None = None
    """What it gets of the test task; by default what rows of its name, or its makers, get."""
    pipelines: Sequence[int] | None = None
    """A number for each maker: those with one number are fits on one zoo, those with different
    numbers come out of trainings of their own, base and experts included. Without it all are fits
    of one pipeline; `()` says that nothing was trained."""
    action: str = "deterministic"
    """What a bare actor's actions are."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """A pipeline for each maker. Raises BadSetting: no makers, or not one number a maker."""
        runs = len(self.makers)
        if not runs:
            raise BadSetting("nothing to score; give at least one maker")
        numbers = (0,) * runs if self.pipelines is None else tuple(int(p) for p in self.pipelines)
        if len(numbers) not in (0, runs):
            raise BadSetting(f"{len(numbers)} pipelines for {runs} makers; give one number a maker")
        return numbers


def score(
    row: Row | Maker | Sequence[Maker],
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    episodes: int | None = None,
    seed: int = 0,
) -> Score:
    """The score of a row, of one maker, or of several runs of one method, on `contexts`.

    A generator writes the row's number of draws a context, draw i with noise seed i; other makers
    have one draw. `seed` picks the episodes, the same ones for every policy (see `rollout`); there
    are 100 on Ant-Dir, 20 on Meta-World and 10 elsewhere unless `episodes` is given.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadShape: policies of another family, or not one a context.
        BadSetting: numbers of episodes, draws, makers or pipelines that cannot be.
    """
    contexts = family.context.check(contexts)
    if not isinstance(row, Row):
        row = Row(row if isinstance(row, Sequence) else [row])
    episodes = usual_episodes(family) if episodes is None else episodes
    check_counts(episodes, row.draws, seed)
    about: dict = {"env_steps": row.env_steps, "pipelines": row.numbers, "seed": seed}
    about["given"] = row.given or getattr(row.makers[0], "column", CONTEXT)
    found = [_results(maker, family, contexts, episodes, row.draws, seed) for maker in row.makers]
    card = protocol.of(family, contexts, action=row.action)
    return _score(family, contexts, found, card, about)


def score_demonstrated(
    row: Row,
    family: Family,
    shown: Sequence[Demonstrations],
    episodes: int | None = None,
    seed: int = 0,
    until_success: bool = False,
    replayed: bool = False,
) -> Score:
    """The score of makers that read demonstrations, several runs of one method; `shown` are those
    of each task, and the draws of a task are the policies written for its first `row.draws` ones.

    Each policy plays starts of its own, the same ones for every maker and method, or, `replayed`,
    one episode from the very start that its demonstration shows. With `until_success` an episode is
    over at its first success and returns are NaN. Raises BadSetting: a task has fewer
    demonstrations, or starts that are not known are to be replayed, or as `score`; BadContext,
    BadShape: as `score`.
    """
    episodes = usual_episodes(family) if episodes is None else episodes
    about: dict = {"env_steps": row.env_steps, "pipelines": row.numbers, "seed": seed}
    about["given"] = row.given or DEMONSTRATION
    draws, fewest = row.draws, min(map(len, shown))
    check_counts(episodes, draws, seed)
    if draws > fewest:
        raise BadSetting(f"{draws} policies a task; there are {fewest} demonstrations of a task")
    contexts = family.context.check(np.concatenate([demos.contexts[:1] for demos in shown]))
    tasks = np.repeat(contexts, draws, axis=0)
    starts = seeds.episodes(seed, len(tasks) * episodes).reshape(-1, episodes)
    first = [demos[:draws] for demos in shown]
    if replayed:
        starts = _replayed(first)
    found = []
    for maker in row.makers:
        who: Policies | Actor
        if isinstance(maker, SupportsActor):
            who = maker.actor(Demonstrations.joined(first))
        else:
            assert isinstance(maker, SupportsGenerate)
            who = _joined([maker.generate(demos, seed=0) for demos in first])
        pair = _own_starts(who, family, tasks, starts, until_success)
        found.append([x.reshape(len(contexts), draws, -1).swapaxes(0, 1) for x in pair])
    card = protocol.of(family, contexts, until_success, REPLAYED if replayed else OWN_STARTS)
    return _score(family, contexts, found, card, about)


def check_counts(episodes: int, draws: int, seed: int) -> None:
    """Raises BadSetting for numbers of episodes and draws, or a seed, that cannot be."""
    seeds.check(seed)
    for name, count, most in (("episodes", episodes, MOST_EPISODES), ("draws", draws, MOST_DRAWS)):
        if not 1 <= count <= most:
            raise BadSetting(f"{name}={count}; give 1 to {most:,}")


def _results(
    maker: Maker | SupportsActor, family: Family, contexts, episodes: int, draws: int, seed: int
) -> tuple[Float[np.ndarray, "d k e"], Float[np.ndarray, "d k e"]]:
    """Returns and successes."""
    who: Policies | Actor
    if isinstance(maker, SupportsGenerate):
        who = _joined([maker.generate(contexts, seed=draw) for draw in range(draws)])
    elif isinstance(maker, SupportsActor):
        raise BadSetting("this acts as demonstrations say; score it by score_demonstrated")
    else:
        who, draws = maker, 1
    found = results(who, family, np.tile(contexts, (draws, 1)), episodes, seed)
    shape = (draws, len(contexts), episodes)
    return found.returns.reshape(shape), found.success.reshape(shape).astype(float)


def _replayed(shown: Sequence[Demonstrations]) -> Int[np.ndarray, "n 1"]:
    """The starts that demonstrations show."""
    known = [demos.starts for demos in shown if demos.starts is not None]
    if len(known) < len(shown):
        raise BadSetting(
            "these demonstrations do not say where they began; make them anew, or do not replay"
        )
    return np.concatenate(known)[:, None]


def _own_starts(
    who: Policies | Actor, family: Family, contexts, starts, until_success: bool
) -> tuple[Float[np.ndarray, "n e"], Float[np.ndarray, "n e"]]:
    """Returns and successes of n policies, each on starts of its own."""
    if until_success:
        success = successes(who, family, contexts, starts).success
        return np.full(success.shape, np.nan), success.astype(float)
    found = results(who, family, contexts, starts)
    return found.returns, found.success.astype(float)


def _joined(made: Sequence[Policies]) -> Policies:
    return Policies(np.concatenate([one.weights for one in made]), made[0].spec)


def _score(family: Family, contexts, found, card: protocol.Protocol, about: dict) -> Score:
    """A score whose tasks bear the family's names; success where the family knows it."""
    tasks = tuple(family.task_name(context) for context in contexts)
    reached, success = (np.stack(part) for part in zip(*found, strict=True))
    knows = success if card.success != "none" else None
    return Score(family.name, contexts, tasks, reached, success=knows, protocol=card, **about)


# --- As released scripts do it ------------------------------------------------------------
def released_successes(policies: Policies, task: str) -> Float[np.ndarray, " p"]:
    """What p policies written for one Meta-World task reach as Make-An-Agent's and AMT-Hyp's
    released scripts evaluate it, best first: the mean is the column all published tables show, the
    mean of the first k is "the top k policies".

    Each policy plays one episode, until its first success, in the two configurations of environment
    seeds 720 and 920. For each seed the successes are sorted by themselves; the two sorted lists
    are averaged and sorted again. So the policies at the top may differ from seed to seed; top-k
    success is min(1, successes / k) but for how they fall on the seeds. The best are chosen on the
    very episodes that are reported. Raises UnknownTask, MissingExtra, BadShape: as the family's
    worlds.
    """
    family = MetaWorld(frozen=True)
    contexts = np.repeat(family.contexts([task]), len(policies), axis=0)
    starts = np.tile(RELEASED_SEEDS, (len(policies), 1))
    return sorted_averages(successes(policies, family, contexts, starts).success)


def sorted_averages(success: Bool[np.ndarray, "p e"]) -> Float[np.ndarray, " p"]:
    """Each column, an environment seed, sorted by itself, largest first; their average, sorted
    likewise."""
    mean = np.sort(success.astype(float), axis=0)[::-1].mean(axis=1)
    return np.sort(mean)[::-1]
