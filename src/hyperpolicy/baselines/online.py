"""Online fine-tuning on test tasks: whoever learns plays one episode in each task, learns, and so
on; environment steps are counted, so that "0" and "20,000" mean the same for every method."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from hyperpolicy import seeds
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.policies import Actor, Policies
from hyperpolicy.rollout import record, returns


@runtime_checkable
class Student(Protocol):
    """n policies, one a test task, that go on learning from what they do; a value."""

    @property
    def policies(self) -> Policies:
        """What it would do now, deterministically."""

    def explorer(self, seed: int) -> Actor:
        """Who collects the next episode of each task."""

    def learned(self, new: Episodes, seed: int) -> "Student":
        """What it is after episodes of all its tasks."""


class Learned(NamedTuple):
    """What came of it."""

    steps: list[int]
    """Environment steps of a task, the mean over tasks, at each evaluation."""
    returns: Float[np.ndarray, "p n e"]
    """At each evaluation, of each task, in each of e episodes that no training began from."""
    student: Student


def finetune(
    student: Student,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    steps: int = 20_000,
    evaluations: int = 5,
    episodes: int = 10,
    seed: int = 0,
) -> Learned:
    """The student after `steps` environment steps in each task, scored before the first, after the
    last, and `evaluations` times in all. Raises BadSetting: fewer than one step or two evaluations.
    """
    if steps < 1 or evaluations < 2:
        raise BadSetting(f"steps={steps}, evaluations={evaluations}; give 1 and 2, or more")
    contexts = family.context.check(contexts)
    marks = np.linspace(0, steps, evaluations)
    taken, number = 0, 0
    found: list[np.ndarray] = []
    at: list[int] = []
    while True:
        if taken >= marks[len(at)]:
            found.append(returns(student.policies, family, contexts, episodes, seed))
            at.append(taken)
        if len(at) == evaluations:
            return Learned(at, np.stack(found), student)
        starts = _training_starts(seed, number, len(contexts))
        new = record(student.explorer(number), family, contexts, starts, seed, made_by="student")
        student = student.learned(new, number)
        taken += round(float(np.sum(new.index.length)) / len(contexts))
        number += 1


def _training_starts(seed: int, number: int, n: int):
    """A world seed for episode `number` of each task; none of an evaluation's."""
    return seeds.worlds(seed, (number + 1) * n)[-n:, None]
