"""Comparisons: scores side by side, and the rows every table of ours must have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from jaxtyping import Float
from rich.table import Table

from hyperpolicy import files, rollout
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile, BadSetting, BadShape
from hyperpolicy.evaluate import tables
from hyperpolicy.evaluate.protocol import (
    CEILINGS,
    GIVEN,
    NEAREST,
    OF_EXPERTS,
    ORACLE,
    RANDOM,
    STANDARD,
    UNTRAINED,
    ZERO,
    Published,
    is_trivial,
    stem,
)
from hyperpolicy.evaluate.records import Text, line
from hyperpolicy.evaluate.score import Score, listed
from hyperpolicy.evaluate.scoring import Row, score
from hyperpolicy.evaluate.tables import NONE, amount, interval_text, number

MOST_TASKS = 8
"""Tables show a column a task up to this many; JSON always has them all."""


@dataclass(frozen=True)
class Comparison:
    """Scores of several methods on the same tasks, and what others published."""

    rows: dict[str, Score]
    published: tuple[Published, ...] = ()
    normalized: dict[str, Score] = field(default_factory=dict)
    """(return − random) / (oracle − random), where both are among the rows."""

    @property
    def shown(self) -> dict[str, Score]:
        """What the table is about: success rates where all rows know them, else returns."""
        if all(row.success is not None for row in self.rows.values()):
            return {name: row.successes for name, row in self.rows.items()}
        return self.rows

    @property
    def ahead(self) -> tuple[str, ...]:
        """Rows that beat every trivial row of the table: the 95 % interval of the difference lies
        above 0. There are none without trivial rows made of experts, and none of one pipeline,
        whose interval does not know training luck."""
        rows = self.shown
        trivial = [row for name, row in rows.items() if is_trivial(name)]
        if not any(stem(name) in OF_EXPERTS for name in rows):
            return ()
        return tuple(
            name
            for name, row in rows.items()
            if not is_trivial(name) and name not in CEILINGS and (row.num_pipelines or 0) > 1
            if all(row.minus(other)[0] > 0 for other in trivial)
        )

    def cells(self, full: bool = True) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table as text; what is not `full` fits a terminal."""
        rows = [self._cells(name, full) for name in self.rows]
        header = list(rows[0])
        rows += [self._published_cells(row) for row in self.here()]
        return header, [[row.get(column, NONE) for column in header] for row in rows]

    @property
    def _what(self) -> str:
        return "success [%]" if next(iter(self.shown.values())).rates else "mean"

    def _cells(self, name: str, full: bool) -> dict[str, str]:
        row = self.shown[name]
        scale = 100.0 if row.rates else 1.0
        cells = {
            "method": name,
            self._what: number(scale * row.mean),
            "95 % CI": interval_text(row.interval, scale=scale),
            "over": row.over,
        }
        if not full:
            return cells | {"given at test time": row.given}
        cells["IQM"] = number(scale * row.iqm)
        cells["a new pipeline, 95 %"] = interval_text(row.new_pipeline, scale=scale)
        if self.normalized:
            cells["normalized"] = number(self.normalized[name].mean, 3)
        if len(row.tasks) <= MOST_TASKS:
            means = (number(scale * x) for x in row.task_means)
            cells |= dict(zip(row.tasks, means, strict=True))
        return cells | {"given at test time": row.given, "env steps": amount(row.env_steps)}

    def _published_cells(self, row: Published) -> dict[str, str]:
        spread = "" if row.spread is None else f" ± {number(row.spread, 2)}"
        cells = {"method": row.name, self._what: number(row.value, 2) + spread}
        cells["given at test time"] = row.given
        return cells | ({} if row.seeds is None else {"over": f"{row.seeds} seeds, as printed"})

    def here(self, here: bool = True) -> tuple[Published, ...]:
        """The published rows of this grid, or those of other grids."""
        grid = next(iter(self.rows.values())).card.grid
        return tuple(p for p in self.published if (grid in (None, p.grid)) == here)

    def markdown(self) -> str:
        """The table, rows that are `ahead` in bold; published rows of another grid stand below."""
        header, rows = self.cells()
        ahead = self.ahead
        for row in rows:
            if row[0] in ahead:
                row[:2] = (f"**{cell}**" for cell in row[:2])
        parts = [tables.markdown(header, rows), *self.notes()]
        if others := self.here(False):
            header = ["published, of another grid", self._what, "given at test time"]
            found = [self._published_cells(p) for p in others]
            lines = [[c["method"], c[self._what], c["given at test time"]] for c in found]
            parts.append(tables.markdown(header, lines))
        return "\n\n".join(parts)

    def notes(self) -> list[str]:
        """What a reader of the table must know."""
        if not any(row.over.startswith("one pipeline") for row in self.shown.values()):
            return []
        what = "the interval is over what is named (fits, draws or starts)"
        return [f"One pipeline: {what} and says nothing of training luck."]

    def rich(self, title: str = "") -> Table:
        """For the terminal, without the columns that do not fit there."""
        return tables.rich_table(title, *self.cells(full=False), caption=" ".join(self.notes()))

    def to_json(self) -> dict:
        """All returns and what was computed from them, as strict JSON."""
        rows = {}
        for name, row in self.rows.items():
            computed = {"mean": row.mean, "iqm": row.iqm, "interval_95": row.interval}
            computed["new_pipeline_95"] = row.new_pipeline
            computed["task_means"] = row.task_means
            if row.success is not None:
                computed["success"] = row.successes.mean
                computed["success_interval_95"] = row.successes.interval
            if self.normalized:
                computed["normalized"] = self.normalized[name].mean
            plain = {key: listed(value) for key, value in computed.items()}
            rows[name] = {"computed": plain | {"over": row.over}, "score": row.to_json()}
        return {"rows": rows, "published": [asdict(row) for row in self.published]}

    def save(self, path: str | Path) -> Path:
        """Write JSON; an existing file is an error."""
        return files.save_json(path, self.to_json())


