"""Commands that learn from experience or from a zoo: train, fit. Both resume after a kill."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union

from rich.console import Console
from tyro.conf import Positional, subcommand

from hyperpolicy.bounds import Seed, unused
from hyperpolicy.cli.command import Command, refuse
from hyperpolicy.cli.paths import Place
from hyperpolicy.errors import BadZoo
from hyperpolicy.fleet import Schedule
from hyperpolicy.generate import kinds
from hyperpolicy.generate.fitting import FitConfig
from hyperpolicy.rl.sac import SacConfig


@dataclass(frozen=True)
class Train(Command):
    """Train one expert for each training context of a split; the result is a zoo."""

    resumes: ClassVar[bool] = True

    family: Positional[str]
    """Task family, e.g. cheetah-vel."""
    out: Place
    """Directory of the run; the zoo will be OUT/zoo. The same command resumes a stopped run."""
    grid: str = "macaw"
    """Grid of contexts."""
    split: str = "full"
    """Split of the grid; its training contexts get experts."""
    start: Literal["own", "shared"] = "shared"
    """Every expert from its own networks, or all from one initialization."""
    seed: Seed = 0
    """Of networks, exploration and worlds."""
    track: bool = False
    """Write TensorBoard logs beside metrics.jsonl; needs the extra `track`."""
    sac: SacConfig = field(default_factory=SacConfig)
    schedule: Schedule = field(default_factory=Schedule)

    def run(self, console: Console) -> None:
        from hyperpolicy import fleet
        from hyperpolicy.envs import family
        from hyperpolicy.evaluate import tuning

        fam = family(self.family)
        split = fam.grid(self.grid).split(self.split)
        origin = {"grid": self.grid, "split": self.split, "test_contexts": split.test.tolist()}
        zoo = fleet.train(
            self.sac,
            fam,
            split.train,
            self.schedule,
            self.start,
            self.seed,
            self.out,
            origin,
            self.track,
            held_out=split.test,
        )
        curves = tuning.read(self.out / "metrics.jsonl")
        panels = {f"{fam.name}: training": {f"{len(zoo.contexts)} experts": curves}}
        curve = tuning.plot(panels, self.out / "curve.png", overwrite=True)
        console.print(f"{self.out / 'zoo'}: {len(zoo)} rows of {len(zoo.contexts)} experts")
        console.print(f"mean return of the experts: {zoo.returns[zoo.final_rows].mean():.1f}")
        console.print(f"their learning curve: {curve}; its numbers: {self.out / 'metrics.jsonl'}")


if TYPE_CHECKING:
    Settings = FitConfig
else:
    _KINDS = [Annotated[kind, subcommand(name)] for name, kind in kinds.configs().items()]
    Settings = Union[tuple(_KINDS)]  # noqa: UP007


@dataclass(frozen=True)
class Fit(Command):
    """Fit a generator on a zoo's training contexts; other commands take its directory."""

    resumes: ClassVar[bool] = True

    zoo: Positional[Path]
    """Directory of a zoo."""
    out: Place
    """Directory of the generator. The same command resumes a stopped fit."""
    config: Settings
    """The kind of generator, and its settings."""
    grid: str = "macaw"
    """Grid of contexts."""
    split: str = "full"
    """Split of the grid; only experts at its training contexts are used."""
    seed: Seed = 0
    """Of the fit; regression and residual draw nothing."""

    def run(self, console: Console) -> None:
        from hyperpolicy.generate.fitting import fit
        from hyperpolicy.zoo import Zoo

        self._refuse_unused()
        zoo = Zoo.load(self.zoo)
        zoo = zoo.only(zoo.family.grid(self.grid).split(self.split).train)
        made_for = zoo.provenance.get("split", self.split)
        shared = zoo.provenance.get("schedule", {}).get("replay") == "shared"
        if (zoo.provenance.get("base") or shared) and made_for != self.split:
            how = "share their replay, which" if shared else "were specialized from a base that"
            raise BadZoo(
                f"the experts of {self.zoo} {how} saw the training contexts of split "
                f"{made_for!r}; give --split {made_for}, or the zoo of {self.split!r}"
            )
        refuse(self.out / "config.json")
        generator = fit(self.config.beside(self.zoo), zoo, self.seed, self.out)
        console.print(
            f"{self.out}: {generator.kind}, {len(zoo)} rows of {len(zoo.contexts)} experts"
        )

    def _refuse_unused(self) -> None:
        if not self.config.draws:
            unused(self, ["seed"], "on this kind, which draws nothing: every seed gives the same")
        self.config.check_unused()
