"""Train one policy for many tasks; the fleet's axis is seeds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import seeds as streams
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape, BadZoo
from hyperpolicy.fleet import runner
from hyperpolicy.fleet.generalist import Generalists, as_multi_task
from hyperpolicy.fleet.off_policy import OffPolicy
from hyperpolicy.fleet.on_policy import OnPolicy
from hyperpolicy.fleet.plan import Exam, Plan, Tasks, View, Work
from hyperpolicy.fleet.start import fresh
from hyperpolicy.fleet.training import identity_of, record_of, training_of
from hyperpolicy.nets.multi_task import MultiTaskSpec
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.run.directory import alone
from hyperpolicy.run.job import Job, Output, deferred_interrupt

FILE = "generalists.safetensors"


@alone
def train_multi_task(
    plan: OffPolicy | OnPolicy,
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    seeds: Sequence[int] = (0,),
    goals: Int[np.ndarray, "n k"] | None = None,
    out: str | Path | Output | None = None,
) -> Generalists:
    """One policy for k tasks, the contexts, for each seed. A learner of many tasks is told a task's
    number, one that learns from rounds a one-hot vector.

    `plan.schedule.num_envs` is a multiple of k: every task has as many worlds. `goals` are the
    seeds of each task's worlds, where they shall all be the same. With `out`, the run can be
    stopped and called again with the same arguments; the policies lie in
    `out/generalists.safetensors`.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadSetting: a learner of experts, or for another number of tasks or worlds; a shared replay;
            tasks or seeds twice; a seed that is none; `out` holds another run.
        BadShape: goals of other seeds or tasks.
        BadZoo: every seed stopped being finite.
        AlreadyExists, Busy: `out` holds other files, or another process works there.
    """
    contexts = family.context.check(contexts)
    _check(plan, contexts, seeds, goals)
    out = Output.of(out)
    work = _work(plan, family, contexts, seeds, goals)
    job = Job(identity_of(plan, work), plan.schedule.turns, out)
    if out is not None and (out.path / FILE).exists():
        return Generalists.load(out.path / FILE)
    with deferred_interrupt():
        trained = runner.run(plan, work, job)
        alive = np.flatnonzero(trained.died_at < 0)
        if not len(alive):
            raise BadZoo("every seed stopped being finite; lower the rates or give a clip")
        spec, weights = _read(plan, work.spaces, len(contexts), trained.weights[alive])
        found = Generalists(
            weights,
            spec,
            family,
            contexts,
            tuple(int(seeds[i]) for i in alive.tolist()),
            None if goals is None else goals[alive],
            training_of(plan, 0),
            record_of(plan, "train_multi_task")
            | {"died": [int(seeds[i]) for i in np.flatnonzero(trained.died_at >= 0).tolist()]}
            | (out.provenance if out else {}),
        )
        if out is not None:
            found.save(out.path / FILE)
            job.finish()
    return found


def _read(plan: Plan, spaces: Spaces, k: int, weights: Float[np.ndarray, "n p"]):
    """The specification of policies for many tasks, and their weights."""
    spec = plan.spec(spaces)
    if isinstance(spec, MultiTaskSpec):
        return spec, weights
    return as_multi_task(spec, weights, k)


def _check(plan: OffPolicy | OnPolicy, contexts, seeds, goals) -> None:
    k, told = len(contexts), getattr(plan.cfg, "tasks", None)
    rounds = plan.learns_from == "rounds"
    if rounds and plan.schedule.num_envs % k:
        raise BadSetting(
            f"num_envs={plan.schedule.num_envs} worlds for {k} tasks; give a multiple of {k}"
        )
    if told is None and not rounds:
        raise BadSetting(
            f"{plan.cfg.learner.name} trains an expert a task; give a learner of many tasks "
            "(docs/multi-task.md)"
        )
    e = plan.schedule.num_envs
    if not rounds and (told != k or e % k or plan.cfg.worlds != e // k):
        raise BadSetting(
            f"a learner of {told} tasks with {plan.cfg.worlds} worlds each and a schedule of {e} "
            f"worlds, for {k} tasks; give tasks={k}, and num_envs as many times {k} as `worlds`"
        )
    if plan.schedule.replay == "shared":
        raise BadSetting("a policy for many tasks has one replay, its own; give replay='own'")
    if len(set(seeds)) < len(seeds) or not seeds:
        raise BadSetting(f"seeds {tuple(seeds)}; give one or more, and none twice")
    if len(np.unique(contexts, axis=0)) < k:
        raise BadSetting("a task stands twice among the contexts; give each one once")
    if goals is not None and goals.shape != (len(seeds), k):
        raise BadShape(f"goals {goals.shape}; give [{len(seeds)}, {k}]")


def numbered(contexts: Float[np.ndarray, "k c"]) -> View:
    """A policy that is told the number of its task; transitions keep theirs."""

    def told(family, asked, xp=np):
        mine = np.asarray(contexts, np.float32).reshape(*(1,) * (asked.ndim - 1), *contexts.shape)
        gaps = xp.abs(asked[..., None, :] - mine).sum(axis=-1)
        return gaps.argmin(axis=-1)[..., None].astype(np.float32)

    return View(told, lambda pool, made, key: made)


def one_hot(contexts: Float[np.ndarray, "k c"]) -> View:
    """A policy that is told its task by a one-hot vector."""
    number = numbered(contexts)

    def told(family, asked, xp=np):
        place = number.told(family, asked, xp)
        each = np.arange(len(contexts)).reshape(*(1,) * (asked.ndim - 1), -1)
        return (place == each).astype(np.float32)

    return View(told, number.label)


def _work(plan: OffPolicy | OnPolicy, family: Family, contexts, seeds, goals) -> Work:
    n, k = len(seeds), len(contexts)
    copies = plan.schedule.num_envs // k
    tasks = Tasks(
        worlds=np.tile(np.repeat(contexts, copies, axis=0), (n, 1, 1)),
        pools=np.tile(contexts, (n, 1, 1)),
        pool_sizes=np.full(n, k, np.int32),
        seeds=np.array([streams.small(seed) for seed in seeds]),
        starts=None if goals is None else np.repeat(goals, copies, axis=1),
    )
    view = one_hot(contexts) if plan.learns_from == "rounds" else numbered(contexts)
    spaces, episodes = view.spaces(family), plan.schedule.episodes

    def examine(weights: Float[np.ndarray, "n p"]) -> Exam:
        spec, weights = _read(plan, spaces, k, weights)
        own = Generalists(weights, spec, family, contexts, tuple(seeds), goals)
        more = 1 if goals is not None else episodes  # one goal, one deterministic episode
        found = [own.results(i, more, streams.EVALUATION_WHILE_TRAINING) for i in range(n)]
        also = {}
        if family.success(np.zeros((1, family.outcome_size), np.float32)) is not None:
            also["success"] = [round(float(x.success.mean()), 4) for x in found]
            also["last_success"] = [round(float(x.last_success.mean()), 4) for x in found]
            also["success_by_task"] = [x.success.mean(axis=1).round(4).tolist() for x in found]
        return Exam(np.array([x.returns.mean() for x in found]), also)

    return Work(family, view, tasks, fresh(plan.cfg, spaces), examine, "generalists")


def of_tasks(cfg, tasks: int, worlds: int, horizon: int):
    """A learner's configuration for so many tasks, with so many worlds each."""
    return replace(cfg, tasks=tasks, worlds=worlds, horizon=horizon)


def goals_of(seeds: Sequence[int], tasks: int) -> Int[np.ndarray, "n k"]:
    """One world seed for each seed and task: the same for every method."""
    return np.stack([streams.worlds(seed, tasks) for seed in seeds])
