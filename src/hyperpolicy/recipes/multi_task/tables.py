"""Tables and curves of a study: successes, paired differences over seeds, published curves."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.evaluate.plots import figure_at, stroke
from hyperpolicy.evaluate.stats import student
from hyperpolicy.evaluate.tables import interval_text, markdown, number
from hyperpolicy.recipes.multi_task.methods import UNLIKE
from hyperpolicy.recipes.multi_task.study import Cell, StudyConfig

PUBLISHED = {
    ("mt10", 200_000): {
        "MT-SAC": (0.19, 0.23, 0.31, 0.38),
        "Soft Modularization": (0.09, 0.18, 0.23, 0.28),
        "CARE": (0.21, 0.24, 0.28, 0.35),
        "CARE + PTSL": (0.23, 0.34, 0.44, 0.51),
        "CARE + PTSL, shallow": (0.24, 0.32, 0.45, 0.51),
    },
    ("mt10", 1_000_000): {
        "MT-SAC": (0.43, 0.62, 0.67, 0.72),
        "Soft Modularization": (0.36, 0.48, 0.53, 0.54),
        "CARE": (0.35, 0.57, 0.66, 0.63),
        "CARE + PTSL": (0.46, 0.64, 0.66, 0.745),
        "PTSL": (0.45, 0.65, 0.70, 0.69),
    },
    ("mt50", 200_000): {
        "MT-SAC": (0.12, 0.16, 0.18, 0.21),
        "Soft Modularization": (0.07, 0.10, 0.13, 0.15),
        "CARE": (0.15, 0.24, 0.29, 0.31),
        "CARE + PTSL": (0.17, 0.25, 0.32, 0.37),
    },
    ("mt50", 1_000_000): {
        "MT-SAC": (0.24, 0.45, 0.46, 0.47),
        "Soft Modularization": (0.19, 0.19, 0.19, 0.155),
        "CARE": (0.39, 0.47, 0.45, 0.39),
        "CARE + PTSL": (0.41, 0.40, 0.38, 0.345),
        "PTSL": (0.29, 0.53, 0.59, 0.61),
    },
}
"""Points of the curves of arXiv:2309.08776's figure, ±0.01: (tasks, steps of every task) → what
share of training episodes succeeds at any step, after each quarter; full size, Meta-World v1."""


def published(grid: str, steps: int) -> tuple[int, dict[str, float]]:
    """The latest published points that are not later than `steps` of every task: when, and each
    method's; of the curve that ends there, if one does. (0, {}) if there are none."""
    found: tuple[int, dict[str, float]] = (0, {})
    for (tasks, total), curves in sorted(PUBLISHED.items()):
        for quarter in range(4):
            at = total * (quarter + 1) // 4
            if tasks == grid and (found[0] < at <= steps or (at == steps and quarter == 3)):
                found = at, {name: curve[quarter] for name, curve in curves.items()}
    return found


def middle(cells: list[Cell]) -> float:
    """The interquartile mean of a method's runs: successes of every seed on every task."""
    runs = np.sort(np.concatenate([cell.any_step for cell in cells]))
    cut = len(runs) // 4
    return float(runs[cut : len(runs) - cut].mean())


def best(found: dict[str, list[Cell]]) -> str:
    """The method with the most success in the test."""
    return max(found, key=lambda name: np.mean([cell.success for cell in found[name]]))


def paired(best: list[Cell], cells: list[Cell]) -> Float[np.ndarray, " s"]:
    """How far cells are behind the best method's, seed by seed of those that both have."""
    own = {cell.seed: cell.success for cell in cells}
    return np.array([cell.success - own[cell.seed] for cell in best if cell.seed in own])


def elsewhere(cells: list[Cell]) -> float | None:
    """Successes on tasks that were not trained; None where nothing is known of them."""
    known = [np.mean(cell.left_out) for cell in cells if cell.left_out]
    return float(np.mean(known)) if known else None


def table(found: dict[str, list[Cell]], config: StudyConfig) -> str:
    """The study's table, as Markdown, below its card."""
    top = best(found)
    at, printed = published("" if config.tasks else config.grid, config.steps)
    header = ["method", "numbers", "seeds", "success", "95 % over seeds", "IQM", "at the last step"]
    header += ["in training", f"behind {top}", "95 %", "minutes a seed"]
    header += ["left-out tasks"] if config.leave_out else []
    header += [f"published, in training, {at:,} steps"] if printed else []
    rows = []
    for name in sorted(found, key=lambda name: np.mean([c.success for c in found[name]])):
        cells = found[name]
        tested = np.array([cell.success for cell in cells])
        gap = paired(found[top], cells)
        row = [
            name + (" †" if name in UNLIKE else ""),
            f"{cells[0].numbers:,}",
            str(len(cells)),
            number(tested.mean(), 3),
            interval_text(student(tested), 3),
            number(middle(cells), 3),
            number(float(np.mean([cell.last_step for cell in cells])), 3),
            number(float(np.mean([cell.end for cell in cells])), 3),
            number(gap.mean(), 3) if name != top and len(gap) else "",
            interval_text(student(gap), 3) if name != top and len(gap) else "",
            number(float(np.mean([cell.minutes for cell in cells])), 1),
        ]
        row += [number(elsewhere(cells), 3)] if config.leave_out else []
        row += [number(printed.get(name), 3)] if printed else []
        rows.append(row)
    return f"{card(config)}\n\n{markdown(header, rows)}\n\n{NOTE}"


NOTE = (
    "Success: the final policy in the test, at any step, the mean of tasks. In training: episodes "
    "of the last tenth, with drawn actions, what published curves show, of networks of full size. "
    "Differences are paired by seed. †: larger than the others."
)


def card(config: StudyConfig) -> str:
    """The protocol, over the table."""
    return "; ".join(f"{name} {value}" for name, value in config.card().items())


def by_task(found: dict[str, list[Cell]], config: StudyConfig) -> str:
    """Each method's successes task by task, the mean of seeds, as Markdown."""
    names = config.names(config.contexts)
    rows = [
        [name, *(number(x, 2) for x in np.mean([cell.any_step for cell in cells], axis=0))]
        for name, cells in found.items()
    ]
    return markdown(["method", *names], rows)


def page(found: dict[str, list[Cell]], config: StudyConfig) -> str:
    """Both tables."""
    title = f"{config.grid.upper()}, {config.preset}, {config.steps:,} steps of every task"
    return f"## {title}\n\n{table(found, config)}\n\n{by_task(found, config)}\n"


def curves(found: dict[str, list[Cell]], config: StudyConfig, path: Path) -> Path:
    """Successes of training episodes against steps, the mean of seeds, smoothed over three
    reports."""
    path.unlink(missing_ok=True)
    with figure_at(path) as (_, axes):
        for i, (name, cells) in enumerate(found.items()):
            shown = np.mean([cell.train for cell in cells], axis=0)
            smooth = [shown[max(0, t - 2) : t + 1].mean() for t in range(len(shown))]
            axes.plot(cells[0].steps, smooth, label=name, **stroke(i))
        axes.set(xlabel="steps of every task", ylabel="successes of training episodes", ylim=(0, 1))
        axes.set_title(f"{config.grid}, {config.preset}, protocol {config.protocol}")
        axes.legend(fontsize=7, ncols=2)
    return path
