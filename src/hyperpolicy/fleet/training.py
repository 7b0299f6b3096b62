"""Train one expert for each context, or one base for each pool of contexts; all at once.

*Independent* experts start from their own networks (`start="own"`) or all from one
(`start="shared"`). *Specialized* experts start from given ones: a context-conditioned base folded
at their contexts (`start.py`), which `train` then fine-tunes.
"""

import warnings
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from hyperpolicy import engine, headers
from hyperpolicy import seeds as streams
from hyperpolicy.bounds import as_record
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import judging, runner
from hyperpolicy.fleet.plan import OWN_TASK, Exam, Plan, Tasks, Work, of_pools
from hyperpolicy.fleet.runner import Trained
from hyperpolicy.fleet.shards import WHOLE, Shard
from hyperpolicy.fleet.start import Base, Start, fold_policy, fresh, given
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.rollout import returns
from hyperpolicy.run.directory import alone
from hyperpolicy.run.job import Job, Output, deferred_interrupt
from hyperpolicy.zoo import Training, Zoo


@alone
def train(
    plan: Plan,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    start: Literal["own", "shared"] | Start | Policies = "own",
    seed: int = 0,
    out: str | Path | Output | None = None,
    shard: Shard = WHOLE,
) -> Zoo:
    """A zoo with one expert for each context, trained by `plan`: an `OffPolicy` or an `OnPolicy`.

    With `out`, the run can be stopped and called again with the same arguments; the finished zoo
    lies in `out/zoo`. A `shard` of the fleet trains its part of the experts under the numbers that
    they have in the whole; `shards.gather` joins the parts. Where the learner has no critics of
    actions and the plan names a judge, critics are fitted for each expert at the end, from the
    start's if it has some.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadShape: prior transitions that do not fit.
        BadZoo: `start` does not fit the learner, or every expert stopped being finite.
        BadSetting: a seed that is none; a shard that there is not; critics that leave out another
            usual reward than the learner; a shared replay in shards, or where the family's reward
            does not hold for other contexts, or where test contexts are trained or not known;
            `out` holds another run.
        AlreadyExists, Busy: `out` holds other files, or another process works there.
        MissingExtra: a tracker that is not installed.
    """
    contexts = family.context.check(contexts)
    start = Start(start) if isinstance(start, Policies) else start
    plan.check(family, contexts)
    out = Output.of(out)
    rows = shard.rows(len(contexts))
    if shard != WHOLE and plan.schedule.replay == "shared":
        raise BadSetting("experts that share their replay cannot be trained in shards")
    work = _experts(plan, family, contexts, start, seed, rows)
    job = Job(identity_of(plan, work), plan.schedule.turns, out)
    if out is not None and (out.path / "zoo").exists():
        return Zoo.load(out.path / "zoo")
    with deferred_interrupt():  # what was trained is saved
        trained, spent = runner.run(plan, work, job), work.spent
        if trained.critics is None and plan.critic is not None:
            trained = _judged(plan, work, trained, start, seed, rows)
            spent += judging.EPISODES * family.horizon_steps
        training = training_of(plan, spent, _seen(plan, contexts, start))
        record = record_of(plan, "train") | {
            "start": work.begins.split()[0],
            "seed": seed,
            "prior_steps_per_expert": 0 if plan.prior is None else plan.prior.shape[1],
        }
        record |= out.provenance if out else {}
        zoo = _zoo(work, plan.spec(work.spaces), trained, training, record)
        if out is not None:
            zoo.save(out.path / "zoo")
            job.finish()
    return zoo


@alone
def train_bases(
    plan: Plan,
    family: Family,
    pools: list[np.ndarray],
    seeds: list[int] | None = None,
    out: str | Path | Output | None = None,
) -> list[Base]:
    """One context-conditioned base for each pool of training contexts, all trained at once.

    Each base's worlds walk through its pool; `schedule.num_envs` is best a multiple of its size.
    `seeds` gives each base its own number (default 0, 1, …). With `out`, the run can be stopped and
    called again; the finished bases lie in `out/base-<i>.safetensors`.

    Raises:
        BadSetting: a shared replay, in which bases would see contexts of each other's splits; no
            judge, for learners without critics; a seed that is none; `out` holds another run.
        BadZoo: a base's numbers stopped being finite.
        AlreadyExists, Busy: `out` holds other files, or another process works there.
    """
    if plan.schedule.replay == "shared":
        raise BadSetting("bases do not share their replay: each sees its own contexts only")
    if plan.critic is None:
        raise BadSetting("a base has critics; give the plan a critic, a learner that has some")
    numbers, out = list(range(len(pools))) if seeds is None else seeds, Output.of(out)
    pools = [family.context.check(pool) for pool in pools]
    work = _bases(plan, family, pools, numbers)
    job = Job(identity_of(plan, work), plan.schedule.turns, out)
    paths = [out.path / f"base-{i}.safetensors" for i in range(len(pools))] if out else []
    if paths and all(path.exists() for path in paths):
        return [Base.load(path) for path in paths]
    with deferred_interrupt():
        trained = runner.run(plan, work, job)
        for i in np.flatnonzero(trained.died_at >= 0):
            raise BadZoo(
                f"base {i} stopped being finite at update {trained.died_at[i]}; lower the rates"
            )
        found = [_base(plan, work, trained, i, numbers[i]) for i in range(len(pools))]
        for base, path in zip(found, paths, strict=bool(paths)):
            path.unlink(missing_ok=True)  # of a call that was killed between two bases
            base.save(path)
        job.finish()
    return found


