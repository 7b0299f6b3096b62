"""Encoders of what is seen and of the task: `s, z = encoder(observation, task)`.

A policy's encoder is that of its critics (mtrl: "tied"). What is told of the task is z: nothing, a
one-hot vector, a learned embedding, or one of a sentence.
"""

from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Number, Size, Sizes
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.care import Mixture, MixtureConfig, TaskEncoder
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.modulated import Modulated, ModulatedConfig
from hyperpolicy.types import Key, Task


@dataclass(frozen=True)
class FeedForwardConfig(Bounded):
    """An encoder of what is seen, the same for all tasks."""

    layers: Sizes = (50, 50, 50)
    """Units of each layer; the last gives s."""

    @property
    def width(self) -> int:
        """Numbers in s."""
        return self.layers[-1]

    def make(self, i: int, key: Key) -> Mlp:
        """A fresh encoder of i numbers."""
        return Mlp.init([i, *self.layers], key, Linear.xavier)


Told = Literal["none", "one-hot", "embedding", "unit-embedding", "language"]
Table = tuple[tuple[Number, ...], ...] | None


@dataclass(frozen=True)
class EncoderConfig(Bounded):
    """What is told of the task, and what becomes of what is seen."""

    told: Told = "none"
    """z: nothing; a one-hot vector; a learned embedding, by a network or (`unit-embedding`) as it
    is, of length 1; the embedding of a sentence, by a network."""
    width: Size = 50
    """Numbers in an embedding."""
    body: FeedForwardConfig | MixtureConfig | ModulatedConfig | None = None
    """What makes s of an observation; None: nothing is changed."""
    language: Table = None
    """For `language`: a sentence's embedding for each task."""

    def __post_init__(self):
        super().__post_init__()
        if (self.told == "language") != (self.language is not None):
            raise BadSetting(
                f"told={self.told!r} and {'a' if self.language else 'no'} table of sentences: give "
                "`language` its rows, one a task, and no other way of telling any"
            )
        if isinstance(self.body, MixtureConfig | ModulatedConfig) and self.told in (
            "none",
            "one-hot",
        ):
            kind = type(self.body).__name__
            raise BadSetting(f"{kind} wants an embedding of the task; told={self.told!r} has none")

    def numbers(self, tasks: int) -> int:
        """Numbers in z."""
        return {"none": 0, "one-hot": tasks}.get(self.told, self.width)

    def seen(self, o: int) -> int:
        """Numbers in s."""
        return o if self.body is None else self.body.width

    def make(self, tasks: int, o: int, key: Key) -> "Encoder":
        """A fresh encoder of o numbers. Raises BadSetting: a table of other tasks; as the body."""
        key_task, key_body = jax.random.split(key)
        z = self.numbers(tasks)
        if isinstance(self.body, MixtureConfig | ModulatedConfig):
            body: Any = self.body.make(tasks, o, z, key_body)
        else:
            body = None if self.body is None else self.body.make(o, key_body)
        return Encoder(self._task(tasks, key_task), body, tasks if self.told == "one-hot" else 0)

    def _task(self, tasks: int, key: Key) -> "TaskEncoder | UnitEmbedding | None":
        if self.told == "embedding":
            return TaskEncoder.learned(tasks, self.width, key)
        if self.told == "unit-embedding":
            return UnitEmbedding(jax.random.normal(key, (tasks, self.width)))
        if self.language is None:
            return None
        if len(self.language) != tasks:
            raise BadSetting(f"a table of {len(self.language)} sentences for {tasks} tasks")
        return TaskEncoder.language(jnp.asarray(self.language), self.width, key)


class UnitEmbedding(eqx.Module):
    """A learned vector for each task, of length 1."""

    rows: Float[Array, "k z"]

    def __call__(self, task: Task) -> Float[Array, " z"]:
        row = self.rows[task]
        return row / jnp.linalg.norm(row)


class Encoder(eqx.Module):
    """s and z."""

    task: TaskEncoder | UnitEmbedding | None
    body: Mlp | Mixture | Modulated | None
    one_hot: int = eqx.field(static=True)
    """Tasks of a one-hot vector, 0 for none."""

    def __call__(
        self, obs: Float[Array, " o"], task: Task
    ) -> tuple[Float[Array, " s"], Float[Array, " z"]]:
        """Of one observation of one task."""
        z = self.told(task)
        if self.body is None:
            return obs, z
        return (self.body(obs) if isinstance(self.body, Mlp) else self.body(obs, z, task)), z

    def told(self, task: Task) -> Float[Array, " z"]:
        """z."""
        if self.one_hot:
            return jax.nn.one_hot(task, self.one_hot)
        return jnp.zeros(0) if self.task is None else self.task(task)

    def merge(self, task: Task) -> list[Linear]:
        """The layers, with ReLU between them and none after the last, that give s for one task; []
        where s is the observation. Raises BadSetting: its mixture changes with what is seen."""
        if isinstance(self.body, Mixture):
            return self.body.merge(self.told(task), task)
        if isinstance(self.body, Modulated):
            return self.body.merge(self.told(task))
        return [] if self.body is None else self.body.layers


BODIES: dict[str, type] = {
    "feed-forward": FeedForwardConfig,
    "mixture": MixtureConfig,
    "modulated": ModulatedConfig,
}
"""Names in files of what makes s."""
