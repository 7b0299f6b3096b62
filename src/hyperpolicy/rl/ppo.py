"""Proximal Policy Optimization for ONE policy, which may be told its context; `jax.vmap` makes it a
fleet.

Schulman et al. (2017), "Proximal Policy Optimization Algorithms", arXiv:1707.06347, with the
advantages of Schulman et al. (2016), arXiv:1506.02438. Departures, marked where they happen:
  D1  the actor is SAC's: an action is tanh(u) with Gaussian u. Ratios are taken between densities
      of u, which are those of the actions, because the Jacobian of tanh cancels;
  D2  the actor's step size follows the divergence from the old policy, up to `max_rate` (Rudin et
      al. (2022), "Learning to Walk in Minutes", arXiv:2109.11978);
  D3  observations are normalized by running moments, which `plain` folds into the first layer at
      the end (Andrychowicz et al. (2021), "What Matters in On-Policy RL", arXiv:2006.05990);
  D4  the value network is one of its own and learns (1 − γ) times the value, so that its targets
      are as large as one reward.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from msgspec import Meta

from hyperpolicy.bounds import Bounded, Count, PartialShare, Positive, Rate, Share, Sizes, Whole
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.fold import Observed, fold_normalizer
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.policy import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    Activations,
    PolicyNet,
    PolicySpec,
    act_batch,
    one_each,
)
from hyperpolicy.rl.learner import Learner, Metrics, Spaces, WarmStart
from hyperpolicy.types import Key, Round, Scalar


# --- Config and state ---------------------------------------------------------------------
@dataclass(frozen=True)
class PpoConfig(Bounded):
    hidden: Sizes = (64, 64)
    """Units of each hidden layer of the actor."""
    activations: Activations = ("relu",)
    """Of the actor's hidden layers, one each or one for all."""
    value_hidden: Sizes = (128, 128)
    """Units of each hidden layer of the value network."""
    discount: PartialShare = 0.99
    """γ, per environment step."""
    trace: Share = 0.95
    """λ of the advantages."""
    clip: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.2
    """ε: how far a ratio may leave 1 and still count."""
    epochs: Count = 5
    """Passes over a round's transitions."""
    minibatches: Count = 8
    """Gradient steps of a pass."""
    target_kl: Positive = 0.01
    """Divergence from the old policy, in nats, that the actor's step size aims at (D2)."""
    first_rate: Rate = 3e-4
    """Adam step size of the actor at the start."""
    min_rate: Rate = 1e-5
    """Smallest step size of the actor."""
    max_rate: Rate = 3e-3
    """Largest step size of the actor."""
    value_rate: Rate = 1e-3
    """Adam step size of the value network."""
    first_log_std: Annotated[float, Meta(gt=LOG_STD_MIN, lt=LOG_STD_MAX)] = -0.7
    """log σ of u at the start."""
    max_norm: Positive = 1.0
    """Gradients longer than this are shortened."""
    warmup_rounds: Whole = 0
    """Rounds in which the value network learns alone, for actors that are given."""

    @property
    def learner(self) -> Learner:
        """The functions of this page."""
        return PPO

    def __post_init__(self):
        super().__post_init__()
        if not self.min_rate <= self.first_rate <= self.max_rate:
            raise BadSetting(
                f"first_rate={self.first_rate}; give a number between min_rate={self.min_rate} and "
                f"max_rate={self.max_rate}"
            )


class PpoState(NamedTuple):
    actor: PolicyNet  # of [normalized obs, encoded context]
    value: Mlp
    seen: Observed  # what observations are normalized by
    rate: Scalar
    rounds: Scalar  # learned from so far
    adam: tuple[optax.OptState, optax.OptState]
    key: Key


class Data(NamedTuple):
    """A round's transitions as the losses take them."""

    seen: Float[Array, "b i"]
    latent: Float[Array, "b a"]
    mean: Float[Array, "b a"]
    """The old policy's."""
    log_std: Float[Array, "b a"]
    advantage: Float[Array, " b"]
    target: Float[Array, " b"]


def policy_spec(cfg: PpoConfig, i: int, a: int) -> PolicySpec:
    """An actor of i numbers, context included."""
    return PolicySpec(i, a, cfg.hidden, one_each(cfg.activations, cfg.hidden))


def init(cfg: PpoConfig, spaces: Spaces, key: Key) -> PpoState:
    """Fresh networks. The heads start small, so that the first policy is nearly the same
    everywhere."""
    key, key_actor = jax.random.split(key)
    o, a = spaces.obs, spaces.action
    actor = policy_spec(cfg, spaces.inputs, a).init(key_actor)
    spread = (LOG_STD_MAX - LOG_STD_MIN) / 2
    bias = jnp.full(a, jnp.arctanh((cfg.first_log_std - LOG_STD_MIN) / spread - 1), jnp.float32)
    mean = Linear(0.1 * actor.mean.weight, actor.mean.bias)
    assert actor.log_std is not None
    log_std = Linear(0.1 * actor.log_std.weight, bias)
    actor = eqx.tree_at(lambda m: (m.mean, m.log_std), actor, (mean, log_std))
    return _state(cfg, actor, Observed.nothing(o), key)


