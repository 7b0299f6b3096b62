"""AMT-Hyp's tables and figures on Meta-World, each a recipe of its own over one directory."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rich.console import Console

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

    resumes: ClassVar[bool] = True

    preset: Literal["small", "paper"] = "small"
    """Sizes and lengths: for two cores, or the published ones for a GPU."""
    out: Place = Path("runs/amt-hyp")
    """Everything goes here; the same command goes on from what is there."""

    def run(self, console: Console) -> None:
        with hold(self.out):
            self.make(self.bench(), console)

    def bench(self) -> Bench:
        """Data and shared parts of this directory."""
        return bench(PRESETS[self.preset], self.out)

    @abstractmethod
    def make(self, b: Bench, console: Console) -> None:
        """Do what the recipe is about."""

    def write(self, console: Console, name: str, text: str) -> None:
        """A page, shown and kept."""
        page = write_page(self.out / name, text)
        console.print(text)
        console.print(f"{page}")


@dataclass(frozen=True)
class Table(OnBench):
    """A recipe of tables, which have a row a method."""

    halves: ClassVar[tuple[str, ...]] = HALVES
    """The tasks it is about."""

    methods: Names | None = None
    """Rows of the tables, by name; all unless given."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.methods or ():
            if not any(map(method(name).serves, self.halves)):
                raise BadSetting(
                    f"{name!r} is a row for {' and '.join(METHODS[name].cells)} tasks; this table "
                    f"has {' and '.join(self.halves)} ones"
                )

    def cells(self, b: Bench, console: Console) -> dict[str, tables.Cells]:
        """The chosen rows of each half of the tasks."""
        names = self.methods or tuple(METHODS)
        return {half: tables.cells(b, half, names, console.print) for half in self.halves}


@dataclass(frozen=True)
class AmtHyp(Table):
    """AMT-Hyp on Meta-World from nothing: experts, demonstrations, generators, all tables."""

    ship: Place | None = None
    """Also write a compact slice of the zoo, with demonstrations, below this directory."""
    ship_generator: Place | None = None
    """Also write HypLatent, compact, as this directory."""

    def make(self, b: Bench, console: Console) -> None:
        made = [] if self.ship is None else ship(b, self.ship)
        if self.ship_generator is not None:
            made += ship_generator(b, self.ship_generator)
        found = self.cells(b, console)
        picture = figures.draw_success(found, self.out / "success.png")
        self.write(console, "amt-hyp.md", tables.page(b, found))
        for path in (picture, *made):
            console.print(f"{path}")


@dataclass(frozen=True)
class Table1(Table):
    """AMT-Hyp's Table I: the eight tasks the generators were trained on."""

    halves: ClassVar[tuple[str, ...]] = ("seen",)

    def make(self, b: Bench, console: Console) -> None:
        text = tables.per_task(self.cells(b, console)["seen"], "seen")
        self.write(console, "table1.md", text)


@dataclass(frozen=True)
class Table2(Table):
    """AMT-Hyp's Table II: averages and the best policies, seen and unseen, strict and legacy."""

    def make(self, b: Bench, console: Console) -> None:
        self.write(console, "table2.md", tables.summary(self.cells(b, console)))


@dataclass(frozen=True)
class Table3(Table):
    """AMT-Hyp's Table III: eight tasks nobody trained on, from one demonstration each."""

    halves: ClassVar[tuple[str, ...]] = ("unseen",)

    def make(self, b: Bench, console: Console) -> None:
        text = tables.per_task(self.cells(b, console)["unseen"], "unseen")
        self.write(console, "table3.md", text)


@dataclass(frozen=True)
class Tokens(OnBench):
    """AMT-Hyp's Figure 5: success by the number of HypFormer's tokens."""

    def make(self, b: Bench, console: Console) -> None:
        found = figures.tokens(b, progress=console.print)
        made = figures.save_tokens(found, self.out / "tokens.json")
        for path in (made, figures.draw_tokens(found, self.out / "tokens.png")):
            console.print(f"{path}")


@dataclass(frozen=True)
class Latents(OnBench):
    """AMT-Hyp's Figure 4: principal components of written and shown latents, and distances."""

    def make(self, b: Bench, console: Console) -> None:
        panels = figures.latents(b)
        picture = figures.draw_latents(panels, self.out / "latents.png")
        self.write(console, "latents.md", figures.table(panels))
        console.print(f"{picture}")
