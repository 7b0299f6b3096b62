"""Commands that learn from experience or from a zoo: train, fit. Both resume after a kill."""

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import numpy as np
from msgspec import Meta
from rich.console import Console
from tyro.conf import Positional, Suppress, subcommand

from hyperpolicy import rl
from hyperpolicy.bounds import OneOf, Place, Seed, unused
from hyperpolicy.cli.command import Command, option, refuse
from hyperpolicy.errors import BadZoo
from hyperpolicy.fleet import PLANS
from hyperpolicy.generate import kinds
from hyperpolicy.generate.fitting import FitConfig
from hyperpolicy.rl import LEARNERS
from hyperpolicy.run.trackers import TRACKERS


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
    track: Annotated[tuple[Annotated[str, OneOf(TRACKERS)], ...], Meta()] = ()
    """Trackers that get the metrics too; each needs the extra of its name."""
    learner: Annotated[str, OneOf(LEARNERS)] = "sac"
    """The learner; its settings are options too."""
    cfg: Suppress[Any] = None
    schedule: Suppress[Any] = None

    @classmethod
    def shaped(cls, options: Sequence[str]) -> type[Command]:
        return _train_by(option(options, "learner", cls.learner))

    def run(self, console: Console) -> None:
        from hyperpolicy import fleet
        from hyperpolicy.envs import family
        from hyperpolicy.evaluate import learning
        from hyperpolicy.run.job import METRICS, Output

        fam = family(self.family)
        split = fam.grid(self.grid).split(self.split)
        origin = {"grid": self.grid, "split": self.split, "test_contexts": split.test.tolist()}
        kind, _ = PLANS[self.cfg.learner.learns_from]
        plan = kind(self.cfg, self.schedule).holding_out(split.test)
        output = Output(self.out, self.track, origin)
        zoo = fleet.train(plan, fam, split.train, self.start, self.seed, output)
        curves = learning.read(self.out / METRICS)
        panels = {f"{fam.name}: training": {f"{len(zoo.contexts)} experts": curves}}
        curve = learning.plot_tasks(panels, self.out / "curve.png", overwrite=True)
        console.print(f"{self.out / 'zoo'}: {len(zoo)} rows of {len(zoo.contexts)} experts")
        console.print(f"mean return of the experts: {zoo.returns[zoo.final_rows].mean():.1f}")
        losses = learning.plot_measured(self.out / METRICS, self.out / "losses.png", overwrite=True)
        console.print(
            f"their learning curve: {curve}; losses and what else updates measure: {losses}"
        )
        console.print(f"all numbers: {self.out / METRICS}")


@cache
def _train_by(learner: str) -> type[Command]:
    """The command with the settings of a learner, and of its schedule."""
    kind = rl.config(learner)
    schedule = PLANS[kind().learner.learns_from][1]
    settings = [(k, t, field(default=t())) for k, t in (("cfg", kind), ("schedule", schedule))]
    return make_dataclass("Train", settings, bases=(Train,), frozen=True)


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
    track: Annotated[tuple[Annotated[str, OneOf(TRACKERS)], ...], Meta()] = ()
    """Trackers that get the metrics too; each needs the extra of its name."""

    def run(self, console: Console) -> None:
        from hyperpolicy.generate.fitting import fit
        from hyperpolicy.run.job import Output
        from hyperpolicy.zoo import Zoo

        self._refuse_unused()
        zoo = Zoo.load(self.zoo)
        grid = zoo.family.grid(self.grid)
        self._refuse_leak(zoo, grid)
        zoo = zoo.only(grid.split(self.split).train)
        refuse(self.out / "config.json")
        output = Output(self.out, self.track)
        generator = fit(self.config.beside(self.zoo), zoo, self.seed, output)
        console.print(
            f"{self.out}: {generator.kind}, {len(zoo)} rows of {len(zoo.contexts)} experts"
        )

    def _refuse_leak(self, zoo, grid) -> None:
        """Raise BadZoo where experts learned from contexts that the split does not train on."""
        train, seen = grid.split(self.split).train, zoo.training.seen
        if not seen:
            return
        if zoo.family.context.distance(np.array(seen), train).min(axis=1).max() < 1e-6:
            return
        of = [s.name for s in map(grid.split, grid.splits) if _same(s.train, seen)]
        raise BadZoo(
            f"the experts of {self.zoo} learned from {len(seen)} contexts, by a base or a replay "
            f"in common, that are not all for training in split {self.split!r}; give "
            f"{'--split ' + ' or '.join(of) + ', or ' if of else ''}a zoo made for this split"
        )

    def _refuse_unused(self) -> None:
        if not self.config.draws:
            why = "on this kind, which draws nothing and takes no steps"
            unused(self, ["seed", "track"], why)
        self.config.check_unused()


def _same(contexts, seen) -> bool:
    return {tuple(row) for row in contexts.tolist()} == set(seen)
