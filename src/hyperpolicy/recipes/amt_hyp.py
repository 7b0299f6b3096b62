"""AMT-Hyp's tables on Meta-World: every generator and every plain row, seen tasks and unseen.

A method is fitted once a seed and writes one policy a demonstration. Two evaluations:

    strict   policies of each task in configurations nobody trained on, the same ones for all
             methods; mean and interval over tasks, policies and training seeds, qualified rate, and
             the best policies chosen in other configurations
    legacy   the released scripts' (`evaluate.legacy`), first seed only

Each cell, a method on the seen or the unseen tasks, is saved when it is done and never computed
twice; so is each fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import jax
import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.evaluate import legacy
from hyperpolicy.evaluate.score import DEMONSTRATION, Score, score, score_demonstrated
from hyperpolicy.generate import demonstrated, hypformer, loop
from hyperpolicy.generate import encoder as encoders
from hyperpolicy.generate.autoencoder import AutoencoderConfig
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig, Embedding
from hyperpolicy.generate.conditioned import DistillConfig
from hyperpolicy.generate.demonstrated import Lesson, Reader
from hyperpolicy.generate.encoder import Encoder, EncoderConfig
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.hypformer import HypFormerConfig
from hyperpolicy.generate.hyplatent import HypLatentConfig
from hyperpolicy.generate.make_an_agent import MakeAnAgentConfig
from hyperpolicy.generate.pca import PcaConfig
from hyperpolicy.nets.unet1d import Unet1dConfig
from hyperpolicy.recipes import metaworld_data, metaworld_presets
from hyperpolicy.recipes.metaworld_data import Data
from hyperpolicy.recipes.metaworld_presets import DataPreset
from hyperpolicy.recipes.minutes import timed

STRICT_SEED, CHOOSING_SEED = 101, 102
"""Of the configurations of tables, and of those in which the best policies are chosen."""
HALVES = ("seen", "unseen")
BY_HAND = "a program written for the task"


@dataclass(frozen=True)
class Preset:
    """Sizes and lengths of everything that is fitted."""

    data: DataPreset = field(default_factory=DataPreset)
    embedding: BehaviorEmbeddingConfig = field(default_factory=BehaviorEmbeddingConfig)
    hyplatent: HypLatentConfig = field(
        default_factory=lambda: HypLatentConfig(noise=128, encoder=PcaConfig(components=64))
    )
    hypformer: HypFormerConfig = field(
        default_factory=lambda: HypFormerConfig(dropout=0.0, layer_dropout=0.0, steps=4_000)
    )
    """Dropout at this size keeps it from writing policies that work (docs/amt-hyp.md)."""
    counted: HypFormerConfig = field(
        default_factory=lambda: HypFormerConfig(
            heads=8, dropout=0.0, layer_dropout=0.0, batch=16, steps=500
        )
    )
    """Of the curve over numbers of tokens, up to 512, which takes a fit for each."""
    make_an_agent: MakeAnAgentConfig = field(
        default_factory=lambda: MakeAnAgentConfig(encoder=PcaConfig(components=64))
    )
    distill: DistillConfig = field(default_factory=DistillConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    """Of the row that decodes experts by an autoencoder, beside the one by HypLatent's encoder."""
    shipped_embedding: BehaviorEmbeddingConfig = field(
        default_factory=lambda: BehaviorEmbeddingConfig(opening_hidden=(256, 256))
    )
    shipped: HypLatentConfig = field(
        default_factory=lambda: HypLatentConfig(noise=128, encoder=PcaConfig(components=32))
    )
    """A HypLatent of its own, small enough for the package, and what it reads with."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Fits of each method."""
    policies: int = 100
    """Policies a task and seed, one a demonstration."""
    configurations: int = 3
    """In which each of them plays, until its first success."""
    choosing: int = 1
    """Other configurations, in which the best policies are chosen."""


