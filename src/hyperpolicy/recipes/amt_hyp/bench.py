"""AMT-Hyp's tables on Meta-World: every generator and every plain row, seen tasks and unseen.

A method is fitted once a seed and writes one policy a demonstration. Two evaluations:

    strict   policies of each task in configurations nobody trained on, the same ones for all
             methods; mean and interval over tasks, policies and training seeds, qualified rate, and
             the best policies chosen in other configurations
    legacy   the released scripts' (`evaluate.scoring`), first seed only

Each cell, a method on the seen or the unseen tasks, is saved when it is done and never computed
twice; so is each fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import jax
import numpy as np
from jaxtyping import Float

from hyperpolicy import files, rollout
from hyperpolicy.envs import Split
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.evaluate.protocol import DEMONSTRATION
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.scoring import (
    Row,
    Told,
    released_successes,
    score,
    score_demonstrated,
)
from hyperpolicy.generate import demonstration, loop, parts
from hyperpolicy.generate.behavior_embedding import (
    BehaviorEmbeddingConfig,
    Embedding,
    task_aware_loss,
)
from hyperpolicy.generate.codecs import CodecConfig
from hyperpolicy.generate.demonstration import DemonstrationReader
from hyperpolicy.generate.fitting import fit_seeds
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.parts import Codec, Frame
from hyperpolicy.generate.writers import hypformer
from hyperpolicy.recipes.amt_hyp.data import MetaWorldData, provide, split_of
from hyperpolicy.recipes.amt_hyp.imitation import tasks_of
from hyperpolicy.recipes.amt_hyp.presets import Preset
from hyperpolicy.recipes.stage import make_once, record_once, timed
from hyperpolicy.recipes.zero_shot import zoos

STRICT_SEED, CHOOSING_SEED = 101, 102
"""Of the configurations of tables, and of those in which the best policies are chosen."""
HALVES = "seen", "unseen"
"""The tasks that experts were trained for, and the others."""
SHIPPED_CHECKPOINTS, SHIPPED_STATES = 2, 64
"""Of each expert in a slice that ships, beside its final row."""
SHIPPED_DEMONSTRATIONS = 5
"""Of each of the sixteen tasks, for testing."""


@dataclass(frozen=True)
class Bench:
    """What all methods share."""

    preset: Preset
    data: MetaWorldData
    out: Path
    split: Split = field(default_factory=lambda: split_of(MetaWorld()))
    family: MetaWorld = field(default_factory=MetaWorld)
    """Where policies play; training may have left configurations out."""

    def contexts(self, half: str) -> Float[np.ndarray, "k 1"]:
        """The tasks that experts were trained for, or the others."""
        if half == "seen":
            return self.split.train
        return self.split.test[~np.isin(self.split.test, self.split.train).all(axis=1)]

    def tasks(self, half: str) -> list[str]:
        """Their names."""
        return tasks_of(self.family, self.contexts(half))

    @property
    def minutes(self) -> Path:
        """Where it is written how long each stage took."""
        return self.out / "minutes.json"

    @cached_property
    def embedding(self) -> Embedding:
        return self.embedding_of("embedding", self.preset.embedding)

    def embedding_of(
        self, name: str, config: BehaviorEmbeddingConfig, loss: Callable = task_aware_loss
    ) -> Embedding:
        """Kept in `out/NAME.safetensors`, with the tasks it was fitted on."""
        path, place = self.out / f"{name}.safetensors", self.out / "fits" / name

        def fit() -> None:
            fitted = demonstration.fit_embedding(config, self.data.train, out=place, loss=loss)
            files.save_tree(path, fitted, {"tasks": self.tasks("seen")})

        make_once(path, fit, timed(self.minutes, name))
        sizes = {k: getattr(config, k) for k in ("dim", "ending_hidden")}
        sizes |= {"told": "both", "opening_hidden": list(config.opening_hidden)}
        sizes |= {"kind": DemonstrationReader.kind}
        spec = self.data.zoo.spec
        frame = Frame(self.data.zoo.family, spec, spec.size)
        return files.load_tree(path, parts.blank(sizes, frame).embedding)[0]

    def lesson(
        self, told: demonstration.Told = "both", embedding: Embedding | None = None
    ) -> Lesson:
        """What a method learns from; read by the one embedding, if no other is given."""
        data, embedding = self.data, embedding or self.embedding
        return demonstration.lesson(data.zoo, data.train, data.rows, embedding, told)

    def fitted(
        self, name: str, fit: Callable[[Path], Sequence[Generator]], fits: int | None = None
    ) -> list[Generator]:
        """A method's generators, one a seed or the first `fits` of them, from disk where they are
        there already."""
        out = self.out / "fits" / name
        places = [out / f"seed-{seed}/config.json" for seed in self.preset.seeds[:fits]]
        for missing in [place for place in places if not place.exists()][:1]:
            clock = timed(self.minutes, f"fit, {name}")
            make_once(missing, lambda: fit(out), clock)  # of all seeds
        return [load(place.parent) for place in places if place.exists()]

    def codecs(self, config: CodecConfig) -> list[Codec]:
        """One codec of the zoo a seed; those of one configuration are fitted once."""
        out, zoo = self.out / f"fits/encoder-{crc32(repr(config).encode()):08x}", self.data.zoo
        places = [out / f"seed-{seed}.safetensors" for seed in self.preset.seeds]

        def fit() -> None:
            fitted = config.fit(zoo.weights, zoo.spec, self.preset.seeds, out)
            for n, place in enumerate(places):
                one = jax.tree.map(lambda leaf, n=n: leaf[n], fitted)
                files.save_tree(place, one, parts.record(one), overwrite=True)
            loop.finish(out)

        make_once(places[-1], fit, timed(self.minutes, f"fit, encoder, {type(config).__name__}"))
        frame = Frame(zoo.family, zoo.spec, zoo.spec.size)
        blank = [parts.blank(files.read_meta(place), frame) for place in places]
        return [files.load_tree(*pair)[0] for pair in zip(places, blank, strict=True)]

    def of_config(
        self, name: str, config, told: demonstration.Told = "both", fits: int | None = None
    ) -> list[Generator]:
        """The generators of a configuration, one a seed or the first `fits` of them."""
        fit = partial(fit_seeds, config, self.lesson(told), self.preset.seeds[:fits])
        return self.fitted(name, fit, fits)

    def hyplatents(self) -> list[Generator]:
        return self.of_config("hyplatent", self.preset.hyplatent)

    def shipped(self) -> Generator:
        """The small one, with the numbers that its compact files keep."""
        path = self.out / "shipped"
        if path.exists():
            return load(path)
        embedding = self.embedding_of("embedding-shipped", self.preset.shipped_embedding)
        lesson, seeds = self.lesson(embedding=embedding), self.preset.seeds[:1]
        fit = partial(fit_seeds, self.preset.shipped, lesson, seeds)
        (whole,) = self.fitted("hyplatent-shipped", fit, fits=1)
        return load(whole.save(path, compact=True))

    def hypformers(
        self,
        forward: Callable = hypformer.attend_within,
        fits: int | None = None,
        tokens: int | None = None,
    ) -> list[Generator]:
        """HypFormers on those, one a seed or the first `fits` of them: the preset's, or those of
        the curve over numbers of `tokens`. `forward` may be the released attention."""
        name, config = f"hypformer-{forward.__name__}", self.preset.hypformer
        if tokens is not None:
            name, config = f"hypformer-tokens-{tokens}", replace(self.preset.counted, tokens=tokens)
        bases, lesson = self.hyplatents()[:fits], self.lesson()
        fit = partial(hypformer.fit, config, bases, lesson, forward=forward)
        return self.fitted(name, fit, fits)


def bench(preset: Preset, out: str | Path) -> Bench:
    """Data and shared parts, made where they are missing."""
    out = Path(out)
    data = provide(preset.data, out / "data", minutes=out / "minutes.json")
    return Bench(preset, data, out)


# --- Cells --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Method:
    """A row of the tables: how it is fitted, what it is given of a test task, and where it has a
    meaning."""

    name: str
    fit: Callable[[Bench], Sequence[Any]]
    """Its makers, one a training seed; fits that are there already are read."""
    given: str | None = None
    """What it is given; a demonstration, unless something else."""
    cells: tuple[str, ...] = HALVES
    """The tasks on which it has a meaning."""
    replayed: bool = False
    """Whether each policy plays the very configuration that its demonstration shows."""
    seldom: bool = False
    """Whether it takes so long to play that fewer policies do (`Preset.seldom`)."""


class Played(NamedTuple):
    """How a method does on the seen or the unseen tasks."""

    strict: Score
    choosing: Score | None
    """The same policies in other configurations."""
    legacy: dict[str, dict[str, float]]
    """task → average, top 5 and top 10 of the released evaluation, first seed."""


def play(b: Bench, method: Method, half: str, progress: Callable[[str], None]) -> Played:
    """A method on the seen or the unseen tasks."""
    path = b.out / "cells" / f"{plain(method.name)}-{half}.json"
    makers: Sequence = ()
    if not path.exists():
        progress(f"{method.name}, {half} tasks")
        makers = method.fit(b)  # fits have minutes of their own
    clock = timed(b.minutes, f"cells, {half} tasks: {method.name}")
    record = record_once(path, lambda: _measure(b, makers, method, half), clock)
    choosing = record["choosing"] and Score.from_json(record["choosing"])
    return Played(Score.from_json(record["strict"]), choosing, record["legacy"])


def _measure(b: Bench, makers: Sequence, method: Method, half: str) -> dict:
    given, preset = method.given or DEMONSTRATION, b.preset
    if method.seldom:
        b = replace(b, preset=replace(preset, policies=min(preset.seldom, preset.policies)))
    strict = strictly(
        b, makers, half, STRICT_SEED, preset.configurations, given, method.replayed
    ).to_json()
    choosing = None
    if preset.choosing:
        how = half, CHOOSING_SEED, preset.choosing, given
        choosing = strictly(b, makers, *how).to_json()
    released = {}
    if preset.released and hasattr(makers[0], "generate"):
        for task, context in zip(b.tasks(half), b.contexts(half), strict=True):
            policies = makers[0].generate(b.data.test.of(context)[: b.preset.policies])
            found = released_successes(policies, task)
            tops = {f"top {k}": float(found[:k].mean()) for k in (5, 10)}
            released[task] = {"average": float(found.mean()), **tops}
    return {"strict": strict, "choosing": choosing, "legacy": released}


def strictly(
    b: Bench,
    makers: Sequence,
    half: str,
    seed: int,
    episodes: int,
    given: str,
    replayed: bool = False,
) -> Score:
    """Makers, one a training seed, in `episodes` configurations of each task, or `replayed` in that
    of the demonstration."""
    family, contexts = b.family, b.contexts(half)
    row = Row(makers, draws=b.preset.policies, given=given)
    if not isinstance(makers[0], Told):
        row = replace(row, makers=makers[:1], draws=1)
        return score(row, family, contexts, 10 * episodes, seed)
    shown = [b.data.test.of(context) for context in contexts]
    return score_demonstrated(row, family, shown, episodes, seed, True, replayed)


def transfer(b: Bench) -> Float[np.ndarray, "8 8"]:
    """Success of each seen task's final expert (rows) on each unseen task, without any
    demonstration; kept in `out/transfer.json`."""
    zoo, unseen = b.data.zoo, b.contexts("unseen")

    def make() -> dict:
        k = len(zoo.contexts)
        who = zoo.finals[np.repeat(np.arange(k), len(unseen))]
        tasks = np.tile(unseen, (k, 1))
        rate = rollout.success_rate(who, b.family, tasks, b.preset.elsewhere, STRICT_SEED)
        return {"success": rate.reshape(k, len(unseen))}

    clock = timed(b.minutes, "experts on unseen tasks")
    return np.array(record_once(b.out / "transfer.json", make, clock)["success"])


def plain(name: str) -> str:
    """A row's name as that of a file."""
    return "".join(c if c.isalnum() else "-" for c in name)


# --- Shipping -----------------------------------------------------------------------------
def ship(b: Bench, into: Path) -> list[Path]:
    """The slice `into/metaworld/GRID`, with `demonstrations.safetensors` among its files; empty
    where it exists already."""
    path = into / "metaworld" / b.split.grid
    if path.exists():
        return []
    zoo = zoos.cut(b.data.zoo, SHIPPED_CHECKPOINTS, SHIPPED_STATES)
    zoo = replace(zoo, critics=None, provenance=zoos.UNRECORDED | zoo.provenance)
    tasks = np.concatenate([b.contexts(half) for half in HALVES])
    shown = b.data.first(tasks, SHIPPED_DEMONSTRATIONS)
    zoo.save(path, lambda new: shown.save(new / "demonstrations.safetensors"))
    return [path]


def ship_generator(b: Bench, path: Path) -> list[Path]:
    """The small HypLatent as the compact directory `path`; empty where it exists already."""
    return [] if path.exists() else [b.shipped().save(path, compact=True)]
