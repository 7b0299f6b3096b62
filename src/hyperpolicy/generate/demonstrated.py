"""Generators that are told a demonstration: embedding, normalizer, and a latent generator behind.

HypLatent and Make-An-Agent are fitted as always, on pairs (condition of row r's demonstration,
latent of row r), and HypFormer on a HypLatent's; a conditioned policy is cloned from what row r's
expert does. The condition is

    opening   h = φ(opening), what AMT-Hyp's released code gives its generator
    both      (h, v), v = ψ(ending): AMT-Hyp's paper, and Make-An-Agent

each number scaled to [−1, 1] on training rows. One embedding serves all seeds of a fit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data.demonstrations import Demonstrations, widths
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadZoo
from hyperpolicy.generate import (
    behavior,
    behavior_embedding,
    conditioned,
    hypformer,
    hyplatent,
    latent_model,
    loop,
)
from hyperpolicy.generate import encoder as encoders
from hyperpolicy.generate import make_an_agent as maa
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig, Embedding, Maps
from hyperpolicy.generate.conditioned import Conditioned, DistillConfig, Shown
from hyperpolicy.generate.generator import Generator, check_zoo, from_zoo, write
from hyperpolicy.generate.hypformer import HypFormer, HypFormerConfig
from hyperpolicy.generate.hyplatent import HypLatentConfig
from hyperpolicy.generate.latent_model import HypLatent
from hyperpolicy.generate.make_an_agent import MakeAnAgent, MakeAnAgentConfig
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.generate.pairs import Pairs
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.run.directory import alone
from hyperpolicy.types import Key
from hyperpolicy.zoo import Zoo

Told = Literal["opening", "both"]
Writer = HypLatent | HypFormer | MakeAnAgent | Conditioned
_KINDS = (HypLatent, HypFormer, MakeAnAgent, Conditioned)
WRITERS: dict[str, type[Writer]] = {kind.kind: kind for kind in _KINDS}
GENERATE: dict[str, Callable] = {
    HypLatent.kind: latent_model.generate,
    HypFormer.kind: hypformer.generate,
    MakeAnAgent.kind: maa.generate,
    Conditioned.kind: conditioned.generate,
}


# --- Reading ------------------------------------------------------------------------------
class Reader(eqx.Module):
    """One demonstration → its condition, each number in [−1, 1] on training rows."""

    embedding: Embedding
    normalizer: Normalizer
    told: Told = eqx.field(static=True)

    def __call__(self, row: Float[Array, " h"]) -> Float[Array, " d"]:
        """The condition of opening and ending, one after the other."""
        return self.normalizer(read(self.embedding, self.told, row))

    @property
    def size(self) -> int:
        return self.normalizer.scale.shape[-1]

    def settings(self) -> dict:
        maps = self.embedding.maps
        hidden = tuple(layer.bias.shape[0] for layer in maps.opening.layers[:-1])
        config = BehaviorEmbeddingConfig(
            dim=maps.bilinear.shape[0],
            opening_hidden=hidden,
            ending_hidden=maps.ending.first.bias.shape[0],
        )
        sizes = {name: getattr(config, name) for name in ("dim", "opening_hidden", "ending_hidden")}
        return {"told": self.told, **sizes}

    @classmethod
    def blank(cls, settings: dict, family: Family) -> "Reader":
        """The shapes of a reader with these settings."""
        sizes = {name: settings[name] for name in ("dim", "ending_hidden")}
        config = BehaviorEmbeddingConfig(**sizes, opening_hidden=tuple(settings["opening_hidden"]))
        told: Told = settings["told"]
        o, s = widths(family)

        def make() -> Reader:
            maps = Maps.init(config, o, s, jax.random.key(0))
            embedding = Embedding(maps, norm.blank(o), norm.blank(s))
            return cls(embedding, norm.blank(config.dim * (2 if told == "both" else 1)), told)

        return jax.eval_shape(make)


def read(embedding: Embedding, told: Told, row: Float[Array, " h"]) -> Float[Array, " d"]:
    """h, or (h, v), of one demonstration."""
    o = embedding.opening_normalizer.scale.shape[-1]
    h = embedding.of_opening(row[:o])
    return h if told == "opening" else jnp.concatenate([h, embedding.of_ending(row[o:])])


def fit_reader(embedding: Embedding, told: Told, demonstrations: Demonstrations) -> Reader:
    """A reader around a trained embedding, its limits those of training demonstrations."""
    raw = jax.vmap(partial(read, embedding, told))(jnp.asarray(demonstrations.rows))
    return Reader(embedding, norm.limits(np.asarray(raw)), told)


def fit_embedding(
    config: BehaviorEmbeddingConfig,
    demonstrations: Demonstrations,
    seed: int = 0,
    out: Path | None = None,
    loss: Callable = behavior_embedding.task_aware_loss,
) -> Embedding:
    """One embedding of training demonstrations; errors as `behavior_embedding.fit`."""
    _, task = np.unique(demonstrations.contexts, axis=0, return_inverse=True)
    parts = demonstrations.opening, demonstrations.ending, task.ravel()
    fitted = behavior_embedding.fit(config, *parts, (seed,), out, loss)
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), fitted)


# --- Model --------------------------------------------------------------------------------
class Demonstrated(eqx.Module):
    """decode(G(n, condition of a demonstration))."""

    kind: ClassVar[str] = "demonstrated"
    reader: Reader
    writer: Writer

    def write(self, family: Family, given, seed: int) -> Float[np.ndarray, "n p"]:
        row_key = jax.vmap(jax.random.fold_in, (None, 0))
        keys = row_key(jax.random.key(seed), jnp.arange(len(given)))
        return np.asarray(_write_many(self, jnp.asarray(given, jnp.float32), keys))

    def settings(self) -> dict:
        writer = {"kind": self.writer.kind, **self.writer.settings()}
        return {"reader": self.reader.settings(), "writer": writer}

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec: PolicySpec) -> "Demonstrated":
        reader = Reader.blank(settings["reader"], family)
        kind = WRITERS[settings["writer"]["kind"]]
        return cls(reader, kind.blank(settings["writer"], spec, reader.size))


def generate(model: Demonstrated, row: Float[Array, " h"], key: Key) -> Float[Array, " p"]:
    """The policy of one demonstration."""
    return GENERATE[model.writer.kind](model.writer, model.reader(row), key)


@jax.jit
def _write_many(model: Demonstrated, rows, keys):
    return jax.vmap(generate, (None, 0, 0))(model, rows, keys)


# --- Fit ----------------------------------------------------------------------------------
class Lesson(NamedTuple):
    """What a generator learns from: row `rows[i]` of a zoo was shown by demonstration i."""

    zoo: Zoo
    demonstrations: Demonstrations
    rows: Int[np.ndarray, " d"]
    reader: Reader


def pairs_of(lesson: Lesson) -> Pairs:
    """Each demonstration's condition with the weights it shows.

    Raises:
        BadZoo: rows the zoo has not, a demonstration of another task than its row, or a zoo that
            cannot be trained on.
    """
    check_zoo(lesson.zoo)
    zoo, rows = lesson.zoo, np.asarray(lesson.rows)
    if len(rows) != len(lesson.demonstrations) or rows.min() < 0 or rows.max() >= len(zoo.weights):
        raise BadZoo(
            f"{len(lesson.demonstrations)} demonstrations for {len(rows)} rows up to {rows.max()} "
            f"of a zoo of {len(zoo.weights)}; give the row each one shows"
        )
    wrong = (zoo.contexts[zoo.expert[rows]] != lesson.demonstrations.contexts).any(axis=1)
    if wrong.any():
        raise BadZoo(f"demonstration {np.argmax(wrong)} solves another task than its row's expert")
    conditions = jax.jit(jax.vmap(lesson.reader))(jnp.asarray(lesson.demonstrations.rows))
    return Pairs(jnp.asarray(zoo.weights[rows]), jnp.arange(len(rows)), conditions, None, None)


@alone
def fit(
    config: HypLatentConfig | MakeAnAgentConfig | DistillConfig,
    lesson: Lesson,
    seeds: Sequence[int] = (0,),
    out: str | Path | None = None,
) -> list[Generator]:
    """One HypLatent, Make-An-Agent or distilled policy per seed; with `out` each is saved in
    `out/seed-<seed>`, and a killed fit resumes.

    Raises:
        BadZoo: as `pairs_of`; or a zoo without observations, which distilling needs.
        BadSetting: every fit's numbers stopped being finite.
    """
    data, seeds, place = pairs_of(lesson), tuple(seeds), None if out is None else Path(out)
    loop.claim(place)
    kind, train = _trainer(config)
    record = {"writer": kind, "config": asdict(config), "told": lesson.reader.told}
    run = loop.Run(kind, seeds, config.steps, place, record | {"zoo": loop.digest(data)})
    return _keep(lesson, run, train(config, run, data, lesson, place), record)


def _trainer(config) -> tuple[str, Callable[..., Mapping[int, Writer]]]:
    """A configuration's kind of model, and how one is trained."""
    if isinstance(config, HypLatentConfig):
        return HypLatent.kind, _train_hyplatent
    if isinstance(config, MakeAnAgentConfig):
        return MakeAnAgent.kind, _train_agent
    return Conditioned.kind, _distill