def compare(rows: dict[str, Score], published: Sequence[Published] = ()) -> Comparison:
    """The scores side by side, normalized where `random` and the oracle are among them. Raises
    BadSetting: no rows; BadShape: rows of other tasks."""
    if not rows:
        raise BadSetting("nothing to compare; give at least one score")
    first, *others = rows.values()
    for other in others:
        if (other.family, other.tasks) != (first.family, first.tasks):
            raise BadShape(
                f"scores of {first.family} {first.tasks} and {other.family} {other.tasks} "
                "cannot stand in one table; score them on the same tasks"
            )
    normalized = {}
    if RANDOM in rows and ORACLE in rows:
        ends = rows[RANDOM], rows[ORACLE]
        normalized = {name: row.normalized(*ends) for name, row in rows.items()}
    return Comparison(dict(rows), tuple(published), normalized)


def standard_rows(
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    rows: Mapping[str, Row],
    episodes: int | None = None,
    seed: int = 0,
    progress: Callable[[str], object] | None = None,
) -> dict[str, Score]:
    """The rows of an honest table on the test `contexts`, by name, trivial ones first and the
    test tasks' own experts last.

    Zero action and random are made here; those of `protocol.STANDARD` that are not given are
    missing from the table. `progress` is called with each row's name before it plays. Raises
    BadContext, BadShape, BadSetting: as `score`.
    """
    untrained = {
        ZERO: Row([rollout.zero(family)], 0, pipelines=UNTRAINED),
        RANDOM: Row([rollout.uniform(family, seed)], 0, pipelines=UNTRAINED, action="sampled"),
    }
    rows = untrained | dict(rows)
    own = [name for name in rows if name not in STANDARD]
    found = {}
    for name in (*STANDARD[: -len(CEILINGS)], *own, *CEILINGS):
        if name in rows:
            if progress is not None:
                progress(name)
            row = replace(rows[name], given=rows[name].given or GIVEN.get(name))
            found[name] = score(row, family, contexts, episodes, seed)
    return found


# --- Files --------------------------------------------------------------------------------
class _Row(msgspec.Struct):
    score: dict


class _Comparison(msgspec.Struct):
    rows: Annotated[dict[Text, _Row], msgspec.Meta(min_length=1)]
    published: list[Published] = []


def read_comparison(record: Any) -> tuple[dict[str, Score], tuple[Published, ...]]:
    """The rows of a saved comparison, and what others published.

    In an older table, looking up the nearest expert takes one maker a zoo, so that its runs count
    the pipelines of the table. Raises BadFile: it is none.
    """
    try:
        found = msgspec.convert(record, _Comparison)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadFile(f"this is no comparison: {line(error)}") from None
    rows = {name: Score.from_json(row.score) for name, row in found.rows.items()}
    if NEAREST in rows and rows[NEAREST].pipelines is None:
        n = rows[NEAREST].num_seeds
        for name, row in rows.items():
            s = row.num_seeds
            numbers = tuple(range(s)) if s == n else (0,) * s if n == 1 or s == 1 else None
            if row.pipelines is None:
                rows[name] = replace(row, pipelines=numbers)
    return rows, tuple(found.published)
