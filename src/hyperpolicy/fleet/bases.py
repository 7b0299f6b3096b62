"""Context-conditioned bases: one SAC over [obs, context], relabeled with training contexts.

Folding a context into its first layer gives one ordinary, aligned policy per context, which
`train` then fine-tunes.
"""

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import headers, jobs
from hyperpolicy import seeds as streams
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadContext, BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.fleet import disk, loop
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.train import Start, fresh_start
from hyperpolicy.fleet.view import ANY_TASK
from hyperpolicy.headers import BaseHeader, Training
from hyperpolicy.nets.fold import fold_actor, fold_critics
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.rl import sac
from hyperpolicy.rollout import returns


@dataclass(frozen=True)
class Base:
    """A context-conditioned policy with its critics: inputs are [obs, encoded context]."""

    family: Family
    contexts: Float[np.ndarray, "k c"]
    """The training contexts; nothing else was seen."""
    policy: Policies
    """One row; its spec is wider than the family's observation."""
    critics: Float[np.ndarray, "1 2 q"]
    log_alpha: Float[np.ndarray, " 1"]
    training: Training = Training()
    provenance: dict = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Write one file; an existing one is an error."""
        arrays = {
            "weights": self.policy.weights,
            "critics": self.critics,
            "log_alpha": self.log_alpha,
            "contexts": self.contexts,
        }
        record, spec = self.family.record(), self.policy.spec.header
        header = BaseHeader(record, spec, self.training, self.provenance)
        return headers.save_arrays(path, arrays, header)

    @classmethod
    def load(cls, path: str | Path) -> "Base":
        """The base in a file.

        Raises:
            BadFile: it holds none, is damaged, or its parts do not fit each other.
        """
        parts = "contexts", "weights", "critics", "log_alpha"
        arrays, header = headers.load_arrays(path, BaseHeader, parts)
        family, spec = read_family(header.family), PolicySpec.of(header.spec)
        try:
            policy = Policies(arrays["weights"], spec)
            contexts = family.context.check(arrays["contexts"])
        except (BadShape, BadContext) as error:
            raise BadFile(f"{path}: {error}") from None
        width = sac.critic_spec(_width(spec), spec.obs, spec.action).size
        inputs = family.obs_size + family.context.encoded_size
        if spec.obs != inputs or arrays["critics"].shape != (1, 2, width) or len(policy) != 1:
            raise BadFile(f"{path}: policy, critics and family {family.name} do not fit each other")
        rest = arrays["critics"], arrays["log_alpha"], header.training, header.provenance
        return cls(family, contexts, policy, *rest)


@jobs.alone
def train_bases(
    cfg: sac.SacConfig,
    family: Family,
    pools: list[np.ndarray],
    schedule: Schedule,
    seeds: list[int] | None = None,
    out: str | Path | None = None,
) -> list[Base]:
    """One context-conditioned base for each pool of training contexts, all trained at once.

    Each base's worlds walk through its pool; `schedule.num_envs` is best a multiple of its size.
    `seeds` gives each base its own number (default 0, 1, …).

    Raises:
        BadSetting: the family's reward does not hold for other contexts; a shared replay, in
            which bases would see contexts of each other's splits; a seed that is none; `out` holds
            another run.
        Busy: another process works in `out`.
    """
    family.check_relabels("a base")
    if schedule.replay == "shared":
        raise BadSetting("bases do not share their replay: each sees its own contexts only")
    pools = [family.context.check(pool) for pool in pools]
    out = None if out is None else Path(out)
    n, k = len(pools), max(len(pool) for pool in pools)
    numbers = list(range(n)) if seeds is None else seeds
    tasks = disk.Tasks(
        worlds=np.stack([cycle(pool, schedule.num_envs) for pool in pools]),
        pools=np.stack([cycle(pool, k) for pool in pools]),
        pool_sizes=np.array([len(pool) for pool in pools], np.int32),
        seeds=np.array([streams.small(seed) for seed in numbers]),
    )
    if out is not None:
        disk.check_settings(out, cfg, family, tasks, schedule, "bases")
    d = family.context.encoded_size
    spec = sac.policy_spec(cfg, family.obs_size + d, family.action_size)
    trained = loop.run(
        cfg,
        family,
        ANY_TASK,
        tasks,
        schedule,
        fresh_start(cfg, family, d, "own", 0),
        partial(evaluate_bases, family, spec, pools, schedule.episodes),
        fill_at_random=True,
        out=out,
        label="bases",
    )
    for i in np.flatnonzero(trained.died_at >= 0):
        raise BadZoo(
            f"base {i} stopped being finite at update {trained.died_at[i]}; lower the rates"
        )
    assert trained.critics is not None and trained.log_alpha is not None  # SAC has both
    record = library_versions() | {
        "made_by": "fleet.train_bases",
        "sac": asdict(cfg),
        "schedule": asdict(schedule),
    }
    training = Training(schedule.env_steps, schedule.num_updates, cfg.usual_reward)
    return [
        Base(
            family,
            pools[i],
            Policies(trained.weights[i : i + 1], spec),
            trained.critics[i : i + 1],
            trained.log_alpha[i : i + 1],
            training,
            record | {"seed": int(numbers[i])},
        )
        for i in range(n)
    ]


def fold(base: Base, family: Family, contexts: Float[np.ndarray, "n c"]) -> Start:
    """The base at n contexts, as ordinary policies and critics."""
    o, a = family.obs_size, family.action_size
    wide, hidden = base.policy.spec, base.policy.spec.hidden
    spec = PolicySpec(o, a, hidden, wide.activations)
    width = sac.SacConfig(width=hidden[0])
    wide_critic, critic = (sac.critic_spec(width, i, a) for i in (wide.obs, o))
    actor = wide.unflatten(jnp.asarray(base.policy.weights[0]))
    critics = wide_critic.unflatten(jnp.asarray(base.critics[0]))
    encoded = jnp.asarray(family.context.encode(family.context.check(contexts)), jnp.float32)
    weights = jax.vmap(lambda c: spec.flatten(fold_actor(actor, c)))(encoded)
    folded = jax.vmap(lambda c: critic.flatten(fold_critics(critics, c, o)))(encoded)
    log_alpha = np.full(len(encoded), base.log_alpha[0], np.float32)
    seen = tuple(map(tuple, base.contexts.tolist()))
    policies, left_out = Policies(np.asarray(weights), spec), base.training.usual_reward
    return Start(policies, np.asarray(folded), log_alpha, left_out, seen)


def evaluate_bases(family, spec, pools, episodes: int, weights) -> Float[np.ndarray, " n"]:
    """Each base's mean return over its own training contexts."""
    found = []
    for pool, row in zip(pools, weights, strict=True):
        critics = np.zeros((1, 2, sac.critic_spec(_width(spec), spec.obs, spec.action).size))
        base = Base(family, pool, Policies(row[None], spec), critics, np.zeros(1))
        policies = fold(base, family, pool).policies
        own = returns(policies, family, pool, episodes, streams.EVALUATION_WHILE_TRAINING)
        found.append(own.mean())
    return np.array(found)


def _width(spec: PolicySpec) -> sac.SacConfig:
    return sac.SacConfig(width=spec.hidden[0])


def cycle(pool: Float[np.ndarray, "k c"], length: int) -> Float[np.ndarray, "length c"]:
    """Contexts for `length` worlds that walk through the pool."""
    return pool[np.arange(length) % len(pool)]
