"""Commands that rebuild the study of many tasks, cell by cell.

All resume after a kill; cells that are there are read.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from rich.console import Console

from hyperpolicy.cli.command import Command
from hyperpolicy.errors import OutOfTime
from hyperpolicy.recipes.multi_task import study, tables
from hyperpolicy.recipes.multi_task.study import StudyConfig
from hyperpolicy.recipes.stage import write_page
from hyperpolicy.run.directory import hold

PROJECTIONS = (
    "CARE + PTSL, shallow",
    "CARE + PTSL, own projections",
    "CARE + PTSL, own projections, safe",
)
RESIDUALS = (
    "CARE + PTSL",
    "CARE + PTSL, safe",
    "CARE + PTSL, sum",
    "CARE + PTSL, linear",
    "CARE + PTSL, project",
    "CARE + PTSL, project, safe",
)


def trains(**what) -> Any:
    """The default of a study's settings."""
    return field(default_factory=lambda: StudyConfig(**what))


@dataclass(frozen=True)
class Study(Command):
    """A study over one directory of cells."""

    page: ClassVar[str] = "study.md"
    config: StudyConfig = field(default_factory=StudyConfig)

    def run(self, console: Console) -> None:
        config = self.config
        with hold(config.out):
            found, late = study.run(config)
            if not found:
                raise OutOfTime("no cell is there yet; the same command goes on with more minutes")
            page = write_page(config.out / self.page, tables.page(found, config))
            picture = tables.curves(found, config, config.out / "curves.png")
        console.print(tables.table(found, config))
        console.print(f"the whole page: {page}, curves: {picture}")
        if late:
            console.print(f"not done, the same command goes on: {', '.join(late)}")


@dataclass(frozen=True)
class Mt10Small(Study):
    """Ten tasks, every method as large as a plain network of 128 × 3: what two cores can do."""


@dataclass(frozen=True)
class Mt10(Study):
    """Ten tasks at the published size, 200,000 steps of each: for a GPU."""

    config: StudyConfig = trains(preset="paper", steps=200_000, seeds=tuple(range(10)))


@dataclass(frozen=True)
class Mt10Long(Study):
    """Ten tasks at the published size, a million steps of each: for a GPU."""

    config: StudyConfig = trains(preset="paper", steps=1_000_000, seeds=(0, 1, 2, 3))


@dataclass(frozen=True)
class Mt10Projection(Study):
    """PTSL with projections that layers share, or each its own."""

    page: ClassVar[str] = "projection.md"
    config: StudyConfig = trains(methods=PROJECTIONS)


@dataclass(frozen=True)
class Mt10Residual(Study):
    """PTSL whose branches take something from the layer before."""

    page: ClassVar[str] = "residual.md"
    config: StudyConfig = trains(methods=RESIDUALS)


@dataclass(frozen=True)
class Mt50(Study):
    """Fifty tasks at the published size, 200,000 steps of each: for a GPU."""

    config: StudyConfig = trains(
        grid="mt50", preset="paper", steps=200_000, seeds=tuple(range(10)), batch=1280
    )


@dataclass(frozen=True)
class Mt50Long(Study):
    """Fifty tasks at the published size, a million steps of each: for a GPU."""

    config: StudyConfig = trains(
        grid="mt50", preset="paper", steps=1_000_000, seeds=(0, 1, 2, 3), batch=1280
    )