def start_from(cfg: PpoConfig, start: WarmStart, key: Key) -> PpoState:
    """A learner that goes on from a plain actor, with a fresh value network. Observations are
    normalized by the moments of the given ones, once and for all."""
    actor, obs = start.actor, start.obs
    assert obs is not None
    seen = Observed(jnp.float32(1e12), obs.mean(axis=0), obs.var(axis=0))
    normal = fold_normalizer(actor, -seen.mean * seen.scale, 1.0 / seen.scale)
    return _state(cfg, normal, seen, key)


def _state(cfg: PpoConfig, actor: PolicyNet, seen: Observed, key: Key) -> PpoState:
    key, key_value = jax.random.split(key)
    i = actor.hidden[0].weight.shape[0]
    value = Mlp.init([i, *cfg.value_hidden, 1], key_value)
    adam = _adam(cfg).init(actor), _adam(cfg).init(value)
    rate = jnp.float32(cfg.first_rate)
    return PpoState(actor, value, seen, rate, jnp.float32(0.0), adam, key)


def _adam(cfg: PpoConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(cfg.max_norm), optax.scale_by_adam(eps=1e-5))


# --- Seeing and acting --------------------------------------------------------------------
def see(seen: Observed, inputs: Float[Array, " i"]) -> Float[Array, " i"]:
    """The networks' input: a normalized observation (D3) and an encoded context."""
    o = len(seen.mean)
    return jnp.concatenate([seen.normalize(inputs[:o]), inputs[o:]])


see_batch = jax.vmap(see, in_axes=(None, 0))
see_round = jax.vmap(see_batch, in_axes=(None, 0))


def act(cfg: PpoConfig, state: PpoState, inputs: Float[Array, "e i"]) -> Float[Array, "e a"]:
    """Deterministic actions tanh(μ)."""
    return act_batch(state.actor, see_batch(state.seen, inputs))


def explore(cfg: PpoConfig, state: PpoState, inputs: Float[Array, "e i"], key: Key):
    """Stochastic actions tanh(u), and u (D1)."""
    mean, log_std = jax.vmap(state.actor)(see_batch(state.seen, inputs))
    latent = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
    return jnp.tanh(latent), latent


def plain(state: PpoState) -> PolicyNet:
    """The actor of [obs, encoded context], its normalization folded away (D3)."""
    return fold_normalizer(state.actor, state.seen.mean, state.seen.scale)


# --- Losses -------------------------------------------------------------------------------
def advantages(
    cfg: PpoConfig, state: PpoState, r: Round
) -> tuple[Float[Array, "t e"], Float[Array, "t e"]]:
    """Â = Σ (γλ)^k δ of every transition, within its episode, and the value's target; both times
    1 − γ (D4). A task that ended is worth nothing, one whose time ran out what it looks like."""
    values = jax.vmap(partial(_values, state.value))
    value = values(see_round(state.seen, r.inputs))
    next_value = values(see_round(state.seen, r.next_inputs))
    reward = (1.0 - cfg.discount) * r.reward
    delta = reward + cfg.discount * (1.0 - r.terminated) * next_value - value

    def back(later, own):
        delta, ended = own
        total = delta + cfg.discount * cfg.trace * (1.0 - ended) * later
        return total, total

    found = jax.lax.scan(back, jnp.zeros(r.reward.shape[1]), (delta, r.ended), reverse=True)[1]
    return found, found + value


def _values(value: Mlp, seen: Float[Array, "b i"]) -> Float[Array, " b"]:
    return jax.vmap(value)(seen)[:, 0]


def log_density(latent, mean, log_std) -> Scalar:
    """log N(u; μ, σ) without its constant."""
    return jnp.sum(-0.5 * ((latent - mean) * jnp.exp(-log_std)) ** 2 - log_std)


def divergence(mean, log_std, new_mean, new_log_std) -> Scalar:
    """KL of two diagonal Gaussians, old ‖ new, in nats."""
    ratio = (jnp.exp(2 * log_std) + (mean - new_mean) ** 2) / jnp.exp(2 * new_log_std)
    return jnp.sum(new_log_std - log_std + 0.5 * (ratio - 1.0))


