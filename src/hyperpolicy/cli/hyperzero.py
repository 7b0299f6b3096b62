"""Commands that rebuild HyperZero's tables: rewards, bodies, both, parts left out, reversed motors.

All resume after a kill, and make the experts they need.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from rich.console import Console

from hyperpolicy.cli.command import Command
from hyperpolicy.recipes.hyperzero import experts, figures, tables
from hyperpolicy.recipes.hyperzero.methods import HYPERZERO, HYPOGEN, MANY_BODIES
from hyperpolicy.recipes.hyperzero.tables import EXACT, SPEED_FAMILIES, Cell, TablesConfig
from hyperpolicy.recipes.stage import write_page
from hyperpolicy.run.directory import hold

ONE_SPLIT = ("hypogen-20-0",)


def measures(**what) -> Any:
    """The default of a recipe's settings."""
    return field(default_factory=lambda: TablesConfig(**what))


@dataclass(frozen=True)
class HyperZeroTable(Command):
    """A recipe over one directory of experts, fits and cells."""

    page: ClassVar[str] = "hyperzero.md"
    config: TablesConfig = field(default_factory=TablesConfig)

    def run(self, console: Console) -> None:
        config = self.config
        with hold(config.out):
            found = tables.run(config)
            page = write_page(config.out / self.page, tables.page(found, config))
            for name, cells in found.items():
                for split, cell in cells.items():
                    place = config.out / f"{name}-{config.grid}-{split}.png"
                    figures.draw(Cell(name, config.grid, split), cell, place)
        for name, cells in found.items():
            console.print(tables.table(name, cells, config))
        console.print(f"the whole page: {page}")


@dataclass(frozen=True)
class HyperZeroReward(HyperZeroTable):
    """HyperZero and all it is compared with on signed speeds, one-sided and exact."""

    page: ClassVar[str] = "reward.md"


@dataclass(frozen=True)
class HyperZeroDynamics(HyperZeroTable):
    """The same on bodies of other lengths, whose target speed is 1."""

    page: ClassVar[str] = "dynamics.md"
    config: TablesConfig = measures(families=SPEED_FAMILIES, grid="length", splits=ONE_SPLIT)


@dataclass(frozen=True)
class HyperZeroJoint(HyperZeroTable):
    """The same on speeds and lengths together."""

    page: ClassVar[str] = "joint.md"
    config: TablesConfig = measures(
        families=SPEED_FAMILIES,
        grid="speed-length",
        splits=ONE_SPLIT,
        experts=experts.MANY,
        methods=MANY_BODIES,
    )


@dataclass(frozen=True)
class HyperZeroAblation(HyperZeroTable):
    """HyperZero without TD and without value, on the cheetah's speeds."""

    page: ClassVar[str] = "ablation.md"
    config: TablesConfig = measures(
        families=("cheetah-run", EXACT[0]),
        rows=(HYPERZERO, "HyperZero without TD", "HyperZero without value"),
    )


@dataclass(frozen=True)
class ActuatorSigns(HyperZeroTable):
    """Reversed motors, one sign each: patterns that nobody trained on."""

    page: ClassVar[str] = "signs.md"
    config: TablesConfig = measures(
        families=("cheetah-run-signs", "walker-walk-signs"), grid="signs", splits=("twenty",)
    )


@dataclass(frozen=True)
class ActuatorMorph(HyperZeroTable):
    """One sign on all motors and longer or shorter legs: the Actuator Inversion Benchmark's bodies,
    beyond those trained on (`--splits between`: among them)."""

    page: ClassVar[str] = "morph.md"
    config: TablesConfig = measures(
        families=("cheetah-run-morph",), grid="morph", splits=("beyond",)
    )


@dataclass(frozen=True)
class HyperZeroHyPoGen(HyperZeroTable):
    """HyPoGen beside HyperZero, on signed speeds."""

    page: ClassVar[str] = "hypogen.md"
    config: TablesConfig = measures(families=SPEED_FAMILIES, rows=(HYPERZERO, HYPOGEN))
