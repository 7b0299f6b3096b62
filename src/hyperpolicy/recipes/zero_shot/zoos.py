"""Zoos of a family's grid: experts specialized from a base, independent ones, and independent ones
that share their replay.

Everything resumes: run the same command again after a kill. Shipped slices are cut from the
finished runs by `cut`.
"""

import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hyperpolicy.envs import Grid, Split, family
from hyperpolicy.evaluate import learning
from hyperpolicy.fleet import Base, fold, train, train_bases
from hyperpolicy.fleet.shards import WHOLE, Shard
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.zero_shot.presets import (
    PRESETS,
    SHORTER,
    SPLITS,
    IndependentPreset,
    SpecializedPreset,
    preset_of,
)
from hyperpolicy.run.job import Output
from hyperpolicy.zoo import Zoo


class Pipeline(NamedTuple):
    """A training of base and experts: for which split, under which seed."""

    split: str
    seed: int = 0

    def path(self, out: Path) -> Path:
        return out / f"seed-{self.seed}" / self.split

    @property
    def number(self) -> int:
        """The seed of the pipeline's base, another for every split."""
        return 10_000 * self.seed + zlib.crc32(self.split.encode()) % 10_000


def place(grid: Grid) -> str:
    """The directory of a grid's runs and zoos: its family, and the grid's name unless MACAW's."""
    return grid.family if grid.name == "macaw" else f"{grid.family}-{grid.name}"


FULL = (Pipeline("full"),)
ALL_SPLITS = tuple(Pipeline(split) for split in SPLITS)

REPLICAS = (Pipeline("full", 1), Pipeline("full", 2))

UNRECORDED = {"commit": "not recorded"}
"""Of a run that did not note its commit: its slice must not get the commit that cut it."""


def bases(
    out: Path, grid: Grid, pipelines: tuple[Pipeline, ...], preset: SpecializedPreset
) -> dict[Pipeline, Base]:
    """The base of each pipeline, trained on its split's training contexts alone; all at once."""
    paths = {p: p.path(out).with_name(f"{p.split}-base.safetensors") for p in pipelines}
    missing = [p for p in pipelines if not paths[p].exists()]
    if missing:
        run = out / ("bases-" + "-".join(f"{p.split}{p.seed}" for p in missing))
        pools, seeds = [grid.split(p.split).train for p in missing], [p.number for p in missing]
        found = train_bases(preset.base, family(grid.family), pools, seeds, run)
        for pipeline, base in zip(missing, found, strict=True):
            base.save(paths[pipeline])
    return {pipeline: Base.load(path) for pipeline, path in paths.items()}


def specialized(
    out: Path,
    grid: Grid,
    pipelines: tuple[Pipeline, ...] = FULL,
    preset: SpecializedPreset | None = None,
    shard: Shard = WHOLE,
) -> dict[Pipeline, Zoo]:
    """A zoo of fine-tuned experts for each pipeline, in `out/seed-<seed>/<split>/zoo`; or a shard
    of each, below.

    `full` also holds the test contexts' experts, for oracle rows only. The family's preset by
    default; UnknownFamily where it has none.
    """
    fam, preset = family(grid.family), preset or preset_of(PRESETS, grid.family)
    zoos = {}
    for pipeline, base in bases(out, grid, pipelines, preset).items():
        split = grid.split(pipeline.split)
        contexts = grid.contexts if pipeline.split == "full" else split.train
        plan = preset.expert.holding_out(split.test)  # refused where the replay is shared with them
        origin = _origin(split) | {"base": base.provenance}
        start = fold(base, contexts)
        output = Output(_of(shard, pipeline.path(out)), provenance=origin)
        zoos[pipeline] = train(plan, fam, contexts, start, pipeline.seed, output, shard)
    return zoos


def provide(
    roots: tuple[Path, ...],
    out: Path,
    grid: Grid,
    splits: list[str],
    preset: SpecializedPreset | None = None,
) -> None:
    """Train the specialized zoos of `splits` that no directory among `roots` has, in
    `out/runs/<place>`, and ship them to `out/zoos/<place>`."""
    missing = [s for s in splits if not any((r / f"specialized-{s}").exists() for r in roots)]
    runs = out / "runs" / place(grid)
    for name in missing:
        chosen = preset or preset_of(PRESETS if name == "full" else SHORTER, grid.family)
        specialized(runs / "specialized", grid, (Pipeline(name),), chosen)
    ship(runs, out / "zoos" / place(grid))


def _of(shard: Shard, out: Path) -> Path:
    return out if shard == WHOLE else shard.place(out)


