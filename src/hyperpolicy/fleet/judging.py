"""Critics for given policies, fitted offline: policy evaluation on transitions that others made.

A family's tasks share their dynamics, and a reward is a known function of the context; so what the
neighboring experts lived through, relabeled, teaches a critic what a policy is worth at a context
nobody trained on, before its first interaction there. `judge` does it for a policy that is told its
context, `fit_critics` for ordinary policies.
"""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import replay, seeds
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.fleet.bases import Base, fold
from hyperpolicy.fleet.train import Start
from hyperpolicy.fleet.view import ANY_TASK, OWN_TASK, Pool, View, layout
from hyperpolicy.policies import Policies
from hyperpolicy.rl import sac
from hyperpolicy.rollout import experience


def fit_critics(
    cfg: sac.SacConfig,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    start: Start,
    experience: Float[np.ndarray, "n k d"],
    num_updates: int = 4_000,
    batch: int = 256,
    seed: int = 0,
) -> Start:
    """`start` with critics that judge its policies at `contexts`; the policies are not touched.

    Each update is one step of `sac.improve_critics` with the policy at rest. `experience` holds
    each policy's own rows, as `rollout.experience` collects them; its rewards are recomputed for
    the policy's context.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadSetting: fewer than one update, or fewer rows than fill a batch.
        BadShape: rows of another family.
    """
    contexts = family.context.check(contexts)
    n, k, d = experience.shape
    if num_updates < 1 or k < batch:
        raise BadSetting(
            f"num_updates={num_updates} on {k} transitions with batch={batch}; give at least one "
            "update, and as many transitions as fill a batch"
        )
    if d != layout(family).size or not n == len(contexts) == len(start.policies):
        raise BadShape(
            f"experience {experience.shape} for {len(contexts)} contexts and "
            f"{len(start.policies)} policies; {family.name} has rows of {layout(family).size} "
            "numbers, one set a policy"
        )
    pools = contexts[:, None]
    keys = jax.random.split(seeds.key(seed), n)
    found = _fit(cfg, family, OWN_TASK, num_updates, batch, start, pools, experience, keys)
    return start._replace(critics=found)


WORLDS = 4
"""Worlds of each context in which a base is watched for two episodes."""


def judging_steps(family: Family, num_contexts: int) -> int:
    """Environment steps that `judge` spends."""
    return 2 * family.horizon_steps * WORLDS * num_contexts


def judge(
    cfg: sac.SacConfig,
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    policy: Policies,
    seed: int = 0,
    num_updates: int = 20_000,
    batch: int = 256,
    worlds: int = WORLDS,
) -> Base:
    """A base around one context-conditioned policy, with critics fitted on what it does in its
    training contexts, each transition relabeled with any of them."""
    family.check_relabels("a base's critic")
    twins = sac.critic_spec(cfg, policy.spec.obs, policy.spec.action)
    key_critics, key_fit = jax.random.split(seeds.key(seed))
    fresh = np.asarray(twins.flatten(twins.init(key_critics)))[None]
    log_alpha = np.full(1, np.log(cfg.initial_alpha), np.float32)
    base = Base(family, contexts, policy, fresh, log_alpha)
    folded = fold(base, family, contexts).policies
    steps = 2 * family.horizon_steps
    rows = experience(folded, family, contexts, steps, worlds, seed)
    rows = rows.reshape(1, -1, rows.shape[-1])
    start, keys = Start(policy, fresh, log_alpha), key_fit[None]
    found = _fit(cfg, family, ANY_TASK, num_updates, batch, start, contexts[None], rows, keys)
    return replace(base, critics=found)


def _fit(cfg, family, view: View, num_updates, batch, start: Start, pools, rows, keys):
    """Critics [n, 2, q] of n policies at rest; policy i sees its rows [k, d] under the contexts of
    its pool."""
    spec = start.policies.spec
    sizes, none = np.full(len(pools), pools.shape[1], np.int32), np.zeros((len(pools), 0, 0))
    pool = Pool(*(jnp.asarray(leaf) for leaf in (pools.astype(np.float32), sizes, none)))
    arrays = start.policies.weights, start.critics, jnp.asarray(start.log_alpha, jnp.float32)
    fit = _compiled(cfg, family, view, num_updates, batch, spec)
    return np.asarray(fit(*map(jnp.asarray, arrays), pool, jnp.asarray(rows), keys))


@cache
def _compiled(cfg, family, view: View, num_updates: int, num: int, spec):
    twins = sac.critic_spec(cfg, spec.obs, spec.action)

    def one(weights, critics, log_alpha, pool, rows, key):
        key_own, key_batches = jax.random.split(key)
        actor = spec.unflatten(weights)
        state = sac.start_from(cfg, actor, twins.unflatten(critics), log_alpha, key_own)

        def step(i, state):
            key_rows, key_pool = jax.random.split(jax.random.fold_in(key_batches, i))
            drawn = replay.draw(rows, jnp.int32(len(rows)), num, key_rows)
            return sac.improve_critics(cfg, state, view.batch(family, drawn, pool, key_pool))

        state = jax.lax.fori_loop(0, num_updates, step, state)
        return twins.flatten(state.critics)

    return jax.jit(jax.vmap(one))
