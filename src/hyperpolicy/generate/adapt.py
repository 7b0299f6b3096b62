"""Policies that go on by imitation: each is fitted to demonstrations of its own context.

    θ_i ← Adam ∇ E[(π_θi(s) − a*)²] over the rows of demonstrations i, some passes in random order

What HyperZero's paper (Rezaei-Shoshtari et al. 2023, arXiv:2211.15457) calls few-shot and its code
"finetuned", for any generator's policies. It is given expert episodes OF THE TEST CONTEXT, ten of
them by default: what comes out is no zero-shot result and stands in no table of such.

    D1  the written policy's weights are moved, normalization folded in; in the code it is those of
        the conditioned policy, its embedding among them.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from hyperpolicy import seeds
from hyperpolicy.bounds import Bounded, Count, Rate
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.nets.policy import PolicySpec, act
from hyperpolicy.policies import Policies


@dataclass(frozen=True)
class FinetuneConfig(Bounded):
    passes: Count = 5
    """Over the rows of the demonstrations."""
    rate: Rate = 1e-3
    """Adam step size."""
    batch: Count = 512
    """Rows a step; the last ones of a pass are fewer."""


class Shown(NamedTuple):
    """Rows of the demonstrations of n policies; zero behind a policy's last one."""

    obs: Float[np.ndarray, "n k o"]
    action: Float[np.ndarray, "n k a"]
    num: Int[np.ndarray, " n"]
    """Rows of each policy."""


def finetune(
    policies: Policies,
    episodes: Episodes,
    passes: int = 5,
    rate: float = 1e-3,
    batch: int = 512,
    seed: int = 0,
    contexts: Float[np.ndarray, "n c"] | None = None,
) -> Policies:
    """The policies after behavior cloning of each on demonstrations of its own context.

    This is given expert episodes of the test context (published: ten each, 10,000 rows), which
    zero-shot methods are not. Policy i learns from the episodes at `contexts[i]`; without
    `contexts`, from those at the i-th context in the episodes' order, as `rollout.record` makes
    them. A Gaussian policy's log σ stays as it is.

    Raises:
        BadSetting: passes, rate, batch or seed that cannot be; or numbers stopped being finite.
        BadShape: episodes of another width, of more or fewer contexts than there are policies, or
            none at a policy's context.
    """
    cfg = FinetuneConfig(passes, rate, batch)
    spec = policies.spec
    sizes = episodes.family.obs_size, episodes.family.action_size
    if sizes != (spec.obs, spec.action):
        raise BadShape(
            f"policies take {spec.obs} observations and give {spec.action} actions; episodes of "
            f"{episodes.family.name} have {sizes[0]} and {sizes[1]}"
        )
    data = shown(episodes, _groups(episodes, len(policies), contexts))
    rows = orders(data.num, cfg, seed)
    steps = [jnp.asarray(x) for x in (policies.weights, data.obs, data.action, rows)]
    weights = np.asarray(_clone_all(spec, cfg.rate, *steps))
    if len(bad := np.flatnonzero(~np.isfinite(weights).all(axis=1))):
        raise BadSetting(
            f"numbers of policy {bad[0]} stopped being finite at rate {rate:g}; lower it"
        )
    return Policies(weights, spec)


# --- Rows ---------------------------------------------------------------------------------
def _groups(episodes: Episodes, n: int, contexts) -> list[Int[np.ndarray, " _"]]:
    """The episodes of each of n policies."""
    own, space = episodes.index.context, episodes.family.context
    if contexts is None:
        known, first = np.unique(own, axis=0, return_index=True)
        wanted = known[np.argsort(first)]
    else:
        wanted = space.check(contexts)
    if len(wanted) != n:
        raise BadShape(
            f"{n} policies and {len(wanted)} contexts; give episodes of one context a policy, and "
            "contexts=… where policies share one"
        )
    found = [np.flatnonzero((own == one).all(axis=1)) for one in wanted]
    if missing := [one for one, rows in zip(wanted, found, strict=True) if not len(rows)]:
        raise BadShape(
            f"no episode at {space.names} = {missing[0].tolist()}; record an expert there"
        )
    return found


def shown(episodes: Episodes, groups: list[Int[np.ndarray, " _"]]) -> Shown:
    """The steps of each group's episodes, one episode after the other."""
    num = np.array([episodes.index.length[rows].sum() for rows in groups])
    shape, family = (len(groups), num.max()), episodes.family
    obs = np.zeros((*shape, family.obs_size), np.float32)
    action = np.zeros((*shape, family.action_size), np.float32)
    for i, rows in enumerate(groups):
        own = list(episodes[rows])
        obs[i, : num[i]] = np.concatenate([one.obs[:-1] for one in own])
        action[i, : num[i]] = np.concatenate([one.action for one in own])
    return Shown(obs, action, num)


def orders(num: Int[np.ndarray, " n"], cfg: FinetuneConfig, seed: int) -> Int[np.ndarray, "n s b"]:
    """The rows of each of s steps: every policy's own in random order, pass by pass; −1 for none.

    A policy's order is drawn from the seed and its number of rows alone.
    """
    width = min(cfg.batch, int(num.max()))
    each = -(-num // width)
    rows = np.full((len(num), cfg.passes * each.max(), width), -1, np.int32)
    for i, k in enumerate(num.tolist()):
        rng = np.random.default_rng([seeds.check(seed), k])
        for j in range(cfg.passes):
            drawn = np.full(each[i] * width, -1)
            drawn[:k] = rng.permutation(k)
            rows[i, j * each[i] : (j + 1) * each[i]] = drawn.reshape(each[i], width)
    return rows


# --- Learning -----------------------------------------------------------------------------
def loss(
    spec: PolicySpec,
    weights: Float[Array, " p"],
    obs: Float[Array, "b o"],
    action: Float[Array, "b a"],
    there: Bool[Array, " b"],
):
    """E[(π(s) − a*)²] over the rows that are there."""
    gaps = (jax.vmap(partial(act, spec.unflatten(weights)))(obs) - action) ** 2
    return jnp.sum(gaps.mean(axis=1) * there) / jnp.maximum(there.sum(), 1)


@partial(jax.jit, static_argnums=0)
def _clone_all(spec: PolicySpec, rate, weights, obs, action, rows) -> Float[Array, "n p"]:
    return jax.vmap(partial(_clone, spec, rate))(weights, obs, action, rows)


def _clone(spec: PolicySpec, rate, weights, obs, action, rows) -> Float[Array, " p"]:
    """One policy after the steps of `rows`; a step without rows changes nothing."""
    tx = optax.adam(rate)

    def step(carry, rows):
        weights, adam = carry
        there = rows >= 0
        grad = jax.grad(partial(loss, spec))(weights, obs[rows], action[rows], there)
        updates, after = tx.update(grad, adam)
        new = optax.apply_updates(weights, updates), after
        return jax.tree.map(lambda a, b: jnp.where(there.any(), a, b), new, carry), None

    return jax.lax.scan(step, (weights, tx.init(weights)), rows)[0][0]
