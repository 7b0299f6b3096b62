"""What the methods of a cell share: experts, data, prompts, fits; each made once and read from then
on.

OUT/<family>-<grid>/pipeline-<p>/experts       the independent experts' run and zoo
                                 data          their history, as Episodes
                                 <split>/<fit> a fitted method
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from hyperpolicy import files
from hyperpolicy.baselines import history
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.envs import Family, Grid, Split, family
from hyperpolicy.errors import OutOfTime
from hyperpolicy.fleet import train
from hyperpolicy.generate import loop
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.meta_rl.presets import TARGETS, MetaRlConfig, Preset
from hyperpolicy.recipes.stage import make_once, read, timed
from hyperpolicy.recipes.zero_shot import zoos
from hyperpolicy.recipes.zero_shot.methods import Source
from hyperpolicy.recipes.zero_shot.zoos import Pipeline
from hyperpolicy.rollout import record
from hyperpolicy.run.job import Output
from hyperpolicy.zoo import Zoo

GRIDS = {"ant-dir-endless": "t2da"}
PROMPT_SEED = 11
"""Of the experts' episodes that prompts are cut from."""
SHOWN = 5
"""Such episodes of each task."""


@dataclass(frozen=True)
class Cell:
    """A split of a family's grid, and the number of a pipeline."""

    family: str
    grid: str
    split: str
    pipeline: int = 0

    @property
    def tasks(self) -> Grid:
        """The grid; UnknownFamily or UnknownGrid where there is none."""
        return family(self.family).grid(self.grid)

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.family}-{self.grid}"