SMALL = Preset()
"""Sizes for two cores."""
_AUTOENCODER = AutoencoderConfig(dim=1024, steps=327_670)
_HYPFORMER = HypFormerConfig(width=256, heads=128, ff=2048, batch=128, steps=90_000)
PAPER = Preset(
    data=metaworld_presets.PAPER,
    embedding=BehaviorEmbeddingConfig(batch=16, steps=81_910),
    hyplatent=HypLatentConfig(
        encoder=_AUTOENCODER,
        generator_hidden=(1024, 512, 256),
        discriminator_hidden=(1024, 1024, 512),
        noise=128,
        batch=128,
        steps=150_000,
    ),
    hypformer=_HYPFORMER,
    counted=_HYPFORMER,
    make_an_agent=MakeAnAgentConfig(encoder=_AUTOENCODER, net=Unet1dConfig(), steps=40_950),
    autoencoder=_AUTOENCODER,
)
"""Published sizes, for a GPU; steps are about the published epochs on 4,000 rows, ending cycles."""
PRESETS = {"small": SMALL, "paper": PAPER}


class Method(NamedTuple):
    """A row of the tables."""

    makers: Callable[["Bench"], Sequence]
    """One maker a seed, made when the row is needed."""
    given: str = DEMONSTRATION
    halves: tuple[str, ...] = HALVES
    """Where it has a meaning."""


@dataclass(frozen=True)
class Bench:
    """What all methods share."""

    preset: Preset
    data: Data
    out: Path

    @property
    def minutes(self) -> Path:
        """Where it is written how long each stage took."""
        return self.out / "minutes.json"

    @cached_property
    def embedding(self) -> Embedding:
        """That of all methods."""
        return self.embedding_of("embedding", self.preset.embedding)

    def embedding_of(self, name: str, config: BehaviorEmbeddingConfig) -> Embedding:
        """Kept in `out/NAME.safetensors`."""
        path = self.out / f"{name}.safetensors"
        if not path.exists():
            with timed(self.minutes, name):
                place = self.out / "fits" / name
                fitted = demonstrated.fit_embedding(config, self.data.train, out=place)
            files.save_tree(path, fitted)
        sizes = {k: getattr(config, k) for k in ("dim", "ending_hidden")}
        sizes |= {"told": "both", "opening_hidden": list(config.opening_hidden)}
        return files.load_tree(path, Reader.blank(sizes, MetaWorld()).embedding)[0]

    def lesson(
        self, told: demonstrated.Told = "both", embedding: Embedding | None = None
    ) -> Lesson:
        """What a method learns from; read by the one embedding, if no other is given."""
        reader = demonstrated.fit_reader(embedding or self.embedding, told, self.data.train)
        return Lesson(self.data.zoo, self.data.train, self.data.rows, reader)

    def fitted(
        self, name: str, fit: Callable[[Path], Sequence[Generator]], fits: int | None = None
    ) -> list[Generator]:
        """A method's generators, one a seed or the first `fits` of them, from disk where they are
        there already."""
        out = self.out / "fits" / name
        places = [out / f"seed-{seed}" for seed in self.preset.seeds[:fits]]
        if not all((place / "config.json").exists() for place in places):
            with timed(self.minutes, f"fit, {name}"):
                fit(out)
        return [load(place) for place in places if (place / "config.json").exists()]

    def encoders(self, config: EncoderConfig) -> list[Encoder]:
        """One encoder of the zoo a seed; those of one configuration are fitted once."""
        out, zoo = self.out / f"fits/encoder-{crc32(repr(config).encode()):08x}", self.data.zoo
        places = [out / f"seed-{seed}.safetensors" for seed in self.preset.seeds]
        if not all(place.exists() for place in places):
            with timed(self.minutes, f"fit, encoder, {type(config).__name__}"):
                fitted = encoders.fit(config, zoo, self.preset.seeds, out)
            for n, place in enumerate(places):
                encoders.save(jax.tree.map(lambda leaf, n=n: leaf[n], fitted), place)
            loop.finish(out)
        return [encoders.load(place, zoo.spec) for place in places]

    def of_config(
        self, name: str, config, told: demonstrated.Told = "both", fits: int | None = None
    ) -> list[Generator]:
        """The generators of a configuration, one a seed or the first `fits` of them."""
        fit = partial(demonstrated.fit, config, self.lesson(told), self.preset.seeds[:fits])
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
        fit = partial(demonstrated.fit, self.preset.shipped, lesson, seeds)
        (whole,) = self.fitted("hyplatent-shipped", fit, fits=1)
        return load(whole.save(path, compact=True))

    def hypformers(
        self, forward: Callable = hypformer.attend_within, fits: int | None = None
    ) -> list[Generator]:
        """HypFormers on those; `forward` may be the released attention."""
        name = f"hypformer-{forward.__name__}"
        return self.of_hypformer(name, self.preset.hypformer, forward, fits)

    def of_hypformer(
        self,
        name: str,
        config: HypFormerConfig,
        forward: Callable = hypformer.attend_within,
        fits: int | None = None,
    ) -> list[Generator]:
        """The HypFormers of a configuration, one a seed or the first `fits` of them."""
        bases, lesson = self.hyplatents()[:fits], self.lesson()
        fit = partial(demonstrated.fit_hypformer, config, bases, lesson, forward=forward)
        return self.fitted(name, fit, fits)


