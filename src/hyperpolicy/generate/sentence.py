"""The reader of a task's name: its sentence, beside a demonstration of it or alone.

    condition = [inner(demonstration) ; e(task)]

e are the first principal components of the training tasks' sentence embeddings
(`data/sentences.py`), each scaled to [−1, 1] on these tasks. A task nobody trained on has a
sentence, too, so its name can be told.
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data import sentences
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.data.given import Given
from hyperpolicy.envs import Family
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate import parts
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.parts import Frame, Reader

COMPONENTS = 16
"""Of sentences, at most."""


class SentenceReader(eqx.Module):
    """Demonstrations, whose task's name is told as well."""

    kind: ClassVar[str] = "sentence"
    takes: ClassVar[type[Given]] = Demonstrations
    column: ClassVar[str] = "the test task's name in a sentence"
    table: Float[Array | np.ndarray, "k e"]
    """A row for each task of the family."""
    inner: Reader | None
    """What is read of the demonstration itself; None: nothing."""

    @property
    def size(self) -> int:
        return self.table.shape[1] + (0 if self.inner is None else self.inner.size)

    def read(self, given: Given) -> Float[Array, "n d"]:
        told = jnp.asarray(self.table)[_number(given.contexts)]
        if self.inner is None:
            return told
        return jnp.concatenate([jnp.asarray(self.inner.read(given)), told], axis=1)

    def settings(self) -> dict:
        inner = None if self.inner is None else parts.record(self.inner)
        return {"tasks": self.table.shape[0], "numbers": self.table.shape[1], "inner": inner}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "SentenceReader":
        table = jnp.zeros((settings["tasks"], settings["numbers"]))
        inner = settings["inner"]
        return cls(table, None if inner is None else parts.blank(inner, frame))


def _number(contexts: Float[np.ndarray, "n 1"]) -> Int[np.ndarray, " n"]:
    return np.asarray(contexts)[:, 0].round().astype(int)


def reader(family: Family, known: Float[np.ndarray, "k 1"], inner: Reader | None) -> SentenceReader:
    """A reader of the names of a family's tasks, by the sentences of those that are `known`. Raises
    UnknownTask: a task has no sentence."""
    every = family.grid("all").contexts
    raw = np.array(sentences.of([family.task_name(context) for context in every]))
    own = raw[_number(known)]
    mean = own.mean(axis=0)
    _, spread, axes = np.linalg.svd(own - mean, full_matrices=False)
    rank = int((spread > 1e-6 * spread[:1]).sum())
    table = (raw - mean) @ axes[: min(rank, COMPONENTS)].T
    scaled = norm.limits(table[_number(known)])(table)
    return SentenceReader(np.asarray(scaled, np.float32), inner)


def told(lesson: Lesson, alone: bool = False) -> Lesson:
    """The lesson of demonstrations with the names of their tasks, or with these alone."""
    zoo = lesson.zoo
    return lesson._replace(
        reader=reader(zoo.family, zoo.contexts, None if alone else lesson.reader)
    )
