"""GenHyper's Table I, and more of it: both families, both grids, many and few training tasks.

For every cell the zoos it needs are taken from where they ship, or trained; then every generator
and every trivial row is scored (`zero_shot`). Zoos and cells are saved as they are done. After
`minutes` no new zoo or cell is begun; the same call goes on with those that are left. With
`minutes=0` the page is made of what there is.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tyro.conf import Suppress

from hyperpolicy.bounds import Bounded, Count, Names, Place, Weight
from hyperpolicy.errors import BadSetting, UnknownFamily, unknown
from hyperpolicy.evaluate import memorization
from hyperpolicy.evaluate.compare import Comparison
from hyperpolicy.evaluate.memorization import Audit, probe_states
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.stage import slug
from hyperpolicy.recipes.zero_shot import methods, presets, zoos
from hyperpolicy.recipes.zero_shot import table as zero_shot
from hyperpolicy.recipes.zero_shot.methods import Cell, fit_learned
from hyperpolicy.recipes.zero_shot.presets import (
    LEARNED,
    RADIANS,
    Candidate,
    SpecializedPreset,
    TableConfig,
)

COUNTS = {"cheetah-vel": (10, 15, 20, 25), "ant-dir": (10, 15, 25, 35)}
"""Training tasks of the random splits; with all of them the split is `full`."""


@dataclass(frozen=True)
class Table1Config(Bounded):
    families: Names = ("cheetah-vel", "ant-dir")
    """Task families."""
    grids: Names = ("authors", "macaw")
    """Grids of contexts; the published rows are on `authors`."""
    kinds: Names = ("specialized", "independent")
    """Kinds of zoos."""
    splits: Names | None = None
    """Splits of every grid, e.g. full, or random-10 for its three draws; all there are by
    default."""
    zoos: Path = Path("zoos")
    """Zoos that are there already, in a directory for each family and grid."""
    out: Place = Path("runs/genhyper-table1")
    """New zoos, fits and cells; the same command goes on from what is there."""
    minutes: Weight = 120.0
    """No new zoo or cell is begun after that."""
    draws: Count = 8
    """Noise draws of a generator on each test task."""
    rows: Names | None = None
    """Which generators to fit, by the names of their rows, e.g. HypLatent GenHyper; all by
    default."""
    learned: Suppress[dict[str, Candidate]] = field(default_factory=lambda: dict(LEARNED))
    """Generators to fit; Ant-Dir adds one that sees directions as plain numbers."""
    preset: Suppress[SpecializedPreset | None] = None
    """How zoos are trained; the families' own presets by default."""


def run(config: Table1Config) -> tuple[dict[Cell, Comparison], list[Cell]]:
    """The cells that are done, and those time did not suffice for. Raises UnknownFamily,
    UnknownGrid, UnknownSplit, BadSetting: a name that is none, or no cell at all; before any work.
    """
    began = time.monotonic()
    done: dict[Cell, Comparison] = {}
    left: list[Cell] = []
    for cell in _checked(config):
        table = table_config(config, cell)
        if not (table.out / f"{cell.file}.json").exists():
            if time.monotonic() - began >= 60.0 * config.minutes:
                left.append(cell)
                continue
            provide(config, cell)
        done[cell] = zero_shot.read(table, cell)
    return done, left


def _checked(config: Table1Config) -> list[Cell]:
    """Every cell; raises as `run` does."""
    for name in config.families:
        if name not in COUNTS:
            raise unknown(UnknownFamily, "family of this table called", "Families", name, COUNTS)
    for row in config.rows or ():
        if row not in (known := config.learned | RADIANS):
            raise unknown(BadSetting, "generator of this table called", "Generators", row, known)
    methods.check_kinds(config.kinds)
    found = list(cells(config))
    for cell in found:
        _ = cell.splits  # a name that is none raises
    if not found:
        named = config.families, config.grids, config.kinds, config.splits or ("all",)
        families, grids, kinds, splits = map(", ".join, named)
        raise BadSetting(
            f"no cell for families {families}, grids {grids}, kinds {kinds}, splits {splits}; "
            "specialized zoos can be made for every split, the others not for every family"
        )
    return found


