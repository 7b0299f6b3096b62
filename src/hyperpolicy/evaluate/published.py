"""The numbers others printed, with what is needed to read them rightly."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hyperpolicy import files


@dataclass(frozen=True)
class Published:
    """One printed number: a mean return over the test tasks of a grid."""

    family: str
    method: str
    value: float
    grid: str
    """Whose tasks: "authors" for AMT-Hyp and GenHyper, "macaw" for Prompt-DT, MACAW and PEARL."""
    tasks: str
    given: str
    """What the method gets of the test task."""
    source: str
    spread: float | None = None
    """The printed ±, as the source prints it."""
    seeds: int | None = None
    """Training seeds, where the source says."""
    caveat: str = ""

    @property
    def name(self) -> str:
        return f"{self.method} (published, {self.grid} grid)"


def published(family: str, grid: str | None = None) -> tuple[Published, ...]:
    """The published rows of a family, or only those on one of its grids; none is no error."""
    return tuple(row for row in _rows() if row.family == family and grid in (None, row.grid))


@cache
def _rows() -> tuple[Published, ...]:
    records = files.load_json(Path(__file__).with_name("published.json"))
    return tuple(Published(**record) for record in records)