# --- What is to be done -------------------------------------------------------------------
def _experts(plan: Plan, family: Family, every, start, seed: int, rows: range) -> Work:
    """Each learner at its own context: those in `rows` of `every` context."""
    numbers = streams.learners(seed, len(every))
    contexts, own = every[rows.start : rows.stop], numbers[rows.start : rows.stop]
    worlds = np.repeat(contexts[:, None], plan.schedule.num_envs, axis=1)
    prior = None if plan.prior is None else plan.prior[rows.start : rows.stop]
    tasks = Tasks(worlds, contexts[:, None], np.ones(len(own), np.int32), own, prior)
    spaces = OWN_TASK.spaces(family)
    spec = plan.spec(spaces)
    score = partial(evaluate, family, spec, contexts, plan.schedule.episodes)
    work = Work(family, OWN_TASK, tasks, fresh(plan.cfg, spaces), lambda w: Exam(score(w)))
    if start == "own":
        return work
    if start == "shared":
        begin = fresh(plan.cfg, spaces, streams.small(seed))
        return work._replace(start=begin, begins="shared")
    start = start.check(plan.critic, spec, len(every))
    return work._replace(
        start=given(plan.cfg, family, every, start, int(numbers[0]), rows),
        begins=start.text,
        spent=family.horizon_steps if plan.cfg.learner.normalizes else 0,
    )


def _bases(plan: Plan, family: Family, pools, numbers) -> Work:
    """Each learner in all contexts of its pool."""
    e, k = plan.schedule.num_envs, max(len(pool) for pool in pools)
    tasks = Tasks(
        worlds=np.stack([cycle(pool, e) for pool in pools]),
        pools=np.stack([cycle(pool, k) for pool in pools]),
        pool_sizes=np.array([len(pool) for pool in pools], np.int32),
        seeds=np.array([streams.small(seed) for seed in numbers]),
    )
    view = of_pools(family, pools)
    spaces = view.spaces(family)
    score = partial(evaluate_bases, family, plan.spec(spaces), pools, plan.schedule.episodes)
    begin = fresh(plan.cfg, spaces)
    return Work(family, view, tasks, begin, lambda w: Exam(score(w)), "bases")


def _seen(plan: Plan, contexts: Float[np.ndarray, "n c"], start) -> tuple:
    """Contexts whose transitions reach every expert: those of a common base, or all where the
    replay is shared."""
    seen = set(start.seen) if isinstance(start, Start) else set()
    if plan.schedule.replay == "shared":
        seen |= set(map(tuple, contexts.tolist()))
    return tuple(sorted(seen))


def identity_of(plan: Plan, work: Work) -> dict:
    """Everything that the result depends on."""
    tasks, prior = work.tasks, work.tasks.prior
    return _plan_record(plan) | {
        "family": work.family.record(),
        "label": work.label,
        "start": work.begins,
        "prior": None if prior is None else headers.digest({"rows": prior}),
        "worlds": tasks.worlds.tolist(),
        "pools": tasks.pools.tolist(),
        "seeds": tasks.seeds.tolist(),
        **engine.record(),
    }


def _plan_record(plan: Plan) -> dict:
    critic = plan.critic
    return {
        "learner": plan.cfg.learner.name,
        "config": as_record(plan.cfg),
        "schedule": asdict(plan.schedule),
        "critic": critic and {"learner": critic.learner.name} | asdict(critic),
    }


def record_of(plan: Plan, made_by: str) -> dict:
    return (
        library_versions() | {"made_by": f"fleet.{made_by}"} | engine.record() | _plan_record(plan)
    )


