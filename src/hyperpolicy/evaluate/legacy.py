"""Meta-World as Make-An-Agent's and AMT-Hyp's released scripts evaluate it.

Each of p policies plays one episode in the two configurations of environment seeds 720 and 920. For
each seed the p numbers are sorted by themselves; the two sorted lists are averaged, sorted again,
and "top k" is the mean of the first k. So the policies at the top may differ from seed to seed, and
from success to reward to length; with one episode each, top-k success is min(1, successes / k) but
for how they fall on the seeds. The best are chosen on the very episodes that are reported.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import Results, results_from, successes_from

SEEDS = (720, 920)
"""Of the environments; each freezes one configuration."""


class Legacy(NamedTuple):
    """Three readings of the sorted averages of p policies, best first."""

    success: Float[np.ndarray, " p"]
    reward: Float[np.ndarray, " p"]
    """Undiscounted returns."""
    length: Float[np.ndarray, " p"]
    """Steps before the first success, 500 without one; the shortest first."""

    @property
    def average(self) -> float:
        """Mean success: the column all published tables show."""
        return float(self.success.mean())

    def top(self, k: int) -> float:
        """Success of "the top k policies"."""
        return float(self.success[:k].mean())


def evaluate(policies: Policies, task: str, until_success: bool = False) -> Legacy:
    """The protocol for p policies written for one task; with `until_success` an episode is over at
    its first success, which changes neither successes nor lengths, and rewards are NaN.

    Raises:
        UnknownTask, MissingExtra, BadShape: as the family's worlds.
    """
    return read(play(policies, task, until_success))


def play(policies: Policies, task: str, until_success: bool = False) -> Results:
    """p policies, one episode in each of the two configurations; `until_success` as in
    `evaluate`."""
    family = MetaWorld(frozen=True)
    contexts = np.repeat(family.contexts([task]), len(policies), axis=0)
    starts = np.tile(SEEDS, (len(policies), 1))
    if not until_success:
        return results_from(policies, family, contexts, starts)
    found = successes_from(policies, family, contexts, starts)
    unknown = np.full(starts.shape, np.nan)
    return Results(unknown, found.success, found.success, found.steps)


def read(found: Results) -> Legacy:
    """The sorted averages of what policies reached, one column an environment seed."""
    success: Bool[np.ndarray, "p e"] = found.success
    shortest = -_sorted(-found.success_steps.astype(float))
    return Legacy(_sorted(success.astype(float)), _sorted(found.returns), shortest)


def _sorted(numbers: Float[np.ndarray, "p e"]) -> Float[np.ndarray, " p"]:
    """Each column sorted by itself, largest first; their average, sorted likewise."""
    mean = np.sort(numbers, axis=0)[::-1].mean(axis=1)
    return np.sort(mean)[::-1]
