"""Zero-shot tables: every generator and every trivial row, on a family's zoos and splits.

One cell is a kind of zoo and a split; each cell is saved when it is done and never computed twice.
Where a cell has several zoos (replicas of the whole pipeline under other seeds, or the draws of a
random split), every method is fitted once on each; where it has one, methods that draw random
numbers are fitted with three seeds.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np

from hyperpolicy import files
from hyperpolicy.bounds import Bounded, Count, Names, Seeds
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, unknown
from hyperpolicy.evaluate import results, tables
from hyperpolicy.evaluate.compare import Comparison, Method, compare, standard_rows
from hyperpolicy.evaluate.published import Published, published
from hyperpolicy.evaluate.rows import (
    CONDITIONED,
    DISTILLED,
    INTERPOLATED,
    NEAREST,
    REGRESSION,
    TOLD_SYMMETRIES,
    TURNED,
)
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.scoring import Maker, score
from hyperpolicy.evaluate.tables import interval_text, number
from hyperpolicy.generate import (
    conditioned,
    genhyper,
    hyplatent,
    interpolate,
    pca,
    regression,
    residual,
    symmetric,
)
from hyperpolicy.generate.conditioned import DistillConfig
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.genhyper import GenHyperConfig
from hyperpolicy.generate.hyplatent import HypLatentConfig
from hyperpolicy.generate.pca import PcaConfig
from hyperpolicy.generate.regression import RegressionConfig
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.zero_shot.sources import ALL_KINDS, Source, draws, experts_at, find, paths
from hyperpolicy.zoo import Zoo

KINDS = ("specialized", "independent")
SPLITS = ("full", "eighth", "sixteenth", "extrapolation")
RESIDUAL = "base + interpolated change"


@dataclass(frozen=True)
class Learned(Bounded):
    """A generator to fit, and how it sees the contexts."""

    config: HypLatentConfig | GenHyperConfig
    family: str | None = None
    """Another view of the family, such as `ant-dir-radians`."""


HYPLATENT = {
    "HypLatent": Learned(HypLatentConfig(steps=5_000)),
    "HypLatent, behavior loss": Learned(HypLatentConfig(steps=5_000, behavior=1e3)),
}
"""λ_behavior was chosen on the `full` split with five of its training speeds held out."""
LEARNED = HYPLATENT | {"GenHyper": Learned(GenHyperConfig())}
RADIANS = {
    "HypLatent, direction in radians": Learned(LEARNED["HypLatent"].config, "ant-dir-radians")
}


@dataclass(frozen=True)
class TableConfig(Bounded):
    family: str = "cheetah-vel"
    grid: str = "macaw"
    zoos: tuple[Path, ...] = (Path("zoos/cheetah-vel"),)
    """Directories of the family's zoos, which `recipe zoos` makes and the repository ships; the
    first that has those of a kind and split serves."""
    out: Path = Path("runs/cheetah-vel-table")
    """Where fits, cells and pictures go; a second run goes on from what is there."""
    kinds: Names = KINDS
    """Zoos to use."""
    splits: Names = SPLITS
    """Splits to use."""
    seeds: Seeds = (0, 1, 2)
    """Fits of a method on one zoo."""
    episodes: Count | None = None
    """Episodes of each policy on each test task; 100 on Ant-Dir and 10 on Cheetah-Vel if not given
    (`evaluate.protocol.EPISODES`)."""
    draws: Count = 8
    """Noise draws of a HypLatent on each test task."""
    learned: dict[str, Learned] = field(default_factory=lambda: dict(HYPLATENT))
    distill: DistillConfig = field(default_factory=DistillConfig)


def run(config: TableConfig) -> dict[tuple[str, str], Comparison]:
    """Every cell of the table, from disk where it is there already."""
    found = {}
    for kind in config.kinds:
        for split in config.splits:
            path = config.out / f"{kind}-{split}.json"
            if not path.exists():
                cell(config, kind, split).save(path)
            found[kind, split] = read(config, path)
    return found


def cell(config: TableConfig, kind: str, split_name: str) -> Comparison:
    """Fit and score all methods on one kind of zoo and one split."""
    with warnings.catch_warnings():  # which splits extrapolate is known
        warnings.filterwarnings("ignore", "(?s).*outside the trained range", UserWarning)
        return _cell(config, kind, split_name)


def _cell(config: TableConfig, kind: str, split_name: str) -> Comparison:
    fam = family(config.family)
    splits = draws(fam.grid(config.grid), split_name)
    test = splits[0].test
    sources = [source for split in splits for source in find(config.zoos, kind, split)]
    out = config.out / "fits" / f"{kind}-{split_name}"
    several = len(sources) > 1

    pipelines = range(len(sources))

    def each(make: Callable[[Source], Maker]) -> Method:
        return Method([make(s) for s in sources], sources[0].env_steps, pipelines=pipelines)

    def drawn(makers: Sequence[Maker], draws: int = 1) -> Method:
        """One fit a zoo, or several on the only one: fits of one pipeline."""
        numbers = pipelines if several else [0] * len(makers)
        return Method(makers, sources[0].env_steps, draws, pipelines=numbers)

    def distilled(zoo: Zoo, seed: int) -> Generator:
        place = out / f"distilled-{seed}"
        return fit_once(place, lambda o: conditioned.distill(config.distill, zoo, seed, o))

    methods = {}
    for name, learned in config.learned.items():
        makers = fit_learned(learned, sources, config.seeds, out / slug(name))
        methods[name] = drawn(makers, config.draws)
    fits = list(enumerate(sources)) if several else [(i, sources[0]) for i in config.seeds]
    conditioned_row = distilled_row = drawn([distilled(s.train, i) for i, s in fits])
    if (base := sources[0].base) is not None:
        conditioned_row = replace(each(Source.conditioned), env_steps=base.training.env_steps)
        methods[RESIDUAL] = each(lambda s: residual.fit(s.conditioned(), s.train))
        methods[DISTILLED] = distilled_row
    trivial = {
        NEAREST: each(lambda s: interpolate.nearest(s.train)),
        INTERPOLATED: each(lambda s: interpolate.linear(s.train)),
        CONDITIONED: conditioned_row,
        REGRESSION: each(lambda s: regression.fit(RegressionConfig(), s.train)),
    }
    oracles = experts_at(config.zoos, kind, splits[0])[: len(sources)]
    rows = standard_rows(
        fam,
        test,
        methods | turned(trivial | methods),
        nearest=trivial[NEAREST],
        interpolated=trivial[INTERPOLATED],
        conditioned=conditioned_row,
        regression=trivial[REGRESSION],
        decoded=decoded_row(kind, split_name, sources, oracles),
        oracle=Method(oracles, pipelines=range(len(oracles))),
        episodes=config.episodes,
    )
    return compare(rows, _published(config, split_name))


def between(config: TableConfig) -> dict[str, Score]:
    """The residual generator on the grid's 40 speeds and half way between them, and the experts.

    Written by the generators of the `full` split, which has 35 of the speeds in training.
    """
    fam = family(config.family)
    grid = fam.grid(config.grid)
    path = config.out / "between.json"
    if not path.exists():
        sources = find(config.zoos, "specialized", grid.split("full"))
        makers = [residual.fit(s.conditioned(), s.train) for s in sources]
        halves = (grid.contexts[1:] + grid.contexts[:-1]) / 2
        experts = [Zoo.load(s.path).only(grid.contexts).finals for s in sources]
        play = partial(score, family=fam, episodes=config.episodes, pipelines=range(len(sources)))
        found = {
            "experts, on the grid": play(experts, contexts=grid.contexts),
            f"{RESIDUAL}, on the grid": play(makers, contexts=grid.contexts),
            f"{RESIDUAL}, between its points": play(makers, contexts=halves),
        }
        files.save_json(path, {name: one.to_json() for name, one in found.items()})
    return {name: Score.from_json(one) for name, one in files.load_json(path).items()}


def turned(methods: dict[str, Method]) -> dict[str, Method]:
    """Every row a second time, told the robot's symmetries (`generate.symmetric`), where its family
    knows some."""
    found = {}
    for name, method in methods.items():
        makers = [m for m in method.makers if isinstance(m, Generator)]
        if makers and makers[0].family.symmetries:
            images = [symmetric.symmetric(maker) for maker in makers]
            found[f"{name}, {TURNED}"] = replace(method, makers=images, given=TOLD_SYMMETRIES)
    return found


# --- Zoos ---------------------------------------------------------------------------------
def check(config: TableConfig) -> None:
    """Refuse names that are none, and zoos that are missing, before any work.

    Raises:
        UnknownFamily, UnknownGrid, UnknownSplit, BadSetting: a name that is none.
        BadZoo: no zoo of a kind and split, or none with the experts of its test contexts.
    """
    grid = family(config.family).grid(config.grid)
    for kind in config.kinds:
        if kind not in ALL_KINDS:
            raise unknown(BadSetting, "kind of zoos called", "Kinds", kind, ALL_KINDS)
    splits = [split.name for name in config.splits for split in draws(grid, name)]
    for kind in config.kinds:
        for split in ("full", *splits):
            paths(config.zoos, kind, split)
    paths(config.zoos, "specialized", "full")  # of `between`


def slug(name: str) -> str:
    """A row's name as the name of a file."""
    return name.replace(",", "").replace(" ", "-").lower()


