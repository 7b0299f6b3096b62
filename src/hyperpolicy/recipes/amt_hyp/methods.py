"""The rows of AMT-Hyp's tables: what generators are put beside, and all of them by name."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy import rollout
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs.metaworld.scripted import Scripted
from hyperpolicy.errors import BadSetting, unknown
from hyperpolicy.evaluate.protocol import BY_HAND
from hyperpolicy.generate.codecs import CodecConfig
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.parts import Codec
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.amt_hyp import cloned, prompted
from hyperpolicy.recipes.amt_hyp.bench import HALVES, Bench, Method
from hyperpolicy.recipes.amt_hyp.released import attend_over_batch, write_over_batch
from hyperpolicy.zoo import Zoo

ASIDE = 1
"""Fits of rows that answer a question aside."""


# --- Plain rows ---------------------------------------------------------------------------
@dataclass(frozen=True)
class DecodedExperts:
    """Experts' checkpoints after an encoder and back: the upper bound of what it serves."""

    codec: Codec
    zoo: Zoo

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        """Row after row of the task's expert, decoded, repeated as needed."""
        own = _own_rows(self.zoo, given)
        weights = self.zoo.weights[own[np.arange(len(given)) % len(own)]]
        return Policies(np.asarray(_there_and_back(self.codec, weights)), self.zoo.spec)


@jax.jit
def _there_and_back(codec: Codec, weights: Float[np.ndarray | Array, "d p"]):
    return jax.vmap(lambda w: codec.decode(codec.encode(w)))(weights)


@dataclass(frozen=True)
class MeanExpert:
    """The mean of all rows of the task's expert."""

    zoo: Zoo

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        mean = self.zoo.weights[_own_rows(self.zoo, given)].mean(axis=0)
        return Policies(np.repeat(mean[None], len(given), axis=0), self.zoo.spec)


@dataclass(frozen=True)
class NearestDemonstration:
    """The row shown by the training demonstration with the nearest condition."""

    lesson: Lesson

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        return Policies(self.lesson.zoo.weights[self.rows(given)], self.lesson.zoo.spec)

    def rows(self, given: Demonstrations) -> Int[np.ndarray, " d"]:
        """Which rows of the zoo these are."""
        read = self.lesson.reader.read
        known, asked = (np.asarray(read(d)) for d in (self.lesson.given, given))
        gaps = np.linalg.norm(asked[:, None] - known[None], axis=2)
        return np.asarray(self.lesson.rows)[gaps.argmin(axis=1)]


@dataclass(frozen=True)
class OverBatch:
    """HypFormer as released: policies of `batch` demonstrations of a task are made together, and
    look at each other."""

    generator: Generator
    batch: int

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        parts, model = [], self.generator.model
        for start in range(0, len(given), self.batch):
            conditions = jnp.asarray(model.reader.read(given[start : start + self.batch]))
            key = jax.random.fold_in(jax.random.key(seed), start)
            parts.append(np.asarray(write_over_batch(model, conditions, key)))
        return Policies(np.concatenate(parts), self.generator.spec)


def _own_rows(zoo: Zoo, given: Demonstrations) -> Int[np.ndarray, " r"]:
    """The rows of the expert of the task that is shown."""
    (x,) = np.flatnonzero((zoo.contexts == given.contexts[:1]).all(axis=1))
    return np.flatnonzero(zoo.expert == x)


def decoded(config: CodecConfig, b: Bench) -> list[DecodedExperts]:
    """One codec a seed."""
    return [DecodedExperts(codec, b.data.zoo) for codec in b.codecs(config)]


def over_batches(size: int, b: Bench) -> list[OverBatch]:
    """The released attention in training and evaluation."""
    return [OverBatch(generator, size) for generator in b.hypformers(attend_over_batch, ASIDE)]


def scripts(half: str, b: Bench) -> list[rollout.Actor]:
    """The package's own controllers, without noise."""
    return [Scripted(b.tasks(half))]


OWN_EXPERTS = "the task's experts"
METHODS = {
    method.name: method
    for method in (
        Method("HypFormer", Bench.hypformers),
        *(
            Method(
                f"HypFormer, released attention, batches of {size}",
                partial(over_batches, size),
                None if size == 1 else f"{size} demonstrations of the test task",
            )
            for size in (1, 10, 100)
        ),
        Method("HypLatent", Bench.hyplatents),
        Method(
            "HypLatent, told the opening only",
            lambda b: b.of_config("hyplatent-opening", b.preset.hyplatent, "opening", ASIDE),
        ),
        Method("HypLatent, as shipped", lambda b: [b.shipped()]),
        Method("Make-An-Agent", lambda b: b.of_config("make-an-agent", b.preset.make_an_agent)),
        Method(
            "distilled conditional policy", lambda b: b.of_config("distilled", b.preset.distill)
        ),
        Method("Prompt-DT", prompted.fitted, seldom=True),
        Method("CARE, cloned", cloned.fitted, "the test task's name"),
        Method("expert of the nearest demonstration", lambda b: [NearestDemonstration(b.lesson())]),
        Method(
            "mean of the task's checkpoints",
            lambda b: [MeanExpert(b.data.zoo)],
            "the task, and its experts",
            ("seen",),
        ),
        Method(
            "decoded expert",
            lambda b: decoded(b.preset.hyplatent.encoder, b),
            OWN_EXPERTS,
            ("seen",),
        ),
        Method(
            "decoded expert, autoencoder",
            lambda b: decoded(b.preset.autoencoder, b),
            OWN_EXPERTS,
            ("seen",),
        ),
        *(
            Method(f"scripted policy, {half}", partial(scripts, half), BY_HAND, (half,))
            for half in HALVES
        ),
    )
}
"""The rows of the tables, by name."""


def method(name: str) -> Method:
    """The row called `name`; BadSetting, which suggests one, where there is none."""
    if name not in METHODS:
        raise unknown(BadSetting, "method", "Methods", name, METHODS)
    return METHODS[name]
