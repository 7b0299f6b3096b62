"""Train one expert for each context, all at once.

*Independent* experts start from their own networks (`start="own"`) or all from one
(`start="shared"`). *Specialized* experts start from given ones: a context-conditioned base folded
at their contexts (`bases.py`), which `train` then fine-tunes.
"""

import hashlib
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import jobs, seeds
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape, BadZoo
from hyperpolicy.fleet import disk, loop
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.view import OWN_TASK, layout
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.rl import sac
from hyperpolicy.rollout import returns
from hyperpolicy.tracking import tensorboard
from hyperpolicy.types import Key
from hyperpolicy.zoo import Training, Zoo


class Start(NamedTuple):
    """Where n fine-tuned experts begin."""

    policies: Policies
    critics: Float[np.ndarray, "n 2 q"]
    log_alpha: Float[np.ndarray, " n"]
    usual_reward: float = 0.0
    """What the critics leave out (`SacConfig.usual_reward`)."""
    seen: tuple[tuple[float, ...], ...] = ()
    """Training contexts of the base behind all of them (`Training.seen`)."""
    critics_from: str = ""
    """Where the critics come from, in a word, where a run could begin with others."""


@jobs.alone
def train(
    cfg: sac.SacConfig,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    schedule: Schedule | None = None,
    start: Literal["own", "shared"] | Start | Policies = "own",
    seed: int = 0,
    out: str | Path | None = None,
    provenance: dict | None = None,
    track: bool = False,
    prior: Float[np.ndarray, "n j d"] | None = None,
    held_out: Float[np.ndarray, "m c"] | None = None,
) -> Zoo:
    """A zoo with one expert for each context.

    With `out`, the run can be stopped and called again with the same arguments; the finished zoo
    lies in `out/zoo`. `track` writes TensorBoard logs beside `metrics.jsonl`. `prior` holds replay
    rows of others, such as demonstrations, which fill half of each batch. `held_out` are the test
    contexts, m = 0 if there are none: a shared replay, where all learn from all, must know them.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
        BadShape: `prior` does not fit.
        BadZoo: `start` does not fit the configuration.
        BadSetting: a seed that is none; critics that leave out another usual reward than the
            learner; a shared replay where the family's reward does not hold for other contexts,
            or where test contexts are trained or not known; `out` holds another run.
        AlreadyExists, Busy: `out` holds other files, or another process works there.
        MissingExtra: `track` without tensorboardX.
    """
    schedule = schedule or Schedule()
    contexts = family.context.check(contexts)
    if schedule.replay == "shared":
        _check_sharing(family, contexts, held_out)
    out = None if out is None else Path(out)
    n, e = len(contexts), schedule.num_envs
    if prior is not None and (prior.shape[0], prior.shape[2]) != (n, layout(family).size):
        raise BadShape(
            f"prior has shape {prior.shape}; {n} experts of {family.name} take "
            f"[{n}, j, {layout(family).size}]"
        )
    tasks = disk.Tasks(
        worlds=np.repeat(contexts[:, None], e, axis=1),
        pools=contexts[:, None],
        pool_sizes=np.ones(n, np.int32),
        seeds=seeds.learners(seed, n),
    )
    spec = sac.policy_spec(cfg, family.obs_size, family.action_size)
    kind: str = "given"
    if isinstance(start, str):
        begin, kind = fresh_start(cfg, family, 0, start, seed), start
    else:
        begin = _given_start(cfg, family, start, n)
    tracker = tensorboard(out) if track and out is not None else None
    if out is not None:
        disk.check_settings(out, cfg, family, tasks, schedule, describe(start, prior))
        if (out / "zoo").exists():
            return Zoo.load(out / "zoo")
    record = library_versions() | {
        "made_by": "fleet.train",
        "prior_steps_per_expert": 0 if prior is None else prior.shape[1],
        "start": kind,
        "seed": seed,
        "sac": asdict(cfg),
        "schedule": asdict(schedule),
    }
    pooled = contexts if schedule.replay == "shared" else ()
    seen = {
        *(start.seen if isinstance(start, Start) else ()),
        *map(tuple, np.asarray(pooled).tolist()),
    }
    training = Training(
        schedule.env_steps, schedule.num_updates, cfg.usual_reward, tuple(sorted(seen))
    )
    with jobs.deferred_interrupt():  # what was trained is saved
        trained = loop.run(
            cfg,
            family,
            OWN_TASK,
            tasks,
            schedule,
            begin,
            partial(evaluate, family, spec, contexts, schedule.episodes),
            fill_at_random=kind != "given",
            out=out,
            tracker=tracker,
            prior=prior,
        )
        record |= provenance or {}
        zoo = make_zoo(family, spec, contexts, training, trained, record)
        keep(zoo, out)
    return zoo


