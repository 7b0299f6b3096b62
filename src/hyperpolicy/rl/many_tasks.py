"""What learners of one policy for many tasks share: rows told apart by task, acting, both critics'
values, and a batch whose rewards are divided."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import CriticSpec
from hyperpolicy.nets.multi_task import MultiTaskNet, Rows, through
from hyperpolicy.nets.policy import tanh_gaussian
from hyperpolicy.rl.learner import Config, State, WarmStart
from hyperpolicy.types import Key, Paid, Scalar

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
"""What log σ is squashed into."""


def critic_spec(cfg: Config, i: int, a: int) -> CriticSpec | None:
    """None: critics of many tasks are no plain ones."""
    return None


def start_from(cfg: Config, start: WarmStart, key: Key) -> State:
    """Raises BadSetting: a policy for many tasks begins with fresh networks."""
    raise BadSetting("a policy for many tasks begins with fresh networks; give start='own'")


def notice(cfg: Config, state: State, paid: Paid) -> State:
    """With the rewards of one step of the worlds."""
    return state._replace(scale=state.scale.after(paid))


# --- Acting -------------------------------------------------------------------------------
def rows_of(cfg: Config, inputs: Float[Array, "b i"]) -> tuple[Rows, Float[Array, "b o"]]:
    """How rows are told apart by task, and their observations."""
    if cfg.batches == "by-task" and len(inputs) % cfg.tasks == 0:
        return Rows(jnp.arange(cfg.tasks)), inputs[:, :-1]
    return Rows(inputs[:, -1].astype(jnp.int32)), inputs[:, :-1]


def act(cfg: Config, state: State, inputs: Float[Array, "e i"]) -> Float[Array, "e a"]:
    """Deterministic actions tanh(μ)."""
    rows, obs = rows_of(cfg, inputs)
    out = rows.over(MultiTaskNet(state.encoder, state.actor), obs)
    return jnp.tanh(jnp.split(out, 2, axis=1)[0])


def explore(cfg: Config, state: State, inputs: Float[Array, "e i"], key: Key):
    """Actions drawn from the policy."""
    rows, obs = rows_of(cfg, inputs)
    s, z = rows.over(state.encoder, obs)
    return draw(rows, state.actor, s, z, key)[0], None


def draw(
    rows: Rows,
    actor,
    s: Float[Array, "b s"],
    z: Float[Array, "b z"],
    key: Key,
    least: float = LOG_STD_MIN,
) -> tuple[Float[Array, "b a"], Float[Array, " b"]]:
    """Actions, and their log-densities; log σ is squashed into [least, 2]."""
    mean, raw = jnp.split(rows.over(lambda *x: through(actor, *x), s, z), 2, axis=1)
    log_std = least + 0.5 * (LOG_STD_MAX - least) * (jnp.tanh(raw) + 1.0)
    noise = jax.random.normal(key, mean.shape)
    return jax.vmap(tanh_gaussian)(mean, log_std, noise)


def values(
    rows: Rows, critics, s: Float[Array, "b s"], z: Float[Array, "b z"], action
) -> Float[Array, "b 2"]:
    """Both critics' estimates of the return."""

    def one(s, z, action, task):
        return jax.vmap(lambda critic: through(critic, s, z, task, action)[0])(critics)

    return rows.over(one, s, z, action)


# --- Batches ------------------------------------------------------------------------------
class Lesson(NamedTuple):
    """Rows of a batch, rewards divided, and their keys."""

    task: Int[Array, " g"]
    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    reward: Float[Array, " b"]
    next_obs: Float[Array, "b o"]
    terminated: Float[Array, " b"]
    weight: Float[Array, " g"]
    """Of the groups' losses."""
    key: Key

    @property
    def rows(self) -> Rows:
        return Rows(self.task)

    def mean(self, x: Float[Array, " b"]) -> Scalar:
        """The mean over rows, weighted."""
        return jnp.mean(
            x.reshape(len(self.task), len(x) // len(self.task)).mean(axis=1) * self.weight
        )
