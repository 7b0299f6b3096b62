"""PEARL: a soft actor-critic told a latent task, and an encoder that infers the latent from
transitions, whatever their order.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables", arXiv:1903.08254. With context rows c_i = (s, a, r) of a task:

    q(z | c) = N(μ, σ²) ∝ Π_i N(μ_i, σ_i²)      1/σ² = Σ 1/σ_i²,  μ = σ² Σ μ_i/σ_i²
    L_Q  = E[Σ_j (Q_j(s, a, z) − (5 r + γ(1 − d) V̄(s', z)))²] + 0.1 Σ_tasks KL(q ‖ N(0, I))
    L_V  = E[(V(s, z) − (min_j Q_j(s, ã, z) − log π(ã|s, z)))²]
    L_π  = E[log π(ã|s, z) − min_j Q_j(s, ã, z)] + 1e-3 E[μ_π²] + 1e-3 E[(log σ_π)²]

z is drawn once a task and batch; the encoder learns from L_Q alone. A policy told z for ever is a
plain policy (`nets/fold.py`): what is inferred makes Policies. Offline PEARL draws both batches
from fixed data and collects nothing: MACAW's comparison, whose code was not released, so the
definition is ours. Departures from the released code:
  D1  log σ_π is squashed into [−5, 2], as in `sac.py`; the code cuts it at −20 and 2;
  D2  tasks of a batch are drawn without replacement.
This page has the losses; `pearl_model.py` fits, infers and goes on learning.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Count, Decay, PartialShare, Positive, Rate, Size, Weight
from hyperpolicy.envs import Family
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.policy import PolicyNet, PolicySpec, tanh_gaussian
from hyperpolicy.types import Key, Scalar

LEAST_VARIANCE = 1e-7
PULL = 1e-3
"""Weight of μ_π² and of (log σ_π)²."""


# --- Config -------------------------------------------------------------------------------
@dataclass(frozen=True)
class PearlConfig(Bounded):
    latent: Size = 5
    """Numbers of z."""
    width: Size = 300
    """Units of a hidden layer of policy and critics; three of them."""
    encoder_width: Size = 200
    """The same of the encoder."""
    reward_scale: Positive = 5.0
    """What rewards are multiplied by; there is no temperature."""
    kl: Weight = 0.1
    """Weight of the divergence from the prior."""
    discount: PartialShare = 0.99
    """γ, per environment step."""
    tau: Decay = 0.005
    """Share of V mixed into V̄ at each step."""
    tasks: Count = 16
    """Tasks a step at most."""
    context: Count = 100
    """Rows that z is inferred from (the code's default: 64)."""
    batch: Count = 256
    """Rows of each task."""
    steps: Count = 20_000
    """Gradient steps (published, online: a million)."""
    rate: Rate = 3e-4
    """Adam step size of everything."""
    name: ClassVar[str] = "pearl"

    def spec(self, family: Family, told: int = 0) -> PolicySpec:
        """Of the policy, which is `told` so many numbers besides."""
        hidden = (self.width,) * 3
        return PolicySpec(family.obs_size + told, family.action_size, hidden, ("relu",) * 3)


class Nets(NamedTuple):
    """What is learned."""

    encoder: Mlp
    critics: Mlp
    """Two, stacked on axis 0."""
    value: Mlp
    policy: PolicyNet
    """Takes [s ; z]."""


class PearlState(NamedTuple):
    nets: Nets
    target: Mlp
    """V̄."""
    adam: Nets
    """One Adam state a network."""


def layer(i: int, o: int, key: Key) -> Linear:
    """Weights uniform in ±1/√o, biases 0.1, as the released code starts hidden layers."""
    weight = jax.random.uniform(key, (i, o), minval=-(o**-0.5), maxval=o**-0.5)
    return Linear(weight, jnp.full(o, 0.1))


def last(i: int, o: int, key: Key, bound: float) -> Linear:
    """Weights and biases uniform in ±bound."""
    keys = jax.random.split(key)
    draws = (
        jax.random.uniform(k, s, minval=-bound, maxval=bound)
        for k, s in zip(keys, ((i, o), (o,)), strict=True)
    )
    return Linear(*draws)


def network(sizes: list[int], key: Key) -> Mlp:
    """A network from input to output."""
    keys = jax.random.split(key, len(sizes) - 1)
    hidden = [layer(i, o, k) for (i, o), k in zip(pairwise(sizes[:-1]), keys[:-1], strict=True)]
    return Mlp([*hidden, last(sizes[-2], sizes[-1], keys[-1], 3e-3)])


def init(cfg: PearlConfig, family: Family, key: Key) -> PearlState:
    """Fresh networks."""
    keys = jax.random.split(key, 7)
    o, a, z, w, e = family.obs_size, family.action_size, cfg.latent, cfg.width, cfg.encoder_width
    critic = partial(network, [o + a + z, w, w, w, 1])
    body = network([o + z, w, w, w, 1], keys[0]).layers[:-1]
    mean, log_std = (last(w, a, k, 1e-3) for k in keys[1:3])
    nets = Nets(
        network([o + a + 1, e, e, e, 2 * z], keys[3]),
        jax.vmap(critic)(jax.random.split(keys[4], 2)),
        network([o + z, w, w, w, 1], keys[5]),
        PolicyNet(body, mean, log_std, ("relu",) * 3),
    )
    adam = Nets._make(optax.adam(cfg.rate).init(net) for net in nets)
    return PearlState(nets, nets.value, adam)


# --- The posterior ------------------------------------------------------------------------
class Posterior(NamedTuple):
    """N(μ, σ²) over z."""

    mean: Float[Any, "*k z"]
    variance: Float[Any, "*k z"]


class Context(NamedTuple):
    """Rows that z is inferred from."""

    obs: Float[Any, "*k c o"]
    action: Float[Any, "*k c a"]
    reward: Float[Any, "*k c"]


def product(mean: Float[Array, "c z"], variance: Float[Array, "c z"]) -> Posterior:
    """The normalized product of c Gaussians."""
    variance = jnp.maximum(variance, LEAST_VARIANCE)
    found = 1.0 / jnp.sum(1.0 / variance, axis=0)
    return Posterior(found * jnp.sum(mean / variance, axis=0), found)


def infer(encoder: Mlp, context: Context) -> Posterior:
    """q(z | c) of one task."""
    rows = [context.obs, context.action, context.reward[:, None]]
    out = jax.vmap(encoder)(jnp.concatenate(rows, axis=1))
    mean, raw = jnp.split(out, 2, axis=1)
    return product(mean, jax.nn.softplus(raw))


def divergence(posterior: Posterior) -> Scalar:
    """KL(q ‖ N(0, I))."""
    mean, variance = posterior
    return 0.5 * jnp.sum(mean**2 + variance - 1.0 - jnp.log(variance))


# --- Losses, of one task ------------------------------------------------------------------
class Rows(NamedTuple):
    """b rows of a task."""

    obs: Float[Array, "b o"]
    action: Float[Array, "b a"]
    reward: Float[Array, " b"]
    next_obs: Float[Array, "b o"]
    terminated: Float[Array, " b"]


def _with(z: Float[Array, " z"], *parts: Float[Array, "b _"]) -> Float[Array, "b i"]:
    """Rows with z at their end."""
    told = jnp.broadcast_to(z, (len(parts[0]), len(z)))
    return jnp.concatenate([*parts, told], axis=1)


def q_values(critics: Mlp, obs, action, z) -> Float[Array, "2 b"]:
    """Q_j(s, a, z)."""
    inputs = _with(z, obs, action)
    return jax.vmap(lambda critic: jax.vmap(critic)(inputs)[:, 0])(critics)


def critic_loss(
    learned: tuple[Mlp, Mlp],
    target: Mlp,
    context: Context,
    rows: Rows,
    noise: Float[Array, " z"],
    cfg: PearlConfig,
) -> tuple[Scalar, tuple[Float[Array, " z"], Scalar]]:
    """L_Q of encoder and critics without the divergence; and z, and the divergence."""
    encoder, critics = learned
    posterior = infer(encoder, context)
    z = posterior.mean + jnp.sqrt(posterior.variance) * noise
    fixed = jax.lax.stop_gradient(z)
    next_v = jax.vmap(target)(_with(fixed, rows.next_obs))[:, 0]
    y = cfg.reward_scale * rows.reward + cfg.discount * (1.0 - rows.terminated) * next_v
    gap = q_values(critics, rows.obs, rows.action, z) - y[None]
    return jnp.sum(jnp.mean(gap**2, axis=1)), (fixed, divergence(posterior))


def drawn(policy: PolicyNet, obs, z, noise):
    """ã, log π(ã|s, z), μ_π and log σ_π."""
    mean, log_std = jax.vmap(policy)(_with(z, obs))
    action, log_prob = jax.vmap(tanh_gaussian)(mean, log_std, noise)
    return action, log_prob, mean, log_std


def value_loss(value: Mlp, nets: Nets, rows: Rows, z, noise) -> Scalar:
    """L_V."""
    action, log_prob, *_ = drawn(nets.policy, rows.obs, z, noise)
    wanted = q_values(nets.critics, rows.obs, action, z).min(axis=0) - log_prob
    found = jax.vmap(value)(_with(z, rows.obs))[:, 0]
    return jnp.mean((found - jax.lax.stop_gradient(wanted)) ** 2)


def policy_loss(policy: PolicyNet, nets: Nets, rows: Rows, z, noise) -> Scalar:
    """L_π."""
    action, log_prob, mean, log_std = drawn(policy, rows.obs, z, noise)
    q = q_values(nets.critics, rows.obs, action, z).min(axis=0)
    pull = PULL * (jnp.mean(mean**2) + jnp.mean(log_std**2))
    return jnp.mean(log_prob - q) + pull


# --- Update -------------------------------------------------------------------------------
class Lesson(NamedTuple):
    """What one update learns from, on axis m of tasks."""

    context: Context
    rows: Rows
    latent_noise: Float[Array, "m z"]
    action_noise: Float[Array, "m b a"]


def update(
    cfg: PearlConfig, state: PearlState, own: Lesson
) -> tuple[PearlState, dict[str, Scalar]]:
    """One Adam step of encoder and critics, of V, and of the policy, in this order."""
    nets, target, adam = state

    def judged(learned):
        one = lambda c, r, n: critic_loss(learned, target, c, r, n, cfg)  # noqa: E731
        losses, (z, kl) = jax.vmap(one)(own.context, own.rows, own.latent_noise)
        return losses.mean() + cfg.kl * kl.sum(), (z, losses, kl)

    pair = nets.encoder, nets.critics
    (_, (z, losses, kl)), grads = jax.value_and_grad(judged, has_aux=True)(pair)
    encoder, of_encoder = _step(cfg, nets.encoder, grads[0], adam.encoder)
    critics, of_critics = _step(cfg, nets.critics, grads[1], adam.critics)
    nets = nets._replace(encoder=encoder, critics=critics)

    def mean_of(loss, net):
        one = lambda r, z, n: loss(net, nets, r, z, n)  # noqa: E731
        return jax.vmap(one)(own.rows, z, own.action_noise).mean()

    of_v, grad = jax.value_and_grad(partial(mean_of, value_loss))(nets.value)
    value, of_value = _step(cfg, nets.value, grad, adam.value)
    target = optax.incremental_update(value, target, cfg.tau)
    of_pi, grad = jax.value_and_grad(partial(mean_of, policy_loss))(nets.policy)
    policy, of_policy = _step(cfg, nets.policy, grad, adam.policy)
    nets = nets._replace(value=value, policy=policy)
    measured = {
        "loss/critic": losses.mean(),
        "loss/value": of_v,
        "loss/policy": of_pi,
        "divergence": kl.mean(),
    }
    return PearlState(nets, target, Nets(of_encoder, of_critics, of_value, of_policy)), measured


def _step(cfg: PearlConfig, net, grads, state):
    updates, state = optax.adam(cfg.rate).update(grads, state)
    return optax.apply_updates(net, updates), state
