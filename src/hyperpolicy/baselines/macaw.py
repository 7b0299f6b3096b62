"""MACAW: a policy and a value that one gradient step on a task's transitions adapts to the task.

Mitchell et al. 2021, "Offline Meta-Reinforcement Learning with Advantage Weighting",
arXiv:2008.06043. For each of some tasks, with rows D_in and D_out of its buffer, G the discounted
return from a row to its episode's end, k the steps until then and s_T its last observation:

    value    φ' = φ − η_φ ∇ E_in[(V_φ(s) − G)²]                      inner step
             L_V = E_out[(V_φ'(s) − G − γᵏ V̄(s_T))²]                  outer loss, V̄ follows V_φ'
    policy   A = G + γᵏ V_φ'(s_T) − V_φ'(s),   w = exp(min((A − mean)/std, log 20))
             θ' = θ − η_θ ∇ E_in[−w log π_θ(a|s) + c (Â_θ(s, a) − A)²]   Â: the advantage head
             L_π = E_out[−w log π_θ'(a|s)]

π is a Gaussian of σ = 0.2 around tanh μ(s). The gradient of both outer losses goes through the
inner steps; each tensor has a learned step size η, and c is learned. Layers are
`nets/latent_mlp.py`'s. With published sizes the policy has 2.66 M numbers on Cheetah-Vel, V 2.26 M.
Departures from the released code:
  D1  V̄ moves once an iteration, 0.1 of the way to the mean of the tasks' adapted values (the code:
      task by task, in turn);
  D2  outer losses are means over the tasks drawn (the code divides by the number of all tasks;
      Adam does not see the factor).
This page has the losses; `macaw_model.py` fits, adapts and goes on learning.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Count, PartialShare, Positive, Rate, Size
from hyperpolicy.data import by_task
from hyperpolicy.data.by_task import TaskRows
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.nets.latent_mlp import LatentMlp, before_last, joined
from hyperpolicy.nets.mlp import Mlp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.types import Key, Scalar

MOST = 20.0
"""Largest weight of a row."""
TARGET_TAU = 0.1
Where = Literal["contiguous", "anywhere"]


# --- Config -------------------------------------------------------------------------------
@dataclass(frozen=True)
class MacawConfig(Bounded):
    width: Size = 100
    """Units of a hidden layer; three of them."""
    latent: Size = 100
    """z, numbers of each layer's latent."""
    head: Size = 32
    """Units of the advantage head's hidden layer."""
    sigma: Positive = 0.2
    """σ of the policy, of an action in [−1, 1]."""
    discount: PartialShare = 0.99
    """γ, per environment step."""
    inner_batch: Count = 256
    """Rows of the inner step."""
    outer_batch: Count = 256
    """Rows of the outer losses."""
    inner_rows: Where = "contiguous"
    """Whether the inner step's rows follow one another."""
    every: Count = 7
    """Which rows of the data are kept: every seventh."""
    tasks: Count = 5
    """Tasks an iteration."""
    steps: Count = 20_000
    """Iterations (published: 480,000 on Cheetah-Vel, 650,000 on Ant-Dir)."""
    policy_rate: Rate = 1e-4
    value_rate: Rate = 1e-5
    step_rate: Rate = 1e-3
    """Adam step size of the inner step sizes and of c."""
    inner_rate: Rate = 1e-3
    """Inner step sizes at the start."""
    name: ClassVar[str] = "macaw"

    def spec(self, family: Family) -> PolicySpec:
        """Of the adapted policies."""
        hidden = (self.width,) * 3
        return PolicySpec(
            family.obs_size, family.action_size, hidden, ("relu",) * 3, "deterministic"
        )


class Actor(eqx.Module):
    """μ, and the advantage head Â on its last hidden layer."""

    mean: LatentMlp
    head: LatentMlp


class Meta(NamedTuple):
    """What is learned."""

    policy: Actor
    value: LatentMlp
    policy_steps: Actor
    """log η of each tensor, used through a softplus."""
    value_steps: LatentMlp
    balance: Scalar
    """log c, used through a softplus."""


