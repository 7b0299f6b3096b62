"""Comparisons: scores side by side, and the rows every table of ours must have."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.table import Table

from hyperpolicy import files, rollout
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.evaluate import tables
from hyperpolicy.evaluate.published import Published
from hyperpolicy.evaluate.score import CONTEXT, Maker, Score, listed, score
from hyperpolicy.evaluate.tables import NONE, amount, interval_text, number

ZERO, RANDOM, ORACLE = "zero action", "random", "test task's own expert (oracle)"
NEAREST, INTERPOLATED = "nearest training expert", "interpolated neighbors"
CONDITIONED, DECODED = "context-conditioned policy", "decoded expert"

GIVEN = {
    ZERO: "nothing",
    RANDOM: "nothing",
    DECODED: "test task's expert",
    ORACLE: "training on the test task",
}
"""What these rows get of the test task; the others get the true context."""

MOST_TASKS = 8
"""Tables show a column a task up to this many; JSON always has them all."""


@dataclass(frozen=True)
class Method:
    """One row to score: its makers, one for each training seed, and what it costs."""

    makers: Sequence[Maker]
    env_steps: int | None = None
    """Environment steps spent to train it once, experts included."""
    draws: int = 1
    """Noise draws; 1 for whatever ignores its noise."""
    given: str | None = None
    """What it gets of the test task; by default what its row of the table gets."""


@dataclass(frozen=True)
class Comparison:
    """Scores of several methods on the same tasks, and what others published."""

    rows: dict[str, Score]
    published: tuple[Published, ...] = ()
    normalized: dict[str, Score] = field(default_factory=dict)
    """(return − random) / (oracle − random), where both are among the rows."""

    @property
    def tasks(self) -> tuple[str, ...]:
        return next(iter(self.rows.values())).tasks

    def cells(self, full: bool = True) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table as text; what is not `full` fits a terminal."""
        header = ["method", "mean", "95 % CI", "IQM"]
        if full:
            header += ["normalized"] if self.normalized else []
            header += self.tasks if len(self.tasks) <= MOST_TASKS else ()
        header += ["given at test time", "seeds", *(["env steps"] if full else [])]
        rows = [self._cells(name) for name in self.rows]
        rows += [_published_cells(row) for row in self.published]
        return header, [[row.get(column, NONE) for column in header] for row in rows]

    def _cells(self, name: str) -> dict[str, str]:
        row = self.rows[name]
        cells = {
            "method": name,
            "mean": number(row.mean),
            "95 % CI": interval_text(row.interval),
            "IQM": number(row.iqm),
            "given at test time": row.given,
            "seeds": str(row.num_seeds),
            "env steps": amount(row.env_steps),
        }
        if self.normalized:
            cells["normalized"] = number(self.normalized[name].mean, 3)
        return cells | dict(zip(row.tasks, map(number, row.task_means), strict=True))

    def markdown(self) -> str:
        return tables.markdown(*self.cells())

    def rich(self, title: str = "") -> Table:
        """For the terminal, without the columns that do not fit there."""
        return tables.rich_table(title, *self.cells(full=False))

    def to_json(self) -> dict:
        """All returns and what was computed from them."""
        rows = {}
        for name, row in self.rows.items():
            computed = {"mean": row.mean, "iqm": row.iqm, "interval_95": row.interval}
            computed["task_means"] = row.task_means
            if self.normalized:
                computed["normalized"] = self.normalized[name].mean
            plain = {key: listed(value) for key, value in computed.items()}
            rows[name] = {"computed": plain, "score": row.to_json()}
        return {"rows": rows, "published": [asdict(row) for row in self.published]}

    def save(self, path: str | Path) -> Path:
        """Write JSON; an existing file is an error."""
        return files.save_json(path, self.to_json())


def _published_cells(row: Published) -> dict[str, str]:
    spread = "" if row.spread is None else f" ± {number(row.spread, 2)}"
    cells = {"method": row.name, "mean": number(row.value, 2) + spread}
    cells["given at test time"] = row.given
    return cells | ({} if row.seeds is None else {"seeds": str(row.seeds)})


def compare(rows: dict[str, Score], published: Sequence[Published] = ()) -> Comparison:
    """The scores side by side, normalized where `random` and the oracle are among them.

    Raises:
        BadSetting: no rows.
        BadShape: rows of other tasks.
    """
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
    generators: dict[str, Method],
    nearest: Method | None = None,
    interpolated: Method | None = None,
    conditioned: Method | None = None,
    decoded: Method | None = None,
    oracle: Method | None = None,
    episodes: int = 10,
    seed: int = 0,
) -> dict[str, Score]:
    """The rows of an honest table on the test `contexts`, trivial ones first and oracle last.

    Zero action and random are made here; a row that is not given is missing from the table.

    Raises:
        BadContext, BadShape, BadSetting: as `score`.
    """
    methods = {
        ZERO: Method([rollout.zero(family)], env_steps=0),
        RANDOM: Method([rollout.uniform(family, seed)], env_steps=0),
        NEAREST: nearest,
        INTERPOLATED: interpolated,
        CONDITIONED: conditioned,
        **generators,
        DECODED: decoded,
        ORACLE: oracle,
    }
    scores = {}
    for name, m in methods.items():
        if m is not None:
            given = m.given or GIVEN.get(name, CONTEXT)
            found = score(m.makers, family, contexts, episodes, m.draws, seed, given, m.env_steps)
            scores[name] = found
    return scores
