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

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import (
    Bounded,
    Count,
    Decay,
    Number,
    OneOf,
    PartialShare,
    Positive,
    Rate,
    Size,
    Weight,
)
from hyperpolicy.nets.critic import CriticSpec, value
from hyperpolicy.nets.mlp import Mlp
from hyperpolicy.nets.policy import ACTIVATIONS, PolicyNet, PolicySpec, sample
from hyperpolicy.types import Batch, Key, Scalar

# --- Config and state ---------------------------------------------------------------------
Activation = Annotated[str, OneOf(ACTIVATIONS)]


@dataclass(frozen=True)
class SacConfig(Bounded):
    width: Size = 64
    """Units per hidden layer of actor and critics (the papers: 256)."""
    activations: tuple[Activation, Activation] = ("relu", "relu")
    """Of the actor's two hidden layers (Make-An-Agent on Meta-World: elu, relu)."""
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
    def usual_return(self) -> float:
        """r̄ / (1 − γ): Q is this plus the networks' output (D5)."""
        return self.usual_reward / (1.0 - self.discount)


class SacState(NamedTuple):
    actor: PolicyNet
    start: PolicyNet  # θ₀ of D4
    critics: Mlp  # two of them, stacked on axis 0
    targets: Mlp
    log_alpha: Scalar
    entropy: Scalar  # of the policy when last improved, in nats
    adam: tuple[optax.OptState, optax.OptState, optax.OptState]
    key: Key


def policy_spec(cfg: SacConfig, o: int, a: int) -> PolicySpec:
    return PolicySpec(o, a, (cfg.width, cfg.width), tuple(cfg.activations))


def critic_spec(cfg: SacConfig, o: int, a: int) -> CriticSpec:
    return CriticSpec(o, a, (cfg.width, cfg.width))


def init(cfg: SacConfig, o: int, a: int, key: Key) -> SacState:
    """A learner with fresh networks."""
    key, key_actor, key_critics = jax.random.split(key, 3)
    actor = policy_spec(cfg, o, a).init(key_actor)
    critics = critic_spec(cfg, o, a).init(key_critics)
    return start_from(cfg, actor, critics, jnp.log(cfg.initial_alpha), key)


def start_from(
    cfg: SacConfig, actor: PolicyNet, critics: Mlp, log_alpha: Scalar, key: Key
) -> SacState:
    """A learner that goes on from given networks, with fresh optimizers."""
    log_alpha = jnp.asarray(log_alpha, jnp.float32)
    adam = (
        optax.adam(cfg.critic_rate).init(critics),
        optax.adam(cfg.actor_rate).init(actor),
        optax.adam(cfg.critic_rate).init(log_alpha),
    )
    return SacState(actor, actor, critics, critics, log_alpha, jnp.zeros(()), adam, key)


value_batch = jax.vmap(value, in_axes=(None, 0, 0))


def sample_batch(
    actor: PolicyNet, obs: Float[Array, "b o"], a: int, key: Key
) -> tuple[Float[Array, "b a"], Float[Array, " b"]]:
    """Actions of `a` numbers, and their log-densities."""
    noise = jax.random.normal(key, (len(obs), a))
    return jax.vmap(sample, (None, 0, 0))(actor, obs, noise)


# --- Losses -------------------------------------------------------------------------------
def critic_loss(critics: Mlp, state: SacState, batch: Batch, cfg: SacConfig, key: Key) -> Scalar:
    """½ E[(Q − y)²] over both critics, y = r + γ(1 − d)(min Q̄ − α log π), Eq. 5."""
    a = batch.action.shape[1]
    next_action, next_log_prob = sample_batch(state.actor, batch.next_obs, a, key)
    next_q = value_batch(state.targets, batch.next_obs, next_action).min(axis=1)
    next_v = cfg.usual_return + next_q - jnp.exp(state.log_alpha) * next_log_prob
    y = batch.reward + cfg.discount * (1.0 - batch.terminated) * next_v
    q = cfg.usual_return + value_batch(critics, batch.obs, batch.action)
    return 0.5 * jnp.mean((q - jax.lax.stop_gradient(y)[:, None]) ** 2)


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
def update(cfg: SacConfig, state: SacState, batch: Batch, index: Int[Array, ""]) -> SacState:
    """One step of the critics; at every `policy_period`-th `index` that many of the actor too (D2).

    `index` counts updates. It is one number for a whole fleet, so that resting costs nothing.
    """
    state = improve_critics(cfg, state, batch)

    def improve(state: SacState) -> SacState:
        return jax.lax.fori_loop(
            0, cfg.policy_period, lambda _, s: improve_policy(cfg, s, batch), state
        )

    return jax.lax.cond(index % cfg.policy_period == 0, improve, lambda s: s, state)


def improve_critics(cfg: SacConfig, state: SacState, batch: Batch) -> SacState:
    """One Adam step down `critic_loss`; the targets follow by τ."""
    key, key_loss = jax.random.split(state.key)
    grads = jax.grad(critic_loss)(state.critics, state, batch, cfg, key_loss)
    critics, adam = descend(cfg.critic_rate, state.critics, grads, state.adam[0])
    targets = optax.incremental_update(critics, state.targets, cfg.tau)
    return state._replace(critics=critics, targets=targets, adam=(adam, *state.adam[1:]), key=key)


def improve_policy(cfg: SacConfig, state: SacState, batch: Batch) -> SacState:
    """One Adam step down `actor_loss`, then one down `temperature_loss`."""
    key, key_loss = jax.random.split(state.key)
    grads, entropy = jax.grad(actor_loss, has_aux=True)(state.actor, state, batch, cfg, key_loss)
    state = step_actor(state, grads, cfg.actor_rate)._replace(entropy=entropy, key=key)
    return improve_temperature(cfg, state, batch.action.shape[-1])


def step_actor(state: SacState, grads: PolicyNet, rate: float | Scalar) -> SacState:
    """One Adam step of the actor."""
    actor, adam = descend(rate, state.actor, grads, state.adam[1])
    return state._replace(actor=actor, adam=(state.adam[0], adam, state.adam[2]))


def improve_temperature(cfg: SacConfig, state: SacState, a: int) -> SacState:
    """One Adam step down `temperature_loss`."""
    grad = jax.grad(temperature_loss)(state.log_alpha, state.entropy, cfg.target_entropy * a)
    log_alpha, adam = descend(cfg.critic_rate, state.log_alpha, grad, state.adam[2])
    return state._replace(log_alpha=log_alpha, adam=(*state.adam[:2], adam))


def descend(rate: float | Scalar, params, grads, opt_state):
    updates, opt_state = optax.adam(rate).update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state
