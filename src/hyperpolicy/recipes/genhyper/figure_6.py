"""GenHyper's Figure 6: generated policies go on learning, beside SAC from scratch; and one start
under every way to begin its critics.

    tasks     ids 6 and 41 of Ant-Dir, 7 and 23 of Cheetah-Vel; none of them in any training set
    starts    scratch; HypLatent on 15, 25, 35 random training tasks, critics random (as published)
    critics   the start of 35 tasks with critics warmed up, of neighbors, generated, fitted offline
    PPO       the same three starts, tuned without critics of actions

Each curve is a fleet of its own (tasks × seeds), saved as it goes; the same call resumes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import Suppress

from hyperpolicy import fleet
from hyperpolicy.bounds import Bounded, Count, Counts, Place
from hyperpolicy.envs import Grid, Split, family
from hyperpolicy.errors import BadSetting, UnknownFamily, unknown
from hyperpolicy.evaluate import learning, tables
from hyperpolicy.evaluate.learning import Curves
from hyperpolicy.fleet import OffPolicy, Schedule
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.tune import tune
from hyperpolicy.generate.tune_config import GENTLE, CriticStart, TuneConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.recipes.stage import record_once
from hyperpolicy.recipes.zero_shot import methods, zoos
from hyperpolicy.recipes.zero_shot.methods import fit_once
from hyperpolicy.recipes.zero_shot.presets import SpecializedPreset
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rollout import returns, uniform
from hyperpolicy.run.job import METRICS
from hyperpolicy.zoo import Zoo

SCRATCH = "SAC from scratch"
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

    def kinds_of(self, count: int) -> tuple[Kind, ...]:
        """How starts of `count` training tasks are tuned."""
        return "random", "ppo", *(self.critics if count == max(self.counts) else ())

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


@dataclass(frozen=True)
class Figure6:
    """One family's curves: starts on all tasks, and the tasks' levels."""

    config: Figure6Config
    curves: dict[str, dict[str, Curves]]
    """task → start → curves, one a seed."""
    experts: dict[str, float]
    """Each task's own expert, out of the zoo of the full grid."""
    random: dict[str, float]
    """Random actions."""


# --- Curves -------------------------------------------------------------------------------
def run(config: Figure6Config) -> Figure6:
    """All curves, from disk where they are there already; raises as `check`, before any work."""
    grid, splits = check(config)
    zoos.provide(config.places, config.new_zoos, grid, splits, config.preset)
    fam, contexts = family(config.family), grid.contexts[list(TASKS[config.family])]
    rows = np.repeat(contexts, config.seeds, axis=0)
    paths: dict[str, Path] = {}
    for count in config.counts:
        [source, *_] = methods.find(config.places, "specialized", split_of(grid, count))
        if not paths:
            paths[SCRATCH] = scratch(config, rows, source.train.spec.hidden)
        place = config.home / f"{count}-tasks-generator"
        generator = fit_once(place, partial(fit, config.hyplatent, source.train, 0))
        for kind in config.kinds_of(count):
            out = config.home / f"{count}-tasks-{kind}"
            tune(setting(config, kind), generator, rows, source.train, out=out)
            paths[label(count, kind)] = out / METRICS
    curves = {}
    for i, context in enumerate(contexts):  # a fleet's learners stand task by task
        own = slice(i * config.seeds, (i + 1) * config.seeds)
        read = {kind: learning.read(path, own) for kind, path in paths.items()}
        curves[fam.task_name(context)] = read
    found = record_once(config.home / "levels.json", partial(levels, config, contexts))
    experts, random = (dict(zip(curves, found[k], strict=True)) for k in ("experts", "random"))
    return Figure6(config, curves, experts, random)


def label(count: int, kind: Kind) -> str:
    """A curve's name."""
    return f"{count} tasks, " + ("PPO" if kind == "ppo" else f"critics {kind}")


def scratch(config: Figure6Config, rows, hidden: tuple[int, ...]) -> Path:
    """SAC alone, as CleanRL begins it; its metrics."""
    out = config.home / "scratch"
    plan = OffPolicy(SacConfig(hidden=hidden), scratch_schedule(config))
    fleet.train(plan, family(config.family), rows, out=out)
    return out / METRICS


def levels(config: Figure6Config, contexts) -> dict:
    """The mean returns of the tasks' own experts and of random actions."""
    fam = family(config.family)
    full = Zoo.load(methods.paths(config.places, "specialized", "full")[0])
    own = full.only(contexts).finals
    return {
        "experts": returns(own, fam, contexts).mean(axis=1),
        "random": returns(uniform(fam), fam, contexts).mean(axis=1),
    }


# --- Out ----------------------------------------------------------------------------------
def markdown(found: Figure6) -> str:
    """A table a task: start, end, dip, and steps until 90 % of the way from random to expert."""
    parts = []
    for task, kinds in found.curves.items():
        span = found.experts[task] - found.random[task]
        threshold = found.random[task] + 0.9 * span
        rows = [
            [kind, *_cells(curves, threshold, span, found.config.first_steps)]
            for kind, curves in kinds.items()
        ]
        header = ["start", "step 0", "50k", "100k", "last", f"steps to {threshold:.0f}"]
        header += [f"worst dip in {found.config.first_steps:,} steps, % of expert − random"]
        parts.append(
            f"### {task}\n\nOwn expert {found.experts[task]:.1f}, random actions "
            f"{found.random[task]:.1f}; {found.config.seeds} seeds, deterministic returns.\n\n"
            f"{tables.markdown(header, rows)}\n"
        )
    return "\n".join(parts)


def _cells(curves: Curves, threshold: float, span: float, first_steps: int) -> list[str]:
    """Mean ± standard deviation over seeds at some steps, and what the header says: of the steps
    the median over seeds with its range."""

    def at(step: float | int) -> str:
        if step > 1.02 * curves.steps[-1]:  # the last round of PPO ends just before
            return tables.NONE
        values = curves.returns[:, np.abs(curves.steps - step).argmin()]
        return f"{values.mean():.1f} ± {values.std():.1f}"

    reached = learning.steps_to(curves, threshold)
    worst = 100.0 * learning.dip(curves, first_steps).max() / span
    ends = np.median(reached), np.min(reached), np.max(reached)  # infinite: it never got there
    middle, low, high = ("never" if np.isinf(steps) else f"{steps:,.0f}" for steps in ends)
    means = map(at, (0, 50_000, 100_000, curves.steps[-1]))
    return [*means, f"{middle} ({low} … {high})", f"{worst:.1f}"]


def draw(found: Figure6) -> list[Path]:
    """The published figure, and the first steps of every way to begin the critics."""
    config = found.config
    levels = {task: {"the task's own expert": expert} for task, expert in found.experts.items()}
    published = {SCRATCH, *(label(count, "random") for count in config.counts)}
    most = max(config.counts)
    ours = {label(most, kind) for kind in config.kinds_of(most)}
    ppo = {SCRATCH, *(label(count, "ppo") for count in config.counts)}
    made = []
    for name, chosen, until in (
        ("figure-6.png", published, None),
        ("ppo.png", ppo, None),
        ("critics.png", ours, None),
        ("first-steps.png", ours, config.first_steps),
    ):
        panels = {
            task: {kind: curves for kind, curves in kinds.items() if kind in chosen}
            for task, kinds in found.curves.items()
        }
        title = f"{config.family}: fine-tuning, mean ± std of {config.seeds} seeds"
        made.append(
            learning.plot_tasks(panels, config.home / name, title, levels, until, overwrite=True)
        )
    return made
