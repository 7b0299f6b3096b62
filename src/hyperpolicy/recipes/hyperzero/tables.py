"""HyperZero's tables: every method on every published split, one pipeline a split.

A cell is a family, a grid and a split; it is saved when it is done and never measured twice. A page
has one table for each family: means over the splits, with Student's interval over them, leads over
the trivial rows, returns between the motionless floor and the experts.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from tyro.conf import Suppress

from hyperpolicy import rollout
from hyperpolicy.bounds import Bounded, Count, Names, Place
from hyperpolicy.envs import Grid, family
from hyperpolicy.errors import BadSetting, unknown
from hyperpolicy.evaluate import published
from hyperpolicy.evaluate.compare import Comparison
from hyperpolicy.evaluate.protocol import GIVEN, ORACLE, RANDOM, ZERO, Published, is_trivial
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.scoring import Row, score
from hyperpolicy.evaluate.stats import student
from hyperpolicy.evaluate.tables import interval_text, markdown, number
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.writers.hindsight import ENV_STEPS
from hyperpolicy.recipes import stage
from hyperpolicy.recipes.hyperzero import experts, methods
from hyperpolicy.recipes.hyperzero.experts import ALL, ExpertsPreset
from hyperpolicy.recipes.hyperzero.methods import ADAPTED, SHOWN, MethodsPreset, Source
from hyperpolicy.recipes.stage import record_once
from hyperpolicy.zoo import Zoo

SPLITS = tuple(f"hypogen-20-{k}" for k in range(5))
SPEED_FAMILIES = ("cheetah-run", "walker-walk", "finger-spin")
EXACT = tuple(f"{name}-exact" for name in SPEED_FAMILIES)


@dataclass(frozen=True)
class TablesConfig(Bounded):
    """What a recipe measures."""

    out: Place = Path("runs/hyperzero")
    """Experts, fits and cells go here; the same command goes on from what is there."""
    families: Names = SPEED_FAMILIES + EXACT
    """Families whose tables are made."""
    grid: Suppress[str] = "speed"
    splits: Names = SPLITS
    """Splits of the grid; each is a pipeline of its own."""
    rows: Names | None = None
    """Fitted rows, by name; all unless given."""
    episodes: Count = 5
    """Episodes of each policy on each test context."""
    experts: ExpertsPreset = experts.SMALL
    methods: Suppress[MethodsPreset] = field(default_factory=MethodsPreset)


@dataclass(frozen=True)
class Cell:
    """A split of a family's grid."""

    family: str
    grid: str
    split: str

    @property
    def tasks(self) -> Grid:
        """The grid; UnknownFamily or UnknownGrid where there is none."""
        return family(self.family).grid(self.grid)

    @property
    def number(self) -> int:
        """The split's place among its kind: the seed of what is fitted there."""
        return int(self.split.rpartition("-")[2]) if self.split[-1].isdigit() else 0


def run(config: TablesConfig) -> dict[str, dict[str, Comparison]]:
    """family → split → rows. Experts are made where they are missing. Raises UnknownFamily,
    UnknownGrid, UnknownSplit, BadSetting: a name that nothing has, before any work."""
    for name in config.families:  # before any work
        grid = family(name).grid(config.grid)
        for split in config.splits:
            grid.split(split)
    for name in config.rows or ():
        if name not in config.methods.names:
            raise unknown(BadSetting, "fitted row", "Rows", name, config.methods.names)
    found: dict[str, dict[str, Comparison]] = {}
    for name in config.families:
        grid, clock = family(name).grid(config.grid), config.out / "minutes.json"
        with stage.timed(clock, f"experts of {name}"):
            experts.zoos(config.out, grid, config.splits, config.experts)
        with stage.timed(clock, f"oracles of {name}"):
            experts.zoos(config.out, grid, [ALL], config.experts)
        cells = [Cell(name, config.grid, split) for split in config.splits]
        found[name] = {cell.split: read(config, cell) for cell in cells}
    return found


def read(config: TablesConfig, cell: Cell) -> Comparison:
    """A cell; every row is fitted and scored once, and read from then on."""
    home, fam = experts.place(config.out, cell.tasks), family(cell.family)
    split = cell.tasks.split(cell.split)
    oracles = Zoo.load(home / ALL)
    tested, fits = oracles.only(split.test), home / "fits" / cell.split
    source = Source.read(home / cell.split, cell.number, fits, tested)
    wanted = methods.rows(config.methods, source)
    if config.rows is not None:
        unused = config.methods.left_out(config.rows)
        wanted = {name: make for name, make in wanted.items() if name not in unused}
    wanted |= {
        ZERO: lambda: rollout.zero(fam),
        RANDOM: lambda: rollout.uniform(fam),
        ORACLE: lambda: tested.finals,
    }
    steps = {ZERO: 0, RANDOM: 0, ORACLE: oracles.training.env_steps}
    scores = {}
    for name, make in wanted.items():
        place = home / "scores" / cell.split / f"{stage.slug(name)}.json"
        given, spent = (GIVEN | {ADAPTED: SHOWN}).get(name), steps.get(name, source.env_steps)

        def play(name=name, make=make, given=given, spent=spent) -> dict:
            clock = config.out / "minutes.json"
            with stage.timed(clock, f"{name}: {cell.family} {cell.grid} {cell.split}"):
                maker = make()
                seen = maker.provenance.get(ENV_STEPS, 0) if isinstance(maker, Generator) else 0
                row = Row([maker], spent + seen, given=given)
            return score(row, fam, split.test, config.episodes).to_json()

        with warnings.catch_warnings():  # which splits extrapolate is known
            warnings.filterwarnings("ignore", "(?s).*outside the trained range", UserWarning)
            scores[name] = Score.from_json(record_once(place, play))
    return Comparison(scores, published(cell.family, cell.grid))


