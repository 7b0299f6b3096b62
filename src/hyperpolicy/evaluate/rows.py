"""The rows every table of ours must have: their names, what they are given, which are trivial."""

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
TOLD_SYMMETRIES = f"{CONTEXT}, the robot's symmetries"
"""What turned rows are given."""


def stem(name: str) -> str:
    """A row's name without the mark of a turned one."""
    return name.removesuffix(f", {TURNED}")


def is_trivial(name: str) -> bool:
    """Whether a row is one of those every generator has to beat."""
    return stem(name) in (ZERO, RANDOM, *OF_EXPERTS)
