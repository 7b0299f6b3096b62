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
from hyperpolicy.rollout import Results, relay, tally

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

    def top_length_as_coded(self, k: int) -> float:
        """The scripts' "top-k success time": sorted the other way, the k slowest."""
        return float(self.length[::-1][:k].mean())


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
    who = np.repeat(np.arange(len(policies)), len(SEEDS))
    contexts, seeds = (
        np.repeat(family.contexts([task]), len(who), axis=0),
        np.tile(SEEDS, len(policies)),
    )
    if until_success:
        found = relay(policies, family, who, contexts, seeds)
        return Results(*(x.reshape(-1, len(SEEDS)) for x in found))
    turn, parts = family.most_worlds // len(SEEDS), []
    for start in range(0, len(policies), turn):
        rows = slice(start * len(SEEDS), (start + turn) * len(SEEDS))
        worlds = family.worlds(contexts[rows], seeds[rows])
        parts.append(tally(policies[start : start + turn], worlds, len(SEEDS)))
    return Results(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def read(found: Results) -> Legacy:
    """The sorted averages of what policies reached, one column an environment seed."""
    success: Bool[np.ndarray, "p e"] = found.success
    shortest = -_sorted(-found.success_steps.astype(float))
    return Legacy(_sorted(success.astype(float)), _sorted(found.returns), shortest)


def _sorted(numbers: Float[np.ndarray, "p e"]) -> Float[np.ndarray, " p"]:
    """Each column sorted by itself, largest first; their average, sorted likewise."""
    mean = np.sort(numbers, axis=0)[::-1].mean(axis=1)
    return np.sort(mean)[::-1]
