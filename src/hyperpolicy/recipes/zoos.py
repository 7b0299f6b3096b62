"""Zoos of Cheetah-Vel experts on MACAW's grid: specialized from a base, and independent.

Everything resumes: run the same command again after a kill. Shipped slices are cut from the
finished runs by `cut`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hyperpolicy.envs import Split, family
from hyperpolicy.fleet import Base, Schedule, fold, train, train_bases
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.zoo import Zoo

SPLITS = ("full", "eighth", "sixteenth", "extrapolation")


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
INDEPENDENT = Schedule(num_updates=96_000, num_checkpoints=10, num_evaluations=24)
"""40 experts of width 64 from one shared initialization: about an hour on two cores."""


def bases(out: Path, splits: tuple[str, ...] = SPLITS, preset: SpecializedPreset = SMALL):
    """The bases of `splits`, trained side by side; files `out/bases/<split>.safetensors`."""
    fam = family("cheetah-vel")
    paths = [out / "bases" / f"{split}.safetensors" for split in splits]
    if not all(path.exists() for path in paths):
        pools = [fam.grid("macaw").split(split).train for split in splits]
        trained = train_bases(
            preset.base, fam, pools, preset.base_schedule, out=out / f"bases-{'-'.join(splits)}"
        )
        for base, path in zip(trained, paths, strict=True):
            base.save(path)
    return {split: Base.load(path) for split, path in zip(splits, paths, strict=True)}


def specialized(
    out: Path, splits: tuple[str, ...] = SPLITS, preset: SpecializedPreset = SMALL
) -> dict[str, Zoo]:
    """One zoo of fine-tuned experts for each split, in `out/<split>/zoo`.

    `full` also holds the test speeds' experts, for oracle rows only.
    """
    fam = family("cheetah-vel")
    zoos = {}
    for name, base in bases(out, splits, preset).items():
        split = fam.grid("macaw").split(name)
        contexts = fam.grid("macaw").contexts if name == "full" else split.train
        zoos[name] = train(
            preset.expert,
            fam,
            contexts,
            preset.expert_schedule,
            start=fold(base, fam, contexts),
            out=out / name,
            provenance=_origin(split) | {"base": base.provenance},
        )
    return zoos


def independent(out: Path, schedule: Schedule = INDEPENDENT) -> Zoo:
    """40 experts from one shared initialization, in `out/zoo`."""
    fam = family("cheetah-vel")
    grid = fam.grid("macaw")
    origin = _origin(grid.split("full"))
    return train(SacConfig(), fam, grid.contexts, schedule, "shared", out=out, provenance=origin)


def cut(zoo: Zoo, num_checkpoints: int, num_states: int = 128) -> Zoo:
    """A compact slice: the last checkpoints, the finals, critics and some states."""
    marks = np.unique(zoo.updates[~zoo.final])[::-1][:num_checkpoints]
    rows = np.flatnonzero(zoo.final | np.isin(zoo.updates, marks))
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
