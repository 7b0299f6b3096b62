"""A run on disk: what it is, its metrics, and snapshots it goes on from bit for bit."""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from hyperpolicy import files, jobs
from hyperpolicy.envs import Family, Worlds
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting
from hyperpolicy.fleet.member import Member, Rings, place
from hyperpolicy.fleet.schedule import Schedule

SNAPSHOT, METRICS, RUN = "snapshot.safetensors", "metrics.jsonl", "run.json"


class Tasks(NamedTuple):
    """What each of n learners works on."""

    worlds: Float[np.ndarray, "n e c"]
    """The contexts of its worlds."""
    pools: Float[np.ndarray, "n k c"]
    """The contexts its transitions may be labeled with; the first `pool_sizes` count."""
    pool_sizes: Int[np.ndarray, " n"]
    seeds: Int[np.ndarray, " n"]
    """One number a learner: networks, exploration, worlds. Equal seeds on equal tasks agree."""


@dataclass
class Run:
    """A run in progress on the host; everything a snapshot must hold beside the fleet."""

    fleet: Member
    rings: Float[jax.Array | np.ndarray, "*n capacity d"]
    worlds: Worlds
    action: Float[np.ndarray, "n e a"]
    step: int
    episode_return: Float[np.ndarray, " w"]
    """Of the episodes in progress; w = n·e worlds."""
    last_return: Float[np.ndarray, " w"]
    """Of the last finished episodes; NaN before the first."""
    checkpoints: list[Float[np.ndarray, "n p"]]
    num_metrics: int
    seconds: float

    def train_return(self, n: int, e: int) -> Float[np.ndarray, " n"]:
        """Mean return of each of n learners' last finished training episodes."""
        return self.last_return.reshape(-1, e).mean(axis=1)[:n]


def log(out: Path, r: Run, n: int, e: int, updates: int, returns) -> dict:
    """Append one line to the metrics; the record."""
    r.num_metrics += 1
    learner = r.fleet.learner
    record = {
        "updates": updates,
        "env_steps": r.step * e,
        "seconds": round(r.seconds, 2),
        "return": np.round(returns, 3).tolist(),
        "train_return": np.round(r.train_return(n, e), 3).tolist(),
        "entropy": np.round(np.asarray(learner.entropy)[:n], 4).tolist(),
        "alpha": np.round(np.exp(np.asarray(learner.log_alpha)[:n]), 6).tolist(),
        "died_at": np.asarray(r.fleet.died_at)[:n].tolist(),
    }
    jobs.check(out)
    files.append_line(out / METRICS, record)
    return record


def check_settings(
    out: Path, cfg, family: Family, tasks: Tasks, schedule, start: str, learner: str = "sac"
) -> None:
    """Write what this run is, or compare with what is there; `start` says where learners begin,
    `learner` what `cfg` configures.

    Raises:
        BadSetting: another run is there.
        AlreadyExists: `out` holds files and no run.
        BadFile, DiskFull: `out` cannot be written.
    """
    record = {
        "family": family.record(),
        "learner": type(cfg).__name__,
        "start": start,
        learner: asdict(cfg),
        "schedule": asdict(schedule),
        "worlds": tasks.worlds.tolist(),
        "pools": tasks.pools.tolist(),
        "seeds": tasks.seeds.tolist(),
    }
    if not (out / RUN).exists():
        if not jobs.is_free(out):
            raise AlreadyExists(f"{out} holds files and no run; choose another directory")
        files.save_json(out / RUN, record)
    there = files.load_json(out / RUN)
    if not isinstance(there, dict):
        raise BadFile(f"{out / RUN} does not describe a run; choose another directory")
    there.setdefault("learner", record["learner"])  # older runs did not say
    plain = {learner: _defaults(cfg), "schedule": _defaults(schedule)}
    for name, value in json.loads(json.dumps(record)).items():
        was = there.get(name)
        if name in plain and isinstance(was, dict):
            was = plain[name] | was  # a run from before a field existed had its default
        if was != value:
            raise BadSetting(
                f"{out} holds a run with another {name}{_difference(was, value)}; resume it with "
                f"the settings in {out / RUN}, or choose another directory"
            )


