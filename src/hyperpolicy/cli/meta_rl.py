"""Commands that compare methods that adapt from data with generators, choose what ships, and
measure how sure generators may be."""

from dataclasses import dataclass, field

from rich.console import Console

from hyperpolicy.cli.command import Command
from hyperpolicy.errors import OutOfTime
from hyperpolicy.recipes.meta_rl import table
from hyperpolicy.recipes.meta_rl.presets import MetaRlConfig
from hyperpolicy.recipes.stage import write_page
from hyperpolicy.recipes.zero_shot import choosing, sureness
from hyperpolicy.recipes.zero_shot.choosing import ChoosingConfig
from hyperpolicy.recipes.zero_shot.sureness import SurenessConfig
from hyperpolicy.run.directory import hold


@dataclass(frozen=True)
class MetaRl(Command):
    """Decision Transformers, Prompt-DT, MACAW and PEARL beside generators, on our data."""

    config: MetaRlConfig = field(default_factory=MetaRlConfig)

    def run(self, console: Console) -> None:
        config = self.config
        table.check(config)
        with hold(config.out):
            done, late = table.run(config)
            if not done:
                raise OutOfTime("no row is there yet; the same command goes on with more minutes")
            page = write_page(config.out / "meta-rl.md", table.page(done, late))
            pictures = table.draw(done, config.out)
            table.write_rows(done, config.out / "rows")
        for (family, grid, split), rows in table.joined(done).items():
            title = f"{family}, {grid} grid, split {split}"
            console.print(table.comparison(family, split, rows).rich(title))
        console.print(f"the whole page: {page}; pictures: {', '.join(map(str, pictures))}")
        if late:
            console.print(f"not done, the same command goes on: {', '.join(late)}")


@dataclass(frozen=True)
class Choosing(Command):
    """Which preset and which kind of generator ship, by training contexts that are held out."""

    config: ChoosingConfig = field(default_factory=ChoosingConfig)

    def run(self, console: Console) -> None:
        config = self.config
        with hold(config.out):
            found, late = choosing.run(config)
            text = choosing.page(found, late)
            made = write_page(config.out / "choosing.md", text)
        console.print(text)
        console.print(f"the whole page: {made}")


@dataclass(frozen=True)
class Sureness(Command):
    """Whether generators know how good their policies are, on training contexts held out."""

    config: SurenessConfig = field(default_factory=SurenessConfig)

    def run(self, console: Console) -> None:
        config = self.config
        with hold(config.out):
            done, late = sureness.run(config)
            if not done:
                raise OutOfTime("nothing is there yet; the same command goes on with more minutes")
            text = sureness.page(done, late)
            made = write_page(config.out / "confidence.md", text)
        console.print(text)
        console.print(f"the whole page: {made}")
