"""GenHyper's Figure 6: generated policies go on learning, beside SAC from scratch; and one start
under every way to begin its critics.

    tasks     ids 6 and 41 of Ant-Dir, 7 and 23 of Cheetah-Vel; none of them in any training set
    starts    scratch; HypLatent on 15, 25, 35 random training tasks, critics random (as published)
    critics   the start of 35 tasks with critics warmed up, of neighbors, generated, fitted offline
    PPO       the same three starts, tuned without critics of actions

Each curve is a fleet of its own (tasks × seeds), saved as it goes; the same call resumes.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hyperpolicy import fleet
from hyperpolicy.envs import Grid, family
from hyperpolicy.evaluate import learning, tables
from hyperpolicy.evaluate.learning import Curves
from hyperpolicy.fleet import OffPolicy
from hyperpolicy.generate.fitting import fit
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.tune import tune
from hyperpolicy.recipes.genhyper.figure_6_config import (
    TASKS,
    Figure6Config,
    Kind,
    check,
    scratch_schedule,
    setting,
    split_of,
)
from hyperpolicy.recipes.stage import recorded
from hyperpolicy.recipes.zero_shot import sources, zoos
from hyperpolicy.recipes.zero_shot.methods import fit_once
from hyperpolicy.recipes.zero_shot.sources import Source
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rollout import returns, uniform
from hyperpolicy.zoo import Zoo

SCRATCH = "SAC from scratch"


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


def run(config: Figure6Config) -> Figure6:
    """All curves, from disk where they are there already.

    Raises:
        UnknownFamily, UnknownGrid, UnknownSplit, BadSetting: as `check`, before any work.
    """
    grid, splits = check(config)
    zoos.provide(config.places, config.new_zoos, grid, splits, config.preset)
    contexts = grid.contexts[list(TASKS[config.family])]
    hidden = source(config, grid, config.counts[0]).train.spec.hidden
    paths = {SCRATCH: scratch(config, contexts, hidden)}
    for count in config.counts:
        found = source(config, grid, count)
        generator = start_of(config, found, count)
        kinds: tuple[Kind, ...] = ("random", "ppo")
        if count == max(config.counts):
            kinds += config.critics
        for kind in kinds:
            paths[label(count, kind)] = fine_tune(config, kind, generator, found, contexts, count)
    names = [family(config.family).task_name(context) for context in contexts]
    curves = {
        name: {kind: learning.read(path, rows_of(config, i)) for kind, path in paths.items()}
        for i, name in enumerate(names)
    }
    experts, chance = levels(config, grid, contexts)
    return Figure6(
        config,
        curves,
        dict(zip(names, experts, strict=True)),
        dict(zip(names, chance, strict=True)),
    )


def label(count: int, kind: Kind) -> str:
    """A curve's name."""
    return f"{count} tasks, " + ("PPO" if kind == "ppo" else f"critics {kind}")


def rows_of(config: Figure6Config, task: int) -> slice:
    """The learners of one task, in a fleet of tasks × seeds."""
    return slice(task * config.seeds, (task + 1) * config.seeds)


# --- Curves -------------------------------------------------------------------------------
def scratch(config: Figure6Config, contexts, hidden: tuple[int, ...]) -> Path:
    """SAC alone, as CleanRL begins it; its metrics."""
    out = config.home / "scratch"
    rows = np.repeat(contexts, config.seeds, axis=0)
    plan = OffPolicy(SacConfig(hidden=hidden), scratch_schedule(config))
    fleet.train(plan, family(config.family), rows, out=out)
    return out / "metrics.jsonl"


def fine_tune(
    config: Figure6Config,
    kind: Kind,
    generator: Generator,
    found: Source,
    contexts,
    count: int,
) -> Path:
    """The generator's policies, one a task and seed, tuned; their metrics."""
    out, rows = config.home / f"{count}-tasks-{kind}", np.repeat(contexts, config.seeds, axis=0)
    tune(setting(config, kind), generator, rows, found.train, out=out)
    return out / "metrics.jsonl"


def start_of(config: Figure6Config, found: Source, count: int) -> Generator:
    """HypLatent on `count` training tasks."""
    place = config.home / f"{count}-tasks-generator"
    return fit_once(place, partial(fit, config.hyplatent, found.train, 0))


def source(config: Figure6Config, grid: Grid, count: int) -> Source:
    """The specialized zoo of `count` random training tasks; of all of them, `full`.

    Raises:
        BadZoo: it is not there.
    """
    return sources.find(config.places, "specialized", split_of(grid, count))[0]


def levels(config: Figure6Config, grid: Grid, contexts) -> tuple[list[float], list[float]]:
    """The mean returns of the tasks' own experts and of random actions."""

    def make() -> dict:
        fam = family(config.family)
        full = Zoo.load(sources.paths(config.places, "specialized", "full")[0])
        own, chance = full.only(contexts).finals, uniform(fam)
        return {
            "experts": returns(own, fam, contexts).mean(axis=1),
            "random": returns(chance, fam, contexts).mean(axis=1),
        }

    record = recorded("levels", config.home / "levels.json", make)
    return record["experts"], record["random"]


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
    """Mean ± standard deviation over seeds at some steps, and what the header says."""

    def at(step: float | int) -> str:
        if step > 1.02 * curves.steps[-1]:  # the last round of PPO ends just before
            return tables.NONE
        values = curves.returns[:, np.abs(curves.steps - step).argmin()]
        return f"{values.mean():.1f} ± {values.std():.1f}"

    reached = learning.steps_to(curves, threshold)
    worst = 100.0 * learning.dip(curves, first_steps).max() / span
    return [*map(at, (0, 50_000, 100_000, curves.steps[-1])), _steps(reached), f"{worst:.1f}"]


def _steps(reached) -> str:
    """Median over seeds with its range; a seed that never got there counts as infinite."""
    low, middle, high = np.min(reached), np.median(reached), np.max(reached)

    def text(steps: float) -> str:
        return "never" if np.isinf(steps) else f"{steps:,.0f}"

    return f"{text(middle)} ({text(low)} … {text(high)})"


def draw(found: Figure6) -> list[Path]:
    """The published figure, and the first steps of every way to begin the critics."""
    config = found.config
    levels = {task: {"the task's own expert": expert} for task, expert in found.experts.items()}
    published = {SCRATCH, *(label(count, "random") for count in config.counts)}
    most = max(config.counts)
    kinds: tuple[Kind, ...] = ("random", "ppo", *config.critics)
    ours = {label(most, kind) for kind in kinds}
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