def independent(out: Path, grid: Grid, preset: IndependentPreset, shard: Shard = WHOLE) -> Zoo:
    """Experts from one shared initialization, in `out/zoo`: one for each context of the grid or of
    the preset's splits; one for each training context where they share their replay; or a shard of
    them, below."""
    splits = [grid.split(name) for name in preset.splits or ("full",)]
    trained = np.concatenate([split.train_ids for split in splits])
    tested = np.concatenate([split.test_ids for split in splits])
    contexts, shares = grid.contexts, preset.expert.schedule.replay == "shared"
    if shares:
        contexts = grid.contexts[np.unique(trained)]
    elif preset.splits is not None:
        contexts = grid.contexts[np.union1d(trained, tested)]
    origin = _origin(splits[0] if shares else grid.split("full"))
    plan = preset.expert.holding_out(grid.contexts[np.unique(tested)])
    output = Output(_of(shard, out), provenance=origin)
    return train(plan, family(grid.family), contexts, "shared", out=output, shard=shard)


def draw_curves(runs: Path, into: Path, title: str) -> list[Path]:
    """Learning curves of whatever lies under `runs`: `bases.png` and `experts.png` in `into`."""
    bases = {}
    for path in sorted((runs / "specialized").glob("bases-*/metrics.jsonl")):
        for i, name in enumerate(base_names(path.parent.name)):
            bases[name] = learning.read(path, [i], "updates")
    found = sorted((runs / "specialized").glob("seed-*/full/metrics.jsonl"))
    experts = {f"specialized, seed {p.parts[-3].removeprefix('seed-')}": p for p in found}
    experts["independent, shared start"] = runs / "independent/metrics.jsonl"
    experts["shared replay"] = runs / "shared-replay/metrics.jsonl"
    experts = {name: path for name, path in experts.items() if path.exists()}
    made = []
    for name, curves in (("bases", bases), ("experts", experts)):
        if curves:
            text = f"{title} {name}: return of the averaged weights"
            picture = into / f"{name}.png"
            made.append(learning.plot_learning(curves, picture, text, overwrite=True))
    return made


def base_names(run: str) -> list[str]:
    """The bases of a run, by the name that `bases` gave its directory."""
    named = re.findall(r"(random-\d+-\d|[a-z]+)(\d*)", run.removeprefix("bases-"))
    return [f"base of {split}, seed {seed or 0}" for split, seed in named]


def ship(runs: Path, into: Path, num_checkpoints: int = 3) -> list[Path]:
    """Compact slices of the finished runs under `runs`, as zoos in `into`; those that are new.

    Specialized runs become `specialized-<split>`, those of another seed s
    `specialized-<split>-seed<s>`, with their base beside the zoo's files; the others keep their
    names.
    """
    made = []
    for path in sorted((runs / "specialized").glob("seed-*/*/zoo")):
        split, seed = path.parent.name, path.parent.parent.name.removeprefix("seed-")
        name = f"specialized-{split}" + ("" if seed == "0" else f"-seed{seed}")
        base = Base.load(path.parent.with_name(f"{split}-base.safetensors"))
        made += _ship_one(path, into / name, num_checkpoints, seed == "0", base)
    for kind in ("independent", "shared-replay"):
        if (runs / kind / "zoo").exists():
            made += _ship_one(runs / kind / "zoo", into / kind, num_checkpoints, True)
    return made


def _ship_one(
    path: Path, into: Path, num_checkpoints: int, critics: bool, base: Base | None = None
) -> list[Path]:
    if into.exists():
        return []
    zoo = cut(Zoo.load(path), num_checkpoints)
    origin = UNRECORDED | zoo.provenance
    zoo = replace(zoo, critics=zoo.critics if critics else None, provenance=origin)
    if base is None:
        zoo.save(into)
    else:
        weights, found = (
            numbers.astype(np.float16).astype(np.float32)
            for numbers in (base.policy.weights, base.critics)
        )
        half = replace(base, policy=Policies(weights, base.policy.spec), critics=found)
        zoo.save(into, lambda new: half.save(new / "base.safetensors"))
    return [into]


def cut(zoo: Zoo, num_checkpoints: int, num_states: int = 128) -> Zoo:
    """A compact slice: evenly spaced checkpoints of each expert, the finals, critics and some
    states."""
    keep = zoo.final.copy()
    for x in range(len(zoo.contexts)):
        own = np.flatnonzero((zoo.expert == x) & ~zoo.final)
        own = own[np.argsort(zoo.updates[own])]
        count = min(num_checkpoints, len(own))
        keep[own[np.linspace(0, len(own) - 1, count).round().astype(int)]] = True
    kept = zoo.take(np.flatnonzero(keep))
    return replace(kept, states=None if kept.states is None else kept.states[:, :num_states])


def _origin(split: Split) -> dict:
    return {"grid": split.grid, "split": split.name, "test_contexts": split.test.tolist()}
