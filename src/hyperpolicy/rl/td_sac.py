"""SAC that goes on from a given actor without spoiling it, for ONE learner.

GenHyper's second stage ("TD-regularised SAC"; the regularizer follows Parisi et al. (2018), "TD-
Regularized Actor-Critic Methods", arXiv:1812.08288). It differs from `sac.py` in the actor's step:

    J(φ) = E[α log π(a|s) − min Q(s, a)] + λ ½ E[δ²]
    δ = r + γ(1 − d) min Q̄(s', a') − min Q(s, a),   a' ~ π_φ(s')

(s, a, r, s', d) come from the batch and the critics are constants here, so the regularizer reaches
the actor through a' alone. The actor's rate rises from a hundredth to the full one.

Paper versus this page (the paper has no code):
  D1  the printed δ lacks γ and (1 − d); they are in, as in the critics' target;
  D2  "gradually" is linear over `ramp_updates`;
  D3  λ is not printed; it starts at `td` and shrinks by `td_decay` an update;
  D4  the actor may rest for `warmup_updates`, while the critics learn to judge it (ours; the
      interactions of that time count like any other).
With `td=0`, no ramp and no warm-up this is `sac.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Count, Decay, Weight, Whole
from hyperpolicy.nets.policy import PolicyNet
from hyperpolicy.rl import sac
from hyperpolicy.rl.learner import Learner, Metrics
from hyperpolicy.rl.sac import SacConfig, SacState
from hyperpolicy.types import Batch, Key, Scalar


# --- Config -------------------------------------------------------------------------------
@dataclass(frozen=True)
class TdSacConfig(SacConfig):
    first_actor_rate: Weight = 3e-6
    """Adam step size of the actor at its first update."""
    ramp_updates: Count = 50_000
    """Updates until the actor's step size is `actor_rate` (D2)."""
    td: Weight = 0.1
    """λ at the first update (D3)."""
    td_decay: Decay = 0.9999
    """λ shrinks by this factor at every update (D3)."""
    penalized: Literal["all", "overestimated"] = "all"
    """Which δ count: all, or those below zero, where Q(s, a) lies above its target."""
    warmup_updates: Whole = 0
    """Updates of the critics alone, before the actor's first (D4)."""

    @property
    def learner(self) -> Learner:
        """The functions of this page."""
        return TD_SAC


def actor_rate(cfg: TdSacConfig, index: Int[Array, ""]) -> Scalar:
    """The actor's step size at update `index`: linear over the ramp, which warm-up delays (D2)."""
    passed = jnp.clip((index - cfg.warmup_updates) / cfg.ramp_updates, 0.0, 1.0)
    return cfg.first_actor_rate + (cfg.actor_rate - cfg.first_actor_rate) * passed


def td_weight(cfg: TdSacConfig, index: Int[Array, ""]) -> Scalar:
    """λ at update `index` (D3)."""
    return cfg.td * jnp.exp((index - cfg.warmup_updates) * jnp.log(cfg.td_decay))


# --- Losses -------------------------------------------------------------------------------
def td_error(
    actor: PolicyNet, state: SacState, batch: Batch, cfg: TdSacConfig, key: Key
) -> Float[Array, " b"]:
    """δ of each transition, under actions a' that `actor` would take next (D1)."""
    next_action, _ = sac.sample_batch(actor, batch.next_obs, batch.action.shape[1], key)
    next_q = sac.value_batch(state.targets, batch.next_obs, next_action).min(axis=1)
    q = sac.value_batch(state.critics, batch.obs, batch.action).min(axis=1)
    next_q, q = cfg.usual_return + next_q, cfg.usual_return + q
    return batch.reward + cfg.discount * (1.0 - batch.terminated) * next_q - q


PENALTIES: dict[str, Callable[[Float[Array, " b"]], Scalar]] = {
    "all": lambda delta: 0.5 * jnp.mean(delta**2),
    "overestimated": lambda delta: 0.5 * jnp.mean(jnp.minimum(delta, 0.0) ** 2),
}
"""½ E[δ²], and ½ E[min(δ, 0)²]."""


def actor_loss(
    actor: PolicyNet, state: SacState, batch: Batch, cfg: TdSacConfig, key: Key, weight: Scalar
) -> tuple[Scalar, Scalar]:
    """J(φ) with λ = `weight`, and the policy's entropy, in nats."""
    loss, entropy = sac.actor_loss(actor, state, batch, cfg, key)
    delta = td_error(actor, state, batch, cfg, jax.random.fold_in(key, 1))
    return loss + weight * PENALTIES[cfg.penalized](delta), entropy


# --- Update -------------------------------------------------------------------------------
def update(
    cfg: TdSacConfig, state: SacState, batch: Batch, index: Int[Array, ""]
) -> tuple[SacState, Metrics]:
    """As `sac.update`; the actor and the temperature rest until `warmup_updates` are over (D4)."""
    state, metrics = sac.improve_critics(cfg, state, batch)

    def once(_, state: SacState) -> SacState:
        loss = partial(actor_loss, weight=td_weight(cfg, index)) if cfg.td else sac.actor_loss
        return sac.improve_policy(cfg, state, batch, loss, actor_rate(cfg, index))

    improve = partial(jax.lax.fori_loop, 0, cfg.policy_period, once)
    due = (index % cfg.policy_period == 0) & (index >= cfg.warmup_updates)
    state = jax.lax.cond(due, improve, lambda s: s, state)
    return state, metrics | state.measured | {"alpha": jnp.exp(state.log_alpha)}


TD_SAC = replace(sac.SAC, name="td-sac", update=update)