# --- Fits ---------------------------------------------------------------------------------
def fit_learned(
    learned: Learned, sources: Sequence[Source], seeds: tuple[int, ...], out: Path
) -> list[Generator]:
    """One fit on each zoo, or all `seeds` side by side on the only one; read back if they exist."""
    method = genhyper if isinstance(learned.config, GenHyperConfig) else hyplatent
    zoos = [
        replace(s.train, family=family(learned.family) if learned.family else s.train.family)
        for s in sources
    ]
    if len(zoos) > 1:
        return [
            fit_once(out / f"zoo-{i}", partial(method.fit, learned.config, zoo, i))
            for i, zoo in enumerate(zoos)
        ]
    done = sorted(out.glob("seed-*/config.json"))
    if done:  # a fit writes all seeds that lived at once
        return [load(path.parent) for path in done]
    return method.fit_seeds(learned.config, zoos[0], seeds, out)


def fit_once(out: Path, fit: Callable[[Path], Generator]) -> Generator:
    """What is saved in `out`, or a new fit."""
    return load(out) if (out / "config.json").exists() else fit(out)


def decoded_row(kind: str, split: str, sources, oracles) -> Method | None:
    """The test experts decoded, where they descend from the same networks as the training ones.

    A specialized zoo of a smaller split has another base than the oracles of `full`.
    """
    if kind == "specialized" and split != "full":
        return None
    makers = [decoded(s.train, o) for s, o in zip(sources, cycle(oracles), strict=False)]
    return Method(makers, pipelines=range(len(makers)))