def training_of(plan: Plan, spent: int, seen: tuple = ()) -> Training:
    """What later steps decide by; `spent` are environment steps besides the schedule's."""
    turns, critic = plan.schedule.turns, plan.critic
    left_out = critic.learner.usual_reward(critic) if critic else 0.0
    return Training(plan.schedule.steps(turns) + spent, plan.updates(turns), left_out, seen)


# --- What comes of it ---------------------------------------------------------------------
def evaluate(family, spec, contexts, episodes: int, weights) -> Float[np.ndarray, " n"]:
    """Mean return of each expert at its context."""
    found = returns(
        Policies(weights, spec), family, contexts, episodes, streams.EVALUATION_WHILE_TRAINING
    )
    return found.mean(axis=1)


def evaluate_bases(family, spec, pools, episodes: int, weights) -> Float[np.ndarray, " n"]:
    """Each base's mean return over its own training contexts."""
    return np.array(
        [
            evaluate(
                family, (p := fold_policy(spec, row, family, pool)).spec, pool, episodes, p.weights
            ).mean()
            for pool, row in zip(pools, weights, strict=True)
        ]
    )


def _judged(plan: Plan, work: Work, trained: Trained, start, seed: int, rows: range) -> Trained:
    """The experts with critics that are fitted now, from the start's if it has some."""
    policies = Policies(trained.weights, plan.spec(work.spaces))
    begin = Start(policies)
    if not isinstance(start, str):
        mine = slice(rows.start, rows.stop)
        own = (None if x is None else x[mine] for x in (start.critics, start.log_alpha))
        begin = start._replace(policies=policies, critics=next(own), log_alpha=next(own))
    contexts = work.tasks.pools[:, 0]
    found = judging.judge_experts(plan.critic, work.family, contexts, begin, seed)
    return trained._replace(critics=found.critics, log_alpha=found.log_alpha)


def _base(plan: Plan, work: Work, trained: Trained, i: int, seed: int) -> Base:
    """The i-th base; where its learner has no critics, they are fitted now."""
    family, pool = work.family, work.tasks.pools[i, : work.tasks.pool_sizes[i]]
    here, spent = slice(i, i + 1), 0
    policy = Policies(trained.weights[here], plan.spec(work.spaces))
    if trained.critics is None:
        base = judging.judge_base(plan.critic, family, pool, policy, seed)
        spent = 2 * family.horizon_steps * judging.WORLDS * len(pool)
    else:
        log_alpha = None if trained.log_alpha is None else trained.log_alpha[here]
        base = Base(family, pool, policy, trained.critics[here], log_alpha)
    record = record_of(plan, "train_bases") | {"seed": int(seed)}
    return replace(base, training=training_of(plan, spent), provenance=record)


def _zoo(work: Work, spec, trained: Trained, training: Training, provenance: dict) -> Zoo:
    """Checkpoints, then final rows, of the experts that stayed finite."""
    family, contexts = work.family, work.tasks.pools[:, 0]
    alive = np.flatnonzero(trained.died_at < 0)
    for i in np.flatnonzero(trained.died_at >= 0):
        warnings.warn(
            f"expert {i} at context {contexts[i].tolist()} stopped being finite at update "
            f"{trained.died_at[i]}; it is left out, the other {len(alive)} are saved",
            stacklevel=3,
        )
    if not len(alive):
        raise BadZoo("every expert stopped being finite; lower the learning rates")
    x, k = len(alive), len(trained.checkpoints)
    finals = _stored(trained.weights[alive])
    found = evaluate(family, spec, contexts[alive], 10, finals)
    return Zoo(
        spec=spec,
        family=family,
        weights=np.concatenate([_stored(trained.checkpoints[:, alive].reshape(k * x, -1)), finals]),
        expert=np.tile(np.arange(x), k + 1),
        updates=np.append(np.repeat(trained.checkpoint_updates, x), np.full(x, training.updates)),
        final=np.arange((k + 1) * x) >= k * x,
        returns=np.append(np.full(k * x, np.nan), found).astype(np.float32),
        contexts=contexts[alive],
        critics=None if trained.critics is None else _stored(trained.critics[alive]),
        states=_stored(trained.states[alive]),
        log_alpha=None if trained.log_alpha is None else trained.log_alpha[alive],
        training=training,
        provenance=provenance,
    )


def _stored(array: np.ndarray) -> np.ndarray:
    """The numbers as a zoo's files will hold them, so that what is measured is what is kept."""
    return array.astype(np.float16).astype(np.float32)


def cycle(pool: Float[np.ndarray, "k c"], length: int) -> Float[np.ndarray, "length c"]:
    """Contexts for `length` worlds that walk through the pool."""
    return pool[np.arange(length) % len(pool)]