def init(cfg: MacawConfig, family: Family, key: Key) -> Meta:
    """Fresh networks."""
    keys = jax.random.split(key, 3)
    w, z, o, a = cfg.width, cfg.latent, family.obs_size, family.action_size
    policy = Actor(
        LatentMlp.init([o, w, w, w, a], z, keys[0]),
        LatentMlp.init([w + a, cfg.head, 1], z, keys[1]),
    )
    value = LatentMlp.init([o, w, w, w, 1], z, keys[2])

    def rates(net):
        return jax.tree.map(lambda leaf: jnp.log(cfg.inner_rate), net)

    return Meta(policy, value, rates(policy), rates(value), jnp.log(0.01))


# --- Losses, of one task ------------------------------------------------------------------
class Rows(NamedTuple):
    """b rows of a task; normalized as they come."""

    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    earned: Float[Array, " b"]
    """G."""
    left: Float[Array, " b"]
    """γᵏ; 0 where the task ended."""
    last_obs: Float[Array, "b o"]
    """s_T."""


def values(net: LatentMlp, obs: Float[Array, "b o"]) -> Float[Array, " b"]:
    """V(s)."""
    return jax.vmap(net.plain)(obs)[:, 0]


def value_loss(net: LatentMlp, rows: Rows, target: Float[Array, " b"]) -> Scalar:
    """E[(V(s) − target)²]."""
    return jnp.mean((values(net, rows.obs) - target) ** 2)


def advantages(net: LatentMlp, rows: Rows) -> Float[Array, " b"]:
    """A = G + γᵏ V(s_T) − V(s); nothing learns through it."""
    found = rows.earned + rows.left * values(net, rows.last_obs) - values(net, rows.obs)
    return jax.lax.stop_gradient(found)


def weights(advantage: Float[Array, " b"]) -> Float[Array, " b"]:
    """w = exp(min((A − mean)/std, log 20))."""
    apart = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
    return jnp.exp(jnp.minimum(apart, jnp.log(MOST)))


def log_prob(mean: Mlp, rows: Rows, sigma: float) -> Float[Array, " b"]:
    """log N(a; tanh μ(s), σ²)."""
    gap = (rows.action - jnp.tanh(jax.vmap(mean)(rows.obs))) / sigma
    a = rows.action.shape[1]
    return -0.5 * jnp.sum(gap**2, axis=1) - a * (jnp.log(sigma) + 0.5 * jnp.log(2 * jnp.pi))


def outer_policy_loss(
    net: Actor, rows: Rows, advantage: Float[Array, " b"], sigma: float
) -> Scalar:
    """E[−w log π(a|s)]."""
    return -jnp.mean(weights(advantage) * log_prob(net.mean.plain, rows, sigma))


def inner_policy_loss(
    net: Actor, rows: Rows, advantage: Float[Array, " b"], sigma: float, balance: Scalar
) -> Scalar:
    """E[−w log π(a|s) + c (Â(s, a) − A)²]."""
    mean, head = net.mean.plain, net.head.plain
    hidden = jax.vmap(partial(before_last, mean))(rows.obs)
    found = jax.vmap(head)(jax.vmap(joined)(hidden, rows.action))[:, 0]
    gap = jax.nn.softplus(balance) * (found - advantage) ** 2
    return jnp.mean(gap - weights(advantage) * log_prob(mean, rows, sigma))


def descend(net, steps, loss):
    """The network after one step of gradient descent, each tensor by its own step size."""
    grads = jax.grad(loss)(net)
    return jax.tree.map(lambda p, g, s: p - jax.nn.softplus(s) * g, net, grads, steps)


def adapt_value(meta: Meta, rows: Rows) -> LatentMlp:
    """φ'."""
    return descend(meta.value, meta.value_steps, lambda net: value_loss(net, rows, rows.earned))


def adapt_policy(cfg: MacawConfig, meta: Meta, value: LatentMlp, rows: Rows) -> Actor:
    """θ', for an adapted value."""
    advantage = advantages(value, rows)
    return descend(
        meta.policy,
        meta.policy_steps,
        lambda net: inner_policy_loss(net, rows, advantage, cfg.sigma, meta.balance),
    )


