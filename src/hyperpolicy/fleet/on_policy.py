"""A context-conditioned base by PPO: its worlds walk through the training contexts, and every round
of steps is learned from once.

Where clumsy steps cost more than they bring, as Ant-Dir's do, SAC's critic learns to stand still;
PPO's small steps along what paid off in a round lead to a run. What it lacks, critics of actions,
`judging.judge` fits at the end.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.envs import Family, Worlds
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import disk
from hyperpolicy.fleet.bases import Base, cycle, evaluate
from hyperpolicy.fleet.disk import METRICS, SNAPSHOT
from hyperpolicy.fleet.judging import judge
from hyperpolicy.fleet.loop import deferred_interrupt
from hyperpolicy.nets.policy import Policies, PolicySpec
from hyperpolicy.progress import FleetProgress
from hyperpolicy.provenance import library_versions
from hyperpolicy.rl import ppo
from hyperpolicy.rl.sac import SacConfig

SNAPSHOT_S = 120.0
"""Seconds between snapshots."""


@dataclass(frozen=True)
class RoundSchedule:
    num_rounds: int = 600
    """Rounds of steps, each learned from once."""
    num_envs: int = 360
    """Worlds, best a multiple of the training contexts."""
    round_steps: int = 32
    """Steps of the worlds in a round."""
    average_from: float = 0.9
    """Share of the rounds after which the actor's weights are averaged; the average is the
    result."""
    num_evaluations: int = 20
    """Deterministic evaluations of the averaged weights, evenly spaced; the learning curve."""
    episodes: int = 2
    """Episodes of each evaluation, in every training context."""

    def __post_init__(self):
        for name in ("num_rounds", "num_envs", "round_steps", "num_evaluations", "episodes"):
            if getattr(self, name) < 1:
                raise BadSetting(f"{name}={getattr(self, name)}; give at least one")
        if not 0.0 <= self.average_from < 1.0:
            raise BadSetting(f"average_from={self.average_from}; give a share in [0, 1)")

    @property
    def env_steps(self) -> int:
        """Environment steps a base spends."""
        return self.num_rounds * self.round_steps * self.num_envs

    @property
    def marks(self) -> set[int]:
        """Rounds after which the base is evaluated."""
        shares = (np.arange(self.num_evaluations) + 1) / self.num_evaluations
        return {max(1, int(share * self.num_rounds)) for share in shares}


class Run(NamedTuple):
    """A run in progress: what a snapshot holds beside the worlds."""

    learner: ppo.PpoState
    mean: Float[np.ndarray | jax.Array, " p"]
    """Averaged weights of the plain actor."""
    episode_return: Float[np.ndarray, " n"]
    """Of the episodes in progress."""
    last_return: Float[np.ndarray, " n"]
    """Of the last finished episodes; NaN before the first."""


def train_base(
    cfg: ppo.PpoConfig,
    critic: SacConfig,
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
        BadSetting: critics of another width; or `out` holds another run.
        BadZoo: the base's numbers stopped being finite.
    """
    if critic.width != cfg.width:
        raise BadSetting(f"critics of width {critic.width}, an actor of {cfg.width}; give one")
    library_versions()  # of the code that trains, whatever becomes of the clone meanwhile
    pool = family.context.check(pool)
    contexts = cycle(pool, schedule.num_envs)
    out = None if out is None else Path(out)
    if out is not None:
        tasks = disk.Tasks(contexts[None], pool[None], np.array([len(pool)]), np.array([seed]))
        disk.check_settings(out, cfg, family, tasks, schedule, "base", "ppo")
    record = library_versions() | {
        "made_by": "fleet.train_base",
        "ppo": asdict(cfg),
        "sac": asdict(critic),
        "schedule": asdict(schedule),
        "env_steps": schedule.env_steps,
        "updates": schedule.num_rounds * cfg.epochs * cfg.minibatches,
        "seed": seed,
    }
    weights = _learn(cfg, family, pool, contexts, schedule, seed, out)
    spec = ppo.policy_spec(cfg, family.obs_size + family.context.encoded_size, family.action_size)
    return judge(critic, family, pool, Policies(weights[None], spec), record, seed)


