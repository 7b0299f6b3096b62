"""Commands that rebuild what was published, and the demo. All but the demo resume after a kill."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from rich.console import Console
from tyro.conf import subcommand

from hyperpolicy.bounds import Count, Counts, Names, Weight
from hyperpolicy.cli import amt_hyp
from hyperpolicy.cli.command import Command
from hyperpolicy.cli.paths import Place
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.generate.tune_config import CriticStart, TuneConfig


def there(command: Command, name: str) -> None:
    """Refuse a directory that was given and is missing; the default one may be.

    Raises:
        BadZoo: it is missing.
    """
    path = getattr(command, name)
    if path != getattr(type(command), name) and not path.is_dir():
        raise BadZoo(
            f"no directory {path} (--{name}); leave it out to train all zoos, or correct it"
        )


@dataclass(frozen=True)
class Zoos(Command):
    """Build a family's zoos from nothing."""

    resumes: ClassVar[bool] = True

    out: Place = Path("runs")
    """Where the runs go, in a directory of their own for each family; the same command resumes."""
    family: str = "cheetah-vel"
    """Task family."""
    grid: str = "macaw"
    """Grid of contexts."""
    kind: Literal["specialized", "splits", "replicas", "independent", "shared-replay", "all"] = (
        "specialized"
    )
    """The specialized zoo of the full split, those of all splits, two more seeds of the first, the
    independent one, the one whose experts share their replay, or everything."""
    ship: Place | None = None
    """Also write compact slices below this directory; existing ones are left alone."""

    def run(self, console: Console) -> None:
        from hyperpolicy.envs import family
        from hyperpolicy.recipes import presets, zoos
        from hyperpolicy.run import hold

        fam, alone = family(self.family), presets.preset_of(presets.WITHOUT_BASE, self.family)
        grid = fam.grid(self.grid)
        self._check(grid, alone)
        out = self.out / zoos.place(grid)
        with hold(out):
            self._build(console, out, grid, alone)

    def _build(self, console: Console, out: Path, grid, alone) -> None:
        from hyperpolicy.recipes import zoos

        for kind in ("splits", "replicas", *alone) if self.kind == "all" else (self.kind,):
            if kind in ("independent", "shared-replay"):
                zoos.independent(out / kind, grid, alone[kind])
            else:
                jobs = {"splits": zoos.ALL_SPLITS, "replicas": zoos.REPLICAS}.get(kind, zoos.FULL)
                zoos.specialized(out / "specialized", grid, jobs)
            console.print(f"{kind}: done")
        for path in zoos.draw_curves(out, out, zoos.place(grid)):
            console.print(f"learning curves: {path}")
        if self.ship is not None:
            for path in zoos.ship(out, self.ship / zoos.place(grid)):
                console.print(f"new slice: {path}")

    def _check(self, grid, alone) -> None:
        """Refuse a kind that the family or the grid does not have."""
        from hyperpolicy.recipes import zoos

        if self.kind in ("independent", "shared-replay") and self.kind not in alone:
            raise BadSetting(
                f"{self.family} has no {self.kind} zoo: PPO has no replay; of those without a "
                f"base there is: {', '.join(alone)}"
            )
        jobs = zoos.ALL_SPLITS if self.kind in ("splits", "all") else zoos.FULL
        for job in jobs:
            grid.split(job.split)


@dataclass(frozen=True)
class CheetahVelTable(Command):
    """Every generator and every trivial row on both Cheetah-Vel zoos and four splits."""

    resumes: ClassVar[bool] = True

    zoos: Path = Path("zoos/cheetah-vel")
    """Directory of the zoos; the repository ships these."""
    out: Place = Path("runs/cheetah-vel-table")
    """Where fits and cells go; the same command goes on from what is there."""
    kinds: Names = ("specialized", "independent")
    """Zoos to use."""
    splits: Names = ("full", "eighth", "sixteenth", "extrapolation")
    """Splits to use."""

    def run(self, console: Console) -> None:
        from hyperpolicy import files
        from hyperpolicy.recipes.zero_shot import table as recipe
        from hyperpolicy.run import hold

        config = recipe.TableConfig(
            zoos=(self.zoos,), out=self.out, kinds=self.kinds, splits=self.splits
        )
        recipe.check(config)
        with hold(self.out):
            cells = recipe.run(config)
            page = self.out / "table.md"
            text = recipe.markdown(cells, recipe.between(config))
            files.write(page, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)
        for (kind, split), comparison in cells.items():
            console.print(comparison.rich(f"{kind} zoo, split {split}"))
        console.print(f"the whole table: {page}")


