"""Critics for given policies, fitted offline: policy evaluation on transitions that others made.

A family's tasks share their dynamics, and a reward is a known function of the context; so what the
neighboring experts lived through, relabeled, teaches a critic what a policy is worth at a context
nobody trained on, before its first interaction there. `judge_base` does it for a policy that is
told its context, `fit_critics` for ordinary policies.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import seeds
from hyperpolicy.data import replay
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.fleet.plan import OWN_TASK, Pool, View, layout, of_pools
from hyperpolicy.fleet.start import Base, Start, fold_policy
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.rl.learner import Config, Critics, WarmStart
from hyperpolicy.rollout import experience
from hyperpolicy.run.progress import Steps

EPISODES = 16
"""Episodes of each expert that its critics are fitted on."""
WORLDS = 4
"""Worlds of each context in which a base is watched for two episodes."""


class Effort(NamedTuple):
    """How long critics are fitted."""

    updates: int = 4_000
    batch: int = 256
    seed: int = 0
    """Of what is drawn."""


EXPERTS = Effort()
"""Of experts' critics that go on from given ones; fresh ones get twice as many updates."""
BASE = Effort(updates=20_000)
PARTS = 20
"""How often a fit shows its progress."""


class Data(NamedTuple):
    """What n critics are fitted on: each sees its rows under the contexts of its pool."""

    family: Family
    view: View
    pools: Float[np.ndarray, "n k c"]
    rows: Float[np.ndarray, "n j d"]


def fit_critics(
    cfg: Config,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    start: Start,
    experience: Float[np.ndarray, "n k d"],
    effort: Effort = EXPERTS,
) -> Start:
    """`start` with critics that judge its policies at `contexts`; the policies are not touched.

    Each update is one step of `cfg`'s critics with the policy at rest. `experience` holds
    each policy's own rows, as `rollout.experience` collects them; its rewards are recomputed for
    the policy's context.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadSetting: fewer than one update, or fewer rows than fill a batch.
        BadShape: rows of another family.
    """
    contexts = family.context.check(contexts)
    n, k, d = experience.shape
    if effort.updates < 1 or k < effort.batch:
        raise BadSetting(
            f"{effort.updates} updates on {k} transitions with batches of {effort.batch}; give at "
            "least one update, and as many transitions as fill a batch"
        )
    if d != layout(family).size or not n == len(contexts) == len(start.policies):
        raise BadShape(
            f"experience {experience.shape} for {len(contexts)} contexts and "
            f"{len(start.policies)} policies; {family.name} has rows of {layout(family).size} "
            "numbers, one set a policy"
        )
    keys = jax.random.split(seeds.key(effort.seed), n)
    data = Data(family, OWN_TASK, contexts[:, None], experience)
    return _fit(cfg, effort, start, data, keys)


def judge_experts(
    cfg: Config, family: Family, contexts: Float[np.ndarray, "n c"], start: Start, seed: int
) -> Start:
    """`start` with critics fitted on what its policies do at `contexts`; from its critics if it
    has some."""
    effort = EXPERTS
    if start.critics is None:
        spec = start.policies.spec
        twins = cfg.learner.critic(cfg, spec.obs, spec.action)
        assert twins is not None
        fresh = np.asarray(twins.flatten(twins.init(seeds.key(seed))))
        start = start._replace(critics=np.stack([fresh] * len(contexts)))
        effort = effort._replace(updates=2 * effort.updates)
    steps, worlds = 2 * family.horizon_steps, EPISODES // 2
    rows = experience(start.policies, family, contexts, steps, worlds, seed)
    return fit_critics(cfg, family, contexts, start, rows, effort._replace(seed=seed))


def judge_base(
    cfg: Config,
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    policy: Policies,
    seed: int = 0,
) -> Base:
    """A base around one context-conditioned policy, with critics fitted on what it does in its
    training contexts, each transition relabeled with any of them where that may be."""
    twins = cfg.learner.critic(cfg, policy.spec.obs, policy.spec.action)
    assert twins is not None
    key_critics, key_fit = jax.random.split(seeds.key(seed))
    fresh = np.asarray(twins.flatten(twins.init(key_critics)))[None]
    folded = fold_policy(policy.spec, policy.weights[0], family, contexts)
    rows = experience(folded, family, contexts, 2 * family.horizon_steps, WORLDS, seed)
    data = Data(
        family, of_pools(family, [contexts]), contexts[None], rows.reshape(1, -1, rows.shape[-1])
    )
    found = _fit(cfg, BASE, Start(policy, fresh), data, key_fit[None])
    assert found.critics is not None
    return Base(family, contexts, policy, found.critics, found.log_alpha)


def _fit(cfg: Config, effort: Effort, start: Start, data: Data, keys) -> Start:
    """`start`, whose policies rest, with fitted critics."""
    pools, rows = data.pools.astype(np.float32), jnp.asarray(data.rows)
    sizes, none = np.full(len(pools), pools.shape[1], np.int32), np.zeros((len(pools), 0, 0))
    pool = Pool(*(jnp.asarray(leaf) for leaf in (pools, sizes, none)))
    log_alpha = None if start.log_alpha is None else jnp.asarray(start.log_alpha, jnp.float32)
    given = jnp.asarray(start.policies.weights), jnp.asarray(start.critics), log_alpha
    begin, advance, finish = _compiled(cfg, data.family, data.view, effort, start.policies.spec)
    state = begin(*given, keys)
    part = -(-effort.updates // PARTS)
    with Steps("critics", effort.updates) as progress:
        for done in range(0, effort.updates, part):
            stop = min(done + part, effort.updates)
            state = advance(state, pool, rows, keys, done, stop)
            jax.block_until_ready(state)
            progress.update(stop)
    critics, log_alpha = finish(state)
    return start._replace(
        critics=np.asarray(critics),
        log_alpha=None if log_alpha is None else np.asarray(log_alpha),
        usual_reward=cfg.learner.usual_reward(cfg),
    )


@cache
def _compiled(cfg, family: Family, view: View, effort: Effort, spec: PolicySpec):
    learner, twins = cfg.learner, cfg.learner.critic(cfg, spec.obs, spec.action)

    def begin(weights, critics, log_alpha, key):
        given = Critics(twins.unflatten(critics), log_alpha)
        start = WarmStart(spec.unflatten(weights), given, None)
        return learner.start_from(cfg, start, jax.random.split(key)[0])

    def advance(state, pool, rows, key, first, stop):
        key_batches = jax.random.split(key)[1]

        def step(i, state):
            key_rows, key_pool = jax.random.split(jax.random.fold_in(key_batches, i))
            drawn = replay.draw(rows, jnp.int32(len(rows)), effort.batch, key_rows)
            batch = view.batch(family, drawn, pool, key_pool)
            return learner.improve_critics(cfg, state, batch)[0]

        return jax.lax.fori_loop(first, stop, step, state)

    def finish(state):
        found = learner.critics(state)
        return twins.flatten(found.twins), found.log_alpha

    many = jax.vmap(advance, (0, 0, 0, 0, None, None))
    return jax.jit(jax.vmap(begin)), jax.jit(many), jax.jit(jax.vmap(finish))