def _learn(cfg, family: Family, pool, contexts, schedule: RoundSchedule, seed: int, out):
    """Averaged flat weights of the plain actor."""
    spec = ppo.policy_spec(cfg, family.obs_size + family.context.encoded_size, family.action_size)
    encoded = jnp.asarray(family.context.encode(contexts), jnp.float32)
    act, flat = jax.jit(ppo.act), jax.jit(lambda state: spec.flatten(ppo.plain(state)))
    r, worlds = _begin(cfg, family, contexts, spec, seed)
    begun, past, lines = 0, 0.0, 0
    if out is not None:
        r, begun, past, lines = _resume(out, r, worlds)
    began = saved = time.monotonic()
    passes, steps_a_round = cfg.epochs * cfg.minibatches, schedule.round_steps * schedule.num_envs
    first = int(schedule.average_from * schedule.num_rounds)
    with (
        FleetProgress("base", 1, schedule.num_rounds * passes, 1) as progress,
        deferred_interrupt() as interrupted,
    ):
        for i in range(begun, schedule.num_rounds):
            own = jax.random.fold_in(r.learner.key, 1)  # `update` splits the key itself
            acts = [jax.random.fold_in(own, t) for t in range(schedule.round_steps)]
            found = _collect(partial(act, r.learner), worlds, encoded, acts, r)
            learner, report = ppo.update(cfg, r.learner, found, encoded)
            share = 1.0 / max(1, i - first + 1)
            r = r._replace(learner=learner, mean=r.mean + share * (flat(learner) - r.mean))
            if not np.isfinite(r.mean).all():
                raise BadZoo(f"the base stopped being finite in round {i + 1}; lower the rates")
            done, seconds = i + 1, past + time.monotonic() - began
            updates, env_steps = done * passes, done * steps_a_round
            progress.step(updates, env_steps, r.last_return)
            if done in schedule.marks:
                policies = Policies(np.asarray(r.mean)[None], spec)
                returns = evaluate(family, pool, policies, schedule.episodes)
                progress.evaluated(updates, returns)
                if out is not None:
                    _log(out, updates, env_steps, seconds, returns, r.last_return, report)
                lines += 1
            stop = interrupted.is_set()
            if out is not None and (stop or time.monotonic() - saved > SNAPSHOT_S):
                meta = {"round": done, "seconds": seconds, "lines": lines}
                files.save_tree(out / SNAPSHOT, (r, worlds.snapshot()), meta, overwrite=True)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
    return np.asarray(r.mean)


def _begin(cfg, family: Family, contexts, spec: PolicySpec, seed: int) -> tuple[Run, Worlds]:
    n = len(contexts)
    worlds = Worlds(family, contexts, seed=(seed * 1009 + np.arange(n)) % 2**31)
    worlds.reset()
    # episodes shall end at all times, not all at once
    worlds.elapsed_steps = np.random.default_rng(seed).integers(0, family.horizon_steps, n)
    o, d = family.obs_size, family.context.encoded_size
    learner = ppo.init(cfg, o, d, family.action_size, jax.random.key(seed))
    return Run(learner, np.zeros(spec.size, np.float32), np.zeros(n), np.full(n, np.nan)), worlds


def _collect(act, worlds: Worlds, encoded, keys, r: Run) -> ppo.Round:
    """One step of the worlds for each key; returns are counted in `r`."""
    steps = []
    for key in keys:
        obs, latent = worlds.obs, np.asarray(act(worlds.obs, encoded, key))
        step = worlds.step(np.tanh(latent))
        ended = step.terminated | step.truncated
        steps.append((obs, latent, step.reward, step.next_obs, step.terminated, ended))
        r.episode_return[:] += step.reward
        r.last_return[ended] = r.episode_return[ended]
        r.episode_return[ended] = 0.0
    parts = zip(*steps, strict=True)
    return ppo.Round(*(jnp.asarray(np.stack(part), jnp.float32) for part in parts))


# --- On disk ------------------------------------------------------------------------------
def _log(out: Path, updates: int, env_steps: int, seconds: float, returns, last, report) -> None:
    finished = last[np.isfinite(last)]
    record = {
        "updates": updates,
        "env_steps": env_steps,
        "seconds": round(seconds, 2),
        "return": [round(float(returns.mean()), 3)],
        "train_return": [round(float(finished.mean()), 3) if len(finished) else float("nan")],
    }
    files.append_line(out / METRICS, record | {k: float(v) for k, v in report._asdict().items()})


def _resume(out: Path, fresh: Run, worlds: Worlds) -> tuple[Run, int, float, int]:
    """The run as its snapshot left it, the rounds and seconds it has had, and its metrics' lines;
    `fresh` where there is none. `worlds` are put where they were."""
    if not (out / SNAPSHOT).exists():
        (out / METRICS).unlink(missing_ok=True)  # of a run killed before its first snapshot
        return fresh, 0, 0.0, 0
    like = jax.eval_shape(lambda: (fresh, worlds.snapshot()))
    (r, simulations), meta = files.load_tree(out / SNAPSHOT, like)
    worlds.restore(simulations)
    disk.cut_metrics(out, meta["lines"])
    counts = {"episode_return": np.array(r.episode_return), "last_return": np.array(r.last_return)}
    return r._replace(**counts), meta["round"], meta["seconds"], meta["lines"]
