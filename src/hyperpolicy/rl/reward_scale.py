"""Divisors of tasks' rewards, learned from what worlds pay while they are trained in.

Replay keeps rewards as they were paid; they are divided when they are drawn, by what is known then.
(mtrl divides them when they are stored, by what was known at the time.) Nothing is learned from
evaluations. A scale more is a class and a line in `SCALES`.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.types import Paid

NEWEST = 1e-3
"""Share of the newest reward in the exponential moments."""


class Scale(Protocol):
    """What is known of k tasks' rewards."""

    @classmethod
    def of(cls, tasks: int, worlds: int, horizon: int, discount: float) -> "Scale":
        """Before any is paid; `worlds` of each task, episodes of at most `horizon` steps."""
        ...

    def after(self, paid: Paid) -> "Scale":
        """With one step more, of worlds task by task."""
        ...

    def divisors(self, alpha: Float[Array, " k"], entropy: float) -> Float[Array, " k"]:
        """What rewards of each task are divided by, at temperatures α and a target entropy in
        nats."""
        ...


class AsPaid(NamedTuple):
    """Rewards as they are."""

    tasks: Float[Array, " k"]

    @classmethod
    def of(cls, tasks: int, worlds: int, horizon: int, discount: float) -> "AsPaid":
        return cls(jnp.ones(tasks))

    def after(self, paid: Paid) -> "AsPaid":
        return self

    def divisors(self, alpha, entropy: float):
        return self.tasks


class Exponential(NamedTuple):
    """Each task's exponential standard deviation, as garage and mtrl have it; the mean is not
    taken off:

        μ ← (1 − α)μ + αr      v ← (1 − α)v + α(r − μ)²      r / (√v + 1e-8)
    """

    mean: Float[Array, " k"]
    var: Float[Array, " k"]

    @classmethod
    def of(cls, tasks: int, worlds: int, horizon: int, discount: float) -> "Exponential":
        return cls(jnp.zeros(tasks), jnp.ones(tasks))

    def after(self, paid: Paid) -> "Exponential":
        def one(known: "Exponential", reward: Float[Array, " k"]):
            mean = (1 - NEWEST) * known.mean + NEWEST * reward
            var = (1 - NEWEST) * known.var + NEWEST * (reward - mean) ** 2
            return Exponential(mean, var), None

        k = len(self.mean)
        return jax.lax.scan(one, self, paid.reward.reshape(k, -1).T)[0]

    def divisors(self, alpha, entropy: float):
        return jnp.sqrt(self.var) + 1e-8


class LargestDeviation(NamedTuple):
    """The largest exponential standard deviation that a task has had so far.

    The moments forget within a thousand steps what the replay holds for tens of thousands: where a
    policy forgets a task, its rewards' deviation shrinks, and old rewards, divided by it when they
    are drawn, become hundreds of times as large as any target (benchmarks/LOG.md). What only grows
    is safe.
    """

    now: Exponential
    largest: Float[Array, " k"]

    @classmethod
    def of(cls, tasks: int, worlds: int, horizon: int, discount: float) -> "LargestDeviation":
        return cls(Exponential.of(tasks, worlds, horizon, discount), jnp.ones(tasks))

    def after(self, paid: Paid) -> "LargestDeviation":
        now = self.now.after(paid)
        return LargestDeviation(now, jnp.maximum(self.largest, jnp.sqrt(now.var)))

    def divisors(self, alpha, entropy: float):
        return self.largest


class ByReturns(NamedTuple):
    """BRC's: the largest |return to go| that was seen, with the entropy that goes with it, is
    worth VALUE_LIMIT:

        (max_t |G_t| − α · H̄ / (2(1 − γ))) / 10        G_t = Σ_{s ≥ t} γ^{s−t} r_s + γ^{T−t} V

    where V is 0 at a true end and r̄ / (1 − γ) at a time limit, r̄ the episode's mean reward. As in
    arXiv:2505.23150's code.
    """

    largest: Float[Array, " k"]
    rewards: Float[Array, "e h"]
    """Of the episodes in progress, zero beyond `steps`."""
    steps: Float[Array, " e"]
    discount: Float[Array, ""]

    @classmethod
    def of(cls, tasks: int, worlds: int, horizon: int, discount: float) -> "ByReturns":
        e = tasks * worlds
        none = jnp.zeros((e, horizon))
        return cls(jnp.zeros(tasks), none, jnp.zeros(e), jnp.asarray(discount, jnp.float32))

    def after(self, paid: Paid) -> "ByReturns":
        h = self.rewards.shape[1]
        here = jnp.arange(h)[None] == self.steps[:, None]
        rewards = jnp.where(here, paid.reward[:, None], self.rewards)
        steps = self.steps + 1
        found = jnp.where(paid.ended > 0, self._largest(rewards, steps, paid.terminated), 0.0)
        k = len(self.largest)
        largest = jnp.maximum(self.largest, found.reshape(k, -1).max(axis=1))
        going = paid.ended == 0
        return ByReturns(
            largest, jnp.where(going[:, None], rewards, 0.0), steps * going, self.discount
        )

    def _largest(self, rewards, steps, terminated) -> Float[Array, " e"]:
        """max_t |G_t| of each episode, were it over."""
        h = rewards.shape[1]
        t = np.arange(h)
        ahead = np.maximum(t[None] - t[:, None], 0).astype(np.float32)
        powers = jnp.where(
            jnp.asarray(t[None] >= t[:, None]), self.discount ** jnp.asarray(ahead), 0
        )
        value = rewards.sum(axis=1) / steps / (1 - self.discount) * (1 - terminated)
        left = steps[:, None] - t[None]
        returns = rewards @ powers.T + self.discount ** jnp.maximum(left, 0) * value[:, None]
        return jnp.where(left > 0, jnp.abs(returns), 0.0).max(axis=1)

    def divisors(self, alpha, entropy: float):
        lasting = alpha * entropy / (2 * (1 - self.discount))
        return jnp.maximum((self.largest - lasting) / VALUE_LIMIT, 1e-3)


VALUE_LIMIT = 10.0
"""The largest value that rewards are scaled to."""

SCALES: dict[str, type[Scale]] = {
    "none": AsPaid,
    "exponential": Exponential,
    "deviation": LargestDeviation,
    "returns": ByReturns,
}
