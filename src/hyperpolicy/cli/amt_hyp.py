"""AMT-Hyp's tables and figures on Meta-World, each a recipe of its own over one directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rich.console import Console

from hyperpolicy.bounds import Names
from hyperpolicy.cli.command import Command
from hyperpolicy.cli.paths import Place
from hyperpolicy.errors import BadSetting


@dataclass(frozen=True)
class OnBench(Command):
    """A recipe over one directory of data, fits and cells."""

    resumes: ClassVar[bool] = True

    preset: Literal["small", "paper"] = "small"
    """Sizes and lengths: for two cores, or the published ones for a GPU."""
    out: Place = Path("runs/amt-hyp")
    """Everything goes here; the same command goes on from what is there."""

    def bench(self):
        """Data and shared parts of this directory."""
        from hyperpolicy.recipes.amt_hyp import bench as amt_hyp
        from hyperpolicy.recipes.amt_hyp import presets as amt_hyp_presets

        return amt_hyp.bench(amt_hyp_presets.PRESETS[self.preset], self.out)

    def write(self, console: Console, name: str, text: str) -> None:
        """A page, shown and kept."""
        from hyperpolicy import files

        files.write(self.out / name, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)
        console.print(text)
        console.print(f"{self.out / name}")


@dataclass(frozen=True)
class Table(OnBench):
    """A recipe of tables, which have a row a method."""

    halves: ClassVar[tuple[str, ...]] = ("seen", "unseen")
    """The tasks it is about."""

    methods: Names | None = None
    """Rows of the tables, by name; all unless given."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.methods or ():
            from hyperpolicy.recipes.amt_hyp import methods as amt_hyp_rows

            method = amt_hyp_rows.method(name)
            if not any(map(method.serves, self.halves)):
                raise BadSetting(
                    f"{name!r} is a row for {' and '.join(method.cells)} tasks; this table has "
                    f"{' and '.join(self.halves)} ones"
                )

    def cells(self, b, half: str, console: Console):
        """The chosen rows of one half of the tasks."""
        from hyperpolicy.recipes.amt_hyp import methods as amt_hyp_rows
        from hyperpolicy.recipes.amt_hyp import tables as amt_hyp_tables

        names = self.methods or tuple(amt_hyp_rows.METHODS)
        return amt_hyp_tables.cells(b, half, names, console.print)


@dataclass(frozen=True)
class AmtHyp(Table):
    """AMT-Hyp on Meta-World from nothing: experts, demonstrations, generators, all tables."""

    ship: Place | None = None
    """Also write a compact slice of the zoo, with demonstrations, below this directory."""
    ship_generator: Place | None = None
    """Also write HypLatent, compact, as this directory."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes.amt_hyp import figures, shipping, tables

        b = self.bench()
        made = [] if self.ship is None else shipping.ship(b, self.ship)
        if self.ship_generator is not None:
            made += shipping.ship_generator(b, self.ship_generator)
        found = {half: self.cells(b, half, console) for half in ("seen", "unseen")}
        picture = figures.draw_success(found, self.out / "success.png")
        self.write(console, "amt-hyp.md", tables.page(b, found))
        for path in (picture, *made):
            console.print(f"{path}")


@dataclass(frozen=True)
class Table1(Table):
    """AMT-Hyp's Table I: the eight tasks the generators were trained on."""

    halves: ClassVar[tuple[str, ...]] = ("seen",)

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes.amt_hyp import tables

        found = self.cells(self.bench(), "seen", console)
        self.write(console, "table1.md", tables.per_task(found, "seen"))


@dataclass(frozen=True)
class Table2(Table):
    """AMT-Hyp's Table II: averages and the best policies, seen and unseen, strict and legacy."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes.amt_hyp import tables

        b = self.bench()
        found = {half: self.cells(b, half, console) for half in ("seen", "unseen")}
        self.write(console, "table2.md", tables.summary(found))


@dataclass(frozen=True)
class Table3(Table):
    """AMT-Hyp's Table III: eight tasks nobody trained on, from one demonstration each."""

    halves: ClassVar[tuple[str, ...]] = ("unseen",)

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes.amt_hyp import tables

        found = self.cells(self.bench(), "unseen", console)
        self.write(console, "table3.md", tables.per_task(found, "unseen"))


@dataclass(frozen=True)
class Tokens(OnBench):
    """AMT-Hyp's Figure 5: success by the number of HypFormer's tokens."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes.amt_hyp import figures

        found = figures.tokens(self.bench(), progress=console.print)
        made = figures.save_tokens(found, self.out / "tokens.json")
        for path in (made, figures.draw_tokens(found, self.out / "tokens.png")):
            console.print(f"{path}")


@dataclass(frozen=True)
class Latents(OnBench):
    """AMT-Hyp's Figure 4: principal components of written and shown latents, and distances."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes.amt_hyp import figures

        panels = figures.latents(self.bench())
        picture = figures.draw_latents(panels, self.out / "latents.png")
        self.write(console, "latents.md", figures.table(panels))
        console.print(f"{picture}")
