"""What learners did while they learned, random → medium → expert: the data of offline meta-RL.

MACAW and Prompt-DT learn from whole replay buffers. A buffer holds what a policy did at every stage
of its training, with its noise; here the checkpoints of a zoo of independent experts play some
stochastic episodes each, after some of random actions. It is the same mixture in steps, any number
of episodes can be had, and they are made again from the zoo, which has the final critics beside
them.
"""

from collections.abc import Callable

import numpy as np

from hyperpolicy import seeds
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.policies import Actor, Policies, exploring, uniform
from hyperpolicy.rollout import record
from hyperpolicy.zoo import Zoo

RANDOM = "chance"
"""Who made the first episodes."""


def history(
    zoo: Zoo, episodes: int = 10, seed: int = 0, progress: Callable[[str], object] | None = None
) -> Episodes:
    """The episodes of each expert's training, stage by stage: `episodes` of random actions, then of
    every checkpoint's stochastic policy, the final one included; `policy` is the expert's number.

    Raises:
        BadSetting: fewer than one episode.
        BadZoo: experts with unequal checkpoints.
    """
    if episodes < 1:
        raise BadSetting(f"episodes={episodes}; give one or more of each checkpoint")
    found = []
    for number, (name, weights) in enumerate(stages(zoo).items()):
        if progress is not None:
            progress(name)
        n = len(zoo.contexts) * episodes
        starts = seeds.worlds(seed + 1, (number + 1) * n)[-n:, None]
        who: Actor = uniform(zoo.family, seed)
        if weights is not None:
            who = exploring(Policies(np.repeat(weights, episodes, axis=0), zoo.spec), seed + number)
        contexts = np.repeat(zoo.contexts, episodes, axis=0)
        made = record(who, zoo.family, contexts, starts, seed, made_by=name)
        found += [one._replace(policy=one.policy // episodes) for one in made]
    return Episodes.of(zoo.family, found)


def stages(zoo: Zoo) -> dict[str, np.ndarray | None]:
    """name → weights [x, p] of all experts, in the order of training; None for random actions."""
    found: dict[str, np.ndarray | None] = {RANDOM: None}
    steps = [_stage(zoo, x) for x in range(len(zoo.contexts))]
    if len({len(own) for own in steps}) > 1:
        raise BadZoo("experts of this zoo have unequal numbers of checkpoints")
    for rows in np.transpose(steps):
        last = zoo.final[rows[0]]
        name = "final" if last else f"after {zoo.updates[rows[0]]:,} updates"
        found[name] = zoo.weights[rows]
    return found


def _stage(zoo: Zoo, x: int) -> np.ndarray:
    """The rows of expert x in the order of training, the final one last."""
    rows = np.flatnonzero(zoo.expert == x)
    return rows[np.lexsort([zoo.updates[rows], zoo.final[rows]])]


def late(episodes: Episodes, share: float = 0.2) -> Episodes:
    """The last episodes of each expert's training: "expert" data, as Prompt-DT cuts it. Raises
    BadSetting: no share of them."""
    if not 0.0 < share <= 1.0:
        raise BadSetting(f"share={share}; give more than 0 and at most 1")
    policy = episodes.index.policy
    kept = []
    for x in np.unique(policy):
        own = np.flatnonzero(policy == x)
        kept.append(own[len(own) - max(1, round(share * len(own))) :])
    return episodes[np.sort(np.concatenate(kept))]


def of_tasks(episodes: Episodes, contexts) -> Episodes:
    """The episodes of some tasks."""
    family = episodes.family
    contexts = family.context.check(contexts)
    near = family.context.distance(episodes.index.context, contexts) < 1e-6
    return episodes[np.flatnonzero(near.any(axis=1))]