def outer_losses(
    cfg: MacawConfig, meta: Meta, target: LatentMlp, inner: Rows, outer: Rows
) -> tuple[Scalar, tuple[dict[str, Scalar], LatentMlp]]:
    """L_V + L_π of one task, both with what they are, and the adapted value."""
    value = adapt_value(meta, inner)
    apart = jax.lax.stop_gradient(value)
    moved = optax.incremental_update(apart, target, TARGET_TAU)
    bootstrapped = outer.earned + outer.left * values(moved, outer.last_obs)
    of_value = value_loss(value, outer, jax.lax.stop_gradient(bootstrapped))
    policy = adapt_policy(cfg, meta, apart, inner)
    of_policy = outer_policy_loss(policy, outer, advantages(apart, outer), cfg.sigma)
    before = outer_policy_loss(meta.policy, outer, advantages(apart, outer), cfg.sigma)
    parts = {
        "loss/value": of_value,
        "loss/policy": of_policy,
        "loss/policy, not adapted": jax.lax.stop_gradient(before),
    }
    return of_value + of_policy, (parts, apart)


# --- Batches ------------------------------------------------------------------------------
def draw(
    data: TaskRows,
    task: Int[Array, ""],
    num: int,
    where: Literal["contiguous", "anywhere"],
    key: Key,
) -> Rows:
    """`num` rows of a task, which follow one another or are drawn anywhere."""
    count = data.filled[task]
    if where == "contiguous":
        first = jax.random.randint(key, (), 0, jnp.maximum(count - num + 1, 1))
        at = jnp.minimum(first + jnp.arange(num), count - 1)
    else:
        at = jax.random.randint(key, (num,), 0, count)
    parts = data.obs, data.action, data.earned, data.left, data.last_obs
    return Rows(*(jnp.asarray(x)[task, at] for x in parts))


# --- Training -----------------------------------------------------------------------------
def prepare(cfg: MacawConfig, episodes: Episodes, contexts, least: int) -> TaskRows:
    """Every seventh row of the episodes, as arrays of JAX. Raises BadSetting: a task has fewer than
    `least`."""
    found = by_task.transitions(episodes, contexts, cfg.discount, cfg.every)
    few = int(np.argmin(found.filled))
    if found.filled[few] < least:
        task = episodes.family.task_name(episodes.family.context.check(contexts)[few])
        raise BadSetting(
            f"{found.filled[few]} rows of {task} are left of its episodes (every={cfg.every}) for "
            f"batches of {least}; record more, or give smaller batches"
        )
    return jax.tree.map(jnp.asarray, found)


def train(
    cfg: MacawConfig, family: Family, run: loop.FitJob, data: tuple[TaskRows, TaskRows]
) -> dict[int, Meta]:
    """What each seed that lived has learned."""
    rates = {"policy": cfg.policy_rate, "value": cfg.value_rate, "steps": cfg.step_rate}
    labels = Meta._make(["policy", "value", "steps", "steps", "steps"])
    tx = optax.multi_transform({name: optax.adam(rate) for name, rate in rates.items()}, labels)
    k = len(data[0].filled)

    def start(key):
        meta = init(cfg, family, key)
        return meta, meta.value, tx.init(meta)

    def step(state, key, i, own, data: tuple[TaskRows, TaskRows]):
        meta, target, adam = state
        key_tasks, key_inner, key_outer = jax.random.split(key, 3)
        num = min(cfg.tasks, k)
        tasks = jax.random.permutation(key_tasks, k)[:num]
        rows, shown = data

        def cut(data, size, where, key):
            one = lambda task, key: draw(data, task, size, where, key)  # noqa: E731
            return jax.vmap(one)(tasks, jax.random.split(key, num))

        inner = cut(shown, cfg.inner_batch, cfg.inner_rows, key_inner)
        outer = cut(rows, cfg.outer_batch, "anywhere", key_outer)

        def loss(meta):
            one = partial(outer_losses, cfg, meta, target)
            found, (parts, adapted) = jax.vmap(one)(inner, outer)
            return found.mean(), (parts, adapted)

        (_, (parts, adapted)), grads = jax.value_and_grad(loss, has_aux=True)(meta)
        updates, adam = tx.update(grads, adam, meta)
        mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), adapted)
        target = optax.incremental_update(mean, target, TARGET_TAU)
        measured = {name: x.mean() for name, x in parts.items()}
        return (optax.apply_updates(meta, updates), target, adam), measured

    fits = loop.learn(run, start, step, None, data)
    return fits.living(fits.state[0])
