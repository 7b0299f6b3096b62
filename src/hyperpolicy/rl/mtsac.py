"""Multi-task SAC for ONE policy of k tasks; `jax.vmap` over seeds makes the fleet.

Soft Actor-Critic (`sac.py`) with a temperature for each task and what it is told of the task, as in
facebookresearch/mtrl and its fork of "Projected Task-Specific Layers" (arXiv:2309.08776), or as in
Meta-World's own (Yu et al. 2019, arXiv:1910.10897). Networks are `nets/multi_task.py`'s: which of
the study's methods it is, is a matter of the encoder and the trunk. Inputs end with the task's
number.

    critics      mean over rows of Σ_i (Q_i(x, a) − y)²      y = r/ρ_t + γ(1 − d)(min Q̄ − α_t log π)
    actor        mean of α_t log π − min Q
    temperature  mean of α_t(−log π − H̄)

ρ_t is the task's divisor of rewards (`reward_scale.py`). The encoder learns from the critics' loss
alone; the actor's is blind to it. Departures from mtrl:
  D1  rewards are divided when drawn, not when stored, by a deviation that only grows;
  D2  a transition at a time limit keeps its true last observation (mtrl stores the next episode's
      first one) and bootstraps from it;
  D3  log|det| of tanh is computed without the constant 1e-6;
  D4  actor and critics share one attention network (`nets/care.py`);
  D5  batches may hold equally many rows of each task (Meta-World's way), the default here.
"""

from collections.abc import Callable
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
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.encoders import Encoder, EncoderConfig
from hyperpolicy.nets.multi_task import MultiTaskNet, MultiTaskSpec
from hyperpolicy.nets.trunks import PlainConfig, Trunk, hidden
from hyperpolicy.rl import conflicts, many_tasks
from hyperpolicy.rl.learner import Learner, Metrics, Spaces
from hyperpolicy.rl.many_tasks import Lesson, draw, rows_of, values
from hyperpolicy.rl.reward_scale import SCALES
from hyperpolicy.types import Batch, Key, Scalar


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class MtSacConfig(Bounded):
    tasks: Size = 10
    """k."""
    encoder: EncoderConfig = EncoderConfig()
    """What is told of the task, and what becomes of what is seen."""
    trunk: Trunk = PlainConfig()
    """The network of the actor and of each critic."""
    discount: PartialShare = 0.99
    """γ, per environment step."""
    tau: Decay = 0.005
    """Share of the critics mixed into the target critics at each update."""
    encoder_tau: Decay = 0.05
    """The same of the critics' encoder."""
    rate: Rate = 3e-4
    """Adam step size of everything."""
    initial_alpha: Positive = 1.0
    """Temperature α at the start, in reward per nat."""
    alphas: Literal["each", "shared"] = "each"
    """Whether each task has a temperature of its own."""
    target_entropy: Number = -1.0
    """Entropy the temperatures aim at, in nats per action."""
    reward_scale: Literal["none", "exponential", "deviation", "returns"] = "deviation"
    """What a task's rewards are divided by (`reward_scale.py`)."""
    batches: Literal["by-task", "uniform"] = "by-task"
    """Equally many rows of each task, or any."""
    conflicts: Literal["mean", "pcgrad", "gradnorm"] = "mean"
    """What becomes of the tasks' gradients (`conflicts.py`)."""
    balanced: bool = False
    """Whether tasks' losses are weighted, softmax(−log α) times k (Soft Modularization's)."""
    clip: Weight = 0.0
    """Largest norm of a gradient (Meta-World's examples: 1); 0: any."""
    worlds: Count = 1
    """Worlds of each task."""
    horizon: Count = 500
    """Steps of the longest episode, for `reward_scale="returns"`."""

    def __post_init__(self):
        super().__post_init__()
        if self.conflicts != "mean" and self.batches == "uniform":
            raise BadSetting(
                f"conflicts={self.conflicts!r} compares tasks' gradients; give batches='by-task'"
            )

    updates_per_step: ClassVar[int] = 1
    """As mtrl and Meta-World have it, for each step of the worlds."""

    @property
    def learner(self) -> Learner:
        """The functions of this page."""
        return MTSAC

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of the trunks."""
        return hidden(self.trunk)


class MtSacState(NamedTuple):
    encoder: Encoder
    actor: Any  # a trunk
    critics: Any  # two trunks, stacked on axis 0
    targets: tuple[Encoder, Any]
    log_alpha: Float[Array, " k"]
    scale: Any
    memory: tuple[conflicts.Memory, conflicts.Memory]  # of critics and actor
    adam: tuple[optax.OptState, optax.OptState, optax.OptState]
    key: Key


def policy_spec(cfg: MtSacConfig, i: int, a: int) -> MultiTaskSpec:
    """The policy of i inputs, the last of which is the task's number."""
    return MultiTaskSpec(i - 1, a, cfg.tasks, cfg.encoder, cfg.trunk)