def _train_hyplatent(config: HypLatentConfig, run: loop.Run, data: Pairs, lesson: Lesson, out):
    encoder = encoders.fit(config.encoder, lesson.zoo, run.seeds, out)
    return hyplatent.train(config, run, data, lesson.zoo.spec, encoder)


def _train_agent(config: MakeAnAgentConfig, run: loop.Run, data: Pairs, lesson: Lesson, out):
    encoder = encoders.fit(config.encoder, lesson.zoo, run.seeds, out)
    return maa.train(config, run, data, encoder)


def _distill(config: DistillConfig, run: loop.Run, data: Pairs, lesson: Lesson, out):
    states, actions = behavior.probe(lesson.zoo)
    expert = jnp.asarray(lesson.zoo.expert[lesson.rows])
    shown = Shown(states, actions, data.conditions, expert)
    return conditioned.train(config, run, shown, lesson.zoo.spec)


@alone
def fit_hypformer(
    config: HypFormerConfig,
    bases: Sequence[Generator],
    lesson: Lesson,
    out: str | Path | None = None,
    forward: Callable = hypformer.attend_within,
) -> list[Generator]:
    """One HypFormer on each of the HypLatents `bases`, fitted on the same lesson; `forward` as in
    `hypformer.train`.

    Raises:
        BadZoo: bases that are no HypLatents of this reader's.
        BadSetting, BadShape: as `hypformer.train`.
    """
    data, place = pairs_of(lesson), None if out is None else Path(out)
    loop.claim(place)
    inner = [_base(generator, lesson.reader) for generator in bases]
    seeds = tuple(generator.provenance["seed"] for generator in bases)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *inner)
    record = {"writer": HypFormer.kind, "config": asdict(config), "told": lesson.reader.told}
    record |= {"forward": forward.__name__}
    known = {"zoo": loop.digest(data), "base": loop.digest(stacked)}
    run = loop.Run(HypFormer.kind, seeds, config.steps, place, record | known)
    return _keep(lesson, run, hypformer.train(config, run, data, stacked, forward), record)


def _base(generator: Generator, reader: Reader) -> HypLatent:
    model = generator.model
    if not isinstance(model, Demonstrated) or not isinstance(model.writer, HypLatent):
        raise BadZoo("HypFormer is fitted on HypLatents that read demonstrations")
    same = jax.tree.map(lambda a, b: np.array_equal(a, b), model.reader, reader)
    if not all(jax.tree.leaves(same)):
        raise BadZoo("this HypLatent reads demonstrations with another embedding")
    return model.writer


def _keep(lesson: Lesson, run: loop.Run, models: Mapping[int, Writer], record) -> list[Generator]:
    """Generators of a run's models, each saved in its place."""
    made = []
    for n, writer in models.items():
        provenance = record | {"seed": run.seeds[n]}
        made.append(from_zoo(lesson.zoo, Demonstrated(lesson.reader, writer), provenance))
        if run.out is not None:
            write(made[-1], run.out / f"seed-{run.seeds[n]}")
    loop.finish(run.out)
    return made
