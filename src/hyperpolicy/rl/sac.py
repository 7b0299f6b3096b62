"""Soft Actor-Critic for ONE expert; `jax.vmap` makes it a fleet.

Haarnoja et al. (2018), "Soft Actor-Critic Algorithms and Applications", arXiv:1812.05905;
equation numbers are that paper's. Settings are CleanRL's, which the rebuilt papers name as theirs.
Departures from the paper, marked where they happen:
  D1  the critics and the temperature learn at their own rate, faster than the actor (CleanRL);
  D2  actor and temperature rest for `policy_period` updates, then take as many steps (CleanRL);
  D3  log σ is squashed into [−5, 2] (CleanRL; `nets/policy.py`);
  D4  an optional pull of the actor's weights toward their start, for fine-tuned experts (ours);
  D5  critics' networks learn how far Q lies from that of a usual reward for ever, zero by default
      (ours; a bonus for being alive otherwise hides what actions are worth).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import (
    Bounded,
    Count,
    Decay,
    Number,
    PartialShare,
    Positive,
    Rate,
    Sizes,
    Weight,
)
from hyperpolicy.nets.mlp import CriticSpec, Mlp, value_batch
from hyperpolicy.nets.policy import Activations, PolicyNet, PolicySpec, act_batch, one_each, sample
from hyperpolicy.rl.learner import Critics, Learner, Metrics, Spaces, WarmStart, adam_step
from hyperpolicy.types import Batch, Key, Scalar


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class SacConfig(Bounded):
    hidden: Sizes = (64, 64)
    """Units of each hidden layer of actor and critics (the papers: 256, 256)."""
    activations: Activations = ("relu",)
    """Of the actor's hidden layers, one each or one for all (Make-An-Agent: elu, relu)."""
    discount: PartialShare = 0.99
    """γ, per environment step."""
    tau: Decay = 0.005
    """Share of the critics mixed into the target critics at each update."""
    actor_rate: Weight = 3e-4
    """Adam step size of the actor."""
    critic_rate: Rate = 1e-3
    """Adam step size of critics and temperature (D1)."""
    policy_period: Count = 2
    """Updates between visits to actor and temperature (D2)."""
    initial_alpha: Positive = 1.0
    """Temperature α at the start, in reward per nat."""
    target_entropy: Number = -1.0
    """Entropy the temperature aims at, in nats per action (MBPO and REDQ: −0.5 for ants)."""
    usual_reward: Number = 0.0
    """Reward of a step, r̄, that critics need not learn (D5)."""
    pull: Weight = 0.0
    """Weight of ‖θ − θ₀‖² in the actor's loss (D4)."""

    @property
    def learner(self) -> Learner:
        """The functions of this page."""
        return SAC

    @property
    def usual_return(self) -> float:
        """r̄ / (1 − γ): Q is this plus the networks' output (D5)."""
        return self.usual_reward / (1.0 - self.discount)


class SacState(NamedTuple):
    actor: PolicyNet
    start: PolicyNet  # θ₀ of D4
    critics: Mlp  # two of them, stacked on axis 0
    targets: Mlp
    log_alpha: Scalar
    measured: Metrics  # when the policy was last improved
    adam: tuple[optax.OptState, optax.OptState, optax.OptState]
    key: Key


MEASURED = ("loss/actor", "loss/temperature", "grad_norm/actor", "entropy")
"""What a step of actor and temperature measures; entropy in nats."""


def policy_spec(cfg: SacConfig, i: int, a: int) -> PolicySpec:
    """The Gaussian actor of i inputs."""
    return PolicySpec(i, a, cfg.hidden, one_each(cfg.activations, cfg.hidden))


def critic_spec(cfg: SacConfig, i: int, a: int) -> CriticSpec:
    """Each of the twin critics of i inputs."""
    return CriticSpec(i, a, cfg.hidden)


def init(cfg: SacConfig, spaces: Spaces, key: Key) -> SacState:
    """A learner with fresh networks."""
    key, key_actor, key_critics = jax.random.split(key, 3)
    actor = policy_spec(cfg, spaces.inputs, spaces.action).init(key_actor)
    critics = critic_spec(cfg, spaces.inputs, spaces.action).init(key_critics)
    return start_from(cfg, WarmStart(actor, Critics(critics), None), key)


def start_from(cfg: SacConfig, start: WarmStart, key: Key) -> SacState:
    """A learner that goes on from given networks, with fresh optimizers; from critics without a
    temperature with `initial_alpha`."""
    assert start.critics is not None
    actor, (critics, log_alpha) = start.actor, start.critics
    log_alpha = jnp.log(cfg.initial_alpha) if log_alpha is None else log_alpha
    log_alpha = jnp.asarray(log_alpha, jnp.float32)
    adam = (
        optax.adam(cfg.critic_rate).init(critics),
        optax.adam(cfg.actor_rate).init(actor),
        optax.adam(cfg.critic_rate).init(log_alpha),
    )
    measured = dict.fromkeys(MEASURED, jnp.zeros(()))
    return SacState(actor, actor, critics, critics, log_alpha, measured, adam, key)


def act(cfg: SacConfig, state: SacState, inputs: Float[Array, "e i"]) -> Float[Array, "e a"]:
    """Deterministic actions tanh(μ)."""
    return act_batch(state.actor, inputs)


def explore(cfg: SacConfig, state: SacState, inputs: Float[Array, "e i"], key: Key):
    """Actions drawn from the policy."""
    a = state.actor.mean.bias.shape[0]
    return sample_batch(state.actor, inputs, a, key)[0], None