@dataclass(frozen=True)
class Table1(Command):
    """GenHyper's Table I on both families, both grids, many and few training tasks."""

    resumes: ClassVar[bool] = True

    families: Names = ("cheetah-vel", "ant-dir")
    """Task families."""
    grids: Names = ("authors", "macaw")
    """Grids of contexts; the published rows are on `authors`."""
    kinds: Names = ("specialized", "independent")
    """Kinds of zoos."""
    splits: Names | None = None
    """Splits of every grid, e.g. full or random-10; all there are by default."""
    zoos: Path = Path("zoos")
    """Zoos that are there already; the repository ships some."""
    out: Place = Path("runs/genhyper-table1")
    """New zoos, fits and cells; the same command goes on from what is there."""
    minutes: Weight = 120.0
    """No new zoo or cell is begun after that."""
    draws: Count = 8
    """Noise draws of a generator on each test task."""
    rows: Names | None = None
    """Which generators to fit, e.g. HypLatent GenHyper; all by default."""

    def run(self, console: Console) -> None:
        from hyperpolicy import files
        from hyperpolicy.recipes.genhyper import table_1 as recipe
        from hyperpolicy.run import hold

        there(self, "zoos")
        config = recipe.Table1Config(
            self.families,
            self.grids,
            self.kinds,
            self.splits,
            self.zoos,
            self.out,
            self.minutes,
            draws=self.draws,
            rows=self.rows,
        )
        with hold(self.out):
            done, left = recipe.run(config)
            page, text = self.out / "table1.md", recipe.markdown(config, done, left)
            files.write(page, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)
        for cell, comparison in done.items():
            title = f"{cell.family}, {cell.grid} grid, {cell.kind}, {cell.split}"
            console.print(comparison.rich(title))
        console.print(f"{len(done)} cells: {page}; {len(left)} left for the next call")


@dataclass(frozen=True)
class Figure6(Command):
    """GenHyper's Figure 6: fine-tuning of generated policies, and ways to begin its critics."""

    resumes: ClassVar[bool] = True

    family: str = "cheetah-vel"
    """Task family."""
    grid: str = "macaw"
    """Grid of contexts."""
    zoos: Path = Path("zoos")
    """Zoos that are there already; the repository ships some."""
    new_zoos: Place = Path("runs/genhyper-table1")
    """Where missing zoos are trained, and where Table I leaves its own."""
    out: Place = Path("runs/figure-6")
    """Where curves and pictures go, in a directory of their own for each family."""
    counts: Counts = (15, 25, 35)
    """Training tasks of the generators."""
    steps: Count = 200_000
    """Environment steps of SAC from scratch."""
    tuned_steps: Count = 200_000
    """Environment steps of generated starts whose critics are random."""
    critics: tuple[CriticStart, ...] = ("warm-up", "nearest", "generated", "fitted")
    """Ways to begin the critics, beside random ones, for the largest count."""
    critics_steps: Count = 100_000
    """Environment steps of the other ways to begin the critics."""
    ppo_steps: Count = 100_000
    """Environment steps of the starts tuned by PPO."""
    episodes: Count = 5
    """Episodes of each evaluation; Ant-Dir's returns spread by 50 and want 20."""

    def run(self, console: Console) -> None:
        from hyperpolicy import files
        from hyperpolicy.envs import family
        from hyperpolicy.recipes.genhyper import figure_6 as recipe
        from hyperpolicy.recipes.zoos import place
        from hyperpolicy.run import hold

        there(self, "zoos")
        name = place(family(self.family).grid(self.grid))
        config = recipe.Figure6Config(
            family=self.family,
            grid=self.grid,
            zoos=self.zoos,
            new_zoos=self.new_zoos,
            out=self.out / name,
            counts=self.counts,
            steps=self.steps,
            tuned_steps=self.tuned_steps,
            critics=self.critics,
            critics_steps=self.critics_steps,
            ppo_steps=self.ppo_steps,
            tune=TuneConfig(episodes=self.episodes),
        )
        with hold(config.out):
            found = recipe.run(config)
            page, text = config.out / "figure-6.md", recipe.markdown(found)
            files.write(page, lambda p: p.write_text(text, encoding="utf-8"), overwrite=True)
            made = [page, *recipe.draw(found)]
        console.print(text)
        for path in made:
            console.print(f"{path}")


@dataclass(frozen=True)
class Recipe(Command):
    """Rebuild a published table or figure, or the zoos behind it."""

    resumes: ClassVar[bool] = True

    recipe: (
        Zoos
        | CheetahVelTable
        | Annotated[Table1, subcommand("genhyper-table1")]
        | Annotated[Figure6, subcommand("figure-6")]
        | Annotated[amt_hyp.AmtHyp, subcommand("amt-hyp")]
        | Annotated[amt_hyp.Table1, subcommand("amthyp-table1")]
        | Annotated[amt_hyp.Table2, subcommand("amthyp-table2")]
        | Annotated[amt_hyp.Table3, subcommand("amthyp-table3")]
        | Annotated[amt_hyp.Tokens, subcommand("amthyp-tokens")]
        | Annotated[amt_hyp.Latents, subcommand("amthyp-pca")]
    )

    def run(self, console: Console) -> None:
        from hyperpolicy.run import hold

        with hold(self.recipe.out if isinstance(self.recipe, amt_hyp.OnBench) else None):
            self.recipe.run(console)  # the others hold a directory for each family or grid


@dataclass(frozen=True)
class Demo(Command):
    """Fit a generator on the shipped zoo, let it write policies for unseen speeds, and look."""

    zoo: Path = Path("zoos/cheetah-vel/specialized-full")
    """The zoo to fit on; the repository ships this one."""
    out: Place = Path("demo")
    """Where everything goes; a number is added where it exists."""
    video: bool = True
    """Record a short video; needs a rendering back end."""

    def run(self, console: Console) -> None:
        from hyperpolicy.recipes.demo import DemoConfig, demo

        where = demo(DemoConfig(self.zoo, self.out, video=self.video), console)
        console.print(f"read {where / 'table.md'}, look at the pictures beside it")
