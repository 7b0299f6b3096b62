"""Fitting: a configuration and a zoo → generators, one for each seed, trained side by side."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded
from hyperpolicy.generate import lesson as lessons
from hyperpolicy.generate import loop
from hyperpolicy.generate.generator import Generator, from_zoo, write
from hyperpolicy.generate.lesson import Lesson, Pairs
from hyperpolicy.generate.parts import Codec, Model, Writer
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.run.directory import alone
from hyperpolicy.run.job import Output
from hyperpolicy.zoo import Zoo

Written = Mapping[int, tuple[Writer, Codec]]
"""Writer and codec of the fits that lived, by their place in the run's seeds."""
Trainer = Callable[[Any, loop.FitJob, Pairs, PolicySpec, Any], Written]
"""(config, run, pairs, spec, one codec a seed on axis n) → what was trained."""


class Places(NamedTuple):
    """Where a fit's seeds go."""

    seeds: tuple[int, ...]
    out: Output | None
    """The run's own directory, which makes it go on after a kill, and its trackers."""
    each: list[Path | None]
    """The directory of each seed's generator."""

    @property
    def path(self) -> Path | None:
        return self.out.path if self.out else None

    @classmethod
    def single(cls, seed: int, out: str | Path | Output | None) -> "Places":
        """One generator in the run's own directory."""
        output = Output.of(out)
        return cls((seed,), output, [output.path if output else None])

    @classmethod
    def several(cls, seeds: Sequence[int], out: str | Path | Output | None) -> "Places":
        """Each generator in `out/seed-<seed>`."""
        output = Output.of(out)
        each = [output.path / f"seed-{seed}" if output else None for seed in seeds]
        return cls(tuple(seeds), output, each)


@dataclass(frozen=True)
class FitConfig(Bounded, ABC):
    """How generators of one kind are fitted; each kind's page has its own."""

    name: ClassVar[str]
    """Its subcommand of `hyperpolicy fit`."""
    draws: ClassVar[bool] = True
    """Whether its seed matters."""

    def lesson(self, zoo: Zoo) -> Lesson:
        """What it learns from where it is given a zoo alone: contexts. Raises BadZoo: a zoo that
        cannot be trained on."""
        return lessons.of_zoo(zoo)

    def beside(self, zoo: Path) -> "FitConfig":
        """The settings with what they leave to the directory of the zoo that is fitted."""
        return self

    def on_part_of(self, zoo: Zoo) -> "FitConfig":
        """The settings for a fit on some of this zoo's experts; they may use what its base, which
        its experts have in common, knows of the others."""
        return self

    @abstractmethod
    def make(self, lesson: Lesson, places: Places, train: Trainer | None = None) -> list[Generator]:
        """The generators, saved in their places; a seed that died is left out."""

    def check_unused(self) -> None:
        """Raise BadSetting for a setting that has no effect beside the others."""


@dataclass(frozen=True)
class LearnedConfig(FitConfig):
    """Settings of a kind that is trained step by step on pairs of conditions and weights."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Updates."""

    @property
    def needs_behavior(self) -> bool:
        """Whether it learns from what experts do, beside their weights."""
        return False

    def codecs(self, zoo: Zoo, seeds: tuple[int, ...], out: Path | None) -> Any:
        """One codec for each seed, on axis n, by its setting `encoder`; None for a kind that has no
        such setting and trains its codec along."""
        encoder = getattr(self, "encoder", None)
        return encoder and encoder.fit(zoo.weights, zoo.spec, seeds, out)

    @abstractmethod
    def train(self, run: loop.FitJob, data: Pairs, spec: PolicySpec, codecs) -> Written:
        """What the page's own trainer makes."""

    def make(self, lesson: Lesson, places: Places, train: Trainer | None = None) -> list[Generator]:
        data = lessons.pairs(lesson, self.needs_behavior)
        train = train or type(self).train
        changed = train.keywords if isinstance(train, partial) else {}
        changed = {name: function.__name__ for name, function in changed.items()}
        record = {"config": asdict(self), "given": lesson.given.name, **changed}
        known = record | {"zoo": loop.digest(data)}
        run = loop.FitJob(self.name, places.seeds, self.steps, places.out, known)
        codecs = self.codecs(lesson.zoo, places.seeds, places.path)
        return keep(lesson, places, train(self, run, data, lesson.zoo.spec, codecs), record)


@alone
def fit(
    config: FitConfig,
    source: Zoo | Lesson,
    seed: int = 0,
    out: str | Path | Output | None = None,
    train: Trainer | None = None,
) -> Generator:
    """A generator fitted on a zoo's contexts, or on a lesson; with `out` it is saved there, and a
    killed fit resumes.

    `train` is a variant of the page's own `train`.

    Raises:
        BadZoo: a zoo that cannot be trained on, or without observations where behavior counts.
        BadSetting: numbers stopped being finite; the message names the step.
        AlreadyExists: `out` holds something else.
        Busy: another process works in `out`.
    """
    return _fit(config, source, Places.single(seed, out), train)[0]


@alone
def fit_seeds(
    config: FitConfig,
    source: Zoo | Lesson,
    seeds: Sequence[int],
    out: str | Path | Output | None = None,
    train: Trainer | None = None,
) -> list[Generator]:
    """One generator for each seed, trained side by side; with `out` each is saved in
    `out/seed-<seed>`. Errors as `fit`.

    A seed whose numbers stop being finite is left out, with a warning that names it and the step.
    """
    return _fit(config, source, Places.several(seeds, out), train)


def _fit(config: FitConfig, source: Zoo | Lesson, places: Places, train) -> list[Generator]:
    lesson = source if isinstance(source, Lesson) else config.lesson(source)
    loop.claim(places.path)
    return config.make(lesson, places, train)


def keep(
    lesson: Lesson,
    places: Places,
    written: Written,
    record: dict,
    spec: PolicySpec | None = None,
) -> list[Generator]:
    """The generators of a run, each saved in its place; the run's snapshots are removed. They write
    policies of `spec`, the zoo's unless another is given."""
    made = []
    for n, (writer, codec) in written.items():
        model, seed = Model(lesson.reader, writer, codec), places.seeds[n]
        made.append(from_zoo(lesson.zoo, model, record | {"seed": seed}, spec=spec))
        save(made[-1], places.each[n])
    loop.finish(places.path)
    return made


def save(generator: Generator, place: Path | None) -> None:
    """Write a generator beside the run that made it."""
    if place is not None:
        write(generator, place)


def latents_of(codecs, weights: Float[Array, "r p"]) -> Float[Array, "n r z"]:
    """The latents of training rows under each seed's codec."""
    rows = jax.vmap(lambda codec, weights: codec.encode(weights), (None, 0))
    return jax.jit(jax.vmap(rows, (0, None)))(codecs, weights)
