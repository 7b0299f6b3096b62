"""Actors: policies that act deterministically or explore, no action, random ones."""

from dataclasses import dataclass

import numpy as np

from hyperpolicy import seeds
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadShape
from hyperpolicy.policies import Actor, Memoryless, Policies


@dataclass(frozen=True)
class Greedy(Actor):
    """Policies that act deterministically, tanh(μ)."""

    policies: Policies

    def act(self, carry, obs, key):
        return self.policies.act(obs), carry

    def take(self, rows):
        return Greedy(self.policies[rows])


@dataclass(frozen=True)
class Still(Actor):
    """No action at all."""

    action_size: int

    def act(self, carry, obs, key):
        return np.zeros((*obs.shape[:2], self.action_size), np.float32), carry

    def take(self, rows):
        return self


def exploring(policies: Policies, seed: int = 0) -> Actor:
    """The actor of their stochastic actions, a function of seed and step."""
    first = 1_000_003 * seeds.small(seed)
    return Memoryless(lambda obs, t: policies.sample(obs, (first + t) % 2**31))


def zero(family: Family) -> Actor:
    """The actor that applies no torque."""
    return Still(family.action_size)


def uniform(family: Family, seed: int = 0) -> Actor:
    """The actor whose actions are drawn from U(−1, 1), a function of seed and step."""
    seeds.check(seed)

    def act(obs, t):
        rng = np.random.default_rng([seed, t])
        return rng.uniform(-1.0, 1.0, (*obs.shape[:2], family.action_size)).astype(np.float32)

    return Memoryless(act)


def actor_of(who: Actor | Policies, family: Family, n: int | None) -> Actor:
    """Whoever acts, as an actor; policies act deterministically.

    Raises:
        BadShape: policies of another family, or not n of them where a number is given.
    """
    if not isinstance(who, Policies):
        return who
    spec = who.spec
    if (spec.obs, spec.action) != (family.obs_size, family.action_size):
        raise BadShape(
            f"policies take {spec.obs} observations and give {spec.action} actions; {family.name} "
            f"has {family.obs_size} and {family.action_size}"
        )
    if n is not None and len(who) != n:
        raise BadShape(f"{len(who)} policies for {n} contexts; give one policy a context")
    return Greedy(who)
