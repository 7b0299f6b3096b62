"""Commands of the tables on fifty tasks: who reads the demonstration."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from tyro.conf import Suppress

from hyperpolicy.bounds import Names, Place, Weight, Whole
from hyperpolicy.cli.command import Command
from hyperpolicy.cli.report import leave
from hyperpolicy.errors import BadSetting, unknown
from hyperpolicy.recipes.amt_hyp.bench import Bench, ship_generator
from hyperpolicy.recipes.amt_hyp.presets import Preset
from hyperpolicy.recipes.fifty import page, search, study
from hyperpolicy.recipes.fifty.presets import FOLD, FOLDS, SMALL, TEN
from hyperpolicy.recipes.fifty.rows import ROWS
from hyperpolicy.recipes.fifty.study import QUESTIONS, Cells, Question
from hyperpolicy.recipes.stage import write_page
from hyperpolicy.run.directory import hold


@dataclass(frozen=True)
class OfQuestion(Command):
    """A table of one question; the same command goes on from what is there."""

    question: ClassVar[Question]
    preset: Suppress[Preset] = SMALL
    rows: Names | None = None
    """Rows of the table, by name; all unless given."""
    minutes: Weight = 10_000.0
    """After which nothing new is begun; 0: only the page of what is there."""
    out: Place = Path("runs/fifty")
    """Everything goes here; the three tables share it."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.rows or ():
            if name not in self.known:
                raise unknown(BadSetting, "row", "Rows", name, self.known)

    @property
    def known(self) -> list[str]:
        """Names of rows."""
        return [name for name, row in ROWS.items() if self.question.half in row.cells]

    @property
    def benches(self) -> tuple[str, ...]:
        """Names of what is made."""
        return self.question.benches

    def run(self, console: Console) -> None:
        until = time.monotonic() + 60.0 * self.minutes
        with hold(self.out):
            made = self.make(console, until)
        for path in made:
            console.print(f"{path}")
        leave(console, self.out)

    def make(self, console: Console, until: float) -> list[Path]:
        """The files of the table."""
        benches: list[Bench] = []
        found: dict[str, Cells] = {}
        left: list[str] = []
        for name in self.benches:
            if time.monotonic() > until and not (self.out / name / "minutes.json").exists():
                left.append(f"all of {name}")
                continue
            console.print(f"{name}: data")
            b = study.bench(self.preset, self.out, name)
            names = self.rows or self.known
            found[name], late = study.cells(b, self.question.half, names, console.print, until)
            left += [f"{row} ({name})" for row in late]
            benches.append(b)
        rows = study.joined(found, [b.out.name for b in benches])
        if not rows:
            raise BadSetting("no row is there yet; give more --minutes")
        name, rates = self.question.name, {n: study.rate(cells) for n, cells in rows.items()}
        text = page.page(self.question, benches, rows, left)
        console.print(page.rows(rows, rates))
        return [
            write_page(self.out / f"{name}.md", text),
            page.record(rates, rows, self.out / f"{name}.json"),
            page.draw(rates, self.out / f"{name}.png"),
        ]


@dataclass(frozen=True)
class Mt50Demonstration(OfQuestion):
    """Fifty tasks that are trained on, in new configurations, each told by one demonstration."""

    question: ClassVar[Question] = QUESTIONS["mt50"]
    ship_generator: Place | None = None
    """Write a small HypLatent there, told one demonstration of any of the fifty tasks."""

    def make(self, console: Console, until: float) -> list[Path]:
        made = super().make(console, until)
        if self.ship_generator is not None:
            b = study.bench(self.preset, self.out, study.ALL)
            made += ship_generator(b, self.ship_generator)
        return made


@dataclass(frozen=True)
class Ml45Demonstration(OfQuestion):
    """Ten tasks that nobody trained on, told by one demonstration each, in five folds."""

    question: ClassVar[Question] = QUESTIONS["ml45"]
    preset: Suppress[Preset] = FOLD
    folds: tuple[Whole, ...] = tuple(range(FOLDS))
    """Numbers of the folds."""

    def __post_init__(self):
        super().__post_init__()
        if not self.folds or max(self.folds) >= FOLDS:
            raise BadSetting(f"folds={self.folds}; give some of 0 to {FOLDS - 1}")

    @property
    def benches(self) -> tuple[str, ...]:
        return tuple(f"fold-{i}" for i in self.folds)


@dataclass(frozen=True)
class GoalsDemonstration(OfQuestion):
    """MT10's tasks in a region of configurations that nobody trained on."""

    question: ClassVar[Question] = QUESTIONS["goals"]
    preset: Suppress[Preset] = TEN


@dataclass(frozen=True)
class DemonstrationSearch(Ml45Demonstration):
    """What would make a generator read a demonstration: changes of HypLatent's lesson on unseen
    tasks, and ten episodes of learning online from what it writes."""

    folds: tuple[Whole, ...] = (0,)
    """Numbers of the folds."""
    online: bool = True
    """Whether policies go on learning, too."""

    @property
    def known(self) -> list[str]:
        return list(search.VARIANTS)

    def make(self, console: Console, until: float) -> list[Path]:
        benches = [study.bench(self.preset, self.out, name) for name in self.benches]
        half, names = self.question.half, self.rows or self.known
        found = {b.out.name: search.cells(b, half, names, console.print) for b in benches}
        rows = {n: [found[b.out.name][n] for b in benches] for n in found[benches[0].out.name]}
        text = f"# What would make it read?\n\n{search.table(rows)}"
        if self.online:
            tuned = [search.online(b, half) for b in benches]
            text += f"\n\n## Ten episodes online\n\n{search.online_table(tuned)}"
        console.print(text)
        return [write_page(self.out / "demonstration-search.md", text + "\n")]