def bench(preset: Preset, out: str | Path) -> Bench:
    """Data and shared parts, made where they are missing."""
    out = Path(out)
    data = metaworld_data.provide(preset.data, out / "data", minutes=out / "minutes.json")
    return Bench(preset, data, out)


# --- Cells --------------------------------------------------------------------------------
class Cell(NamedTuple):
    strict: Score
    choosing: Score
    """The same policies in other configurations."""
    legacy: dict[str, dict[str, float]]
    """task → average, top 5 and top 10 of the released evaluation, first seed."""


def cell(
    b: Bench, name: str, method: Method, half: str, progress: Callable[[str], None] = print
) -> Cell | None:
    """A method on the seen or the unseen tasks; None where it has no meaning there."""
    if half not in method.halves:
        return None
    path = b.out / "cells" / f"{plain(name)}-{half}.json"
    if not path.exists():
        progress(f"{name}, {half} tasks")
        makers = method.makers(b)  # fits have minutes of their own
        with timed(b.minutes, f"cells, {half} tasks: {name}"):
            files.save_json(path, _measure(b, makers, method.given, half))
    record = files.load_json(path)
    strict, choosing = (Score.from_json(record[which]) for which in ("strict", "choosing"))
    return Cell(strict, choosing, record["legacy"])


def _measure(b: Bench, makers: Sequence, given: str, half: str) -> dict:
    contexts = contexts_of(half)
    asked = (STRICT_SEED, b.preset.configurations), (CHOOSING_SEED, b.preset.choosing)
    strict, choosing = (strictly(b, makers, contexts, *how, given) for how in asked)
    released = {}
    if hasattr(makers[0], "generate"):
        for context in contexts:
            policies = makers[0].generate(b.data.test.of(context)[: b.preset.policies])
            task = MetaWorld().task_name(context)
            found = legacy.evaluate(policies, task, until_success=True)
            tops = {f"top {k}": found.top(k) for k in (5, 10)}
            released[task] = {"average": found.average, **tops}
    return {"strict": strict.to_json(), "choosing": choosing.to_json(), "legacy": released}


def strictly(b: Bench, makers: Sequence, contexts, seed: int, episodes: int, given: str) -> Score:
    """Makers, one a training seed, in `episodes` configurations."""
    family = MetaWorld()
    if not hasattr(makers[0], "generate"):
        return score(makers[0], family, contexts, 10 * episodes, seed=seed, given=given)
    return score_demonstrated(
        makers,
        family,
        contexts,
        b.data.test,
        b.preset.policies,
        episodes,
        seed,
        given,
        until_success=True,
    )


def contexts_of(half: str) -> Float[np.ndarray, "8 1"]:
    """The eight seen or the eight unseen tasks."""
    split = MetaWorld().grid("amt-hyp").split("seen")
    return split.train if half == "seen" else split.test


def plain(name: str) -> str:
    """A row's name as that of a file."""
    return "".join(c if c.isalnum() else "-" for c in name)
