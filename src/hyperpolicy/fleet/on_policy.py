"""Bases and experts by PPO.

Where clumsy steps cost more than they bring, as Ant-Dir's do, SAC's critic learns to stand still;
PPO's small steps along what paid off in a round lead to a run. What it lacks, critics of actions,
`judging.py` fits at the end.
"""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import jobs
from hyperpolicy import seeds as streams
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import disk, loop, rounds
from hyperpolicy.fleet.bases import Base, cycle, evaluate_bases
from hyperpolicy.fleet.judging import fit_critics, judge, judging_steps
from hyperpolicy.fleet.rounds import RoundSchedule
from hyperpolicy.fleet.train import Start, describe, evaluate, keep, make_zoo
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.rl import ppo, sac
from hyperpolicy.rollout import experience
from hyperpolicy.zoo import Training, Zoo


@jobs.alone
def train_base(
    cfg: ppo.PpoConfig,
    critic: sac.SacConfig,
    family: Family,
    pool: Float[np.ndarray, "k c"],
    schedule: RoundSchedule,
    seed: int = 0,
    out: str | Path | None = None,
) -> Base:
    """A context-conditioned base for the training contexts `pool`; nothing else is seen.

    `critic` are the settings of the critics fitted for it at the end, and of the SAC that may go on
    from it; its width is the actor's. With `out`, the run resumes after a kill.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadSetting: critics of another width; a seed that is none; or `out` holds another run.
        Busy: another process works in `out`.
        BadZoo: the base's numbers stopped being finite.
    """
    _check_widths(cfg, critic)
    pool = family.context.check(pool)
    contexts = cycle(pool, schedule.num_envs)
    own = np.array([streams.small(seed)])
    tasks = disk.Tasks(contexts[None], pool[None], np.array([len(pool)]), own)
    out = None if out is None else Path(out)
    if out is not None:
        disk.check_settings(out, cfg, family, tasks, schedule, f"base, {critic}", "ppo")
    d = family.context.encoded_size
    spec = ppo.policy_spec(cfg, family.obs_size + d, family.action_size)
    trained = rounds.run(
        cfg,
        family,
        tasks,
        np.asarray(family.context.encode(contexts))[None],
        schedule,
        _fresh(cfg, family, d, tasks.seeds),
        partial(evaluate_bases, family, spec, [pool], schedule.episodes),
        out,
        label="base",
    )
    if trained.died_at[0] >= 0:
        raise BadZoo(
            f"the base stopped being finite at update {trained.died_at[0]}; lower the rates"
        )
    base = judge(critic, family, pool, Policies(trained.weights, spec), seed)
    training = Training(
        schedule.env_steps + judging_steps(family, len(pool)),
        schedule.num_rounds * cfg.epochs * cfg.minibatches,
        critic.usual_reward,
    )
    record = _record("train_base", cfg, critic, schedule) | {"seed": seed}
    return replace(base, training=training, provenance=record)


@jobs.alone
def train_on_policy(
    cfg: ppo.PpoConfig,
    critic: sac.SacConfig | None,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    schedule: RoundSchedule,
    start: Literal["own", "shared"] | Start | Policies = "own",
    seed: int = 0,
    out: str | Path | None = None,
    provenance: dict | None = None,
) -> Zoo:
    """A zoo with one expert for each context, as `fleet.train` makes it, by PPO.

    `critic` are the settings of the critics fitted for each expert at the end, from the start's if
    it has some, on transitions of its own; with None there are none. Given actors spend an episode
    on seeing what is normal. All of these steps count. With `out`, the run resumes
    after a kill; the finished zoo lies in `out/zoo`.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadZoo: `start` does not fit the configuration, or every expert stopped being finite.
        BadSetting: critics of another width, or that leave out another usual reward than the
            start's; a seed that is none; or `out` holds another run.
        Busy: another process works in `out`.
    """
    if critic is not None:
        _check_widths(cfg, critic)
    contexts = family.context.check(contexts)
    n = len(contexts)
    worlds = np.repeat(contexts[:, None], schedule.num_envs, axis=1)
    seeds = streams.learners(seed, n)
    tasks = disk.Tasks(worlds, contexts[:, None], np.ones(n, np.int32), seeds)
    spec = ppo.policy_spec(cfg, family.obs_size, family.action_size)
    if not isinstance(start, str):
        _check_start(start, spec, n, critic)
    out = None if out is None else Path(out)
    if out is not None:
        begun = f"{describe(start)}, {critic}"
        disk.check_settings(out, cfg, family, tasks, schedule, begun, "ppo")
        if (out / "zoo").exists():
            return Zoo.load(out / "zoo")
    spent = 0 if isinstance(start, str) else family.horizon_steps
    judged = JUDGED * family.horizon_steps if critic else 0
    record = _record("train_on_policy", cfg, critic, schedule) | {
        "start": start if isinstance(start, str) else "given",
        "seed": seed,
    }
    training = Training(
        spent + schedule.env_steps + judged,
        schedule.num_rounds * cfg.epochs * cfg.minibatches,
        critic.usual_reward if critic else 0.0,
        start.seen if isinstance(start, Start) else (),
    )
    if isinstance(start, str):
        networks = seeds if start == "own" else np.full(n, streams.small(seed))
        learner = _fresh(cfg, family, 0, networks, seeds)
    else:
        learner = _given(cfg, family, contexts, start, spec, seeds)
    with jobs.deferred_interrupt():  # what was trained is saved
        trained = rounds.run(
            cfg,
            family,
            tasks,
            np.zeros((*worlds.shape[:2], 0)),
            schedule,
            learner,
            partial(evaluate, family, spec, contexts, schedule.episodes),
            out,
            spent=spent,
        )
        policies = Policies(trained.weights, spec)
        critics = log_alpha = None
        if critic is not None:
            critics, log_alpha = _judged(critic, family, contexts, policies, start, seed)
        found = loop.Trained(critics=critics, log_alpha=log_alpha, **trained._asdict())
        zoo = make_zoo(family, spec, contexts, training, found, record | (provenance or {}))
        keep(zoo, out)
    return zoo


