"""What a generator's policies do, kept so that it can be labeled with any context's reward.

A library holds policies of one body: a generator was asked for many contexts, at several gains of
its outputs, and every policy was played there. `writers/hindsight.py` chooses among them.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import qmc

from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.given import Contexts
from hyperpolicy.envs import Coordinate, Family
from hyperpolicy.errors import BadZoo
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.parts import Model, row_keys
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import record


class Library(NamedTuple):
    """Policies of one body, and what they did."""

    asked: Float[np.ndarray, "u c"]
    """What their generator was asked for."""
    gain: Float[np.ndarray, " u"]
    """What its outputs were multiplied by."""
    action: Any = None
    """[u, t, a]"""
    outcome: Any = None
    """[u, t, m]"""
    lived: Any = None
    """[u], share of the horizon that their episodes lasted; 0 where every simulation broke."""
    env_steps: int = 0

    @classmethod
    def of(cls, family: Family, asked: Float[np.ndarray, "q c"], gains, body) -> "Library":
        """Every context asked for, in one body, at every gain; not played yet."""
        own, (_, fixed) = asked.copy(), columns(family)
        own[:, fixed] = body[fixed]
        gains = np.array(gains)
        return cls(np.tile(own, (len(gains), 1)), np.repeat(gains, len(own)))

    def only(self, rows: Int[np.ndarray, " k"]) -> "Library":
        """Some of them, not played yet."""
        return Library(self.asked[rows], self.gain[rows])

    def played(self, source: Generator, episodes: int, kept: int, seed: int) -> "Library":
        """With steps of new episodes."""
        keys = row_keys(seed, len(self.asked))
        given = Contexts(source.family, self.asked)
        weights = written(source.model, source.spec, given, self.gain, keys)
        seen = record(Policies(weights, source.spec), source.family, self.asked, episodes, seed)
        action, outcome, lived = _kept(seen, len(self.asked), kept)
        spent = int(seen.index.length.sum())
        return Library(self.asked, self.gain, action, outcome, lived, spent)

    def earned(self, family: Family, context: Float[np.ndarray, " c"]) -> Float[np.ndarray, " u"]:
        """Return of every policy under a context, as it was seen, a step of the horizon."""
        u, t = self.action.shape[:2]
        labels = np.broadcast_to(context, (u * t, len(context)))
        action, outcome = (x.reshape(u * t, -1) for x in (self.action, self.outcome))
        reward = np.asarray(family.reward(action, outcome, labels))
        return reward.reshape(u, t).mean(axis=1) * self.lived

    def finalists(
        self, family: Family, asked: Float[np.ndarray, "q c"], most: int
    ) -> Int[np.ndarray, " k"]:
        """The policies that are best for one of the contexts asked for, then those that are second,
        third and so on; `most` of them, or all."""
        found = [self.earned(family, c) for c in asked]
        rank = np.argsort(np.argsort(-np.array(found), axis=1, kind="stable"), axis=1).min(axis=0)
        return np.sort(np.argsort(rank, kind="stable")[:most])


def _kept(seen: Episodes, n: int, t: int):
    """Actions [n,t,a] and outcomes [n,t,m] of t steps of each of n policies, evenly spaced over its
    episodes, and the share of the horizon [n] that those lasted."""
    family = seen.family
    action = np.zeros((n, t, family.action_size), np.float32)
    outcome = np.zeros((n, t, family.outcome_size), np.float32)
    lived = np.zeros(n, np.float32)
    own: dict[int, list] = {}
    for one in seen:
        own.setdefault(one.policy, []).append(one)
    for i, some in own.items():
        steps = sum(len(one.reward) for one in some)
        rows = np.linspace(0, steps - 1, t).round().astype(int)
        action[i] = np.concatenate([one.action for one in some])[rows]
        outcome[i] = np.concatenate([one.outcome for one in some])[rows]
        lived[i] = steps / (len(some) * family.horizon_steps)
    return action, outcome, lived


def written(
    source: Model, spec: PolicySpec, given: Contexts, gain: Float[np.ndarray, " n"], keys
) -> Float[np.ndarray, "n p"]:
    """What a generator writes, its outputs times a gain each."""
    policies = Policies(source.vectors(given, keys), spec)
    return policies.with_gain(np.repeat(gain[:, None], spec.action, axis=1)).weights


def columns(family: Family) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " d"]]:
    """The coordinates of a context that change the reward alone, and the others."""
    told = family.context.where("reward")
    return told, np.setdiff1d(np.arange(family.context.size), told)


def bodies(family: Family, contexts: Float[np.ndarray, "x c"]) -> Float[np.ndarray, "b c"]:
    """The first of the contexts with each body."""
    _, first = np.unique(contexts[:, columns(family)[1]], axis=0, return_index=True)
    return contexts[np.sort(first)]


def questions(
    family: Family, contexts: Float[np.ndarray, "x c"], points: int, reach: float
) -> Float[np.ndarray, "u c"]:
    """Contexts to ask for: over the range of the training contexts and some way beyond it, evenly
    along one coordinate, by Halton's sequence in several; and the training contexts themselves."""
    told = columns(family)[0]
    varied = [i for i in told if len(set(contexts[:, i])) > 1]
    if not varied:
        raise BadZoo(
            f"these experts of {family.name} differ in nothing that changes the reward alone; "
            "hindsight needs rewards that differ"
        )
    ends = [_ends(family.context.coordinates[i], contexts[:, i], reach) for i in varied]
    low, high = np.array(ends).T
    if len(varied) == 1:
        unit = np.linspace(0.0, 1.0, points)[:, None]
    else:
        unit = qmc.Halton(len(varied), scramble=False).random(points)
    free = np.repeat(contexts[:1], points, axis=0)
    free[:, varied] = low + unit * (high - low)
    spaces = [family.context.coordinates[i] for i in varied]
    for i, one in zip(varied, spaces, strict=True):
        free = free[np.abs(free[:, i]) >= one.least]
    own = np.repeat(contexts[:1], len(contexts), axis=0)
    own[:, varied] = contexts[:, varied]
    return np.unique(np.concatenate([free, own]), axis=0)


def _ends(one: Coordinate, x: Float[np.ndarray, " x"], reach: float) -> tuple[float, float]:
    if one.period is not None:
        return 0.0, one.period
    more = reach * np.ptp(x)
    return max(one.low, float(x.min() - more)), min(one.high, float(x.max() + more))
