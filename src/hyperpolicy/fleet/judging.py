"""Critics for given policies, fitted offline: policy evaluation on transitions that others made.

A family's tasks share their dynamics, and a reward is a known function of the context; so what the
neighboring experts lived through, relabeled, teaches a critic what a policy is worth at a context
nobody trained on, before its first interaction there.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import replay
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.fleet.train import Start
from hyperpolicy.fleet.view import OWN_TASK, Pool, layout
from hyperpolicy.rl import sac


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
    found = _fit(
        cfg,
        family,
        num_updates,
        batch,
        jnp.asarray(start.policies.weights),
        jnp.asarray(start.critics),
        jnp.asarray(start.log_alpha, jnp.float32),
        jnp.asarray(contexts, jnp.float32),
        jnp.asarray(experience),
        jax.random.split(jax.random.key(seed), n),
    )
    return start._replace(critics=np.asarray(found))


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _fit(cfg, family, num_updates, num, weights, critics, log_alpha, contexts, rows, keys):
    spec = sac.policy_spec(cfg, family.obs_size, family.action_size)
    twins = sac.critic_spec(cfg, family.obs_size, family.action_size)

    def one(weights, critics, log_alpha, context, rows, key):
        key_own, key_batches = jax.random.split(key)
        actor = spec.unflatten(weights)
        state = sac.start_from(cfg, actor, twins.unflatten(critics), log_alpha, key_own)
        pool = Pool(context[None], jnp.int32(1))

        def step(i, state):
            key_rows, key_pool = jax.random.split(jax.random.fold_in(key_batches, i))
            drawn = replay.draw(rows, jnp.int32(len(rows)), num, key_rows)
            return sac.improve_critics(cfg, state, OWN_TASK.batch(family, drawn, pool, key_pool))

        state = jax.lax.fori_loop(0, num_updates, step, state)
        return twins.flatten(state.critics)

    return jax.vmap(one)(weights, critics, log_alpha, contexts, rows, keys)