@dataclass(frozen=True)
class Lab:
    """A cell, and where its things are."""

    config: MetaRlConfig
    cell: Cell
    until: float
    """The clock's time (`time.monotonic`) after which nothing new is begun."""
    remembered: dict[str, Any] = field(default_factory=dict)
    """What several rows share and no file holds."""

    # --- Names ----------------------------------------------------------------------------
    @property
    def family(self) -> Family:
        return family(self.cell.family)

    @property
    def sizes(self) -> Preset:
        return self.config.sizes

    @property
    def split(self) -> Split:
        return self.cell.tasks.split(self.cell.split)

    @property
    def place(self) -> Path:
        """Of the pipeline."""
        return self.config.out / self.cell.name / f"pipeline-{self.cell.pipeline}"

    @property
    def clock(self) -> Path:
        """Minutes of stages."""
        return self.place / "minutes.json"

    @property
    def target(self) -> float:
        """Return that a Decision Transformer is asked for."""
        return TARGETS[self.cell.family]

    def output(self, path: Path) -> Output:
        """A run's directory, which is left in time. Raises OutOfTime: it is over."""
        left = (self.until - time.monotonic()) / 60.0
        if left <= 0:
            raise OutOfTime("the minutes are over; the same command goes on")
        return Output(path, minutes=left)

    # --- Data -----------------------------------------------------------------------------
    @cached_property
    def experts(self) -> Zoo:
        """Independent experts of all tasks of the grid, test tasks too, each from its own start;
        nothing of a test task's expert reaches a fit."""
        out = self.place / "experts"

        def make() -> None:
            plan = self.sizes.experts[self.cell.family]
            contexts, seed = self.cell.tasks.contexts, self.cell.pipeline
            train(plan, self.family, contexts, "own", seed, self.output(out))

        return Zoo.load(make_once(out / "zoo", make, timed(self.clock, "experts")))

    @cached_property
    def data(self) -> Episodes:
        """Their history."""
        place = self.place / "data"

        def make() -> None:
            found = history.history(self.experts, self.sizes.episodes, self.cell.pipeline)
            found.save(place)

        if not place.exists():
            _ = self.experts  # which has minutes of its own
        return Episodes.load(make_once(place, make, timed(self.clock, "data")))

    @cached_property
    def train_data(self) -> Episodes:
        """The history of the training tasks."""
        return history.of_tasks(self.data, self.split.train)

    @cached_property
    def test_data(self) -> Episodes:
        """The history of the test tasks, which methods are given at test time."""
        return history.of_tasks(self.data, self.split.test)

    @cached_property
    def shown(self) -> Episodes:
        """Deterministic episodes of the experts, of all tasks."""
        place = self.place / "shown"

        def make() -> None:
            zoo = self.experts
            record(zoo.finals, zoo.family, zoo.contexts, SHOWN, PROMPT_SEED).save(place)

        return Episodes.load(make_once(place, make))

    def prompts(self, pieces: int = 1, steps: int = 5) -> Prompts:
        """A prompt of each test task."""
        seed = self.cell.pipeline
        return Prompts.cut(self.shown, self.split.test, pieces, steps, seed=seed)

    @property
    def others(self) -> Int[np.ndarray, " k"]:
        """For each test task the number of another: the one half way round the list."""
        k = len(self.split.test)
        return (np.arange(k) + max(1, k // 2)) % k

    def as_if(self, episodes: Episodes) -> Episodes:
        """Episodes of the test tasks, each said to be of another test task."""
        test, made = self.split.test, []
        for one in episodes:
            i = int(self.family.context.distance(one.context[None], test).argmin())
            j = int(np.flatnonzero(self.others == i)[0])
            made.append(one._replace(context=test[j]))
        return Episodes.of(self.family, made)

    # --- Generators -----------------------------------------------------------------------
    @cached_property
    def source(self) -> Source:
        """The specialized zoo of this pipeline's generators, trained where there is none."""
        grid, split, seed = self.cell.tasks, self.cell.split, self.cell.pipeline
        name = f"specialized-{split}" + ("" if seed == 0 else f"-seed{seed}")
        place = zoos.place(grid)
        ours, shipped = self.config.out / "zoos" / place / name, self.config.zoos / place / name

        def make() -> None:
            runs, chosen = self.config.out / "runs" / place, self.sizes.generators
            preset = chosen or zoos.preset_of(
                zoos.PRESETS if split == "full" else zoos.SHORTER, self.cell.family
            )
            zoos.specialized(runs / "specialized", grid, (Pipeline(split, seed),), preset)
            zoos.ship(runs, ours.parent)

        path = shipped
        if not (shipped / "zoo.json").exists():
            path = make_once(ours, make, timed(self.clock, self.stage("zoo")))
        return Source.beside(path, Zoo.load(path).only(self.split.train))

    @cached_property
    def specialists(self) -> Policies:
        """The test tasks' own experts out of the zoo of `full`, specialized from its base."""
        full = replace(self, cell=replace(self.cell, split="full"), remembered={})
        return Zoo.load(full.source.path).only(self.split.test).finals

    # --- Fits -----------------------------------------------------------------------------
    def fit(self, name: str, load: Callable[[Path], Any], make: Callable[[Output], Any]) -> Any:
        """A fitted method, kept as a file."""
        place = self.place / self.cell.split
        path = place / f"{name}.safetensors"

        def write() -> None:
            out = self.output(place / f"{name}-run")
            make(out).save(path)
            loop.finish(out.path)

        return load(make_once(path, write, timed(self.clock, self.stage(name))))

    def remember(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once in this process."""
        if name not in self.remembered:
            with timed(self.clock, self.stage(name)):
                self.remembered[name] = make()
        return self.remembered[name]

    def stage(self, name: str) -> str:
        """How a fit's minutes are called."""
        return f"{self.cell.split}: {name}"

    def minutes(self, name: str) -> float | None:
        """What a fit took; None where it was not noted."""
        return read(self.clock).get(self.stage(name))

    def keep(self, name: str, make: Callable[[], dict]) -> dict:
        """A record that is made once."""
        path = self.place / self.cell.split / f"{name}.json"
        return files.load_json(make_once(path, lambda: files.save_json(path, make())))
