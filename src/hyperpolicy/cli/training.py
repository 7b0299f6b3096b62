"""Commands that learn: train, fit, tune. All resume after a kill."""

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import numpy as np
from msgspec import Meta
from rich.console import Console
from tyro.conf import Positional, Suppress, subcommand

from hyperpolicy import files, fleet, rl
from hyperpolicy.bounds import Count, OneOf, Place, Seed, Whole, as_record, unused
from hyperpolicy.cli.command import Command, contexts_of, option, refuse, table
from hyperpolicy.cli.elsewhere import Elsewhere
from hyperpolicy.cli.report import leave
from hyperpolicy.envs import family
from hyperpolicy.errors import BadSetting, BadZoo, NoRendering
from hyperpolicy.fleet import PLANS
from hyperpolicy.fleet.shards import WHOLE, Shard, all_of, gather
from hyperpolicy.generate import confidence, kinds, load
from hyperpolicy.generate.fitting import FitConfig, fit
from hyperpolicy.generate.tune_config import FRESH, GENTLE, TuneConfig
from hyperpolicy.rl import LEARNERS
from hyperpolicy.run.directory import hold
from hyperpolicy.run.job import METRICS, Job, Output
from hyperpolicy.run.trackers import TRACKERS
from hyperpolicy.zoo import Zoo

Learner = Annotated[str, OneOf(LEARNERS)]
Trackers = Annotated[tuple[Annotated[str, OneOf(TRACKERS)], ...], Meta()]


