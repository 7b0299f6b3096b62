"""AMT-Hyp's tables and figures on Meta-World, each a recipe of its own over one directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rich.console import Console

from hyperpolicy.cli.command import Command


@dataclass(frozen=True)
class OnBench(Command):
    """A recipe over one directory of data, fits and cells."""

    resumes: ClassVar[bool] = True

    preset: Literal["small", "paper"] = "small"
    """Sizes and lengths: for two cores, or the published ones for a GPU."""
    out: Path = Path("runs/amt-hyp")
    """Everything goes here; the same command goes on from what is there."""
    methods: tuple[str, ...] = ()
    """Rows of the tables, by name; all unless given."""

    def bench(self):
        """Data and shared parts of this directory."""
        from hyperpolicy.recipes import amt_hyp, amt_hyp_presets

        return amt_hyp.bench(amt_hyp_presets.PRESETS[self.preset], self.out)

    def cells(self, b, half: str, console: Console):
        """The chosen rows of one half of the tasks."""
        from hyperpolicy.recipes import amt_hyp_rows, amt_hyp_tables

        names = self.methods or tuple(amt_hyp_rows.METHODS)
        for name in names:
            amt_hyp_rows.method(name)  # unknown names before hours of work
        return amt_hyp_tables.cells(b, half, names, console.print)

    def write(self, console: Console, name: str, text: str) -> None:
        """A page, shown and kept."""
        from hyperpolicy import files

        files.write(self.out / name, lambda p: p.write_text(text), overwrite=True)
        console.print(text)
        console.print(f"{self.out / name}")


@dataclass(frozen=True)
class AmtHyp(OnBench):
    """AMT-Hyp on Meta-World from nothing: experts, demonstrations, generators, all tables."""

    ship: Path | None = None
    """Also write a compact slice of the zoo, with demonstrations, below this directory."""
    ship_generator: Path | None = None
    """Also write HypLatent, compact, as this directory."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes import amt_hyp_figures as figures
        from hyperpolicy.recipes import amt_hyp_shipping as shipping
        from hyperpolicy.recipes import amt_hyp_tables as tables

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
class Table1(OnBench):
    """AMT-Hyp's Table I: the eight tasks the generators were trained on."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes import amt_hyp_tables as tables

        found = self.cells(self.bench(), "seen", console)
        self.write(console, "table1.md", tables.per_task(found, "seen"))


@dataclass(frozen=True)
class Table2(OnBench):
    """AMT-Hyp's Table II: averages and the best policies, seen and unseen, strict and legacy."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes import amt_hyp_tables as tables

        b = self.bench()
        found = {half: self.cells(b, half, console) for half in ("seen", "unseen")}
        self.write(console, "table2.md", tables.summary(found))


@dataclass(frozen=True)
class Table3(OnBench):
    """AMT-Hyp's Table III: eight tasks nobody trained on, from one demonstration each."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes import amt_hyp_tables as tables

        found = self.cells(self.bench(), "unseen", console)
        self.write(console, "table3.md", tables.per_task(found, "unseen"))


@dataclass(frozen=True)
class Tokens(OnBench):
    """AMT-Hyp's Figure 5: success by the number of HypFormer's tokens."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes import amt_hyp_figures as figures

        found = figures.tokens(self.bench(), progress=console.print)
        made = figures.save_tokens(found, self.out / "tokens.json")
        for path in (made, figures.draw_tokens(found, self.out / "tokens.png")):
            console.print(f"{path}")


@dataclass(frozen=True)
class Latents(OnBench):
    """AMT-Hyp's Figure 4: principal components of written and shown latents, and distances."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes import amt_hyp_figures as figures

        panels = figures.latents(self.bench())
        picture = figures.draw_latents(panels, self.out / "latents.png")
        self.write(console, "latents.md", figures.table(panels))
        console.print(f"{picture}")
