"""Zero-shot tables: every generator and every trivial row, on a family's zoos and splits.

A cell is a kind of zoo and a split; each is saved when it is done and never computed twice.
"""

import warnings
from dataclasses import replace
from pathlib import Path

from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, unknown
from hyperpolicy.evaluate import side_by_side, tables
from hyperpolicy.evaluate.compare import Comparison, compare, standard_rows
from hyperpolicy.evaluate.rows import (
    CONDITIONED,
    DECODED,
    DISTILLED,
    INTERPOLATED,
    NEAREST,
    ORACLE,
    REGRESSION,
    Published,
    published,
)
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.scoring import Row, score
from hyperpolicy.evaluate.tables import interval_text, number
from hyperpolicy.recipes.method import Cell
from hyperpolicy.recipes.stage import Stage, recorded
from hyperpolicy.recipes.zero_shot.methods import (
    BASE,
    CHANGED,
    DISTILL,
    LOOKED_UP,
    MIXED,
    REGRESSED,
    RESIDUAL,
    Lent,
    TableConfig,
    decoded_row,
    learned,
    row,
    turned,
)
from hyperpolicy.recipes.zero_shot.sources import ALL_KINDS, experts_at, find, paths
from hyperpolicy.zoo import Zoo


def cells(config: TableConfig) -> list[Cell]:
    """Every cell of the table."""
    return [
        Cell(config.family, config.grid, split, kind)
        for kind in config.kinds
        for split in config.splits
    ]


def stage(config: TableConfig, cell: Cell) -> Stage:
    """What computes a cell, and where it is kept."""
    path = config.out / f"{cell.file}.json"
    return Stage(cell.file, path, lambda: measure(config, cell).save(path))


def run(config: TableConfig) -> dict[Cell, Comparison]:
    """Every cell of the table, from disk where it is there already."""
    return {cell: read(config, stage(config, cell).run()) for cell in cells(config)}


def measure(config: TableConfig, cell: Cell) -> Comparison:
    """Fit and score all methods on one kind of zoo and one split."""
    with warnings.catch_warnings():  # which splits extrapolate is known
        warnings.filterwarnings("ignore", "(?s).*outside the trained range", UserWarning)
        return _cell(config, cell)


def _cell(config: TableConfig, cell: Cell) -> Comparison:
    sources = [source for split in cell.splits for source in find(config.zoos, cell.kind, split)]
    lent = Lent(config, sources, config.out / "fits" / cell.file)
    base = sources[0].base
    distilled = row(DISTILL, lent)
    methods = {one.name: row(one, lent) for one in learned(config)}
    if base is not None:
        methods |= {RESIDUAL: row(CHANGED, lent), DISTILLED: distilled}
    of_base = base and replace(row(BASE, lent), env_steps=base.training.env_steps)
    trivial = {
        NEAREST: row(LOOKED_UP, lent),
        INTERPOLATED: row(MIXED, lent),
        CONDITIONED: of_base or distilled,
        REGRESSION: row(REGRESSED, lent),
    }
    oracles = experts_at(config.zoos, cell.kind, cell.splits[0])[: len(sources)]
    ceilings = {ORACLE: Row(oracles, pipelines=range(len(oracles)))}
    if found := decoded_row(cell, sources, oracles):
        ceilings[DECODED] = found
    asked = trivial | methods | turned(trivial | methods) | ceilings
    rows = standard_rows(family(cell.family), cell.contexts, asked, config.episodes)
    return compare(rows, _published(config, cell.split))


def between(config: TableConfig) -> dict[str, Score]:
    """The residual generator on the grid's 40 speeds and half way between them, and the experts.

    Written by the generators of the `full` split, which has 35 of the speeds in training.
    """
    fam = family(config.family)
    grid = fam.grid(config.grid)

    def make() -> dict:
        sources = find(config.zoos, "specialized", grid.split("full"))
        makers = CHANGED.fit(Lent(config, sources, config.out))
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

    found = recorded("between the grid's points", config.out / "between.json", make)
    return {name: Score.from_json(one) for name, one in found.items()}


# --- Checks -------------------------------------------------------------------------------
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
    for cell in cells(config):
        for split in (grid.split("full"), *cell.splits):
            paths(config.zoos, cell.kind, split.name)
    paths(config.zoos, "specialized", "full")  # of `between`


# --- Out ----------------------------------------------------------------------------------
def read(config: TableConfig, path: Path) -> Comparison:
    """A saved cell."""
    return compare(side_by_side.read(path)[0], _published(config, path.stem))


def _published(config: TableConfig, name: str) -> tuple[Published, ...]:
    """What others printed, beside the splits with all training tasks; on any grid, for the table
    keeps grids apart."""
    return published(config.family) if name.endswith("full") else ()


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
