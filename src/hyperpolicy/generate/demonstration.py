"""The reader of demonstrations: embedding and normalizer; its condition is one of

    opening   h = φ(opening), what AMT-Hyp's released code gives its generator
    both      (h, v), v = ψ(ending): AMT-Hyp's paper, and Make-An-Agent

each number scaled to [−1, 1] on training rows. One embedding serves all seeds of a fit, and any
kind of writer goes on from its conditions: `fit` takes the `lesson` of some demonstrations.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data.demonstrations import Demonstrations, Layout, widths
from hyperpolicy.data.given import Given
from hyperpolicy.errors import BadContext
from hyperpolicy.generate import behavior_embedding
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.behavior_embedding import (
    BehaviorEmbeddingConfig,
    Embedding,
    Maps,
    Rows,
    task_aware_loss,
)
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.generate.parts import Frame
from hyperpolicy.zoo import Zoo

Told = Literal["opening", "both"]


class DemonstrationReader(eqx.Module):
    """One demonstration → its condition, each number in [−1, 1] on training rows."""

    kind: ClassVar[str] = "demonstration"
    takes: ClassVar[type[Given]] = Demonstrations
    column: ClassVar[str] = Demonstrations.column
    embedding: Embedding
    normalizer: Normalizer
    told: Told = eqx.field(static=True)
    layout: Layout = eqx.field(static=True, default="opening")

    def read(self, given: Given) -> Float[Array, "n d"]:
        """Raises BadContext: demonstrations of another layout than it was fitted on."""
        found = getattr(given, "layout", self.layout)
        if found != self.layout:
            raise BadContext(
                f"these demonstrations are of layout {found!r}; this generator reads "
                f"{self.layout!r}: cut them with layout={self.layout!r}"
            )
        return _read_rows(self, jnp.asarray(given.rows, jnp.float32))

    @property
    def size(self) -> int:
        return self.normalizer.scale.shape[-1]

    def settings(self) -> dict:
        maps = self.embedding.maps
        return {
            "told": self.told,
            "layout": self.layout,
            "dim": maps.bilinear.shape[0],
            "opening_hidden": tuple(layer.bias.shape[0] for layer in maps.opening.layers[:-1]),
            "ending_hidden": maps.ending.first.bias.shape[0],
        }

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "DemonstrationReader":
        sizes = {name: settings[name] for name in ("dim", "ending_hidden")}
        config = BehaviorEmbeddingConfig(**sizes, opening_hidden=tuple(settings["opening_hidden"]))
        told: Told = settings["told"]
        o, s = widths(frame.family)
        maps = Maps.init(config, o, s, jax.random.key(0))
        embedding = Embedding(maps, norm.blank(o), norm.blank(s))
        condition = norm.blank(config.dim * (2 if told == "both" else 1))
        return cls(embedding, condition, told, settings.get("layout", "opening"))


def read(embedding: Embedding, told: Told, row: Float[Array, " h"]) -> Float[Array, " d"]:
    """h, or (h, v), of one demonstration."""
    o = embedding.opening_normalizer.scale.shape[-1]
    h = embedding.of_opening(row[:o])
    return h if told == "opening" else jnp.concatenate([h, embedding.of_ending(row[o:])])


def fit_embedding(
    config: BehaviorEmbeddingConfig,
    demonstrations: Demonstrations,
    seed: int = 0,
    out: Path | None = None,
    loss: Callable = task_aware_loss,
) -> Embedding:
    """One embedding of training demonstrations, by one of the losses of its page; errors as
    `behavior_embedding.fit`."""
    _, task = np.unique(demonstrations.contexts, axis=0, return_inverse=True)
    rows = Rows(demonstrations.opening, demonstrations.ending, task.ravel())
    fitted = behavior_embedding.fit(config, rows, (seed,), out, loss)
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), fitted)


def lesson(
    zoo: Zoo,
    demonstrations: Demonstrations,
    rows: Int[np.ndarray, " d"],
    embedding: Embedding,
    told: Told = "both",
) -> Lesson:
    """What a generator learns from: demonstration i shows what row `rows[i]` of a zoo does; the
    reader's limits are those of these demonstrations."""
    raw = jax.vmap(partial(read, embedding, told))(jnp.asarray(demonstrations.rows))
    limits = norm.limits(np.asarray(raw))
    reader = DemonstrationReader(embedding, limits, told, demonstrations.layout)
    return Lesson(zoo, demonstrations, rows, reader)


@jax.jit
def _read_rows(reader: DemonstrationReader, rows: Float[Array, "n h"]) -> Float[Array, "n d"]:
    raw = partial(read, reader.embedding, reader.told)
    return jax.vmap(lambda row: reader.normalizer(raw(row)))(rows)
