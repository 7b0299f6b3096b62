"""Cheetah-Vel, MACAW's grid: every generator and every trivial row, on both zoos and four splits.

One cell is a zoo and a split; each cell is saved when it is done and never computed twice.
Where a cell has several zoos (replicas of the whole pipeline under other seeds), every method is
fitted once on each; where it has one, methods that draw random numbers are fitted with three seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from hyperpolicy import files
from hyperpolicy.envs import Split, family
from hyperpolicy.errors import BadZoo
from hyperpolicy.evaluate import tables
from hyperpolicy.evaluate.compare import (
    Comparison,
    Method,
    compare,
    standard_rows,
)
from hyperpolicy.evaluate.published import published
from hyperpolicy.evaluate.score import Maker, Score, score
from hyperpolicy.evaluate.tables import interval_text, number
from hyperpolicy.fleet import Base
from hyperpolicy.generate import (
    conditioned,
    hyplatent,
    interpolate,
    pca,
    regression,
    residual,
)
from hyperpolicy.generate.conditioned import DistillConfig
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.hyplatent import HypLatentConfig
from hyperpolicy.generate.pca import PcaConfig
from hyperpolicy.generate.regression import RegressionConfig
from hyperpolicy.nets.policy import Policies
from hyperpolicy.zoo import Zoo

KINDS = ("specialized", "independent")
SPLITS = ("full", "eighth", "sixteenth", "extrapolation")
REGRESSION, RESIDUAL = "regression of weights", "base + interpolated change"
DISTILLED = "distilled conditional policy"

HYPLATENT = {
    "HypLatent": HypLatentConfig(steps=5_000),
    "HypLatent, behavior loss": HypLatentConfig(steps=5_000, behavior=1e3),
}
"""λ_behavior was chosen on the `full` split with five of its training speeds held out."""


@dataclass(frozen=True)
class TableConfig:
    zoos: Path = Path("zoos/cheetah-vel")
    """Directory of the zoos that `recipe zoos` makes and the repository ships."""
    out: Path = Path("runs/cheetah-vel-table")
    """Where fits, cells and pictures go; a second run goes on from what is there."""
    kinds: tuple[str, ...] = KINDS
    """Zoos to use."""
    splits: tuple[str, ...] = SPLITS
    """Splits to use."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Fits of a method on one zoo."""
    episodes: int = 10
    """Episodes of each policy on each test task."""
    draws: int = 8
    """Noise draws of a HypLatent on each test task."""
    hyplatent: dict[str, HypLatentConfig] = field(default_factory=lambda: dict(HYPLATENT))
    distill: DistillConfig = field(default_factory=DistillConfig)


@dataclass(frozen=True)
class Source:
    """One zoo of a cell: its training experts, its base if it was specialized from one."""

    path: Path
    train: Zoo
    base: Base | None

    def conditioned(self) -> Generator:
        """The base as a generator.

        Raises:
            BadZoo: these experts were not specialized from one.
        """
        if self.base is None:
            raise BadZoo(f"{self.path} has no base.safetensors; its experts are independent")
        return conditioned.from_base(self.base)

    @property
    def env_steps(self) -> int:
        """Environment steps behind the training experts."""
        steps = len(self.train.contexts) * self.train.provenance["env_steps_per_expert"]
        return steps + (self.base.provenance["env_steps"] if self.base else 0)


def run(config: TableConfig) -> dict[tuple[str, str], Comparison]:
    """Every cell of the table, from disk where it is there already."""
    found = {}
    for kind in config.kinds:
        for split in config.splits:
            path = config.out / f"{kind}-{split}.json"
            if not path.exists():
                cell(config, kind, split).save(path)
            found[kind, split] = read(path)
    return found


def cell(config: TableConfig, kind: str, split_name: str) -> Comparison:
    """Fit and score all methods on one kind of zoo and one split."""
    fam = family("cheetah-vel")
    split = fam.grid("macaw").split(split_name)
    sources = find(config.zoos, kind, split)
    out = config.out / "fits" / f"{kind}-{split_name}"
    several = len(sources) > 1

    def each(make: Callable[[Source], Maker]) -> Method:
        return Method([make(s) for s in sources], sources[0].env_steps)

    def drawn(fit_on: Callable[[Zoo, int], Generator], draws: int = 1) -> Method:
        """One fit a zoo, or one a seed on the only zoo."""
        pairs = [(s, i) for i, s in enumerate(sources)]
        if not several:
            pairs = [(sources[0], seed) for seed in config.seeds]
        return Method([fit_on(s.train, i) for s, i in pairs], sources[0].env_steps, draws)

    methods = {REGRESSION: each(lambda s: regression.fit(RegressionConfig(), s.train))}
    for name, cfg in config.hyplatent.items():
        place = out / name.replace(",", "").replace(" ", "-").lower()
        makers = fit_hyplatent(cfg, sources, config.seeds, place)
        methods[name] = Method(makers, sources[0].env_steps, config.draws)
    distilled = drawn(
        lambda zoo, seed: fit_once(
            out / f"distilled-{seed}", lambda o: conditioned.distill(config.distill, zoo, seed, o)
        )
    )
    base = sources[0].base
    if base is None:
        conditioned_row = distilled
    else:
        makers = [s.conditioned() for s in sources]
        conditioned_row = Method(makers, base.provenance["env_steps"])
        methods[RESIDUAL] = each(lambda s: residual.fit(s.conditioned(), s.train))
        methods[DISTILLED] = distilled
    oracles = experts_at(config.zoos, kind, split)
    rows = standard_rows(
        fam,
        split.test,
        methods,
        nearest=each(lambda s: interpolate.nearest(s.train)),
        interpolated=each(lambda s: interpolate.linear(s.train)),
        conditioned=conditioned_row,
        decoded=_decoded_row(kind, split_name, sources, oracles),
        oracle=Method(oracles[: len(sources)]),
        episodes=config.episodes,
    )
    return compare(rows, published("cheetah-vel") if split_name == "full" else ())


