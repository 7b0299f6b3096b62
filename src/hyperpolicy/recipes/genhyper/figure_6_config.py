"""Settings of Figure 6 (`recipes.figure_6`), and whether they can work."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Suppress

from hyperpolicy.bounds import Bounded, Count, Counts, Place
from hyperpolicy.envs import Grid, Split, family
from hyperpolicy.errors import BadSetting, UnknownFamily, unknown
from hyperpolicy.fleet import Schedule
from hyperpolicy.generate.tune_config import GENTLE, CriticStart, TuneConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.recipes.zero_shot import zoos
from hyperpolicy.recipes.zero_shot.presets import SpecializedPreset

TASKS = {"ant-dir": (6, 41), "cheetah-vel": (7, 23)}
PUBLISHED = replace(GENTLE["td-sac"], initial_alpha=1.0)
"""CleanRL's settings, beside random critics."""
Kind = CriticStart | Literal["ppo"]
"""How a start is tuned."""


@dataclass(frozen=True)
class Figure6Config(Bounded):
    family: str = "cheetah-vel"
    """Task family."""
    grid: str = "macaw"
    """Grid of contexts."""
    zoos: Path = Path("zoos")
    """Zoos that are there already, in a directory for each family and grid."""
    new_zoos: Place = Path("runs/genhyper-table1")
    """Where missing zoos are trained, specialized ones of the splits random-<count>-0, and where
    Table I leaves its own."""
    out: Place = Path("runs/figure-6")
    """Where curves and pictures go, in a directory of their own for each family and grid."""
    counts: Counts = (15, 25, 35)
    """Training tasks of the generators."""
    critics: tuple[CriticStart, ...] = ("warm-up", "nearest", "generated", "fitted")
    """Ways to begin the critics, beside the published random ones, for the largest count."""
    seeds: Suppress[Count] = 3
    steps: Count = 200_000
    """Environment steps of SAC from scratch."""
    tuned_steps: Count = 200_000
    """Environment steps of generated starts whose critics are random."""
    critics_steps: Count = 100_000
    """Environment steps of the other ways to begin the critics."""
    ppo_steps: Count = 100_000
    """Environment steps of the starts tuned by PPO."""
    episodes: Count = 5
    """Episodes of each evaluation; Ant-Dir's returns spread by 50 and want 20."""
    first_steps: Suppress[Count] = 10_000
    """How many of them the enlarged picture shows, and in which dips count."""
    hyplatent: Suppress[HypLatentConfig] = field(
        default_factory=lambda: HypLatentConfig(steps=5_000, behavior=1e3)
    )
    tune: Suppress[TuneConfig] = field(default_factory=TuneConfig)
    """Settings of all fine-tunings; steps, critics and episodes are set above."""
    ppo: Suppress[Any] = GENTLE["ppo"]
    """The learner of the starts that are tuned without critics."""
    random_start_steps: Suppress[Count] = 5_000
    """Random actions before SAC from scratch learns (CleanRL)."""
    preset: Suppress[SpecializedPreset | None] = None
    """How missing zoos are trained; the family's own preset by default."""

    @property
    def tasks(self) -> Grid:
        return family(self.family).grid(self.grid)

    @property
    def places(self) -> tuple[Path, ...]:
        """Directories of specialized zoos."""
        place = zoos.place(self.tasks)
        return self.zoos / place, self.new_zoos / "zoos" / place

    @property
    def home(self) -> Path:
        """Where this family's curves go."""
        return self.out / zoos.place(self.tasks)


def check(config: Figure6Config) -> tuple[Grid, list[str]]:
    """The grid, and the splits whose specialized zoos the figure needs.

    Raises:
        UnknownFamily, UnknownGrid, UnknownSplit, BadSetting: a family without tasks in the figure,
            other names that are none, or steps too few to learn from.
    """
    if config.family not in TASKS:
        raise unknown(UnknownFamily, "tasks in Figure 6 of", "Families", config.family, TASKS)
    grid = config.tasks
    splits = [split_of(grid, count).name for count in config.counts]
    if config.steps <= config.random_start_steps:
        raise BadSetting(
            f"steps={config.steps} (--steps): SAC from scratch begins with "
            f"{config.random_start_steps} random ones; give more"
        )
    horizon_steps = family(config.family).horizon_steps
    makers: dict[str, Callable[[], object]] = {
        "steps": lambda: scratch_schedule(config),
        "tuned_steps": lambda: setting(config, "random").schedule(),
        "critics_steps": lambda: setting(config, "warm-up").schedule(),
        "ppo_steps": lambda: setting(config, "ppo").rounds(horizon_steps),
    }
    for name, make in makers.items():
        try:
            make()
        except BadSetting as error:
            raise BadSetting(f"{name} (--{name.replace('_', '-')}): {error}") from None
    return grid, list(dict.fromkeys(["full", *splits]))


def scratch_schedule(config: Figure6Config) -> Schedule:
    """One update a step, after random actions."""
    like = replace(config.tune, steps=config.steps, episodes=config.episodes).schedule()
    fill = config.random_start_steps
    return replace(like, fill_steps=fill, num_updates=config.steps - fill)


def setting(config: Figure6Config, kind: Kind) -> TuneConfig:
    """How starts of that kind are tuned."""
    tune = replace(config.tune, episodes=config.episodes)
    if kind == "ppo":
        return replace(tune, steps=config.ppo_steps, cfg=config.ppo, critics="warm-up")
    if kind == "random":
        return replace(tune, steps=config.tuned_steps, critics=kind, cfg=PUBLISHED)
    return replace(tune, steps=config.critics_steps, critics=kind)


def split_of(grid: Grid, count: int) -> Split:
    """The first draw of `count` training tasks."""
    everything = grid.split("full")
    return everything if count == len(everything.train) else grid.split(f"random-{count}-0")
