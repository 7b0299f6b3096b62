"""Meta-World as Make-An-Agent's and AMT-Hyp's released scripts evaluate it.

Each of p policies plays one episode in the two configurations of environment seeds 720 and 920. For
each seed the p successes are sorted by themselves; the two sorted lists are averaged, sorted again,
and "top k" is the mean of the first k. So the policies at the top may differ from seed to seed;
with one episode each, top-k success is min(1, successes / k) but for how they fall on the seeds.
The best are chosen on the very episodes that are reported.
"""

import numpy as np
from jaxtyping import Bool, Float

from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import successes_from

SEEDS = (720, 920)
"""Of the environments; each freezes one configuration."""


def evaluate(policies: Policies, task: str) -> Float[np.ndarray, " p"]:
    """Sorted averages of the successes of p policies written for one task, each in the two
    configurations; an episode is over at its first success.

    Their mean is the column all published tables show, that of the first k "the top k policies".

    Raises:
        UnknownTask, MissingExtra, BadShape: as the family's worlds.
    """
    family = MetaWorld(frozen=True)
    contexts = np.repeat(family.contexts([task]), len(policies), axis=0)
    starts = np.tile(SEEDS, (len(policies), 1))
    return sorted_averages(successes_from(policies, family, contexts, starts).success)


def sorted_averages(success: Bool[np.ndarray, "p e"]) -> Float[np.ndarray, " p"]:
    """Each column, an environment seed, sorted by itself, largest first; their average, sorted
    likewise."""
    mean = np.sort(success.astype(float), axis=0)[::-1].mean(axis=1)
    return np.sort(mean)[::-1]