def init(cfg: MtSacConfig, spaces: Spaces, key: Key) -> MtSacState:
    """A learner with fresh networks."""
    key, key_actor, key_critics = jax.random.split(key, 3)
    spec = policy_spec(cfg, spaces.inputs, spaces.action)
    net = spec.init(key_actor)
    one = lambda own: spec.trunk_of(1, own, spec.action)  # noqa: E731
    critics = jax.vmap(one)(jax.random.split(key_critics, 2))
    log_alpha = jnp.full(cfg.tasks, jnp.log(cfg.initial_alpha))
    scale = SCALES[cfg.reward_scale].of(cfg.tasks, cfg.worlds, cfg.horizon, cfg.discount)
    memory = conflicts.Memory.of(cfg.tasks)
    adam = optax.adam(cfg.rate)
    states = adam.init((net.encoder, critics)), adam.init(net.trunk), adam.init(log_alpha)
    targets = net.encoder, critics
    return MtSacState(
        net.encoder, net.trunk, critics, targets, log_alpha, scale, (memory, memory), states, key
    )


# --- Losses -------------------------------------------------------------------------------
def critic_loss(
    params: tuple[Encoder, Any], state: MtSacState, own: Lesson, cfg: MtSacConfig
) -> tuple[Scalar, Scalar]:
    """Σ_i (Q_i − y)², y = r + γ(1 − d)(min Q̄ − α log π), the mean over rows; and the mean of Q."""
    rows = own.rows
    s, z = rows.over(state.encoder, own.next_obs)
    action, log_prob = draw(rows, state.actor, s, z, own.key)
    encoder, critics = state.targets
    s, z = rows.over(encoder, own.next_obs)
    next_q = values(rows, critics, s, z, action).min(axis=1)
    next_v = next_q - alphas(cfg, state, own) * log_prob
    y = jax.lax.stop_gradient(own.reward + cfg.discount * (1.0 - own.terminated) * next_v)
    encoder, critics = params
    s, z = rows.over(encoder, own.obs)
    q = values(rows, critics, s, z, own.action)
    return own.mean(jnp.sum((q - y[:, None]) ** 2, axis=1)), jnp.mean(q)


def actor_loss(
    actor, state: MtSacState, own: Lesson, cfg: MtSacConfig
) -> tuple[Scalar, Float[Array, " b"]]:
    """α log π − min Q, the mean over rows; and log π."""
    rows = own.rows
    s, z = rows.over(state.encoder, own.obs)
    action, log_prob = draw(rows, actor, s, z, own.key)
    q = values(rows, state.critics, s, z, action).min(axis=1)
    return own.mean(alphas(cfg, state, own) * log_prob - q), log_prob


