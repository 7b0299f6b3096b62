"""PEARL that collects its own data, as published: iteration by iteration it plays a few tasks, some
episodes by latents of the prior and some by latents of the posterior, and then learns.

z is inferred from a task's newest episodes of the prior; what the posterior's policies did is for
the critics alone.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import seeds as streams
from hyperpolicy.baselines.pearl import Context, PearlConfig, Posterior, init
from hyperpolicy.baselines.pearl_model import Buffers, Pearl, drawn, inferred, practice
from hyperpolicy.bounds import Bounded, Count
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.policies import exploring
from hyperpolicy.provenance import library_versions
from hyperpolicy.rollout import record
from hyperpolicy.run.directory import alone
from hyperpolicy.run.job import Job, Output
from hyperpolicy.run.progress import Steps


@dataclass(frozen=True)
class OnlinePlan(Bounded):
    """What is played and learned."""

    iterations: Count = 100
    """Published: 500."""
    tasks: Count = 5
    """Tasks that are played in an iteration."""
    first_episodes: Count = 10
    """Of every task, before the first iteration, by latents of the prior."""
    prior_episodes: Count = 2
    """Of each task in an iteration; z is inferred from them."""
    posterior_episodes: Count = 3
    """Of each task in an iteration, after those."""
    updates: Count = 200
    """After each iteration (published: 2,000)."""
    capacity: Count = 20_000
    """Steps that are kept of a task."""

    @property
    def most_episodes(self) -> int:
        """Of one task in one iteration, the first."""
        return self.first_episodes + self.prior_episodes + self.posterior_episodes


@alone
def fit_online(
    config: PearlConfig,
    plan: OnlinePlan,
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    seed: int = 0,
    out: str | Path | Output | None = None,
) -> Pearl:
    """A model that was trained on its own experience in the tasks `contexts`; with `out` a killed
    fit resumes there. `config.steps` plays no part.

    Raises:
        BadContext: contexts out of bounds.
        BadSetting: fewer rows are kept than an episode has, another run is in `out`, or numbers
            stopped being finite.
        AlreadyExists, Busy: `out` holds other files, or another process works there.
    """
    contexts = family.context.check(contexts)
    least = family.horizon_steps * plan.most_episodes
    if plan.capacity < least:
        raise BadSetting(
            f"capacity={plan.capacity}; the first iteration makes up to {least} steps of a task"
        )
    number = streams.small(seed)
    identity = {
        "label": "pearl, online",
        "config": asdict(config),
        "plan": asdict(plan),
        "family": family.record(),
        "contexts": contexts.tolist(),
        "seed": number,
    }
    job = Job(identity, plan.iterations, Output.of(out))
    state = jax.jit(partial(init, config, family))(jax.random.key(number))
    tree = state, empty(family, len(contexts), plan.capacity), np.zeros((), np.int64)
    state, data, steps = job.resume(lambda _: tree) or tree
    learn = jax.jit(partial(_learn, config, plan.updates), donate_argnums=0)
    progress = Steps("pearl, online", plan.iterations, job.step)
    with job.running(progress):
        while job.step < plan.iterations:
            i = job.step
            model = Pearl(family, config, state)
            data, played = collect(model, plan, data, contexts, number, i)
            key = jax.random.fold_in(jax.random.key(number), i)
            state, measured = learn(state, jax.tree.map(jnp.asarray, data), key)
            steps = steps + played
            means = {name: float(x) for name, x in measured.items()}
            if not np.isfinite(list(means.values())).all():
                raise BadSetting(
                    f"PEARL's numbers stopped being finite in iteration {i}; lower the rate"
                )
            job.log({"iteration": i + 1, "env_steps": int(steps)} | means)
            progress.update(i + 1, f"critic loss {means['loss/critic']:.4g}")
            job.advance(1, lambda: (state, data, steps))  # noqa: B023
    job.finish()
    about = {"versions": library_versions(), "contexts": contexts.tolist(), "seed": seed}
    about |= {"plan": asdict(plan), "env_steps": int(steps)}
    return Pearl(family, config, jax.tree.map(np.asarray, state), about)


def empty(family: Family, k: int, capacity: int) -> Buffers:
    """Of k tasks."""
    o, a = family.obs_size, family.action_size
    shapes = (o,), (a,), (), (o,), ()
    arrays = (np.zeros((k, capacity, *shape), np.float32) for shape in shapes)
    return Buffers._make([*arrays, *(np.zeros(k, np.int32) for _ in range(4))])


def collect(
    model: Pearl,
    plan: OnlinePlan,
    data: Buffers,
    contexts: Float[np.ndarray, "k c"],
    seed: int,
    iteration: int,
) -> tuple[Buffers, int]:
    """The buffers with an iteration's episodes, and how many steps they took; in the first
    iteration every task is played first."""
    rng = np.random.default_rng([seed, iteration, 5])
    k, taken = len(contexts), 0
    data = jax.tree.map(np.array, data)
    some = np.sort(rng.permutation(k)[: min(plan.tasks, k)])
    turns = [(some, plan.prior_episodes)]
    if iteration == 0:
        turns.insert(0, (np.arange(k), plan.first_episodes))
    for tasks, episodes in turns:
        z = rng.normal(size=(len(tasks) * episodes, model.config.latent)).astype(np.float32)
        new = _play(model, z, contexts[tasks], episodes, rng)
        data = store(data, tasks, new, episodes, inferred=True)
        taken += int(np.sum(new.index.length))
    posterior = _posterior(model, data, some, rng)
    e = plan.posterior_episodes
    each = jax.tree.map(lambda x: np.repeat(x, e, axis=0), posterior)
    new = _play(model, drawn(each, int(rng.integers(2**31))), contexts[some], e, rng)
    data = store(data, some, new, e, inferred=False)
    return data, taken + int(np.sum(new.index.length))


def _play(model: Pearl, z, contexts, episodes: int, rng) -> Episodes:
    """Episodes of stochastic policies, `episodes` of each task, each by a latent of its own."""
    who = exploring(model.policies(z), int(rng.integers(2**20)))
    starts = rng.integers(streams.HALF, size=(len(z), 1))
    return record(who, model.family, np.repeat(contexts, episodes, axis=0), starts, 0, "pearl")


def _posterior(model: Pearl, data: Buffers, tasks: Int[np.ndarray, " m"], rng) -> Posterior:
    """What the recent rows of some tasks say."""
    r, found = data.obs.shape[1], []
    for task in tasks:
        at = data.first[task] + rng.integers(data.recent[task], size=model.config.context)
        context = Context(*(x[task, at % r] for x in data[:3]))
        found.append(inferred(model.state.nets.encoder, context))
    return Posterior(*(np.stack(part) for part in zip(*found, strict=True)))


def store(
    data: Buffers, tasks: Int[np.ndarray, " m"], new: Episodes, episodes: int, inferred: bool
) -> Buffers:
    """The buffers with new episodes of some tasks over the oldest rows; where they are what z is
    `inferred` from, only they are from now on."""
    r = data.obs.shape[1]
    for i, task in enumerate(tasks.tolist()):
        own = [one for one in new if one.policy // episodes == i]
        begun, written = data.place[task], sum(len(one.reward) for one in own)
        for one in own:
            t = len(one.reward)
            at, ended = (data.place[task] + np.arange(t)) % r, np.zeros(t, np.float32)
            ended[-1] = one.terminated
            parts = one.obs[:-1], one.action, one.reward, one.obs[1:], ended
            for array, part in zip(data[:5], parts, strict=True):
                array[task, at] = part
            data.place[task] = (data.place[task] + t) % r
        data.filled[task] = min(data.filled[task] + written, r)
        if inferred and written:  # none where its simulations broke
            data.first[task], data.recent[task] = begun, written
    return data


def _learn(cfg: PearlConfig, num: int, state, data: Buffers, key):
    """The state after `num` updates, and the mean of what they measured."""

    def step(state, i):
        return practice(cfg, state, data, jax.random.fold_in(key, i))

    state, measured = jax.lax.scan(step, state, jnp.arange(num))
    return state, jax.tree.map(jnp.mean, measured)
