"""The comparison, cell by cell: a row of a split and a pipeline is scored once and kept.

OUT/<family>-<grid>/pipeline-<p>/<split>/rows/<row>.json   a row's score, and what it took
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperpolicy import files
from hyperpolicy.errors import BadFile, BadSetting, OutOfTime, unknown
from hyperpolicy.evaluate import stats
from hyperpolicy.evaluate.compare import Comparison, compare
from hyperpolicy.evaluate.plots import Shown, plot_rows
from hyperpolicy.evaluate.protocol import (
    NOTHING,
    RANDOM,
    UNTRAINED,
    ZERO,
    Published,
    published,
)
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.scoring import Row, SupportsGenerate, score
from hyperpolicy.evaluate.tables import NONE, amount, interval_text, markdown, number
from hyperpolicy.policies import Policies, actor_of
from hyperpolicy.recipes.meta_rl.lab import GRIDS, Cell, Lab
from hyperpolicy.recipes.meta_rl.presets import MetaRlConfig
from hyperpolicy.recipes.meta_rl.rows import LISTENERS, ONE_SPLIT, ROWS, Made
from hyperpolicy.recipes.stage import slug

TIMED = 20
"""Steps by which acting is timed."""
Rows = dict[str, dict[str, Any]]
"""row → its record, of one cell."""


def cells(config: MetaRlConfig) -> list[Cell]:
    """Every cell; several pipelines of the split `full`, one of others."""
    found = []
    for name in config.families:
        grid = config.grid or GRIDS.get(name, "macaw")
        for split in config.splits:
            count = config.pipelines if split == "full" else 1
            numbers = range(config.first, config.first + count)
            found += [Cell(name, grid, split, p) for p in numbers]
    return found


def names(config: MetaRlConfig, cell: Cell) -> list[str]:
    """The rows of a cell."""
    wanted = config.rows or tuple(ROWS)
    return [name for name in wanted if cell.split == "full" or name not in ONE_SPLIT]


def check(config: MetaRlConfig) -> None:
    """Refuse names that are none, before any work. Raises UnknownGrid, UnknownSplit, BadSetting."""
    for name in config.rows or ():
        if name not in ROWS:
            raise unknown(BadSetting, "row of this table called", "Rows", name, ROWS)
    for cell in cells(config):
        cell.tasks.split(cell.split)


def run(config: MetaRlConfig) -> tuple[dict[Cell, Rows], list[str]]:
    """The rows that are there, made where they are not; and those that time did not suffice for.
    Errors as `check`."""
    check(config)
    until = time.monotonic() + 60.0 * config.minutes
    done: dict[Cell, Rows] = {}
    late: list[str] = []
    for cell in cells(config):
        lab = Lab(config, cell, until)
        for name in names(config, cell):
            path = lab.place / cell.split / "rows" / f"{slug(name)}.json"
            if not path.exists():
                if time.monotonic() >= until:
                    late.append(f"{cell.name}/{cell.split}/{cell.pipeline}/{name}")
                    continue
                try:
                    files.save_json(path, measure(lab, name))
                except OutOfTime:
                    late.append(f"{cell.name}/{cell.split}/{cell.pipeline}/{name}")
                    continue
            done.setdefault(cell, {})[name] = files.load_json(path)
    return done, late


def measure(lab: Lab, name: str) -> dict[str, Any]:
    """A row's score, and what it took."""
    made = ROWS[name](lab)
    untrained = name in (ZERO, RANDOM)
    row = Row(
        [made.maker],
        made.env_steps,
        given=made.given,
        pipelines=UNTRAINED if untrained else [lab.cell.pipeline],
        action="sampled" if name == RANDOM else "deterministic",
    )
    found = score(row, lab.family, lab.split.test, lab.config.episodes)
    spent = [lab.minutes(fit) for fit in made.fits]
    minutes = None if any(one is None for one in spent) else sum(x or 0.0 for x in spent)
    return {
        "score": found.to_json(),
        "numbers": made.numbers,
        "minutes": minutes,
        "act_ms": acting(lab, made),
    }


def acting(lab: Lab, made: Made) -> float:
    """Milliseconds of a step in all test tasks at once, one world each."""
    maker, k = made.maker, len(lab.split.test)
    if isinstance(maker, SupportsGenerate) and not isinstance(maker, Policies):
        maker = maker.generate(lab.split.test, seed=0)
    actor = actor_of(maker, lab.family, k)
    obs = lab.family.worlds(lab.split.test, 0).reset().reshape(k, 1, -1)
    carry, key = actor.start(k, 1), np.zeros(2, np.uint32)
    actor.act(carry, obs, key)  # compiles
    began = time.perf_counter()
    for _ in range(TIMED):
        _, carry = actor.act(carry, obs, key)
    return 1e3 * (time.perf_counter() - began) / TIMED