def cells(config: Table1Config) -> Iterator[Cell]:
    """Every cell, the published settings first."""
    for grid_name in config.grids:
        for name in config.families:
            random = tuple(f"random-{count}" for count in COUNTS[name])
            splits = config.splits or (zoos.SPLITS[0], *random, *zoos.SPLITS[1:])
            for kind in config.kinds:
                preset = presets.WITHOUT_BASE[name].get(methods.WITHOUT_BASE.get(kind, ""))
                for split in splits:
                    served = preset and (preset.splits is None or split in preset.splits)
                    if kind == "specialized" or served:
                        yield Cell(name, grid_name, split, kind)


def table_config(config: Table1Config, cell: Cell) -> TableConfig:
    """How this cell of a zero-shot table is made."""
    place = zoos.place(cell.tasks)
    learned = config.learned | (RADIANS if cell.family == "ant-dir" else {})
    learned = {k: one for k, one in learned.items() if config.rows is None or k in config.rows}
    roots = config.zoos / place, config.out / "zoos" / place
    return TableConfig(zoos=roots, out=config.out / place, draws=config.draws, learned=learned)


def provide(config: Table1Config, cell: Cell) -> None:
    """Train the zoos a cell needs and that are nowhere yet; the test tasks' experts come from the
    zoo of `full`."""
    roots = table_config(config, cell).zoos
    if cell.kind == "specialized":
        names = list(dict.fromkeys(["full", *(split.name for split in cell.splits)]))
        zoos.provide(roots, config.out, cell.tasks, names, config.preset)
        return
    place, name = zoos.place(cell.tasks), methods.WITHOUT_BASE[cell.kind]
    for kind in dict.fromkeys([name, "independent"]):  # which has the test experts
        if not any((root / kind).exists() for root in roots):
            runs = config.out / "runs" / place
            zoos.independent(runs / kind, cell.tasks, presets.WITHOUT_BASE[cell.family][kind])
            zoos.ship(runs, config.out / "zoos" / place)


# --- Are they copies? ---------------------------------------------------------------------
def audits(config: Table1Config, cell: Cell) -> dict[str, Audit]:
    """The memorization audit of every learned generator on its test tasks, against the first of the
    cell's zoos."""
    table = table_config(config, cell)
    split = cell.tasks.split(cell.split)
    lent = methods.find(table.zoos, cell.kind, split)
    train = lent[0].train
    held_out = methods.experts_at(table.zoos, cell.kind, split)[0]

    def make(name: str, learned: Candidate) -> Audit:
        fits = table.out / "fits" / cell.file / slug(name)
        generators = fit_learned(learned, lent, table.seeds, fits)
        generators = generators[: 1 if len(lent) > 1 else None]  # the others are of other zoos
        drawn = [g.generate(split.test, seed).weights for g in generators for seed in range(4)]
        policies = Policies(np.concatenate(drawn), train.spec)
        return memorization.audit(policies, train, probe_states(train), held_out)

    found = {}
    for name, learned in table.learned.items():
        path = table.out / f"audit-{cell.file}-{slug(name)}.json"
        found[name] = memorization.kept(path, partial(make, name, learned))
    return found


# --- Out ----------------------------------------------------------------------------------
def markdown(config: Table1Config, done: dict[Cell, Comparison], left: list[Cell]) -> str:
    """All cells as one page, audits of those with all training tasks, and what is left to do."""
    parts = []
    for cell, comparison in done.items():
        title = f"### {cell.family}, {cell.grid} grid, {cell.kind} zoo, split `{cell.split}`"
        parts.append(f"{title}\n\n{comparison.markdown()}\n")
        if cell.split == "full":
            parts.append(memorization.compared(audits(config, cell)))
    if left:
        names = ", ".join(f"{c.family}/{c.grid}/{c.kind}/{c.split}" for c in left)
        parts.append(f"Not computed yet: {names}. The same command goes on with them.\n")
    return "\n".join(parts)
