"""BRC for ONE policy of k tasks: big, regularized critics of a categorical value.

Nauman et al. (2025), "Bigger, Regularized, Categorical: High-Capacity Value Functions are Efficient
Multi-Task Learners", arXiv:2505.23150, as in its released code. Critics are BroNets
(`nets/bronet.py`) that give a distribution p of the return over m atoms v from −10 to 10:

    critics      −Σ_i mean over rows of Σ_j y_j log p_i,j(x, a, z)
                 y: the atoms r/ρ_t + γ(1 − d)(v_j − α log π), weighted by the mean of both targets'
                 p̄(x′, a′, z), shared between their neighbors among the v
    actor        mean of α log π − Σ_j v_j p_j(x, a, z), p the mean of both critics'
    temperature  α(−log π − H̄)

z is the task's learned embedding of length 1, which the critics' loss alone trains. Optimizers are
AdamW. Rewards are divided by returns (`reward_scale.py`: `returns`). Departures:
  D1  one linear layer gives μ and log σ;
  D2  rewards are divided by what is known when a batch is drawn, once a step and not once a batch.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

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
    Size,
    Weight,
)
from hyperpolicy.nets.bronet import BroNetConfig
from hyperpolicy.nets.encoders import Encoder, EncoderConfig
from hyperpolicy.nets.multi_task import MultiTaskNet, MultiTaskSpec, through
from hyperpolicy.rl import many_tasks
from hyperpolicy.rl.learner import Learner, Metrics, Spaces
from hyperpolicy.rl.many_tasks import Lesson
from hyperpolicy.rl.reward_scale import VALUE_LIMIT, ByReturns
from hyperpolicy.types import Batch, Key, Scalar

LOG_STD_MIN = -10.0
"""What log σ is squashed into, up to 2."""
TEMPERATURE_MOMENTUM = 0.5
"""β₁ of the temperature's Adam."""


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class BrcConfig(Bounded):
    tasks: Size = 10
    """k."""
    embedding: Size = 32
    """Numbers in z."""
    width: Size = 256
    """Units of the actor's layers."""
    critic_width: Size = 512
    """Units of the critics' layers (the paper: 4,096)."""
    atoms: Size = 101
    """m."""
    discount: PartialShare = 0.99
    """γ, per environment step."""
    tau: Decay = 0.005
    """Share of the critics mixed into the target critics at each update."""
    rate: Rate = 3e-4
    """AdamW step size of actor and critics, and Adam's of the temperature."""
    decay: Weight = 1e-4
    """Weight decay."""
    initial_alpha: Positive = 0.1
    """Temperature α at the start, in reward per nat."""
    target_entropy: Number = -0.5
    """Entropy the temperature aims at, in nats per action."""
    batches: Literal["by-task", "uniform"] = "uniform"
    """Any rows, or equally many of each task."""
    worlds: Count = 1
    """Worlds of each task."""
    horizon: Count = 500
    """Steps of the longest episode."""

    updates_per_step: ClassVar[int] = 2
    """As its authors have it, for each step of the worlds."""

    @property
    def learner(self) -> Learner:
        """The functions of this page."""
        return BRC

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of the widest layers."""
        return (self.critic_width,)

    @property
    def actor(self) -> BroNetConfig:
        """The actor's network."""
        return BroNetConfig(self.width, blocks=1)

    @property
    def encoder(self) -> EncoderConfig:
        """What tells the task."""
        return EncoderConfig("unit-embedding", self.embedding)


class BrcState(NamedTuple):
    encoder: Encoder
    actor: Any  # a trunk
    critics: Any  # two trunks, stacked on axis 0
    targets: tuple[Encoder, Any]
    log_alpha: Scalar
    scale: ByReturns
    adam: tuple[optax.OptState, optax.OptState, optax.OptState]
    key: Key


def policy_spec(cfg: BrcConfig, i: int, a: int) -> MultiTaskSpec:
    """The policy of i inputs, the last of which is the task's number."""
    return MultiTaskSpec(i - 1, a, cfg.tasks, cfg.encoder, cfg.actor)


