"""What experts do, as data to clone: steps of their episodes, and what critics say of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.errors import BadZoo
from hyperpolicy.generate.generator import critic_spec
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.rollout import record
from hyperpolicy.types import Key
from hyperpolicy.zoo import Zoo


class Moments(NamedTuple):
    """What observations are normalized by: (obs − mean) · scale."""

    mean: Float[Any, " o"]
    scale: Float[Any, " o"]


class Rows(NamedTuple):
    """Steps of experts, on leading axes of contexts and rows; observations are normalized, rewards
    and values are in units of `Rollouts.worth`."""

    obs: Float[Any, "*x o"]
    action: Float[Any, "*x a"]
    reward: Float[Any, "*x"]
    next_obs: Float[Any, "*x o"]
    ended: Float[Any, "*x"]
    """1 where the task ended for good."""
    value: Float[Any, "*x"]
    """q*; zero where the zoo has no critics."""


class Rollouts(NamedTuple):
    """What the experts of x contexts did."""

    conditions: Float[Array, "x d"]
    rows: Rows
    moments: Moments
    worth: Float[Any, ""]
    """What rewards and values are divided by: the values' root mean square; 1 without values."""


def rollouts(
    lesson: Lesson, episodes: int, discount: float, with_values: bool, seed: int = 0
) -> Rollouts:
    """Deterministic episodes of the experts of a lesson, labeled by their critics; x contexts, k
    rows each. `discount` is the critics'.

    Raises:
        BadZoo: no critics, where values are to be learned.
    """
    zoo = lesson.zoo
    if with_values and zoo.critics is None:
        raise BadZoo("this zoo holds no critics, which label values; set --value 0 --td 0")
    found = record(zoo.finals, zoo.family, zoo.contexts, episodes, seed)
    rows = rows_of(found, zoo, discount)
    obs = rows.obs.reshape(-1, rows.obs.shape[-1])
    moments = Moments(obs.mean(axis=0), 1.0 / np.sqrt(obs.var(axis=0) + 1e-4))
    worth = np.float32(np.sqrt(np.mean(rows.value**2)) if with_values else 1.0)
    rows = rows._replace(reward=rows.reward / worth, value=rows.value / worth)
    return Rollouts(
        jnp.asarray(lesson.reader.read(lesson.given), jnp.float32),
        jax.tree.map(jnp.asarray, normalized(rows, moments)),
        Moments(*map(jnp.asarray, moments)),
        jnp.asarray(worth),
    )


def normalized(rows: Rows, moments: Moments) -> Rows:
    """The rows with normalized observations."""
    obs, next_obs = ((x - moments.mean) * moments.scale for x in (rows.obs, rows.next_obs))
    return rows._replace(obs=obs, next_obs=next_obs)


def rows_of(episodes: Episodes, zoo: Zoo, discount: float) -> Rows:
    """The steps of each expert's episodes, whose `policy` is its number, as they come; experts
    whose episodes are shorter repeat theirs."""
    own: list[list[Episode]] = [[] for _ in zoo.contexts]
    for one in episodes:
        own[one.policy].append(one)
    lengths = [sum(len(one.reward) for one in some) for some in own]
    if not min(lengths):
        raise BadZoo(f"no whole episode of the expert at {zoo.contexts[np.argmin(lengths)]}")
    parts = [_rows(zoo, x, some, max(lengths), discount) for x, some in enumerate(own)]
    return Rows(*(np.stack(part) for part in zip(*parts, strict=True)))


def _rows(zoo: Zoo, x: int, episodes: Sequence, k: int, discount: float) -> Rows:
    """k rows of expert x."""
    obs = np.concatenate([one.obs[:-1] for one in episodes])
    action = np.concatenate([one.action for one in episodes])
    reward = np.concatenate([one.reward for one in episodes])
    next_obs = np.concatenate([one.obs[1:] for one in episodes])
    ended = np.zeros(len(reward), np.float32)
    ended[np.cumsum([len(one.reward) for one in episodes]) - 1] = [
        one.terminated for one in episodes
    ]
    value = np.zeros(len(reward), np.float32)
    if zoo.critics is not None:
        spec = critic_spec(zoo.spec)
        value = np.asarray(_judge(spec, jnp.asarray(zoo.critics[x]), obs, action))
        value = value + zoo.training.usual_reward / (1 - discount)
    rows = Rows(obs, action, reward, next_obs, ended, value)
    return jax.tree.map(lambda leaf: leaf[np.arange(k) % len(leaf)], rows)


@eqx.filter_jit
def _judge(spec, critics: Float[Array, "2 q"], obs, action) -> Float[Array, " k"]:
    twins = spec.unflatten(critics)
    inputs = jnp.concatenate([jnp.asarray(obs), jnp.asarray(action)], axis=1)
    return jax.vmap(lambda one: jax.vmap(one)(inputs)[:, 0])(twins).min(axis=0)


def draw(data: Rollouts, here: Int[Array, " n"], each: int, key: Key) -> Rows:
    """`each` rows of the experts of some contexts."""
    k = data.rows.reward.shape[1]
    rows = jax.random.randint(key, (len(here), each), 0, k)
    return jax.tree.map(lambda leaf: leaf[here[:, None], rows], data.rows)
