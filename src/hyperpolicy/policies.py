"""Policies: many flat weight vectors of one specification, which act; and the protocol of whoever
acts in worlds, with or without a memory: deterministically, exploring, not at all or at random."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from hyperpolicy import headers, seeds
from hyperpolicy.envs import Family, Step
from hyperpolicy.errors import BadFile, BadShape
from hyperpolicy.headers import PoliciesHeader
from hyperpolicy.nets.fold import fold_gain
from hyperpolicy.nets.policy import PolicySpec, act, sample


@partial(jax.jit, static_argnums=0)
def _act_fleet(spec: PolicySpec, weights: Float[Array, "n p"], obs: Float[Array, "n e o"]):
    """Actions [n,e,a]."""
    return jax.vmap(lambda w, x: jax.vmap(partial(act, spec.unflatten(w)))(x))(weights, obs)


@partial(jax.jit, static_argnums=0)
def _sample_fleet(spec: PolicySpec, weights: Float[Array, "n p"], obs, noise):
    """Actions [n,e,a], of observations [n,e,o] and noise [n,e,a]."""

    def one(w, x, z):
        return jax.vmap(partial(sample, spec.unflatten(w)))(x, z)[0]

    return jax.vmap(one)(weights, obs, noise)


@partial(jax.jit, static_argnums=0)
def _gain_fleet(spec: PolicySpec, weights: Float[Array, "n p"], gain: Float[Array, "n a"]):
    """Weights [n,p]."""
    return jax.vmap(lambda w, g: spec.flatten(fold_gain(spec.unflatten(w), g)))(weights, gain)


@dataclass(frozen=True)
class Policies:
    """n policies of one spec: a generator's output, a zoo's rows, a fleet's actors; in NumPy."""

    weights: Float[np.ndarray, "n p"]
    spec: PolicySpec

    def __post_init__(self):
        weights = np.asarray(self.weights, np.float32)
        if weights.ndim != 2 or weights.shape[1] != self.spec.size:
            raise BadShape(
                f"weights have shape {weights.shape}; a policy of {self.spec} is "
                f"[n, {self.spec.size}]"
            )
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows) -> "Policies":
        """The policies at `rows` (an index, a slice or an array); always Policies."""
        return Policies(np.atleast_2d(self.weights[rows]), self.spec)

    def act(self, obs: Float[np.ndarray, "n *e o"]) -> Float[np.ndarray, "n *e a"]:
        """Deterministic actions in [-1, 1]; obs [n,o], or [n,e,o] for e observations a policy.

        Raises:
            BadShape: obs does not have one row a policy, or the wrong width.
        """
        actions = np.asarray(_act_fleet(self.spec, self._held, self._wide(obs)))
        return actions if np.ndim(obs) == 3 else actions[:, 0]

    @cached_property
    def _held(self) -> Float[Array, "n p"]:
        """The weights where JAX computes: an episode asks for actions hundreds of times."""
        return jnp.asarray(self.weights)

    def sample(self, obs: Float[np.ndarray, "n *e o"], seed: int) -> Float[np.ndarray, "n *e a"]:
        """Stochastic actions in [-1, 1], for exploration; those of deterministic policies are the
        same every time. Shapes and errors are as in `act`."""
        if self.spec.head == "deterministic":
            return self.act(obs)
        wide = self._wide(obs)
        noise = jax.random.normal(seeds.key(seed), (*wide.shape[:2], self.spec.action))
        actions = np.asarray(_sample_fleet(self.spec, self._held, wide, noise))
        return actions if np.ndim(obs) == 3 else actions[:, 0]

    def with_gain(self, gain: Float[np.ndarray, "n a"]) -> "Policies":
        """The policies whose deterministic actions are tanh(gain ⊙ μ); a gain of −1 reverses a
        motor, a small one weakens it. Raises BadShape: not one number an action of every policy."""
        if np.shape(gain) != (len(self), self.spec.action):
            raise BadShape(
                f"gain has shape {np.shape(gain)}; give [{len(self)}, {self.spec.action}]"
            )
        weights = _gain_fleet(self.spec, self._held, jnp.asarray(gain, jnp.float32))
        return Policies(np.asarray(weights), self.spec)

    def _wide(self, obs) -> Float[np.ndarray, "n e o"]:
        """Checked observations, e a policy."""
        obs = np.asarray(obs, np.float32)
        if obs.ndim not in (2, 3) or obs.shape[0] != len(self) or obs.shape[-1] != self.spec.obs:
            raise BadShape(
                f"observations have shape {obs.shape}; {len(self)} policies take "
                f"[{len(self)}, {self.spec.obs}] or [{len(self)}, e, {self.spec.obs}]"
            )
        return obs if obs.ndim == 3 else obs[:, None]

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file; an existing file is an error."""
        header = PoliciesHeader(self.spec.header)
        return headers.save_arrays(path, {"weights": self.weights}, header)

    @classmethod
    def load(cls, path: str | Path) -> "Policies":
        """The policies in a file.

        Raises:
            BadFile: it holds none, is damaged, or holds numbers that are not finite.
        """
        arrays, header = headers.load_arrays(path, PoliciesHeader, ("weights",))
        try:
            return cls(arrays["weights"], PolicySpec.of(header.spec))
        except BadShape as error:
            raise BadFile(f"{path}: {error}") from None


# --- Who acts -----------------------------------------------------------------------------
Carry = Any
"""An actor's memory: any tree of arrays that lead with the axes [n, e]; `()` for none."""
StepKey = UInt32[np.ndarray, " 2"]
"""A rollout's seed and the number of its step: a seed for `numpy.random.default_rng`, and the data
of a JAX key (`jax.random.wrap_key_data`)."""


@runtime_checkable
class Actor(Protocol):
    """n policies that act in e worlds each, with a memory that the rollout hands on.

    A memory begins and ends with a world's job: the rollout puts a new one in its place when the
    world is given another job. Only `act` has to be written.
    """

    def start(self, n: int, e: int) -> Carry:
        """The memory before the first step of n policies in e worlds each."""
        return ()

    @abstractmethod
    def act(
        self, carry: Carry, obs: Float[np.ndarray, "n e o"], key: StepKey
    ) -> tuple[Float[np.ndarray, "n e a"], Carry]:
        """Actions in [−1, 1], and the memory after choosing them."""

    def observe(self, carry: Carry, step: Step) -> Carry:
        """The memory after a step, whose arrays lead with [n, e]. Where it ended an episode
        (`step.terminated | step.truncated`), `step.obs` opens the next one of the same job."""
        return carry

    def take(self, rows: Int[np.ndarray, " k"]) -> "Actor | None":
        """The actor of the policies at `rows`, which may repeat; None where an action depends on
        who else acts, as shared draws do. Worlds then do not take turns."""
        return None


@dataclass(frozen=True)
class Memoryless(Actor):
    """An actor without memory, whose actions [n,e,a] are a function of the observations [n,e,o] and
    of the number of the step."""

    function: Callable[[Float[np.ndarray, "n e o"], int], Float[np.ndarray, "n e a"]]

    def act(self, carry, obs, key):
        return self.function(obs, int(key[1])), carry


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
