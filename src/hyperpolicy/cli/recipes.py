"""Commands that rebuild what was published, and the demo. All but the demo resume after a kill.

A command holds its recipe's settings: what they are is written there.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from rich.console import Console
from tyro.conf import Suppress, subcommand

from hyperpolicy.bounds import Place
from hyperpolicy.cli.amt_hyp import (
    AmtHyp,
    AmtHypTable1,
    AmtHypTable2,
    AmtHypTable3,
    Latents,
    Tokens,
)
from hyperpolicy.cli.command import Command
from hyperpolicy.cli.elsewhere import Elsewhere
from hyperpolicy.cli.fifty import (
    DemonstrationSearch,
    GoalsDemonstration,
    Ml45Demonstration,
    Mt50Demonstration,
)
from hyperpolicy.cli.hyperzero import (
    ActuatorMorph,
    ActuatorSigns,
    HyperZeroAblation,
    HyperZeroDynamics,
    HyperZeroHyPoGen,
    HyperZeroJoint,
    HyperZeroReward,
)
from hyperpolicy.cli.meta_rl import Choosing, MetaRl, Sureness
from hyperpolicy.cli.multi_task import (
    Mt10,
    Mt10Long,
    Mt10Projection,
    Mt10Residual,
    Mt10Small,
    Mt50,
    Mt50Long,
)
from hyperpolicy.cli.report import leave
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet.shards import gather
from hyperpolicy.recipes import demo
from hyperpolicy.recipes.genhyper import figure_6, table_1
from hyperpolicy.recipes.genhyper.figure_6 import Figure6Config
from hyperpolicy.recipes.genhyper.table_1 import Table1Config
from hyperpolicy.recipes.stage import write_page
from hyperpolicy.recipes.zero_shot import presets, table, zoos
from hyperpolicy.recipes.zero_shot.presets import TableConfig
from hyperpolicy.run.directory import hold


def check_zoos(config: Table1Config | Figure6Config) -> None:
    """Raise BadZoo where a directory of zoos was given and is missing; the default one may be."""
    if config.zoos != type(config).zoos and not config.zoos.is_dir():
        raise BadZoo(
            f"no directory {config.zoos} (--zoos); leave it out to train all zoos, or correct it"
        )


@dataclass(frozen=True)
class Zoos(Command):
    """Build a family's zoos from nothing."""

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

    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    part: Suppress[str] = ""
    """A part of the work, as this command asks for it on a cluster: base:SPLIT:SEED,
    experts:SPLIT:SEED:i:k or independent:i:k."""

    def run(self, console: Console) -> None:
        self.elsewhere.check()
        fam, alone = family(self.family), presets.preset_of(presets.WITHOUT_BASE, self.family)
        grid = fam.grid(self.grid)
        self._check(grid, alone)
        out = self.out / zoos.place(grid)
        if self.part:
            self._part(out, grid, alone, *self.part.split(":"))
            return
        with hold(out):
            self._build(console, out, grid, alone)

    def _build(self, console: Console, out: Path, grid, alone) -> None:
        for kind in ("splits", "replicas", *alone) if self.kind == "all" else (self.kind,):
            if self.elsewhere.on != "here":
                self._gather(kind, out, grid)
            elif kind in ("independent", "shared-replay"):
                zoos.independent(out / kind, grid, alone[kind])
            else:
                zoos.specialized(out / "specialized", grid, _pipelines(kind))
            console.print(f"{kind}: done")
        for path in zoos.draw_curves(out, out, zoos.place(grid)):
            console.print(f"learning curves: {path}")
        if self.ship is not None:
            for path in zoos.ship(out, self.ship / zoos.place(grid)):
                console.print(f"new slice: {path}")

    # --- On a cluster -------------------------------------------------------------------------
    def _gather(self, kind: str, out: Path, grid) -> None:
        """Zoos out of shards: bases first, then experts."""
        if kind == "shared-replay":
            raise BadSetting("experts that share their replay cannot be trained in shards")
        places, bases = {kind: out / kind}, list[str]()
        if kind != "independent":
            names = {f"{p.split}:{p.seed}": p for p in _pipelines(kind)}
            places = {f"experts:{key}": p.path(out / "specialized") for key, p in names.items()}
            bases = [f"base:{key}" for key in names]
        left = {key: at for key, at in places.items() if not (at / "zoo").exists()}
        shards = {key: self._shards(grid, key) for key in left}
        if left:
            with self.elsewhere.parts(out) as run:
                run([(part.replace(":", " "), ("--part", part)) for part in bases])
                parts = [f"{key}:{i}:{n}" for key, n in shards.items() for i in range(n)]
                run([(part.replace(":", " "), ("--part", part)) for part in parts])
        for key, place in left.items():
            gather(place, shards[key])

    def _shards(self, grid, key: str) -> int:
        """Of the experts of a part: one an expert at most."""
        split = key.split(":")[1] if ":" in key else "full"
        contexts = grid.contexts if split == "full" else grid.split(split).train
        return min(self.elsewhere.shards, len(contexts))

    def _part(self, out: Path, grid, alone, what: str, *which: str) -> None:
        """One part of the work."""
        if what == "independent":
            zoos.independent(out / what, grid, alone[what], zoos.Shard(*map(int, which)))
            return
        pipeline = zoos.Pipeline(which[0], int(which[1]))
        preset = presets.preset_of(presets.PRESETS, self.family)
        if what == "base":
            zoos.bases(out / "specialized", grid, (pipeline,), preset)
        else:
            shard = zoos.Shard(*map(int, which[2:]))
            zoos.specialized(out / "specialized", grid, (pipeline,), preset, shard)

    def _check(self, grid, alone) -> None:
        """Refuse a kind that the family or the grid does not have."""
        if self.kind in ("independent", "shared-replay") and self.kind not in alone:
            raise BadSetting(
                f"{self.family} has no {self.kind} zoo: PPO has no replay; of those without a "
                f"base there is: {', '.join(alone)}"
            )
        for pipeline in zoos.ALL_SPLITS if self.kind in ("splits", "all") else zoos.FULL:
            grid.split(pipeline.split)