def init(cfg: BrcConfig, spaces: Spaces, key: Key) -> BrcState:
    """A learner with fresh networks."""
    key, key_actor, key_critics = jax.random.split(key, 3)
    spec = policy_spec(cfg, spaces.inputs, spaces.action)
    net, a = spec.init(key_actor), spaces.action
    half = jnp.concatenate([jnp.ones(a), jnp.full(a, 2**-0.5)])  # log σ's first weights
    last = net.trunk.last
    actor = type(net.trunk)(
        net.trunk.first,
        net.trunk.norm,
        net.trunk.blocks,
        type(last)(last.weight * half[None], last.bias),
    )
    i = spec.encoder.seen(spec.obs) + a + cfg.embedding
    wide = BroNetConfig(cfg.critic_width, blocks=2)
    one = lambda own: wide.make(cfg.tasks, i, cfg.atoms, own)  # noqa: E731
    critics = jax.vmap(one)(jax.random.split(key_critics, 2))
    log_alpha = jnp.asarray(jnp.log(cfg.initial_alpha), jnp.float32)
    states = (
        _adamw(cfg).init((net.encoder, critics)),
        _adamw(cfg).init(actor),
        _adam(cfg).init(log_alpha),
    )
    scale = ByReturns.of(cfg.tasks, cfg.worlds, cfg.horizon, cfg.discount)
    targets = net.encoder, critics
    return BrcState(net.encoder, actor, critics, targets, log_alpha, scale, states, key)


def _adamw(cfg: BrcConfig) -> optax.GradientTransformation:
    return optax.adamw(cfg.rate, weight_decay=cfg.decay)


def _adam(cfg: BrcConfig) -> optax.GradientTransformation:
    return optax.adam(cfg.rate, b1=TEMPERATURE_MOMENTUM)


# --- Acting -------------------------------------------------------------------------------
def explore(cfg: BrcConfig, state: BrcState, inputs: Float[Array, "e i"], key: Key):
    """Actions drawn from the policy."""
    rows, obs = many_tasks.rows_of(cfg, inputs)
    s, z = rows.over(state.encoder, obs)
    return many_tasks.draw(rows, state.actor, s, z, key, LOG_STD_MIN)[0], None


def distributions(
    own: Lesson, encoder: Encoder, critics, obs: Float[Array, "b o"], action
) -> Float[Array, "b 2 m"]:
    """The logits of both critics' values."""

    def one(obs, action, task):
        s, z = encoder(obs, task)
        return jax.vmap(lambda critic: through(critic, s, z, task, action))(critics)

    return own.rows.over(one, obs, action)


def atoms(cfg: BrcConfig) -> Float[Array, " m"]:
    """v."""
    return jnp.linspace(-VALUE_LIMIT, VALUE_LIMIT, cfg.atoms)


def project(
    cfg: BrcConfig, values: Float[Array, " m"], p: Float[Array, " m"]
) -> Float[Array, " m"]:
    """The distribution p over `values` as one over the atoms: each share goes to its two neighbors
    (Bellemare et al. 2017, arXiv:1707.06887, Algorithm 1)."""
    place = (jnp.clip(values, -VALUE_LIMIT, VALUE_LIMIT) + VALUE_LIMIT) * (cfg.atoms - 1)
    place = place / (2 * VALUE_LIMIT)
    low = jnp.clip(jnp.floor(place), 0, cfg.atoms - 2)
    up, i = place - low, low.astype(jnp.int32)
    return jnp.zeros(cfg.atoms).at[i].add(p * (1.0 - up)).at[i + 1].add(p * up)


# --- Losses -------------------------------------------------------------------------------
def critic_loss(
    params: tuple[Encoder, Any], state: BrcState, own: Lesson, cfg: BrcConfig
) -> tuple[Scalar, Scalar]:
    """The cross-entropy of both critics with the projected target; and the mean value."""
    s, z = own.rows.over(state.encoder, own.next_obs)
    action, log_prob = many_tasks.draw(own.rows, state.actor, s, z, own.key, LOG_STD_MIN)
    logits = distributions(own, *state.targets, own.next_obs, action)
    p = jax.nn.softmax(logits, axis=-1).mean(axis=1)
    v, alpha = atoms(cfg), jnp.exp(state.log_alpha)
    going = cfg.discount * (1.0 - own.terminated)
    values = own.reward[:, None] + going[:, None] * (v[None] - alpha * log_prob[:, None])
    y = jax.lax.stop_gradient(jax.vmap(lambda a, b: project(cfg, a, b))(values, p))
    encoder, critics = params
    found = jax.nn.log_softmax(distributions(own, encoder, critics, own.obs, own.action), axis=-1)
    loss = -jnp.sum(y[:, None] * found, axis=(1, 2))
    return jnp.mean(loss), jnp.mean(y @ v)


