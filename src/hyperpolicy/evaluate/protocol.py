"""Protocol cards: how a score was measured, and whether two may stand in one table. Rows by name:
those every table of ours must have, what they are given, which are trivial; and the numbers others
printed, with what is needed to read them rightly."""

from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy import engine, files
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.data.given import Contexts
from hyperpolicy.envs import Family

CONTEXT, DEMONSTRATION = Contexts.column, Demonstrations.column
"""What a generator is given of a test task."""
NOTHING = "nothing"

UNTRAINED: tuple[int, ...] = ()
"""Pipelines of what was not trained: zero action, random, scripts."""

NEAR = 1e-3
"""Distance below which a context is one of a grid: results are rounded."""
NOT_RECORDED = "not recorded"
SAME_STARTS = "the same for every policy"
OWN_STARTS = "drawn anew for each policy"
REPLAYED = "those of the demonstrations"

EPISODES = {
    "ant-dir": 100,
    "ant-dir-radians": 100,
    "ant-dir-endless": 100,
    "metaworld": 20,
    "metaworld-v1": 20,
}
"""Starts of each policy on each task where a score does not say; 10 in other families. Ant-Dir's
returns spread by 50 and more from start to start; a start of Meta-World is a configuration."""


def usual_episodes(family: Family) -> int:
    """Starts of each policy on each task, unless a score asks for another number."""
    return EPISODES.get(family.name, 10)


@dataclass(frozen=True)
class Protocol:
    """How a score was measured; None is what was not recorded."""

    family: str
    grid: str | None = None
    """The family's grid that holds the test tasks; "none" where no grid does."""
    reward: str | None = None
    """Version of the reward."""
    horizon_steps: int | None = None
    success: str | None = None
    """When an episode counts as one; "none" in families that only know returns."""
    termination: str | None = None
    """What ends an episode."""
    action: str | None = None
    """"deterministic" or "sampled"."""
    starts: str | None = None
    """Whether policies share their starts."""
    engine: str = "mujoco"
    """What stepped the worlds; the native engine where it was not recorded."""

    def unlike(self, other: "Protocol") -> list[str]:
        """What the two differ in, in words: 'horizon 200 steps, not 1000'; [] where they agree."""
        pairs = zip(self.lines(), other.lines(), strict=True)
        return [
            f"{what} {mine}, not {theirs}" for (what, mine), (_, theirs) in pairs if mine != theirs
        ]

    def lines(self) -> list[tuple[str, str]]:
        """The card for reading: what, and its value."""
        values = (NOT_RECORDED if value is None else str(value) for value in astuple(self))
        return list(zip(NAMES, values, strict=True))


NAMES = (
    "family, grid, reward version, horizon in steps, success, end of an episode:, actions, starts, "
    "engine"
).split(", ")
"""How a card's fields are said."""


def of(
    family: Family,
    contexts: Float[np.ndarray, "k c"],
    until_success: bool = False,
    starts: str = SAME_STARTS,
    action: str = "deterministic",
) -> Protocol:
    """The card of a score that is being made."""
    knows = family.success(np.zeros(family.outcome_size)) is not None
    drawn = getattr(family, "configurations", "all")
    starts += "" if drawn == "all" else f", {drawn} configurations"
    return Protocol(
        family.name,
        grid_of(family, contexts),
        str(getattr(family, "reward_version", "the family's only one")),
        family.horizon_steps,
        "at any step" if knows else "none",
        "the first success" if until_success else "the task's own, else the horizon",
        action,
        starts,
        engine.name(),
    )


def grid_of(family: Family, contexts: Float[np.ndarray, "k c"]) -> str:
    """The first grid of the family that holds all these contexts, or "none"."""
    if contexts.shape[1] == family.context.size:
        for grid in family.grids:
            if (family.context.distance(contexts, grid.contexts).min(axis=1) < NEAR).all():
                return grid.name
    return "none"


# --- Rows ---------------------------------------------------------------------------------
ZERO, RANDOM, ORACLE = "zero action", "random", "test task's own expert (oracle)"
SPECIALIST = "test task's own expert, specialized from the base (oracle)"
"""Where two kinds of experts stand in one table; the other oracle is of independent ones."""
NEAREST, INTERPOLATED = "nearest training expert", "interpolated neighbors"
NEAREST_INDEPENDENT = "nearest independent expert"
"""Where two kinds of experts stand in one table: among those that were trained one by one, which
the methods beside it learn from."""
CONDITIONED, DECODED = "context-conditioned policy", "decoded expert"
REGRESSION, DISTILLED = "regression of weights", "distilled conditional policy"
ONE_EXPERT, BY_DIRECTION = "one expert for all", "one expert a direction"
"""A constant policy: the expert that is best on all training contexts, or on those of its sign."""
BEST_SEEN, BEST_WEAKENED = "best expert in hindsight", "best expert in hindsight, at any gain"
"""The training expert that would have earned the most under the test task's reward: generalized
policy improvement over the experts; and the same with outputs made weaker or stronger."""
FLIPPED = "one expert, outputs flipped"
"""What solves reversed motors exactly."""
TURNED = "turned"
"""Ends the name of a row that is told the robot's symmetries."""
PROMPTED = "told a prompt"
"""Ends the name of a row that is told some steps of an expert in place of the context."""

GIVEN = {
    ZERO: NOTHING,
    RANDOM: NOTHING,
    DECODED: "test task's expert",
    SPECIALIST: "training on the test task",
    ORACLE: "training on the test task",
}
"""What these rows get of the test task; the others get the true context."""

OF_EXPERTS = (
    NEAREST,
    NEAREST_INDEPENDENT,
    INTERPOLATED,
    CONDITIONED,
    REGRESSION,
    DISTILLED,
    ONE_EXPERT,
    BY_DIRECTION,
    BEST_SEEN,
    BEST_WEAKENED,
    FLIPPED,
)
"""Trivial rows out of the same data as the generators', turned or told a prompt or not."""
CEILINGS = (DECODED, SPECIALIST, ORACLE)
STANDARD = (ZERO, RANDOM, NEAREST, INTERPOLATED, CONDITIONED, REGRESSION, *CEILINGS)
"""Rows that `standard_rows` names."""
BY_HAND = "a program written for the task"
TOLD_SYMMETRIES = f"{CONTEXT}, the robot's symmetries"
"""What turned rows are given."""


def stem(name: str) -> str:
    """A row's name without the mark of a turned one, or of one that is told a prompt."""
    return name.removesuffix(f", {TURNED}").removesuffix(f", {PROMPTED}")


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
