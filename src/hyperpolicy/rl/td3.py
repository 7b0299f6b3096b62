"""Twin Delayed DDPG for ONE expert; `jax.vmap` makes it a fleet.

Fujimoto et al. (2018), "Addressing Function Approximation Error in Actor-Critic Methods",
arXiv:1802.09477; equation numbers are that paper's. The defaults are those of HyperZero's experts
(Rezaei-Shoshtari et al. 2023, arXiv:2211.15457), `CANONICAL` holds the paper's. Departures:
  D1  exploration and target noise share one standard deviation, which falls linearly (HyperZero;
      the paper's are 0.1 and 0.2); it is counted in updates, HyperZero counts environment steps;
  D2  weights start orthogonal, biases zero (HyperZero; the paper starts as PyTorch does);
  D3  actions to learn from are clipped to [−1, 1] (HyperZero leaves that to the simulator);
  D4  an update is a gradient step of the critics; the worlds decide how many a step.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Count, Decay, PartialShare, Rate, Sizes, Weight
from hyperpolicy.nets.mlp import CriticSpec, Mlp, value_batch
from hyperpolicy.nets.orthogonal import orthogonal
from hyperpolicy.nets.policy import Activations, PolicyNet, PolicySpec, act_batch, one_each
from hyperpolicy.rl.learner import Critics, Learner, Metrics, Spaces, WarmStart, adam_step
from hyperpolicy.types import Batch, Key, Scalar


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class Td3Config(Bounded):
    hidden: Sizes = (64, 64)
    """Units of each hidden layer of actor and critics (the papers: 256, 256)."""
    activations: Activations = ("relu",)
    """Of the actor's hidden layers, one each or one for all."""
    discount: PartialShare = 0.99
    """γ, per environment step."""
    tau: Decay = 0.01
    """Share of the networks mixed into their targets whenever the actor is updated."""
    actor_rate: Weight = 1e-4
    """Adam step size of the actor."""
    critic_rate: Rate = 1e-4
    """Adam step size of the critics."""
    policy_period: Count = 2
    """Updates of the critics for one of actor and targets (d)."""
    first_noise: Weight = 1.0
    """Standard deviation σ of the exploration noise at the first update (D1)."""
    last_noise: Weight = 0.1
    """σ from update `noise_updates` on."""
    noise_updates: Count = 100_000
    """Updates over which σ falls linearly."""
    target_noise: Weight | None = None
    """Standard deviation of the noise on target actions, σ̃; None: the exploration noise's (D1)."""
    noise_clip: Weight = 0.3
    """Largest noise on a target action (c)."""
    initializer: Literal["orthogonal", "uniform"] = "orthogonal"
    """How weights are drawn (D2)."""

    @property
    def learner(self) -> Learner:
        """The functions of this page."""
        return TD3


CANONICAL = Td3Config(
    tau=0.005,
    actor_rate=3e-4,
    critic_rate=3e-4,
    first_noise=0.1,
    target_noise=0.2,
    noise_clip=0.5,
    initializer="uniform",
)
"""The authors' settings."""


class Td3State(NamedTuple):
    actor: PolicyNet
    target_actor: PolicyNet
    critics: Mlp  # two of them, stacked on axis 0
    targets: Mlp
    updates: Int[Array, ""]
    measured: Metrics  # when the actor was last improved
    adam: tuple[optax.OptState, optax.OptState]
    key: Key


def policy_spec(cfg: Td3Config, i: int, a: int) -> PolicySpec:
    """The deterministic actor of i inputs."""
    return PolicySpec(i, a, cfg.hidden, one_each(cfg.activations, cfg.hidden), "deterministic")


def critic_spec(cfg: Td3Config, i: int, a: int) -> CriticSpec:
    """Each of the twin critics of i inputs."""
    return CriticSpec(i, a, cfg.hidden)


def init(cfg: Td3Config, spaces: Spaces, key: Key) -> Td3State:
    """A learner with fresh networks."""
    key, key_actor, key_critics = jax.random.split(key, 3)
    actor = policy_spec(cfg, spaces.inputs, spaces.action).init(key_actor)
    critics = critic_spec(cfg, spaces.inputs, spaces.action).init(key_critics)
    if cfg.initializer == "orthogonal":
        actor = orthogonal(actor, key_actor)
        critics = jax.vmap(orthogonal)(critics, jax.random.split(key_critics))
    return start_from(cfg, WarmStart(actor, Critics(critics), None), key)


def start_from(cfg: Td3Config, start: WarmStart, key: Key) -> Td3State:
    """A learner that goes on from given networks, with fresh optimizers."""
    assert start.critics is not None
    actor, critics = start.actor, start.critics.twins
    adam = optax.adam(cfg.critic_rate).init(critics), optax.adam(cfg.actor_rate).init(actor)
    measured = {"loss/actor": jnp.zeros(()), "grad_norm/actor": jnp.zeros(())}
    none = jnp.zeros((), jnp.int32)
    return Td3State(actor, actor, critics, critics, none, measured, adam, key)


