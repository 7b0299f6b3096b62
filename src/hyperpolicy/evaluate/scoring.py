"""Scoring: whoever makes policies, or acts, plays test tasks; the result is a `Score`."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from hyperpolicy import seeds
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.evaluate import protocol
from hyperpolicy.evaluate.protocol import CONTEXT, DEMONSTRATION, OWN_STARTS, usual_episodes
from hyperpolicy.evaluate.score import Score
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import Actor, results, results_from, successes_from

MOST_EPISODES, MOST_DRAWS = 10_000, 1_000


@runtime_checkable
class Generator(Protocol):
    """Whoever writes policies for contexts [k, c] or demonstrations; `seed` draws its noise."""

    def generate(self, given, seed: int = 0) -> Policies: ...


Maker = Generator | Policies | Actor
"""What can be scored: a generator, one policy a context, or bare actions."""


def score(
    makers: Maker | Sequence[Maker],
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    episodes: int | None = None,
    draws: int = 1,
    seed: int = 0,
    given: str = CONTEXT,
    env_steps: int | None = None,
    pipelines: Sequence[int] | None = None,
    action: str = "deterministic",
) -> Score:
    """The score of one maker, or of several runs of one method, on `contexts`.

    A generator writes `draws` policies a context, draw i with noise seed i; other makers have one
    draw. `seed` picks the episodes, the same ones for every policy (see `rollout`); there are 100
    on Ant-Dir, 20 on Meta-World and 10 elsewhere unless `episodes` is given.

    `pipelines` has a number for each maker: those with one number are fits on one zoo, those with
    different numbers come out of trainings of their own, base and experts included. Without it all
    are fits of one pipeline; `()` says that nothing was trained. `action` is what the makers' own
    actions are, if they are bare ones.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadShape: policies of another family, or not one a context.
        BadSetting: numbers of episodes, draws, makers or pipelines that cannot be.
    """
    contexts = family.context.check(contexts)
    runs = makers if isinstance(makers, Sequence) else [makers]
    episodes = usual_episodes(family) if episodes is None else episodes
    check_counts(episodes, draws, seed)
    numbers = _numbers(pipelines, len(runs))
    found = [_results(maker, family, contexts, episodes, draws, seed) for maker in runs]
    reached, success = (np.stack(part) for part in zip(*found, strict=True))
    card = protocol.of(family, contexts, action=action)
    return _named(family, contexts, reached, success, card, (given, env_steps, seed, numbers))


def score_demonstrated(
    makers: Sequence[Generator],
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    demonstrations: Demonstrations,
    policies: int = 100,
    episodes: int | None = None,
    seed: int = 0,
    given: str = DEMONSTRATION,
    env_steps: int | None = None,
    until_success: bool = False,
    pipelines: Sequence[int] | None = None,
) -> Score:
    """The score of makers that read demonstrations, several runs of one method: the draws of a task
    are the policies written for its first `policies` demonstrations.

    Each policy plays starts of its own, the same ones for every maker and method. With
    `until_success` an episode is over at its first success and returns are NaN. `pipelines` as in
    `score`.

    Raises:
        BadSetting: a task has fewer demonstrations, or as `score`.
        BadContext, BadShape: as `score`.
    """
    contexts = family.context.check(contexts)
    episodes = usual_episodes(family) if episodes is None else episodes
    shown = [demonstrations.of(context) for context in contexts]
    fewest = min(map(len, shown))
    if not makers or not 1 <= policies <= fewest:
        raise BadSetting(
            f"{policies} policies a task by {len(makers)} makers; there are {fewest} "
            "demonstrations of a task, and one maker is the least"
        )
    check_counts(episodes, policies, seed)
    numbers = _numbers(pipelines, len(makers))
    tasks = np.repeat(contexts, policies, axis=0)
    parts = []
    for maker in makers:
        made = [maker.generate(demos[:policies], seed=0) for demos in shown]
        who = Policies(np.concatenate([p.weights for p in made]), made[0].spec)
        pair = _own_starts(who, family, tasks, episodes, seed, until_success)
        parts.append([x.reshape(len(contexts), policies, -1).swapaxes(0, 1) for x in pair])
    reached, success = (np.stack(part) for part in zip(*parts, strict=True))
    card = protocol.of(family, contexts, until_success, OWN_STARTS)
    return _named(family, contexts, reached, success, card, (given, env_steps, seed, numbers))


def check_counts(episodes: int, draws: int, seed: int) -> None:
    """Raises BadSetting for numbers of episodes and draws, or a seed, that cannot be."""
    seeds.check(seed)
    for name, count, most in (("episodes", episodes, MOST_EPISODES), ("draws", draws, MOST_DRAWS)):
        if not 1 <= count <= most:
            raise BadSetting(f"{name}={count}; give 1 to {most:,}")


def _numbers(pipelines: Sequence[int] | None, runs: int) -> tuple[int, ...]:
    """A pipeline for each run; raises BadSetting where they do not fit."""
    if not runs:
        raise BadSetting("nothing to score; give at least one maker")
    numbers = (0,) * runs if pipelines is None else tuple(int(p) for p in pipelines)
    if len(numbers) not in (0, runs):
        raise BadSetting(f"{len(numbers)} pipelines for {runs} makers; give one number a maker")
    return numbers


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


def _own_starts(
    who: Policies, family: Family, contexts, episodes: int, seed: int, until_success: bool
) -> tuple[Float[np.ndarray, "n e"], Float[np.ndarray, "n e"]]:
    """Returns and successes of n policies, each on starts of its own."""
    n, sizes = len(contexts), (who.spec.obs, who.spec.action)
    if (len(who), *sizes) != (n, family.obs_size, family.action_size):
        raise BadShape(
            f"{len(who)} policies of {sizes[0]} observations and {sizes[1]} actions for {n} "
            f"demonstrations; {family.name} has {family.obs_size} and {family.action_size}"
        )
    own = seeds.episodes(seed, n * episodes).reshape(n, episodes)
    if until_success:
        success = successes_from(who, family, contexts, own).success
        return np.full(success.shape, np.nan), success.astype(float)
    found = results_from(who, family, contexts, own)
    return found.returns, found.success.astype(float)


def _named(family: Family, contexts, reached, success, card, about: tuple) -> Score:
    """A score whose tasks bear the family's names; success where the family knows it."""
    tasks = tuple(family.task_name(context) for context in contexts)
    given, env_steps, seed, numbers = about
    knows = success if card.success != "none" else None
    return Score(
        family.name,
        contexts,
        tasks,
        reached,
        given,
        env_steps,
        seed,
        success=knows,
        pipelines=numbers,
        protocol=card,
    )