def sample_batch(
    actor: PolicyNet, obs: Float[Array, "b o"], a: int, key: Key
) -> tuple[Float[Array, "b a"], Float[Array, " b"]]:
    """Actions of `a` numbers, and their log-densities."""
    noise = jax.random.normal(key, (len(obs), a))
    return jax.vmap(sample, (None, 0, 0))(actor, obs, noise)


# --- Losses -------------------------------------------------------------------------------
def critic_loss(
    critics: Mlp, state: SacState, batch: Batch, cfg: SacConfig, key: Key
) -> tuple[Scalar, Scalar]:
    """½ E[(Q − y)²] over both critics, y = r + γ(1 − d)(min Q̄ − α log π), Eq. 5; and E[Q]."""
    a = batch.action.shape[1]
    next_action, next_log_prob = sample_batch(state.actor, batch.next_obs, a, key)
    next_q = value_batch(state.targets, batch.next_obs, next_action).min(axis=1)
    next_v = cfg.usual_return + next_q - jnp.exp(state.log_alpha) * next_log_prob
    y = batch.reward + cfg.discount * (1.0 - batch.terminated) * next_v
    q = cfg.usual_return + value_batch(critics, batch.obs, batch.action)
    return 0.5 * jnp.mean((q - jax.lax.stop_gradient(y)[:, None]) ** 2), jnp.mean(q)


def actor_loss(
    actor: PolicyNet, state: SacState, batch: Batch, cfg: SacConfig, key: Key
) -> tuple[Scalar, Scalar]:
    """E[α log π − min Q] + pull·‖θ − θ₀‖², Eq. 7 and D4; and the policy's entropy, in nats."""
    action, log_prob = sample_batch(actor, batch.obs, batch.action.shape[1], key)
    q = value_batch(state.critics, batch.obs, action).min(axis=1)
    gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), actor, state.start)
    pull = cfg.pull * sum(jax.tree.leaves(gaps))
    return jnp.mean(jnp.exp(state.log_alpha) * log_prob - q) + pull, -jnp.mean(log_prob)


def temperature_loss(log_alpha: Scalar, entropy: Scalar, target_entropy: float) -> Scalar:
    """E[−α log π − α H̄], Eq. 18."""
    return jnp.exp(log_alpha) * (entropy - target_entropy)


# --- Update -------------------------------------------------------------------------------
def update(
    cfg: SacConfig, state: SacState, batch: Batch, index: Int[Array, ""]
) -> tuple[SacState, Metrics]:
    """One step of the critics; at every `policy_period`-th `index` that many of the actor too (D2).

    `index` counts updates. It is one number for a whole fleet, so that resting costs nothing.
    """
    state, metrics = improve_critics(cfg, state, batch)

    def once(_, state: SacState) -> SacState:
        return improve_policy(cfg, state, batch, actor_loss, cfg.actor_rate)

    improve = partial(jax.lax.fori_loop, 0, cfg.policy_period, once)
    state = jax.lax.cond(index % cfg.policy_period == 0, improve, lambda s: s, state)
    return state, metrics | state.measured | {"alpha": jnp.exp(state.log_alpha)}


def improve_critics(cfg: SacConfig, state: SacState, batch: Batch) -> tuple[SacState, Metrics]:
    """One Adam step down `critic_loss`; the targets follow by τ."""
    key, key_loss = jax.random.split(state.key)
    grad = jax.value_and_grad(critic_loss, has_aux=True)
    (loss, q), grads = grad(state.critics, state, batch, cfg, key_loss)
    critics, adam = adam_step(cfg.critic_rate, state.critics, grads, state.adam[0])
    targets = optax.incremental_update(critics, state.targets, cfg.tau)
    state = state._replace(critics=critics, targets=targets, adam=(adam, *state.adam[1:]), key=key)
    return state, {"loss/critic": loss, "q": q, "grad_norm/critic": optax.tree.norm(grads)}


def improve_policy(
    cfg: SacConfig, state: SacState, batch: Batch, loss: Callable, rate: float | Scalar
) -> SacState:
    """One Adam step down `loss` at `rate`, then one down `temperature_loss`."""
    key, key_loss = jax.random.split(state.key)
    grad = jax.value_and_grad(loss, has_aux=True)
    (found, entropy), grads = grad(state.actor, state, batch, cfg, key_loss)
    actor, adam = adam_step(rate, state.actor, grads, state.adam[1])
    adam = state.adam[0], adam, state.adam[2]
    state = state._replace(actor=actor, adam=adam, key=key)
    return improve_temperature(cfg, state, found, entropy, grads)


def improve_temperature(
    cfg: SacConfig, state: SacState, loss: Scalar, entropy: Scalar, grads: PolicyNet
) -> SacState:
    """One Adam step down `temperature_loss`; the actor's loss and gradient are noted with it."""
    target = cfg.target_entropy * grads.mean.bias.shape[0]
    grad = jax.value_and_grad(temperature_loss)
    of_alpha, step = grad(state.log_alpha, entropy, target)
    log_alpha, adam = adam_step(cfg.critic_rate, state.log_alpha, step, state.adam[2])
    found = loss, of_alpha, optax.tree.norm(grads), entropy
    measured = dict(zip(MEASURED, found, strict=True))
    return state._replace(log_alpha=log_alpha, adam=(*state.adam[:2], adam), measured=measured)


# --- The learner --------------------------------------------------------------------------
SAC = Learner(
    name="sac",
    learns_from="replay",
    policy=policy_spec,
    critic=critic_spec,
    init=init,
    start_from=start_from,
    act=act,
    explore=explore,
    update=update,
    improve_critics=improve_critics,
    actor=lambda state: state.actor,
    critics=lambda state: Critics(state.targets, state.log_alpha),
    usual_reward=lambda cfg: cfg.usual_reward,
)