def actor_loss(
    actor, state: BrcState, own: Lesson, cfg: BrcConfig
) -> tuple[Scalar, Float[Array, " b"]]:
    """α log π − E[v], the mean over rows; and log π."""
    s, z = own.rows.over(state.encoder, own.obs)
    action, log_prob = many_tasks.draw(own.rows, actor, s, z, own.key, LOG_STD_MIN)
    logits = distributions(own, state.encoder, state.critics, own.obs, action)
    q = jax.nn.softmax(logits, axis=-1).mean(axis=1) @ atoms(cfg)
    return jnp.mean(jnp.exp(state.log_alpha) * log_prob - q), log_prob


# --- Update -------------------------------------------------------------------------------
def lesson(cfg: BrcConfig, state: BrcState, batch: Batch, key: Key) -> Lesson:
    """A batch, with rewards divided."""
    rows, obs = many_tasks.rows_of(cfg, batch.obs)
    alpha = jnp.full(cfg.tasks, jnp.exp(state.log_alpha))
    by = state.scale.divisors(alpha, cfg.target_entropy * batch.action.shape[1])[rows.task]
    reward = batch.reward / jnp.repeat(by, len(obs) // len(rows.task))
    next_obs, even = batch.next_obs[:, :-1], jnp.ones(len(rows.task))
    return Lesson(rows.task, obs, batch.action, reward, next_obs, batch.terminated, even, key)


def improve_critics(cfg: BrcConfig, state: BrcState, batch: Batch) -> tuple[BrcState, Metrics]:
    """One step of embedding and critics; the targets follow by τ."""
    key, key_loss = jax.random.split(state.key)
    own = lesson(cfg, state, batch, key_loss)
    params = state.encoder, state.critics
    (loss, q), grads = jax.value_and_grad(critic_loss, has_aux=True)(params, state, own, cfg)
    steps, adam = _adamw(cfg).update(grads, state.adam[0], params)
    new = optax.apply_updates(params, steps)
    targets = optax.incremental_update(new, state.targets, cfg.tau)
    state = state._replace(
        encoder=new[0], critics=new[1], targets=targets, adam=(adam, *state.adam[1:]), key=key
    )
    return state, {"loss/critic": loss, "q": q, "grad_norm/critic": optax.tree.norm(grads)}


def improve_policy(cfg: BrcConfig, state: BrcState, batch: Batch) -> tuple[BrcState, Metrics]:
    """One step of the actor, then one of the temperature."""
    key, key_loss = jax.random.split(state.key)
    own = lesson(cfg, state, batch, key_loss)
    found = jax.value_and_grad(actor_loss, has_aux=True)(state.actor, state, own, cfg)
    (loss, log_prob), grads = found
    steps, adam = _adamw(cfg).update(grads, state.adam[1], state.actor)
    actor = optax.apply_updates(state.actor, steps)
    entropy, wanted = -jnp.mean(log_prob), cfg.target_entropy * batch.action.shape[1]
    of_alpha, step = jax.value_and_grad(lambda x: jnp.exp(x) * (entropy - wanted))(state.log_alpha)
    shift, adam_alpha = _adam(cfg).update(step, state.adam[2])
    log_alpha = optax.apply_updates(state.log_alpha, shift)
    adams = state.adam[0], adam, adam_alpha
    state = state._replace(actor=actor, log_alpha=log_alpha, adam=adams, key=key)
    return state, {
        "loss/actor": loss,
        "loss/temperature": of_alpha,
        "grad_norm/actor": optax.tree.norm(grads),
        "entropy": entropy,
        "alpha": jnp.exp(log_alpha),
    }


def update(
    cfg: BrcConfig, state: BrcState, batch: Batch, index: Int[Array, ""]
) -> tuple[BrcState, Metrics]:
    """One step of critics, actor and temperature, in this order."""
    state, judged = improve_critics(cfg, state, batch)
    state, acted = improve_policy(cfg, state, batch)
    return state, judged | acted


# --- The learner --------------------------------------------------------------------------
BRC = Learner(
    name="brc",
    learns_from="replay",
    policy=policy_spec,
    critic=many_tasks.critic_spec,
    init=init,
    start_from=many_tasks.start_from,
    act=many_tasks.act,
    explore=explore,
    update=update,
    improve_critics=improve_critics,
    actor=lambda state: MultiTaskNet(state.encoder, state.actor),
    critics=lambda state: None,
    notice=many_tasks.notice,
    tasks_in_order=lambda cfg: cfg.tasks if cfg.batches == "by-task" else 0,
)