def between(config: TableConfig) -> dict[str, Score]:
    """The residual generator on the grid's 40 speeds and half way between them, and the experts.

    Written by the generators of the `full` split, which has 35 of the speeds in training.
    """
    fam = family("cheetah-vel")
    grid = fam.grid("macaw")
    path = config.out / "between.json"
    if not path.exists():
        sources = find(config.zoos, "specialized", grid.split("full"))
        makers = [residual.fit(s.conditioned(), s.train) for s in sources]
        halves = (grid.contexts[1:] + grid.contexts[:-1]) / 2
        experts = [Zoo.load(s.path).only(grid.contexts).finals for s in sources]
        found = {
            "experts, on the grid": score(experts, fam, grid.contexts, config.episodes),
            f"{RESIDUAL}, on the grid": score(makers, fam, grid.contexts, config.episodes),
            f"{RESIDUAL}, between its points": score(makers, fam, halves, config.episodes),
        }
        files.save_json(path, {name: one.to_json() for name, one in found.items()})
    return {name: Score.from_json(one) for name, one in files.load_json(path).items()}


# --- Zoos ---------------------------------------------------------------------------------
def find(zoos: Path, kind: str, split: Split) -> list[Source]:
    """The training experts of `split` in every zoo of this kind; never a test expert.

    A specialized zoo was made for one split; independent experts serve every split.

    Raises:
        BadZoo: there is none, or one misses a training expert.
    """
    return [source(path, split) for path in _paths(zoos, kind, split.name)]


def source(path: Path, split: Split) -> Source:
    """The training experts of `split` in the zoo at `path`, and its base where it has one."""
    base = path / "base.safetensors"
    train = Zoo.load(path).only(split.train)
    return Source(path, train, Base.load(base) if base.exists() else None)


def experts_at(zoos: Path, kind: str, split: Split) -> list[Policies]:
    """The test contexts' own experts, out of the zoos of the full grid."""
    return [Zoo.load(p).only(split.test).finals for p in _paths(zoos, kind, "full")]


def _paths(zoos: Path, kind: str, split: str) -> list[Path]:
    pattern = "independent*" if kind == "independent" else f"{kind}-{split}*"
    paths = sorted(p.parent for p in Path(zoos).glob(f"{pattern}/zoo.json"))
    if not paths:
        raise BadZoo(
            f"{zoos} holds no {kind} zoo of split {split!r}; `hyperpolicy recipe zoos` makes them"
        )
    return paths


# --- Fits ---------------------------------------------------------------------------------
def fit_hyplatent(
    cfg: HypLatentConfig, sources: Sequence[Source], seeds: tuple[int, ...], out: Path
) -> list[Generator]:
    """One fit on each zoo, or all `seeds` side by side on the only one; read back if they exist."""
    if len(sources) > 1:
        return [
            fit_once(out / f"zoo-{i}", partial(hyplatent.fit, cfg, s.train, i))
            for i, s in enumerate(sources)
        ]
    done = sorted(out.glob("seed-*/config.json"))
    if done:  # a fit writes all seeds that lived at once
        return [load(path.parent) for path in done]
    return hyplatent.fit_seeds(cfg, sources[0].train, seeds, out)


def fit_once(out: Path, fit: Callable[[Path], Generator]) -> Generator:
    """What is saved in `out`, or a new fit."""
    return load(out) if (out / "config.json").exists() else fit(out)


def _decoded_row(kind: str, split: str, sources, oracles) -> Method | None:
    """The test experts decoded, where they descend from the same networks as the training ones.

    A specialized zoo of a smaller split has another base than the oracles of `full`.
    """
    if kind == "specialized" and split != "full":
        return None
    return Method([decoded(s.train, o) for s, o in zip(sources, oracles, strict=True)])


def decoded(train: Zoo, experts: Policies) -> Policies:
    """The test experts through the encoder that was fitted on the training experts."""
    encoder = pca.fit(PcaConfig(), train.weights)
    weights = [encoder.decode(encoder.encode(row)) for row in experts.weights]
    return Policies(np.stack(weights), experts.spec)


# --- Out ----------------------------------------------------------------------------------
def read(path: Path) -> Comparison:
    """A saved cell."""
    record = files.load_json(path)
    rows = {name: Score.from_json(row["score"]) for name, row in record["rows"].items()}
    split = path.stem.partition("-")[2]
    return compare(rows, published("cheetah-vel") if split == "full" else ())


def markdown(cells: dict[tuple[str, str], Comparison], halves: dict[str, Score]) -> str:
    """All cells and the speeds between the grid's points as one Markdown page."""
    parts = []
    for (kind, split), comparison in cells.items():
        parts.append(f"### {kind} zoo, split `{split}`\n\n{comparison.markdown()}\n")
    lines = [
        [name, number(one.mean), interval_text(one.interval), str(one.num_seeds)]
        for name, one in halves.items()
    ]
    text = tables.markdown(["policies", "mean", "95 % CI", "seeds"], lines)
    parts.append(f"### Between the grid's points (specialized zoo, split `full`)\n\n{text}\n")
    return "\n".join(parts)