@dataclass(frozen=True)
class Train(Command):
    """Train one expert for each training context of a split; the result is a zoo."""

    resumes: ClassVar[bool] = True

    family: Positional[str]
    """Task family, e.g. cheetah-vel."""
    out: Place
    """Directory of the run; the zoo will be OUT/zoo. The same command resumes a stopped run."""
    grid: str | None = None
    """Grid of contexts; the family's first one unless given."""
    split: str = "full"
    """Split of the grid; its training contexts get experts."""
    start: Literal["own", "shared"] = "shared"
    """Every expert from its own networks, or all from one initialization."""
    seed: Seed = 0
    """Of networks, exploration and worlds."""
    track: Trackers = ()
    """Trackers that get the metrics too; each needs the extra of its name."""
    shard: tuple[Whole, Count] = (0, 1)
    """Train part i of k of the experts alone, in OUT/shard-i-of-k; `zoo join` joins parts."""
    learner: Learner = "sac"
    """The learner; its settings are options too."""
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    cfg: Suppress[Any] = None
    schedule: Suppress[Any] = None

    @classmethod
    def shaped(cls, options: Sequence[str]) -> type[Command]:
        return _train_by(option(options, "learner", cls.learner))

    def run(self, console: Console) -> None:
        self.elsewhere.check()
        fam = family(self.family)
        split = fam.grid(self.grid).split(self.split)
        if self.elsewhere.on == "here":
            shard = Shard(*self.shard)
            out = self.out if shard == WHOLE else shard.place(self.out)
            zoo = self._train(fam, split, out, shard)
        else:
            out, zoo = self.out, self._gather(split)
        self._show(console, fam, zoo, out)

    def _train(self, fam, split, out: Path, shard: Shard) -> Zoo:
        origin = {"grid": split.grid, "split": self.split, "test_contexts": split.test.tolist()}
        plan = PLANS[self.cfg.learner.learns_from][0](self.cfg, self.schedule)
        output = Output(out, self.track, origin)
        plan = plan.holding_out(split.test)
        return fleet.train(plan, fam, split.train, self.start, self.seed, output, shard)

    def _gather(self, split) -> Zoo:
        """The zoo out of shards that are trained elsewhere."""
        if self.shard != (0, 1):
            raise BadSetting(f"--on {self.elsewhere.on} makes shards itself; leave --shard out")
        some = all_of(min(self.elsewhere.shards, len(split.train)))
        identity = {
            "family": self.family,
            "grid": split.grid,
            "split": self.split,
            "start": self.start,
            "seed": self.seed,
            "learner": self.learner,
            "config": as_record(self.cfg),
            "schedule": as_record(self.schedule),
            "shards": len(some),
        }
        with hold(self.out):
            if (self.out / "zoo").exists():
                Job(identity, 1, Output(self.out))  # refused where it is another run's
            else:
                with self.elsewhere.parts(self.out) as run:
                    Job(identity, 1, Output(self.out))
                    parts = [(f"shard {s.number}", ("--shard", *map(str, s))) for s in some]
                    run(parts)
            return gather(self.out, len(some))

    def _show(self, console: Console, fam, zoo: Zoo, out: Path) -> None:
        from hyperpolicy.evaluate import learning

        curves = learning.read(out / METRICS)
        panels = {f"{fam.name}: training": {f"{len(zoo.contexts)} experts": curves}}
        curve = learning.plot_tasks(panels, out / "curve.png", overwrite=True)
        console.print(f"{out / 'zoo'}: {len(zoo)} rows of {len(zoo.contexts)} experts")
        console.print(f"mean return of the experts: {zoo.returns[zoo.final_rows].mean():.1f}")
        losses = learning.plot_measured(out / METRICS, out / "losses.png", overwrite=True)
        console.print(
            f"their learning curve: {curve}; losses and what else updates measure: {losses}"
        )
        console.print(f"all numbers: {out / METRICS}")
        leave(console, out)


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
    grid: str | None = None
    """Grid of contexts; the family's first one unless given."""
    split: str | None = None
    """Split of the grid; only experts at its training contexts are used. Without it `full`, or all
    experts where they are not those of a grid."""
    seed: Seed = 0
    """Of the fit; regression and residual draw nothing."""
    folds: Whole = 0
    """Folds of the training contexts on which it is measured how sure the generator may be; 0: not
    measured. Each fold is a few fits more."""
    track: Trackers = ()
    """Trackers that get the metrics too; each needs the extra of its name."""

    def run(self, console: Console) -> None:
        if not self.config.draws:
            unused(self, ["seed", "track"], "on this kind, which draws nothing and takes no steps")
        self.config.check_unused()
        zoo = Zoo.load(self.zoo)
        zoo = self._training(zoo, console)
        config = self.config.beside(self.zoo)
        if not self.folds or (self.out / confidence.HEADER).exists():
            refuse(self.out / "config.json")
        confidence.check_folds(self.folds, zoo)
        if not (self.out / "config.json").exists():
            generator = fit(config, zoo, self.seed, Output(self.out, self.track))
            console.print(
                f"{self.out}: {generator.kind}, {len(zoo)} rows of {len(zoo.contexts)} experts"
            )
        if self.folds:
            found = confidence.calibrate(config, zoo, self.out, self.folds, seed=self.seed)
            rows = confidence.rows(found.header)
            console.print(table(["signal of doubt", "rank correlation", ""], rows))
            console.print(confidence.said(found.header))
        leave(console, self.out, zoo)

    def _training(self, zoo: Zoo, console: Console) -> Zoo:
        """The experts to fit on. Raises BadZoo: they are not there, or know of others."""
        if self.grid is None and self.split is None and not _on_a_grid(zoo):
            console.print(f"all {len(zoo.contexts)} experts are used: they are those of no grid")
            return zoo
        grid, split = zoo.family.grid(self.grid), self.split or "full"
        self._refuse_leak(zoo, grid, split)
        return zoo.only(grid.split(split).train)

    def _refuse_leak(self, zoo, grid, split: str) -> None:
        """Raise BadZoo where experts learned from contexts that the split does not train on."""
        train, seen = grid.split(split).train, zoo.training.seen
        if not seen or zoo.family.context.distance(np.array(seen), train).min(axis=1).max() < 1e-6:
            return
        splits = map(grid.split, grid.splits)
        of = [s.name for s in splits if set(map(tuple, s.train.tolist())) == set(seen)]
        raise BadZoo(
            f"the experts of {self.zoo} learned from {len(seen)} contexts, by a base or a replay "
            f"in common, that are not all for training in split {split!r}; give "
            f"{'--split ' + ' or '.join(of) + ', or ' if of else ''}a zoo made for this split"
        )


def _on_a_grid(zoo: Zoo) -> bool:
    """Whether some expert stands at a context of one of the family's grids."""
    space = zoo.family.context
    grids = [grid.contexts for grid in zoo.family.grids]
    return any(space.distance(zoo.contexts, one).min() < 1e-6 for one in grids)