def _difference(was, value) -> str:
    """Which settings differ, where both sides have some; numbers and words with what they are."""
    if not isinstance(was, dict) or not isinstance(value, dict):
        return ""
    found = []
    for name in [k for k in {**was, **value} if was.get(k) != value.get(k)]:
        both = was.get(name), value.get(name)
        plain = all(isinstance(one, int | float | str) for one in both)
        found.append(f"{name} {both[0]}, here {both[1]}" if plain else name)
    return f" ({'; '.join(found)})"


def _defaults(config) -> dict:
    """The fields of a configuration that need not be given."""
    found = {f.name: f.default for f in fields(config) if f.default is not MISSING}
    return json.loads(json.dumps(found))


def _state(r: Run, size: int) -> dict:
    """The run as a pytree of arrays, rings cut to their filled rows."""
    return {
        "fleet": r.fleet,
        "rings": r.rings[..., :size, :],
        "worlds": r.worlds.snapshot(),
        "action": r.action,
        "returns": (r.episode_return, r.last_return),
        "checkpoints": list(r.checkpoints),
    }


def save(out: Path, r: Run, schedule: Schedule) -> None:
    rings = Rings.of(schedule, len(r.fleet.mean))
    size = min(r.step * rings.block, rings.capacity)
    tree = _state(r, size)
    meta = {
        "step": r.step,
        "seconds": r.seconds,
        "num_metrics": r.num_metrics,
        "checkpoints": len(r.checkpoints),
        "size": size,
    }
    jobs.check(out)
    files.save_tree(out / SNAPSHOT, tree, meta, overwrite=True)


def read_meta(out: Path, *names: str) -> dict:
    """The numbers beside the arrays of the snapshot in `out`.

    Raises:
        BadFile: one of `names` is missing, as in another kind of run's.
    """
    meta = files.read_meta(out / SNAPSHOT)
    if missing := [name for name in names if not isinstance(meta.get(name), int | float)]:
        raise BadFile(
            f"{out / SNAPSHOT} is of another kind of run (it has no {', '.join(missing)}); "
            f"remove {out} to begin again"
        )
    return meta


def resume(out: Path, fresh: Run, schedule: Schedule, mesh) -> Run | None:
    """The run as its snapshot left it, or None where there is none."""
    if not (out / SNAPSHOT).exists():
        (out / METRICS).unlink(missing_ok=True)  # of a run killed before its first snapshot
        return None
    meta = read_meta(out, "step", "seconds", "num_metrics", "checkpoints", "size")
    fresh.checkpoints = [np.zeros_like(fresh.fleet.mean)] * meta["checkpoints"]
    size = meta["size"]
    like = jax.eval_shape(lambda: _state(fresh, size))
    tree = jobs.load_snapshot(out / SNAPSHOT, like)
    rings = Rings.of(schedule, len(fresh.fleet.mean))
    fresh.worlds.restore(tree["worlds"])
    cut_metrics(out, meta["num_metrics"])
    episode_return, last_return = (np.array(x) for x in tree["returns"])
    return Run(
        place(tree["fleet"], mesh),
        rings.place(tree["rings"], mesh),
        fresh.worlds,
        tree["action"],
        meta["step"],
        episode_return,
        last_return,
        list(tree["checkpoints"]),
        meta["num_metrics"],
        meta["seconds"],
    )


def cut_metrics(out: Path, num_lines: int) -> None:
    """Drop the lines a run wrote after its snapshot; it will write them again."""
    there = (out / METRICS).read_text(encoding="utf-8") if (out / METRICS).exists() else ""
    kept = "".join(line + "\n" for line in there.splitlines()[:num_lines])
    files.write(out / METRICS, lambda p: p.write_text(kept, encoding="utf-8"), overwrite=True)