def actor_loss(actor: PolicyNet, data: Data, clip: float) -> tuple[Scalar, tuple[Scalar, Scalar]]:
    """−E[min(r Â, clip(r, 1−ε, 1+ε) Â)], Eq. 7, Â normalized over the batch; with the divergence
    from the old policy and the mean log σ."""
    mean, log_std = jax.vmap(actor)(data.seen)
    new = jax.vmap(log_density)(data.latent, mean, log_std)
    ratio = jnp.exp(new - jax.vmap(log_density)(data.latent, data.mean, data.log_std))
    advantage = (data.advantage - data.advantage.mean()) / (data.advantage.std() + 1e-8)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
    kl = jnp.mean(jax.vmap(divergence)(data.mean, data.log_std, mean, log_std))
    return -jnp.mean(gain), (kl, jnp.mean(log_std))


def value_loss(value: Mlp, data: Data) -> Scalar:
    """E[(V − target)²]."""
    return jnp.mean((_values(value, data.seen) - data.target) ** 2)


# --- Update -------------------------------------------------------------------------------
def update(
    cfg: PpoConfig, state: PpoState, r: Round, index: Int[Array, ""]
) -> tuple[PpoState, Metrics]:
    """`epochs` passes over a round in random minibatches; then its observations join the moments.
    The actor rests in the first `warmup_rounds`.

    Transitions that do not fill the last minibatch of a pass are left out of it.

    Raises:
        BadSetting: more minibatches than transitions.
    """
    advantage, target = advantages(cfg, state, r)
    seen = see_round(state.seen, r.inputs)
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (seen, r.memo, advantage, target))
    mean, log_std = jax.vmap(state.actor)(rows[0])
    data = Data(rows[0], rows[1], mean, log_std, rows[2], rows[3])

    key, own = jax.random.split(state.key)
    size = len(rows[0]) // cfg.minibatches
    if size < 1:
        raise BadSetting(
            f"minibatches={cfg.minibatches} of a round of {len(rows[0])} transitions; give fewer, "
            "or more worlds or steps a round"
        )
    orders = jax.vmap(lambda k: jax.random.permutation(k, len(rows[0])))(
        jax.random.split(own, cfg.epochs)
    )
    batches = orders[:, : size * cfg.minibatches].reshape(-1, size)

    def step(state: PpoState, batch):
        return improve(cfg, state, jax.tree.map(lambda x: x[batch], data))

    state, metrics = jax.lax.scan(step, state._replace(key=key), batches)
    explained = {"explained": 1.0 - jnp.var(advantage) / jnp.var(target)}
    now = state.seen.with_more(r.inputs[..., : len(state.seen.mean)])
    state = state._replace(seen=now, rounds=state.rounds + 1.0)
    return state, jax.tree.map(jnp.mean, metrics) | explained


def improve(cfg: PpoConfig, state: PpoState, data: Data) -> tuple[PpoState, Metrics]:
    """One Adam step of both networks; the actor's step size follows `target_kl` (D2)."""
    grad = jax.value_and_grad(actor_loss, has_aux=True)
    (loss, (kl, log_std)), grads = grad(state.actor, data, cfg.clip)
    metrics = {"loss/actor": loss, "kl": kl, "log_std": log_std, "rate": state.rate}
    metrics["grad_norm/actor"] = optax.tree.norm(grads)
    rate = jnp.where(kl > 2 * cfg.target_kl, state.rate / 1.5, state.rate)
    rate = jnp.where(kl < cfg.target_kl / 2, state.rate * 1.5, rate)
    rate = jnp.clip(rate, cfg.min_rate, cfg.max_rate)
    rests = state.rounds < cfg.warmup_rounds
    rate = jnp.where(rests, state.rate, rate)
    step = jnp.where(rests, 0.0, rate)
    actor, adam_actor = _descend(cfg, step, state.actor, grads, state.adam[0])
    loss, grads = jax.value_and_grad(value_loss)(state.value, data)
    metrics |= {"loss/value": loss, "grad_norm/value": optax.tree.norm(grads)}
    value, adam_value = _descend(cfg, cfg.value_rate, state.value, grads, state.adam[1])
    state = state._replace(actor=actor, value=value, rate=rate, adam=(adam_actor, adam_value))
    return state, metrics


def _descend(cfg: PpoConfig, rate, params, grads, opt_state):
    updates, opt_state = _adam(cfg).update(grads, opt_state)
    return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state


# --- The learner --------------------------------------------------------------------------
PPO = Learner(
    name="ppo",
    learns_from="rounds",
    policy=policy_spec,
    critic=lambda cfg, i, a: None,
    init=init,
    start_from=start_from,
    act=act,
    explore=explore,
    update=update,
    actor=plain,
    critics=lambda state: None,
    updates_per_round=lambda cfg: cfg.epochs * cfg.minibatches,
    normalizes=True,
)
