"""Zero-shot tables: every generator and every trivial row, on a family's zoos and splits.

A cell is a kind of zoo and a split; each is saved when it is done and never computed twice.
"""

import warnings
from dataclasses import replace

from hyperpolicy.envs import family
from hyperpolicy.evaluate import side_by_side, tables
from hyperpolicy.evaluate.compare import Comparison, compare, standard_rows
from hyperpolicy.evaluate.protocol import (
    CONDITIONED,
    DECODED,
    DISTILLED,
    INTERPOLATED,
    NEAREST,
    ORACLE,
    REGRESSION,
)
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.scoring import Row, score
from hyperpolicy.evaluate.tables import interval_text, number
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.writers import lookup, residual
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.recipes.stage import make_once, record_once, slug
from hyperpolicy.recipes.zero_shot.methods import (
    Cell,
    Lent,
    Source,
    check_kinds,
    decoded_row,
    distill,
    experts_at,
    find,
    fit_learned,
    paths,
    turned,
)
from hyperpolicy.recipes.zero_shot.presets import TableConfig
from hyperpolicy.zoo import Zoo

RESIDUAL = "base + interpolated change"


def cells(config: TableConfig) -> list[Cell]:
    """Every cell of the table."""
    return [
        Cell(config.family, config.grid, split, kind)
        for kind in config.kinds
        for split in config.splits
    ]


def run(config: TableConfig) -> dict[Cell, Comparison]:
    """Every cell of the table."""
    return {cell: read(config, cell) for cell in cells(config)}


def read(config: TableConfig, cell: Cell) -> Comparison:
    """A cell, from disk where it is there already."""
    path = config.out / f"{cell.file}.json"
    make_once(path, lambda: measure(config, cell).save(path))
    return compare(side_by_side.read(path)[0], cell.published)


def measure(config: TableConfig, cell: Cell) -> Comparison:
    """Fit and score all methods on one kind of zoo and one split."""
    sources = [source for split in cell.splits for source in find(config.zoos, cell.kind, split)]
    lent = Lent(config, sources, config.out / "fits" / cell.file)
    base = sources[0].base
    distilled = lent.row(distill(lent))
    methods = {}
    for name, one in config.learned.items():
        makers = fit_learned(one, sources, config.seeds, lent.out / slug(name))
        methods[name] = lent.row(makers, config.draws)
    conditioned = distilled
    if base is not None:
        methods |= {RESIDUAL: lent.each(changed), DISTILLED: distilled}
        conditioned = replace(lent.each(Source.conditioned), env_steps=base.training.env_steps)
    trivial = {
        NEAREST: lent.each(lambda source: lookup.nearest(source.train)),
        INTERPOLATED: lent.each(lambda source: lookup.linear(source.train)),
        CONDITIONED: conditioned,
        REGRESSION: lent.each(lambda source: fit(RegressionConfig(), source.train)),
    }
    oracles = experts_at(config.zoos, cell.kind, cell.splits[0])[: len(sources)]
    ceilings = {ORACLE: Row(oracles, pipelines=range(len(oracles)))}
    if found := decoded_row(cell, sources, oracles):
        ceilings[DECODED] = found
    asked = trivial | methods | turned(trivial | methods) | ceilings
    with warnings.catch_warnings():  # which splits extrapolate is known
        warnings.filterwarnings("ignore", "(?s).*outside the trained range", UserWarning)
        rows = standard_rows(family(cell.family), cell.contexts, asked, config.episodes)
    return compare(rows, cell.published)


def changed(source: Source) -> Generator:
    """The base, and the change that its experts made to it, interpolated."""
    return residual.around(source.conditioned(), source.train)


def between(config: TableConfig) -> dict[str, Score]:
    """The residual generator on the grid's 40 speeds and half way between them, and the experts.

    Written by the generators of the `full` split, which has 35 of the speeds in training.
    """
    fam = family(config.family)
    grid = fam.grid(config.grid)

    def make() -> dict:
        sources = find(config.zoos, "specialized", grid.split("full"))
        makers = [changed(source) for source in sources]
        halves = (grid.contexts[1:] + grid.contexts[:-1]) / 2
        experts = [Zoo.load(s.path).only(grid.contexts).finals for s in sources]
        several = range(len(sources))

        def play(who, contexts) -> Score:
            return score(Row(who, pipelines=several), fam, contexts, config.episodes)

        found = {
            "experts, on the grid": play(experts, grid.contexts),
            f"{RESIDUAL}, on the grid": play(makers, grid.contexts),
            f"{RESIDUAL}, between its points": play(makers, halves),
        }
        return {name: one.to_json() for name, one in found.items()}

    found = record_once(config.out / "between.json", make)
    return {name: Score.from_json(one) for name, one in found.items()}


# --- Checks -------------------------------------------------------------------------------
def check(config: TableConfig) -> None:
    """Refuse names that are none, and zoos that are missing, before any work.

    Raises:
        UnknownFamily, UnknownGrid, UnknownSplit, BadSetting: a name that is none.
        BadZoo: no zoo of a kind and split, or none with the experts of its test contexts.
    """
    grid = family(config.family).grid(config.grid)
    check_kinds(config.kinds)
    for cell in cells(config):
        for split in (grid.split("full"), *cell.splits):
            paths(config.zoos, cell.kind, split.name)
    paths(config.zoos, "specialized", "full")  # of `between`


# --- Out ----------------------------------------------------------------------------------
def markdown(cells: dict[Cell, Comparison], halves: dict[str, Score]) -> str:
    """All cells and the speeds between the grid's points as one Markdown page."""
    parts = []
    for cell, comparison in cells.items():
        title = f"### {cell.kind} zoo, split `{cell.split}`"
        parts.append(f"{title}\n\n{comparison.markdown()}\n")
    lines = [
        [name, number(one.mean), interval_text(one.interval), one.over]
        for name, one in halves.items()
    ]
    text = tables.markdown(["policies", "mean", "95 % CI", "over"], lines)
    parts.append(f"### Between the grid's points (specialized zoo, split `full`)\n\n{text}\n")
    return "\n".join(parts)