def keep(zoo: Zoo, out: Path | None) -> None:
    """Save a run's zoo in its directory; its snapshot is not needed any more."""
    if out is not None:
        jobs.check(out)
        zoo.save(out / "zoo")
        (out / disk.SNAPSHOT).unlink(missing_ok=True)


def _check_sharing(family: Family, contexts, held_out) -> None:
    """Nothing of a test context reaches training: its expert's transitions neither."""
    family.check_relabels("shared replay")
    if held_out is None:
        raise BadSetting(
            "with a shared replay experts learn from everybody's transitions; say which contexts "
            "are for testing: held_out=split.test, or an array of none"
        )
    if not len(held_out):
        return
    near = family.context.distance(contexts, family.context.check(held_out)).min(axis=1) < 1e-6
    if near.any():
        raise BadSetting(
            f"a shared replay would let training experts learn from {near.sum()} test contexts, "
            f"the first {contexts[near][0].tolist()}; train split.train alone, or replay='own'"
        )


def describe(start: str | Start | Policies, prior: Float[np.ndarray, "n j d"] | None = None) -> str:
    """Where experts begin, in words that change when given weights or transitions do."""
    with_prior = "" if prior is None else f", prior {_digest(prior)}"
    if isinstance(start, str):
        return start + with_prior
    if isinstance(start, Policies):
        return f"given {_digest(start.weights)}{with_prior}"
    critics = f", critics {start.critics_from}" if start.critics_from else ""
    return f"given {_digest(start.policies.weights)}{critics}{with_prior}"


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


# --- Starts -------------------------------------------------------------------------------
def fresh_start(cfg: sac.SacConfig, family: Family, extra: int, kind: str, seed: int):
    """New networks: one for each learner's own seed, or one for all."""
    o, a = family.obs_size + extra, family.action_size
    first = seeds.learners(seed, 1)[0]

    def one(own):
        networks = first if kind == "shared" else own
        return sac.init(cfg, o, a, jax.random.key(networks))._replace(key=learner_key(own))

    return jax.jit(jax.vmap(one))


def learner_key(own) -> Key:
    """The randomness of a learner's updates. Networks are drawn from splits of `key(own)`, which
    are its first folds."""
    return jax.random.fold_in(jax.random.key(own), 8)


def _given_start(cfg: sac.SacConfig, family: Family, start: Start | Policies, n: int):
    """Given actors, with given critics or, for bare Policies, with fresh ones."""
    o, a = family.obs_size, family.action_size
    spec, critic = sac.policy_spec(cfg, o, a), sac.critic_spec(cfg, o, a)
    policies = start if isinstance(start, Policies) else start.policies
    if policies.spec != spec or len(policies) != n:
        raise BadZoo(
            f"start holds {len(policies)} policies of {policies.spec}; {n} of {spec} are needed"
        )
    if isinstance(start, Start) and start.usual_reward != cfg.usual_reward:
        raise BadSetting(
            f"start's critics leave out a reward of {start.usual_reward} a step, the learner's "
            f"usual_reward is {cfg.usual_reward}; give it the same"
        )

    def one(own, weights, critics, log_alpha):
        actor = spec.unflatten(weights)
        return sac.start_from(cfg, actor, critics, log_alpha, learner_key(own))

    def given(owns):
        rows = np.minimum(np.arange(len(owns)), n - 1)  # padded experts repeat the last
        weights = jnp.asarray(policies.weights[rows])
        if isinstance(start, Policies):
            critics = jax.vmap(lambda s: critic.init(jax.random.key(s)))(owns)
            log_alpha = jnp.full(len(owns), jnp.log(cfg.initial_alpha))
        else:
            critics = jax.vmap(critic.unflatten)(jnp.asarray(start.critics[rows]))
            log_alpha = jnp.asarray(start.log_alpha[rows])
        return jax.jit(jax.vmap(one))(owns, weights, critics, log_alpha)

    return given


# --- Ends ---------------------------------------------------------------------------------
def evaluate(family, spec, contexts, episodes: int, weights) -> Float[np.ndarray, " n"]:
    """Mean return of each expert at its context."""
    found = returns(
        Policies(weights, spec), family, contexts, episodes, seeds.EVALUATION_WHILE_TRAINING
    )
    return found.mean(axis=1)


def make_zoo(family, spec, contexts, training: Training, trained, provenance: dict) -> Zoo:
    """Checkpoints, then final rows, of the experts that stayed finite."""
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