# --- Over the splits ----------------------------------------------------------------------
@dataclass(frozen=True)
class Summary:
    """What one method reached on a family: one number a split, or, of a single split, one number a
    test context."""

    name: str
    means: Float[np.ndarray, " s"]

    @property
    def mean(self) -> float:
        return float(self.means.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Student's, 95 %, over these numbers."""
        return student(self.means)


def summaries(cells: dict[str, Comparison]) -> dict[str, Summary]:
    """The methods that every split has, by name."""
    first, *others = cells.values()
    names = [name for name in first.rows if all(name in other.rows for other in others)]
    if not others:
        return {name: Summary(name, first.rows[name].task_means) for name in names}
    return {
        name: Summary(name, np.array([one.rows[name].mean for one in cells.values()]))
        for name in names
    }


def leads(found: dict[str, Summary], name: str) -> tuple[str, float, tuple[float, float]]:
    """The best trivial row, and by how much a method is ahead of it, split by split; of one split
    test context by test context."""
    trivial = [one for one in found.values() if is_trivial(one.name) and one.name != name]
    best = max(trivial, key=lambda one: one.mean)
    gaps = found[name].means - best.means
    return best.name, float(gaps.mean()), student(gaps)


def ahead(found: dict[str, Summary], name: str) -> bool:
    """Whether a method is ahead of every trivial row by more than the difference's interval."""
    if is_trivial(name) or name == ORACLE or len(found[name].means) < 2:
        return False
    trivial = [one for one in found.values() if is_trivial(one.name)]
    return all(student(found[name].means - one.means)[0] > 0 for one in trivial)


def table(name: str, cells: dict[str, Comparison], config: TablesConfig) -> str:
    """One family's table, as Markdown."""
    found = summaries(cells)
    floor = found[ZERO].mean
    top = max([found[ORACLE].mean, *(row.value for row in published_experts(name, config.grid))])
    over = "splits" if len(cells) > 1 else "test contexts"
    header = ["method", "mean", f"95 % over {over}", "between floor and experts"]
    header += ["ahead of the best trivial row", "95 %", "given at test time", "env steps"]
    rows = []
    for one in sorted(found.values(), key=lambda one: one.mean):
        score = next(iter(cells.values())).rows[one.name]
        _, gap, ends = leads(found, one.name)
        cells_ = [one.name, number(one.mean), interval_text(one.interval)]
        cells_ += [number((one.mean - floor) / (top - floor), 3), number(gap), interval_text(ends)]
        if ahead(found, one.name):
            cells_[:2] = (f"**{cell}**" for cell in cells_[:2])
        rows.append([*cells_, score.given, f"{score.env_steps or 0:.2g}"])
    for other in printed(name, config.grid):
        rows.append([other.name, number(other.value), "", "", "", "", other.given, ""])
    best = leads(found, ORACLE)[0]
    splits = f"{len(cells)} splits" if len(cells) > 1 else f"split `{next(iter(cells))}`"
    note = (
        f"{splits} of `{name}`, grid `{config.grid}`: one pipeline (base, experts, fits) a split, "
        f"{config.episodes} episodes a context, Student's interval over {over}. Floor: no action, "
        f"{number(floor)}; experts: the larger of ours and the published ones, {number(top)}. Best "
        f"trivial row: {best}. "
        "Bold: ahead of every trivial row by more than the interval of the difference."
    )
    return f"{note}\n\n{markdown(header, rows)}"


def printed(name: str, grid: str) -> Sequence[Published]:
    """What others printed of these tasks; the one-sided reward's only."""
    return published(name, grid)


def published_experts(name: str, grid: str) -> list[Published]:
    """The experts among them."""
    return [row for row in printed(name, grid) if row.method == "expert (TD3)"]


def page(found: dict[str, dict[str, Comparison]], config: TablesConfig) -> str:
    """All tables, and the minutes they took."""
    parts = [f"## {name}\n\n{table(name, cells, config)}\n" for name, cells in found.items()]
    return "\n".join([*parts, "## Minutes\n", stage.table(config.out / "minutes.json"), ""])
