"""Zoos of Cheetah-Vel experts on MACAW's grid: specialized from a base, and independent.

Everything resumes: run the same command again after a kill. Shipped slices are cut from the
finished runs by `cut`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperpolicy.envs import Split, family
from hyperpolicy.evaluate.plots import plot_learning
from hyperpolicy.fleet import Base, Schedule, fold, train, train_bases
from hyperpolicy.fleet.disk import SNAPSHOT
from hyperpolicy.nets.policy import Policies
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.zoo import Zoo


@dataclass(frozen=True)
class SpecializedPreset:
    """A base for each split, then one fine-tuned expert for each of its training contexts."""

    base: SacConfig
    base_schedule: Schedule
    expert: SacConfig
    expert_schedule: Schedule


SMALL = SpecializedPreset(
    base=SacConfig(),
    base_schedule=Schedule(
        num_updates=240_000,
        num_envs=35,
        updates_per_step=8,
        batch=512,
        capacity=1_100_000,
        num_evaluations=24,
        episodes=2,
    ),
    expert=SacConfig(actor_rate=1e-4, critic_rate=3e-4),
    expert_schedule=Schedule(
        num_updates=16_000, fill_steps=600, num_checkpoints=10, num_evaluations=10
    ),
)
SMOKE = SpecializedPreset(
    base=SacConfig(width=8),
    base_schedule=Schedule(
        num_updates=8,
        num_envs=4,
        updates_per_step=4,
        batch=8,
        fill_steps=2,
        episodes=1,
        num_checkpoints=1,
        num_evaluations=1,
    ),
    expert=SacConfig(width=8),
    expert_schedule=Schedule(
        num_updates=8,
        num_envs=1,
        updates_per_step=4,
        batch=8,
        fill_steps=2,
        episodes=1,
        num_checkpoints=2,
        num_evaluations=1,
        num_states=8,
    ),
)
"""Seconds; for tests."""

INDEPENDENT = Schedule(
    num_updates=120_000, average_from=0.75, num_checkpoints=10, num_evaluations=24
)
"""40 experts of width 64 from one shared initialization: three quarters of an hour on two cores."""


class Job(NamedTuple):
    split: str
    seed: int = 0

    def path(self, out: Path) -> Path:
        return out / f"seed-{self.seed}" / self.split


FULL = (Job("full"),)
SPLITS = ("full", "eighth", "sixteenth", "extrapolation")
ALL_SPLITS = tuple(Job(split) for split in SPLITS)

REPLICAS = (Job("full", 1), Job("full", 2))


def bases(
    out: Path, jobs: tuple[Job, ...] = FULL, preset: SpecializedPreset = SMALL
) -> dict[Job, Base]:
    """A base for each job, trained side by side, each on the training speeds of its split alone."""
    fam = family("cheetah-vel")
    paths = {job: job.path(out).with_name(f"{job.split}-base.safetensors") for job in jobs}
    missing = [job for job in jobs if not paths[job].exists()]
    if missing:
        pools = [fam.grid("macaw").split(job.split).train for job in missing]
        seeds = [10_000 * job.seed + SPLITS.index(job.split) for job in missing]
        run = out / ("bases-" + "-".join(f"{job.split}{job.seed}" for job in missing))
        trained = train_bases(preset.base, fam, pools, preset.base_schedule, seeds, run)
        for job, base in zip(missing, trained, strict=True):
            base.save(paths[job])
        (run / SNAPSHOT).unlink(missing_ok=True)
    return {job: Base.load(path) for job, path in paths.items()}


def specialized(
    out: Path, jobs: tuple[Job, ...] = FULL, preset: SpecializedPreset = SMALL
) -> dict[Job, Zoo]:
    """A zoo of fine-tuned experts for each job, in `out/seed-<seed>/<split>/zoo`.

    `full` also holds the test speeds' experts, for oracle rows only.
    """
    fam = family("cheetah-vel")
    zoos = {}
    for job, base in bases(out, jobs, preset).items():
        split = fam.grid("macaw").split(job.split)
        contexts = fam.grid("macaw").contexts if job.split == "full" else split.train
        zoos[job] = train(
            preset.expert,
            fam,
            contexts,
            preset.expert_schedule,
            start=fold(base, fam, contexts),
            seed=job.seed,
            out=job.path(out),
            provenance=_origin(split) | {"base": base.provenance},
        )
    return zoos


def independent(out: Path, cfg: SacConfig | None = None, schedule: Schedule = INDEPENDENT) -> Zoo:
    """40 experts from one shared initialization, in `out/zoo`."""
    fam = family("cheetah-vel")
    grid = fam.grid("macaw")
    origin = _origin(grid.split("full"))
    cfg = cfg or SacConfig()
    return train(cfg, fam, grid.contexts, schedule, "shared", out=out, provenance=origin)


def draw_curves(runs: Path, into: Path) -> list[Path]:
    """Learning curves of whatever lies under `runs`: `bases.png` and `experts.png` in `into`."""
    bases = {p.parent.name: p for p in (runs / "specialized").glob("bases-*/metrics.jsonl")}
    experts = {}
    for path in sorted((runs / "specialized").glob("seed-*/full/metrics.jsonl")):
        experts[f"specialized, {path.parent.parent.name}"] = path
    if (runs / "independent/metrics.jsonl").exists():
        experts["independent, shared start"] = runs / "independent/metrics.jsonl"
    made = []
    for name, curves in (("bases", bases), ("experts", experts)):
        if curves:
            title = f"Cheetah-Vel {name}: return of the averaged weights"
            made.append(plot_learning(curves, into / f"{name}.png", title, overwrite=True))
    return made


def ship(runs: Path, into: Path, num_checkpoints: int = 3) -> list[Path]:
    """Compact slices of the finished runs under `runs`, as zoos in `into`; those that are new.

    Specialized runs become `specialized-<split>`, those of another seed s
    `specialized-<split>-seed<s>`, with their base beside the zoo's files; the independent run
    becomes `independent`.
    """
    made = []
    for path in sorted((runs / "specialized").glob("seed-*/*/zoo")):
        split, seed = path.parent.name, path.parent.parent.name.removeprefix("seed-")
        name = f"specialized-{split}" + ("" if seed == "0" else f"-seed{seed}")
        base = Base.load(path.parent.with_name(f"{split}-base.safetensors"))
        made += _ship_one(path, into / name, num_checkpoints, seed == "0", base)
    if (runs / "independent/zoo").exists():
        made += _ship_one(runs / "independent/zoo", into / "independent", num_checkpoints, True)
    return made


def _ship_one(
    path: Path, into: Path, num_checkpoints: int, critics: bool, base: Base | None = None
) -> list[Path]:
    if into.exists():
        return []
    zoo = cut(Zoo.load(path), num_checkpoints)
    # a run that did not note its commit must not get the slice's
    origin = {"commit": "not recorded"} | zoo.provenance
    zoo = replace(zoo, critics=zoo.critics if critics else None, provenance=origin)
    if base is None:
        zoo.save(into)
    else:
        half = replace(base, policy=Policies(_half(base.policy.weights), base.policy.spec))
        half = replace(half, critics=_half(base.critics))
        zoo.save(into, lambda new: half.save(new / "base.safetensors"))
    return [into]


def _half(numbers):
    return numbers.astype(np.float16).astype(np.float32)


def cut(zoo: Zoo, num_checkpoints: int, num_states: int = 128) -> Zoo:
    """A compact slice: evenly spaced checkpoints, the finals, critics and some states."""
    marks = np.unique(zoo.updates[~zoo.final])
    chosen = marks[np.linspace(0, len(marks) - 1, num_checkpoints).round().astype(int)]
    rows = np.flatnonzero(zoo.final | np.isin(zoo.updates, chosen))
    return replace(
        zoo,
        weights=zoo.weights[rows],
        expert=zoo.expert[rows],
        updates=zoo.updates[rows],
        final=zoo.final[rows],
        returns=zoo.returns[rows],
        states=None if zoo.states is None else zoo.states[:, :num_states],
    )


def _origin(split: Split) -> dict:
    return {"grid": split.grid, "split": split.name, "test_contexts": split.test.tolist()}
