"""Commands of AMT-Hyp's tables and figures on Meta-World."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rich.console import Console

from hyperpolicy import files
from hyperpolicy.bounds import Names, Place
from hyperpolicy.cli.command import Command
from hyperpolicy.errors import BadSetting
from hyperpolicy.recipes.amt_hyp import figures, tables
from hyperpolicy.recipes.amt_hyp.bench import HALVES, Bench, bench, ship, ship_generator
from hyperpolicy.recipes.amt_hyp.methods import METHODS, method
from hyperpolicy.recipes.amt_hyp.presets import PRESETS
from hyperpolicy.recipes.stage import write_page
from hyperpolicy.run.directory import hold


@dataclass(frozen=True)
class OnBench(Command):
    """A recipe over one directory of data, fits and cells."""

    preset: Literal["small", "paper"] = "small"
    """Sizes and lengths: for two cores, or the published ones for a GPU."""
    out: Place = Path("runs/amt-hyp")
    """Everything goes here; the same command goes on from what is there."""

    def run(self, console: Console) -> None:
        with hold(self.out):
            for path in self.make(bench(PRESETS[self.preset], self.out), console):
                console.print(f"{path}")

    @abstractmethod
    def make(self, b: Bench, console: Console) -> list[Path]:
        """The files that the recipe is about."""

    def write(self, console: Console, name: str, text: str) -> Path:
        """A page, shown and kept."""
        page = write_page(self.out / name, text)
        console.print(text)
        return page


@dataclass(frozen=True)
class OfMethods(OnBench):
    """A recipe of tables, which have a row a method."""

    halves: ClassVar[tuple[str, ...]] = HALVES
    """The tasks it is about."""
    page: ClassVar[str]
    """The file that has the table."""

    methods: Names | None = None
    """Rows of the tables, by name; all unless given."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.methods or ():
            cells = method(name).cells
            if not set(cells) & set(self.halves):
                raise BadSetting(
                    f"{name!r} is a row for {' and '.join(cells)} tasks; this table "
                    f"has {' and '.join(self.halves)} ones"
                )

    def cells(self, b: Bench, console: Console) -> dict[str, tables.Cells]:
        """The chosen rows of each half of the tasks."""
        names = self.methods or tuple(METHODS)
        return {half: tables.cells(b, half, names, console.print) for half in self.halves}

    def make(self, b: Bench, console: Console) -> list[Path]:
        [(half, found)] = self.cells(b, console).items()
        return [self.write(console, self.page, tables.per_task(found, half))]


@dataclass(frozen=True)
class AmtHyp(OfMethods):
    """AMT-Hyp on Meta-World from nothing: experts, demonstrations, generators, all tables."""

    ship: Place | None = None
    """Also write a compact slice of the zoo, with demonstrations, below this directory."""
    ship_generator: Place | None = None
    """Also write HypLatent, compact, as this directory."""

    def make(self, b: Bench, console: Console) -> list[Path]:
        made = [] if self.ship is None else ship(b, self.ship)
        if self.ship_generator is not None:
            made += ship_generator(b, self.ship_generator)
        found = self.cells(b, console)
        picture = figures.draw_success(found, self.out / "success.png")
        return [self.write(console, "amt-hyp.md", tables.page(b, found)), picture, *made]


@dataclass(frozen=True)
class AmtHypTable1(OfMethods):
    """AMT-Hyp's Table I: the eight tasks the generators were trained on."""

    halves: ClassVar[tuple[str, ...]] = ("seen",)
    page: ClassVar[str] = "table1.md"


@dataclass(frozen=True)
class AmtHypTable2(OfMethods):
    """AMT-Hyp's Table II: averages and the best policies, seen and unseen, strict and legacy."""

    def make(self, b: Bench, console: Console) -> list[Path]:
        return [self.write(console, "table2.md", tables.summary(self.cells(b, console)))]


@dataclass(frozen=True)
class AmtHypTable3(OfMethods):
    """AMT-Hyp's Table III: eight tasks nobody trained on, from one demonstration each."""

    halves: ClassVar[tuple[str, ...]] = ("unseen",)
    page: ClassVar[str] = "table3.md"


@dataclass(frozen=True)
class Tokens(OnBench):
    """AMT-Hyp's Figure 5: success by the number of HypFormer's tokens."""

    def make(self, b: Bench, console: Console) -> list[Path]:
        found = figures.tokens(b, progress=console.print)
        numbers = files.save_json(self.out / "tokens.json", found, overwrite=True)
        return [numbers, figures.draw_tokens(found, self.out / "tokens.png")]


@dataclass(frozen=True)
class Latents(OnBench):
    """AMT-Hyp's Figure 4: principal components of written and shown latents, and distances."""

    def make(self, b: Bench, console: Console) -> list[Path]:
        panels = figures.latents(b)
        picture = figures.draw_latents(panels, self.out / "latents.png")
        return [self.write(console, "latents.md", figures.table(panels)), picture]