def _check_widths(cfg: ppo.PpoConfig, critic: sac.SacConfig) -> None:
    if critic.width != cfg.width:
        raise BadSetting(f"critics of width {critic.width}, an actor of {cfg.width}; give one")


def _record(made_by: str, cfg, critic, schedule) -> dict:
    return library_versions() | {
        "made_by": f"fleet.{made_by}",
        "ppo": asdict(cfg),
        "sac": asdict(critic) if critic else {},
        "schedule": asdict(schedule),
    }


# --- Starts and ends ----------------------------------------------------------------------
def _fresh(cfg, family: Family, d: int, networks, seeds=None) -> ppo.PpoState:
    """New networks for each of `networks`' seeds, and randomness from `seeds`."""

    def one(own, later):
        state = ppo.init(cfg, family.obs_size, d, family.action_size, jax.random.key(own))
        return state._replace(key=jax.random.fold_in(jax.random.key(later), 8))

    seeds = networks if seeds is None else seeds
    return jax.jit(jax.vmap(one))(jnp.asarray(networks, jnp.uint32), jnp.asarray(seeds, jnp.uint32))


def _check_start(start: Start | Policies, spec: PolicySpec, n: int, critic) -> None:
    policies = start if isinstance(start, Policies) else start.policies
    if policies.spec != spec or len(policies) != n:
        raise BadZoo(
            f"start holds {len(policies)} policies of {policies.spec}; {n} of {spec} are needed"
        )
    if isinstance(start, Start) and critic and start.usual_reward != critic.usual_reward:
        raise BadSetting(
            f"start's critics leave out a reward of {start.usual_reward} a step, the settings "
            f"say {critic.usual_reward}; give the same"
        )


def _given(cfg, family: Family, contexts, start, spec, seeds) -> ppo.PpoState:
    """Learners that go on from given actors, which see for themselves what is normal."""
    policies = start if isinstance(start, Policies) else start.policies
    rows = experience(policies, family, contexts, family.horizon_steps, 1, int(seeds[0]))
    obs = jnp.asarray(rows[..., : family.obs_size].reshape(-1, family.obs_size))

    def one(weights, own):
        key = jax.random.fold_in(jax.random.key(own), 8)
        return ppo.start_from(cfg, spec.unflatten(weights), obs, key)

    begin = jax.jit(jax.vmap(one))
    return begin(jnp.asarray(policies.weights), jnp.asarray(seeds, jnp.uint32))


def _judged(critic, family: Family, contexts, policies: Policies, start, seed: int):
    """Critics fitted on what the experts do, and their temperatures."""
    n, num_updates = len(contexts), FIT_UPDATES
    if isinstance(start, Start):
        begin = start._replace(policies=policies)
    else:
        twins = sac.critic_spec(critic, family.obs_size, family.action_size)
        fresh = np.asarray(twins.flatten(twins.init(streams.key(seed))))
        log_alpha = np.full(n, np.log(critic.initial_alpha), np.float32)
        begin = Start(policies, np.stack([fresh] * n), log_alpha, critic.usual_reward)
        num_updates = 2 * FIT_UPDATES
    rows = experience(policies, family, contexts, 2 * family.horizon_steps, JUDGED // 2, seed)
    fitted = fit_critics(critic, family, contexts, begin, rows, num_updates, seed=seed)
    return fitted.critics, begin.log_alpha


JUDGED = 16
"""Episodes of each expert that its critics are fitted on."""
FIT_UPDATES = 4_000
"""Updates of the critics at the end, twice as many for fresh ones."""