# --- Acting -------------------------------------------------------------------------------
def act(cfg: Td3Config, state: Td3State, inputs: Float[Array, "e i"]) -> Float[Array, "e a"]:
    """Deterministic actions π(s)."""
    return act_batch(state.actor, inputs)


def noise(cfg: Td3Config, state: Td3State) -> Scalar:
    """σ, which falls linearly with the updates (D1)."""
    fall = optax.linear_schedule(cfg.first_noise, cfg.last_noise, cfg.noise_updates)
    return jnp.asarray(fall(state.updates))


def explore(cfg: Td3Config, state: Td3State, inputs: Float[Array, "e i"], key: Key):
    """Actions clip(π(s) + ε, −1, 1), ε ~ N(0, σ) (D3)."""
    action = act_batch(state.actor, inputs)
    disturbed = action + noise(cfg, state) * jax.random.normal(key, action.shape)
    return jnp.clip(disturbed, -1.0, 1.0), None


# --- Losses -------------------------------------------------------------------------------
def critic_loss(
    critics: Mlp, state: Td3State, batch: Batch, cfg: Td3Config, key: Key
) -> tuple[Scalar, Scalar]:
    """Σ E[(Qᵢ − y)²], y = r + γ(1 − d) min Q̄(s′, ã), ã = clip(π̄(s′) + ε, −1, 1),
    ε ~ clip(N(0, σ̃), −c, c), Eqs. 10 and 14; and E[Q]."""
    std = noise(cfg, state) if cfg.target_noise is None else cfg.target_noise
    disturbance = std * jax.random.normal(key, batch.action.shape)
    disturbance = jnp.clip(disturbance, -cfg.noise_clip, cfg.noise_clip)
    next_action = act_batch(state.target_actor, batch.next_obs) + disturbance
    next_action = jnp.clip(next_action, -1.0, 1.0)
    next_q = value_batch(state.targets, batch.next_obs, next_action).min(axis=1)
    y = batch.reward + cfg.discount * (1.0 - batch.terminated) * next_q
    q = value_batch(critics, batch.obs, batch.action)
    gap = q - jax.lax.stop_gradient(y)[:, None]
    return jnp.sum(jnp.mean(gap**2, axis=0)), jnp.mean(q)


def actor_loss(actor: PolicyNet, state: Td3State, batch: Batch) -> Scalar:
    """−E[Q₁(s, π(s))], whose gradient is Eq. 2's."""
    return -jnp.mean(value_batch(state.critics, batch.obs, act_batch(actor, batch.obs))[:, 0])


# --- Update -------------------------------------------------------------------------------
def update(
    cfg: Td3Config, state: Td3State, batch: Batch, index: Int[Array, ""]
) -> tuple[Td3State, Metrics]:
    """Algorithm 1: one step of the critics; at every `policy_period`-th `index` one of the actor,
    after which all targets follow."""
    state, metrics = step_critics(cfg, state, batch)

    def improve(state: Td3State) -> Td3State:
        return follow(cfg, improve_actor(cfg, state, batch))

    state = jax.lax.cond(index % cfg.policy_period == 0, improve, lambda s: s, state)
    state = state._replace(updates=state.updates + 1)
    return state, metrics | state.measured | {"noise": noise(cfg, state)}


def improve_critics(cfg: Td3Config, state: Td3State, batch: Batch) -> tuple[Td3State, Metrics]:
    """One step of the critics, whose targets follow, while the actor rests."""
    state, metrics = step_critics(cfg, state, batch)
    return follow(cfg, state), metrics


def step_critics(cfg: Td3Config, state: Td3State, batch: Batch) -> tuple[Td3State, Metrics]:
    """One Adam step down `critic_loss`."""
    key, key_loss = jax.random.split(state.key)
    grad = jax.value_and_grad(critic_loss, has_aux=True)
    (loss, q), grads = grad(state.critics, state, batch, cfg, key_loss)
    critics, adam = adam_step(cfg.critic_rate, state.critics, grads, state.adam[0])
    state = state._replace(critics=critics, adam=(adam, state.adam[1]), key=key)
    return state, {"loss/critic": loss, "q": q, "grad_norm/critic": optax.tree.norm(grads)}


def improve_actor(cfg: Td3Config, state: Td3State, batch: Batch) -> Td3State:
    """One Adam step down `actor_loss`."""
    loss, grads = jax.value_and_grad(actor_loss)(state.actor, state, batch)
    actor, adam = adam_step(cfg.actor_rate, state.actor, grads, state.adam[1])
    measured = {"loss/actor": loss, "grad_norm/actor": optax.tree.norm(grads)}
    return state._replace(actor=actor, adam=(state.adam[0], adam), measured=measured)


def follow(cfg: Td3Config, state: Td3State) -> Td3State:
    """All targets nearer to their networks by τ."""
    targets = optax.incremental_update(state.critics, state.targets, cfg.tau)
    target_actor = optax.incremental_update(state.actor, state.target_actor, cfg.tau)
    return state._replace(targets=targets, target_actor=target_actor)


# --- The learner --------------------------------------------------------------------------
TD3 = Learner(
    name="td3",
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
    critics=lambda state: Critics(state.targets),
)