def decoded(train: Zoo, experts: Policies) -> Policies:
    """The test experts through the encoder that was fitted on the training experts."""
    encoder = pca.fit(PcaConfig(), train.weights)
    weights = [encoder.decode(encoder.encode(row)) for row in experts.weights]
    return Policies(np.stack(weights), experts.spec)


# --- Out ----------------------------------------------------------------------------------
def read(config: TableConfig, path: Path) -> Comparison:
    """A saved cell."""
    return compare(results.read(path).rows, _published(config, path.stem))


def _published(config: TableConfig, name: str) -> tuple[Published, ...]:
    """What others printed, beside the splits with all training tasks; on any grid, for the table
    keeps grids apart."""
    return published(config.family) if name.endswith("full") else ()


def markdown(cells: dict[tuple[str, str], Comparison], halves: dict[str, Score]) -> str:
    """All cells and the speeds between the grid's points as one Markdown page."""
    parts = []
    for (kind, split), comparison in cells.items():
        parts.append(f"### {kind} zoo, split `{split}`\n\n{comparison.markdown()}\n")
    lines = [
        [name, number(one.mean), interval_text(one.interval), one.over]
        for name, one in halves.items()
    ]
    text = tables.markdown(["policies", "mean", "95 % CI", "over"], lines)
    parts.append(f"### Between the grid's points (specialized zoo, split `full`)\n\n{text}\n")
    return "\n".join(parts)
