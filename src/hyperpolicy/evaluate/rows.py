"""Rows of tables by name: those every table of ours must have, what they are given, which are
trivial; and the numbers others printed, with what is needed to read them rightly."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hyperpolicy import files
from hyperpolicy.evaluate.protocol import CONTEXT, NOTHING

ZERO, RANDOM, ORACLE = "zero action", "random", "test task's own expert (oracle)"
NEAREST, INTERPOLATED = "nearest training expert", "interpolated neighbors"
CONDITIONED, DECODED = "context-conditioned policy", "decoded expert"
REGRESSION, DISTILLED = "regression of weights", "distilled conditional policy"
TURNED = "turned"
"""Ends the name of a row that is told the robot's symmetries."""

GIVEN = {
    ZERO: NOTHING,
    RANDOM: NOTHING,
    DECODED: "test task's expert",
    ORACLE: "training on the test task",
}
"""What these rows get of the test task; the others get the true context."""

OF_EXPERTS = (NEAREST, INTERPOLATED, CONDITIONED, REGRESSION, DISTILLED)
"""Trivial rows out of the same data as the generators', turned or not."""
CEILINGS = (DECODED, ORACLE)
STANDARD = (ZERO, RANDOM, NEAREST, INTERPOLATED, CONDITIONED, REGRESSION, *CEILINGS)
"""Rows that `standard_rows` names."""
BY_HAND = "a program written for the task"
TOLD_SYMMETRIES = f"{CONTEXT}, the robot's symmetries"
"""What turned rows are given."""


def stem(name: str) -> str:
    """A row's name without the mark of a turned one."""
    return name.removesuffix(f", {TURNED}")


def is_trivial(name: str) -> bool:
    """Whether a row is one of those every generator has to beat."""
    return stem(name) in (ZERO, RANDOM, *OF_EXPERTS)


# --- Published ----------------------------------------------------------------------------
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