def alphas(cfg: MtSacConfig, state: MtSacState, own: Lesson) -> Float[Array, " b"]:
    """Each row's temperature."""
    found = jnp.exp(_shared(cfg, state.log_alpha))[own.task]
    return jax.lax.stop_gradient(jnp.repeat(found, len(own.reward) // len(own.task)))


def _shared(cfg: MtSacConfig, log_alpha: Float[Array, " k"]) -> Float[Array, " k"]:
    """log α of each task."""
    return log_alpha if cfg.alphas == "each" else jnp.full_like(log_alpha, log_alpha[0])


def temperature_loss(
    log_alpha: Float[Array, " k"], log_prob: Float[Array, " b"], own: Lesson, cfg: MtSacConfig
) -> Scalar:
    """α(−log π − H̄), the mean over rows."""
    alpha = jnp.exp(_shared(cfg, log_alpha))[own.task]
    wanted = cfg.target_entropy * own.action.shape[1]
    per_group = (-log_prob - wanted).reshape(len(own.task), -1).mean(axis=1)
    return jnp.mean(alpha * per_group)


# --- Update -------------------------------------------------------------------------------
def lesson(cfg: MtSacConfig, state: MtSacState, batch: Batch, key: Key) -> Lesson:
    """A batch, with rewards divided."""
    rows, obs = rows_of(cfg, batch.obs)
    entropy = cfg.target_entropy * batch.action.shape[1]
    by = state.scale.divisors(jnp.exp(_shared(cfg, state.log_alpha)), entropy)[rows.task]
    reward = batch.reward / jnp.repeat(by, len(obs) // len(rows.task))
    weight = jnp.ones(len(rows.task))
    if cfg.balanced:
        weight = (jax.nn.softmax(-_shared(cfg, state.log_alpha)) * cfg.tasks)[rows.task]
    next_obs = batch.next_obs[:, :-1]
    return Lesson(rows.task, obs, batch.action, reward, next_obs, batch.terminated, weight, key)


def improve_critics(
    cfg: MtSacConfig, state: MtSacState, batch: Batch
) -> tuple[MtSacState, Metrics]:
    """One Adam step of encoder and critics; the targets follow by their τ."""
    key, key_loss = jax.random.split(state.key)
    own = lesson(cfg, state, batch, key_loss)
    params = state.encoder, state.critics
    loss, q, grads, memory = gradient(cfg, critic_loss, params, state, own, state.memory[0])
    (encoder, critics), adam = _step(cfg, params, grads, state.adam[0])
    targets = (
        optax.incremental_update(encoder, state.targets[0], cfg.encoder_tau),
        optax.incremental_update(critics, state.targets[1], cfg.tau),
    )
    state = state._replace(
        encoder=encoder,
        critics=critics,
        targets=targets,
        adam=(adam, *state.adam[1:]),
        memory=(memory, state.memory[1]),
        key=key,
    )
    norm = optax.tree.norm(grads)
    return state, {"loss/critic": loss, "q": jnp.mean(q), "grad_norm/critic": norm}


def improve_policy(cfg: MtSacConfig, state: MtSacState, batch: Batch) -> tuple[MtSacState, Metrics]:
    """One Adam step of the actor, then one of the temperatures."""
    key, key_loss = jax.random.split(state.key)
    own = lesson(cfg, state, batch, key_loss)
    found = gradient(cfg, actor_loss, state.actor, state, own, state.memory[1])
    loss, log_prob, grads, memory = found
    actor, adam = _step(cfg, state.actor, grads, state.adam[1])
    log_prob = log_prob.ravel()
    of_alpha, step = jax.value_and_grad(temperature_loss)(state.log_alpha, log_prob, own, cfg)
    log_alpha, adam_alpha = _step(cfg, state.log_alpha, step, state.adam[2])
    state = state._replace(
        actor=actor,
        log_alpha=log_alpha,
        adam=(state.adam[0], adam, adam_alpha),
        memory=(state.memory[0], memory),
        key=key,
    )
    return state, {
        "loss/actor": loss,
        "loss/temperature": of_alpha,
        "grad_norm/actor": optax.tree.norm(grads),
        "entropy": -jnp.mean(log_prob),
        "alpha": jnp.mean(jnp.exp(_shared(cfg, log_alpha))),
    }


def update(
    cfg: MtSacConfig, state: MtSacState, batch: Batch, index: Int[Array, ""]
) -> tuple[MtSacState, Metrics]:
    """One step of critics, actor and temperatures, in this order."""
    state, judged = improve_critics(cfg, state, batch)
    state, acted = improve_policy(cfg, state, batch)
    return state, judged | acted


def gradient(cfg: MtSacConfig, loss: Callable, params, state: MtSacState, own: Lesson, memory):
    """`(loss, what goes with it, gradient, memory)`; by `cfg.conflicts` of the tasks' gradients."""
    found = jax.value_and_grad(loss, has_aux=True)
    if cfg.conflicts == "mean":
        (value, also), grads = found(params, state, own, cfg)
        return value, also, grads, memory
    k = cfg.tasks
    key = own.key
    keys = jax.random.split(jax.random.fold_in(key, 0), k)
    apart = {
        name: x.reshape(k, len(x) // k, *x.shape[1:])
        for name, x in own._asdict().items()
        if name != "key"
    }
    parts = own._replace(**apart, key=keys)
    (each, also), grads = jax.vmap(lambda part: found(params, state, part, cfg))(parts)
    leaves = [leaf.reshape(k, -1) for leaf in jax.tree.leaves(grads)]
    products = sum(leaf @ leaf.T for leaf in leaves)
    method = conflicts.METHODS[cfg.conflicts]
    w, memory = method(products, each, memory, jax.random.fold_in(key, 1))
    mixed = jax.tree.map(lambda leaf: jnp.tensordot(w, leaf, 1), grads)
    return jnp.mean(each), also, mixed, memory


def _step(cfg: MtSacConfig, params, grads, state):
    """The parameters after one step of Adam, and its state."""
    if cfg.clip:
        grads = optax.clip_by_global_norm(cfg.clip).update(grads, optax.EmptyState())[0]
    updates, state = optax.adam(cfg.rate).update(grads, state)
    return optax.apply_updates(params, updates), state


# --- The learner --------------------------------------------------------------------------
MTSAC = Learner(
    name="mtsac",
    learns_from="replay",
    policy=policy_spec,
    critic=many_tasks.critic_spec,
    init=init,
    start_from=many_tasks.start_from,
    act=many_tasks.act,
    explore=many_tasks.explore,
    update=update,
    improve_critics=improve_critics,
    actor=lambda state: MultiTaskNet(state.encoder, state.actor),
    critics=lambda state: None,
    notice=many_tasks.notice,
    tasks_in_order=lambda cfg: cfg.tasks if cfg.batches == "by-task" else 0,
)