def _pipelines(kind: str) -> tuple[zoos.Pipeline, ...]:
    return {"splits": zoos.ALL_SPLITS, "replicas": zoos.REPLICAS}.get(kind, zoos.FULL)


@dataclass(frozen=True)
class CheetahVelTable(Command):
    """Every generator and every trivial row on both Cheetah-Vel zoos and four splits."""

    config: TableConfig = field(default_factory=TableConfig)

    def run(self, console: Console) -> None:
        out = self.config.out
        table.check(self.config)
        with hold(out):
            cells = table.run(self.config)
            text = table.markdown(cells, table.between(self.config))
            page = write_page(out / "table.md", text)
        for cell, comparison in cells.items():
            console.print(comparison.rich(f"{cell.kind} zoo, split {cell.split}"))
        console.print(f"the whole table: {page}")


@dataclass(frozen=True)
class Table1(Command):
    """GenHyper's Table I on both families, both grids, many and few training tasks."""

    config: Table1Config = field(default_factory=Table1Config)

    def run(self, console: Console) -> None:
        config = self.config
        check_zoos(config)
        with hold(config.out):
            done, left = table_1.run(config)
            page = write_page(config.out / "table1.md", table_1.markdown(config, done, left))
        for cell, comparison in done.items():
            title = f"{cell.family}, {cell.grid} grid, {cell.kind}, {cell.split}"
            console.print(comparison.rich(title))
        console.print(f"{len(done)} cells: {page}; {len(left)} left for the next call")


@dataclass(frozen=True)
class Figure6(Command):
    """GenHyper's Figure 6: fine-tuning of generated policies, and ways to begin its critics."""

    config: Figure6Config = field(default_factory=Figure6Config)

    def run(self, console: Console) -> None:
        config = self.config
        check_zoos(config)
        with hold(config.home):
            found = figure_6.run(config)
            text = figure_6.markdown(found)
            made = [write_page(config.home / "figure-6.md", text), *figure_6.draw(found)]
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
        | Annotated[AmtHyp, subcommand("amt-hyp")]
        | Annotated[AmtHypTable1, subcommand("amthyp-table1")]
        | Annotated[AmtHypTable2, subcommand("amthyp-table2")]
        | Annotated[AmtHypTable3, subcommand("amthyp-table3")]
        | Annotated[Tokens, subcommand("amthyp-tokens")]
        | Annotated[Latents, subcommand("amthyp-pca")]
        | Annotated[HyperZeroReward, subcommand("hyperzero-reward")]
        | Annotated[HyperZeroDynamics, subcommand("hyperzero-dynamics")]
        | Annotated[HyperZeroJoint, subcommand("hyperzero-joint")]
        | Annotated[HyperZeroAblation, subcommand("hyperzero-ablation")]
        | Annotated[HyperZeroHyPoGen, subcommand("hyperzero-hypogen")]
        | Annotated[ActuatorSigns, subcommand("actuator-signs")]
        | Annotated[ActuatorMorph, subcommand("actuator-morph")]
        | Annotated[Mt10Small, subcommand("mt10-small")]
        | Annotated[Mt10, subcommand("mt10-200k")]
        | Annotated[Mt10Long, subcommand("mt10-1m")]
        | Annotated[Mt10Projection, subcommand("mt10-projection")]
        | Annotated[Mt10Residual, subcommand("mt10-residual")]
        | Annotated[Mt50, subcommand("mt50-200k")]
        | Annotated[Mt50Long, subcommand("mt50-1m")]
        | Annotated[Mt50Demonstration, subcommand("mt50-demonstration")]
        | Annotated[Ml45Demonstration, subcommand("ml45-demonstration")]
        | Annotated[GoalsDemonstration, subcommand("goals-demonstration")]
        | Annotated[DemonstrationSearch, subcommand("demonstration-search")]
        | Annotated[MetaRl, subcommand("meta-rl")]
        | Annotated[Choosing, subcommand("choosing")]
        | Annotated[Sureness, subcommand("confidence")]
    )

    def run(self, console: Console) -> None:
        self.recipe.run(console)
        config: Any = getattr(self.recipe, "config", self.recipe)
        leave(console, getattr(config, "home", config.out))


@dataclass(frozen=True)
class Demo(Command):
    """Fit a generator on the shipped zoo, let it write policies for unseen speeds, and look."""

    config: demo.DemoConfig = field(default_factory=demo.DemoConfig)

    def run(self, console: Console) -> None:
        where = demo.demo(self.config, console)
        console.print(f"read {where / 'table.md'}, look at the pictures beside it")