@dataclass(frozen=True)
class Tune(Command):
    """Fine-tune the policies a generator writes, each in its own task; all of them at once."""

    resumes: ClassVar[bool] = True

    generator: Positional[str]
    """A shipped generator's name, or a generator's directory."""
    context: tuple[float, ...]
    """One or more contexts; repeat one to tune it several times."""
    out: Place
    """Directory of the run. The same command resumes a stopped run."""
    zoo: Path | None = None
    """The zoo the generator was fitted on, for critics that start from its experts."""
    seed: Seed = 0
    """Of the generator's noise, the worlds and the learners."""
    video: bool = True
    """Record the first context's policy before and after; needs a rendering back end."""
    learner: Learner = "td-sac"
    """GenHyper's, or another one; its settings are options too."""
    config: TuneConfig = field(default_factory=TuneConfig)

    @classmethod
    def shaped(cls, options: Sequence[str]) -> type[Command]:
        return _tune_by(option(options, "learner", cls.learner))

    def run(self, console: Console) -> None:
        from hyperpolicy.evaluate.tables import number
        from hyperpolicy.generate.tune import tune

        self._check()
        generator = load(self.generator)
        fam = generator.family
        contexts = contexts_of(fam, self.context)
        zoo = None if self.zoo is None else Zoo.load(self.zoo)
        with hold(self.out):
            tuned = tune(self.config, generator, contexts, zoo, self.seed, self.out)
            missing = self._save(fam, contexts, tuned)

        names = [fam.task_name(context) for context in contexts]
        before, after = tuned.before.mean(axis=1), tuned.after.mean(axis=1)
        rows = [
            (name, *map(number, pair))
            for name, *pair in zip(names, before, after, after - before, strict=True)
        ]
        console.print(table(["task", "before", "after", "change"], rows))
        if missing:
            console.print(f"no video: {missing}")
        console.print(
            f"{self.out}: tuned policies in zoo/, each context's better one in better.safetensors, "
            "what the generator wrote in start.safetensors, the curve in curve.png"
        )
        leave(console, self.out)

    def _check(self) -> None:
        """Refuse what would have no effect, and critics whose zoo is missing."""
        self.config.refuse_unused()
        given = self.config.has_critics and self.config.critics not in FRESH
        if not given:
            unused(self, ["zoo"], f"with --critics {self.config.critics}, which start fresh")
        if self.zoo is None and given:
            raise BadSetting(
                f"critics={self.config.critics} come from the experts' zoo; give the one the "
                "generator was fitted on by --zoo, or take --critics warm-up"
            )

    def _save(self, fam, contexts, tuned) -> str:
        """Everything beside the tuned zoo, before anything is printed; why there is no video."""
        from hyperpolicy.evaluate import learning

        for name, policies in (("start", tuned.start), ("better", tuned.better)):
            files.write(self.out / f"{name}.safetensors", policies.save, overwrite=True)
        panels = {
            fam.task_name(context): {"tuned": learning.read(self.out / METRICS, [i])}
            for i, context in enumerate(contexts[:4])
        }
        title = f"{fam.name}: fine-tuning, {self.learner}"
        title += f", critics: {self.config.critics}" * self.config.has_critics
        learning.plot_tasks(panels, self.out / "curve.png", title, overwrite=True)
        return self._film(fam, contexts, tuned) if self.video else ""

    def _film(self, fam, contexts, tuned) -> str:
        from hyperpolicy.evaluate.video import Film, record

        for name, policies in (("before", tuned.start), ("after", tuned.zoo.finals)):
            path = self.out / f"{name}.mp4"
            if path.exists():  # of the same run: a directory holds only one
                continue
            try:
                record(policies[0], fam, contexts[:1], path, (name,), Film(steps=120))
            except NoRendering as error:
                return str(error)
        return ""


@cache
def _tune_by(learner: str) -> type[Command]:
    """The command with the settings of a learner."""
    cfg = GENTLE.get(learner) or rl.config(learner)()
    one = [("cfg", type(cfg), field(default=cfg))]
    config = make_dataclass("TuneConfig", one, bases=(TuneConfig,), frozen=True)
    held = [("config", config, field(default=config()))]
    return make_dataclass("Tune", held, bases=(Tune,), frozen=True)