# --- Out ----------------------------------------------------------------------------------
def joined(done: dict[Cell, Rows]) -> dict[tuple[str, str, str], dict[str, list[dict]]]:
    """(family, grid, split) → row → its records, pipeline by pipeline."""
    found: dict[tuple[str, str, str], dict[str, list[dict]]] = {}
    for cell, rows in done.items():
        place = found.setdefault((cell.family, cell.grid, cell.split), {})
        for name, record in rows.items():
            place.setdefault(name, []).append(record)
    return found


def scores(records: list[dict]) -> Score:
    """The score of a row's pipelines together. Raises BadFile: a record without one."""
    try:
        parts = [Score.from_json(one["score"]) for one in records]
    except (KeyError, TypeError):
        raise BadFile("a row of this table holds no score; remove its file") from None
    first = parts[0]
    if len(parts) == 1 or (first.given == NOTHING and first.pipelines == ()):
        return first
    pipelines = tuple(p for one in parts for p in one.pipelines or ())
    together = np.concatenate([one.returns for one in parts])
    return replace(first, returns=together, pipelines=pipelines)


def comparison(family: str, split: str, rows: dict[str, list[dict]]) -> Comparison:
    """The rows side by side."""
    beside: tuple[Published, ...] = published(family) if split == "full" else ()
    return compare({name: scores(records) for name, records in rows.items()}, beside)


def page(done: dict[Cell, Rows], late: list[str]) -> str:
    """All tables as one Markdown page."""
    parts = []
    for (family, grid, split), rows in joined(done).items():
        parts.append(f"### {family}, {grid} grid, split `{split}`\n")
        compared = comparison(family, split, rows)
        parts.append(compared.markdown() + "\n")
        parts += listening(compared.rows)
        lines = [[name, *costs(records)] for name, records in rows.items()]
        header = ["method", "numbers trained", "minutes to fit", "ms to act, all test tasks"]
        parts.append(markdown(header, lines) + "\n")
    if late:
        parts.append("Not done: " + ", ".join(late) + "\n")
    return "\n".join(parts)


def listening(rows: Mapping[str, Score]) -> list[str]:
    """Whether methods use what they are given, as a table, if there is anything to tell: a line for
    each row and what it has to be ahead of, in how many pipelines it is, and by how much."""
    header = ["method", "mean", "beside", "its mean", "ahead in", "by", "95 % CI", "listens"]
    lines = []
    for name, others in LISTENERS.items():
        for other in others:
            if name not in rows or other not in rows:
                continue
            ours, theirs = rows[name], rows[other]
            low, high = ours.minus(theirs)
            gap = number(ours.mean - theirs.mean)
            said = "yes" if low > 0 else "no"
            means = number(ours.mean), other, number(theirs.mean)
            lines.append(
                [name, *means, _ahead(ours, theirs), gap, interval_text((low, high)), said]
            )
    return [markdown(header, lines) + "\n"] if lines else []


def _ahead(ours: Score, theirs: Score) -> str:
    """In how many of the pipelines that both rows have a row's mean is above another's."""
    own, other = (_means(one) for one in (ours, theirs))
    both = own.keys() & other.keys()
    return f"{sum(own[p] > other[p] for p in both)} of {len(both)}"


def _means(row: Score) -> dict[int, float]:
    """pipeline → the row's mean."""
    grouped = stats.by_pipeline(row.returns, row.pipelines)
    numbers = np.unique(row.pipelines or (0,)).tolist()
    return {p: float(own.mean()) for p, own in zip(numbers, grouped, strict=True)}


def draw(done: dict[Cell, Rows], into: Path) -> list[Path]:
    """A picture of each split's rows, and of what others printed for its tasks."""
    made = []
    for (family, grid, split), rows in joined(done).items():
        compared = comparison(family, split, rows)
        shown = {n: Shown(r.mean, r.interval, r.task_means) for n, r in compared.rows.items()}
        shown |= {f"{one.method} (published)": Shown(one.value) for one in compared.here()}
        path = into / f"{family}-{grid}-{split}.png"
        made.append(plot_rows(shown, path, "return", f"{family}, split {split}"))
    return made


def costs(records: list[dict]) -> list[str]:
    """Numbers, minutes and milliseconds, the means of pipelines."""

    def mean(name: str) -> float | None:
        found = [float(one[name]) for one in records if one.get(name) is not None]
        return float(np.mean(found)) if len(found) == len(records) else None

    numbers, minutes, ms = mean("numbers"), mean("minutes"), mean("act_ms")
    return [
        NONE if numbers is None else amount(round(numbers)),
        NONE if minutes is None else number(minutes),
        NONE if ms is None else number(ms, 2),
    ]


def write_rows(done: dict[Cell, Rows], into: Path) -> list[Path]:
    """The rows as small files that can be kept, and that `hyperpolicy compare` reads: one a split,
    all pipelines."""
    made = []
    for (family, grid, split), rows in joined(done).items():
        path = into / f"{family}-{grid}-{split}.json"
        record = comparison(family, split, rows).to_json()
        made.append(files.save_json(path, record, overwrite=True))
    return made
