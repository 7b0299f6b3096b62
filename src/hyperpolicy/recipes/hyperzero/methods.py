"""The rows of HyperZero's tables: what is fitted on a split's experts, and what is trivial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from hyperpolicy.baselines import imitation_encoder
from hyperpolicy.baselines.imitation_encoder import ImitationEncoder, ImitationEncoderConfig
from hyperpolicy.bounds import Bounded
from hyperpolicy.envs import Family
from hyperpolicy.evaluate.protocol import (
    BEST_SEEN,
    BEST_WEAKENED,
    BY_DIRECTION,
    CONDITIONED,
    FLIPPED,
    INTERPOLATED,
    NEAREST,
    ONE_EXPERT,
    REGRESSION,
)
from hyperpolicy.evaluate.scoring import Maker
from hyperpolicy.fleet import Base
from hyperpolicy.generate import fitting
from hyperpolicy.generate.adapt import finetune
from hyperpolicy.generate.fitting import FitConfig
from hyperpolicy.generate.generator import Generator, load
from hyperpolicy.generate.writers import conditioned, hindsight, lookup, residual
from hyperpolicy.generate.writers.conditioned_clone import ConditionedCloneConfig
from hyperpolicy.generate.writers.genhyper import GenHyperConfig
from hyperpolicy.generate.writers.hindsight import HindsightConfig
from hyperpolicy.generate.writers.hyperzero import HyperZeroConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.hypogen import HyPoGenConfig
from hyperpolicy.generate.writers.maml import MamlConfig
from hyperpolicy.generate.writers.regression import RegressionConfig
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.hyperzero import signs
from hyperpolicy.recipes.stage import make_once, slug
from hyperpolicy.rollout import record, returns
from hyperpolicy.zoo import Zoo

SHOWING, EPISODES = 13, 10
"""Seed and number of the expert episodes that the adapted row is shown."""
CHOOSING = 12
"""Seed of the episodes by which one expert is chosen for all contexts."""
HYPERZERO, HYPOGEN = "HyperZero", "HyPoGen"
RESIDUAL = "base + interpolated change"
MAML = "MAML, not adapted"
ADAPTED = "MAML, adapted to the test task's expert"
ENCODER = "imitation encoder"
SHOWN = "ten expert episodes of the test task"
"""What the adapted row is given."""
IN_HINDSIGHT = {name: f"{name}, in hindsight" for name in (CONDITIONED, RESIDUAL, HYPERZERO)}
"""Generators that are asked in hindsight, and these rows' names."""

SHORT = 5_000
"""Steps of behavior cloning; with 20,000 HyperZero came no further (benchmarks/LOG.md)."""


@dataclass(frozen=True)
class MethodsPreset(Bounded):
    """How the fitted rows are fitted, each within three minutes on two cores; networks written and
    their embeddings have 64 numbers (published: 256)."""

    hyperzero: HyperZeroConfig = HyperZeroConfig(steps=SHORT)
    hypogen: HyPoGenConfig = HyPoGenConfig(steps=500)
    conditioned: ConditionedCloneConfig = ConditionedCloneConfig(steps=SHORT)
    maml: MamlConfig = MamlConfig(steps=1_000)
    hyplatent: HypLatentConfig = HypLatentConfig(steps=2_000)
    genhyper: GenHyperConfig = GenHyperConfig(steps=500)
    encoder: ImitationEncoderConfig = ImitationEncoderConfig(steps=SHORT)
    hindsight: HindsightConfig = HindsightConfig()

    @property
    def fits(self) -> dict[str, FitConfig]:
        """The settings of every fitted row, by its name."""
        told, hyper = self.conditioned, self.hyperzero
        return {
            "context-conditioned policy, cloned": replace(told, value=0.0, td=0.0),
            "context-conditioned policy, cloned, with value": replace(told, td=0.0),
            "context-conditioned policy, cloned, with value and TD": told,
            MAML: self.maml,
            HYPERZERO: hyper,
            "HyperZero without TD": replace(hyper, td=0.0),
            "HyperZero without value": replace(hyper, value=0.0, td=0.0),
            HYPOGEN: self.hypogen,
            "HypLatent": self.hyplatent,
            "GenHyper": self.genhyper,
        }

    @property
    def names(self) -> list[str]:
        """The rows that one may leave out: all that something is fitted for."""
        return [*self.fits, *IN_HINDSIGHT.values(), ADAPTED, ENCODER]

    def left_out(self, rows: Sequence[str]) -> list[str]:
        """The rows that a table without the other `names` leaves out; the trivial ones in hindsight
        stand beside others in hindsight."""
        unused = [name for name in self.names if name not in rows]
        if not any(name in IN_HINDSIGHT.values() for name in rows):
            unused += [BEST_SEEN, BEST_WEAKENED]
        return unused


SMALL = MethodsPreset()
MANY_BODIES = MethodsPreset(
    hindsight=HindsightConfig(
        points=21, gains=(1.0, 0.7, 0.5, 0.3), finalists=(40, 20), episodes=(3, 10)
    )
)
"""Hindsight plays in every training body: a quarter of the episodes in each."""
SMOKE_SIZES = {"hidden": 4, "embed": 8, "steps": 4, "batch": 16, "episodes": 1}
SMOKE = MethodsPreset(
    HyperZeroConfig(**SMOKE_SIZES),
    HyPoGenConfig(**SMOKE_SIZES, blocks=1, latent=2, width=4),
    ConditionedCloneConfig(**SMOKE_SIZES),
    MamlConfig(**SMOKE_SIZES, inner_steps=1),
    HypLatentConfig(steps=2),
    GenHyperConfig(steps=2),
    ImitationEncoderConfig(**SMOKE_SIZES),
    HindsightConfig(points=5, gains=(1.0, 0.5), finalists=(4,), episodes=(2,)),
)


@dataclass(frozen=True)
class Source:
    """What the rows of one split are made of."""

    zoo: Zoo
    base: Base
    seed: int
    """Of the fits: the split's number, so that every pipeline draws its own."""
    out: Path
    """Where fits go."""
    tested: Zoo
    """The test tasks' own experts, which the adapted row is shown."""

    @classmethod
    def read(cls, path: Path, seed: int, out: Path, tested: Zoo) -> "Source":
        """The zoo in a directory, with its base."""
        return cls(Zoo.load(path), Base.load(path / "base.safetensors"), seed, out, tested)

    @property
    def env_steps(self) -> int:
        """Environment steps behind the training experts, base included."""
        return len(self.zoo.contexts) * self.zoo.training.env_steps


def rows(preset: MethodsPreset, source: Source) -> dict[str, Callable[[], Maker]]:
    """What makes each row of a split: the trivial ones, of the same experts, then the fitted."""
    zoo = source.zoo
    found: dict[str, Callable[[], Maker]] = {
        NEAREST: lambda: lookup.nearest(zoo),
        INTERPOLATED: lambda: lookup.linear(zoo),
        CONDITIONED: lambda: conditioned.from_base(source.base),
        REGRESSION: lambda: fitting.fit(RegressionConfig(), zoo),
        ONE_EXPERT: lambda: Chosen.among(zoo, directed=False),
    }
    if directed(zoo.family):
        found[BY_DIRECTION] = lambda: Chosen.among(zoo, directed=True)
    if signs.has_signs(zoo.family):
        found[FLIPPED] = lambda: signs.Flipped(zoo)
        found[signs.FOUND] = lambda: signs.SignFinder.of(zoo)
    found[RESIDUAL] = partial(changed, source)
    found |= {name: partial(fitted, config, name, source) for name, config in preset.fits.items()}
    found[ADAPTED] = lambda: adapted(fitted(preset.maml, MAML, source), source)
    found[ENCODER] = lambda: encoder(preset.encoder, source)
    if rewarded(zoo):
        at_gains = preset.hindsight
        as_is = replace(at_gains, gains=(1.0,))
        found[BEST_SEEN] = lambda: hindsight.around(lookup.nearest(zoo), zoo, as_is)
        found[BEST_WEAKENED] = lambda: hindsight.around(lookup.nearest(zoo), zoo, at_gains)
        for name, new in IN_HINDSIGHT.items():
            found[new] = partial(looked_back, found[name], zoo, at_gains)
    return found


def looked_back(make: Callable[[], Maker], zoo: Zoo, config: HindsightConfig) -> Generator:
    """The generator of another row, asked in hindsight."""
    source = make()
    assert isinstance(source, Generator)
    return hindsight.around(source, zoo, config)


def rewarded(zoo: Zoo) -> bool:
    """Whether the experts differ in what changes the reward alone."""
    told = zoo.family.context.where("reward")
    return bool((zoo.contexts[:, told] != zoo.contexts[:1, told]).any())


def directed(family: Family) -> bool:
    """Whether the contexts of a family begin with a signed target."""
    return family.context.coordinates[0].least > 0 and family.context.coordinates[0].low < 0


@dataclass(frozen=True)
class Chosen:
    """Gives all contexts, or all of one direction, the same expert: the one with the highest mean
    return on the training contexts (of that direction)."""

    experts: Policies
    """One for each direction: backward, forward; or twice the same."""

    @classmethod
    def among(cls, zoo: Zoo, directed: bool) -> "Chosen":
        """Chosen by two episodes of every expert in every training context."""
        x = len(zoo.contexts)
        who = zoo.finals[np.repeat(np.arange(x), x)]
        found = returns(who, zoo.family, np.tile(zoo.contexts, (x, 1)), 2, CHOOSING)
        table = found.mean(axis=1).reshape(x, x)
        ahead = zoo.contexts[:, 0] > 0
        groups = (~ahead, ahead) if directed else (np.ones(x, bool),) * 2
        best = [int((table if not g.any() else table[:, g]).mean(axis=1).argmax()) for g in groups]
        return cls(zoo.finals[np.array(best)])

    def generate(self, given, seed: int = 0) -> Policies:
        """One policy for each context."""
        return self.experts[(np.asarray(given)[:, 0] > 0).astype(int)]


def fitted(config: FitConfig, name: str, source: Source) -> Generator:
    """The generator of a row, fitted once and read from then on."""
    place = source.out / slug(name)
    fit: Callable[[], object] = partial(fitting.fit, config, source.zoo, source.seed, place)
    return load(make_once(place / "config.json", fit).parent)


def adapted(generator: Generator, source: Source) -> Policies:
    """What a generator writes for the test tasks, cloned on from their own experts' episodes."""
    tested, family = source.tested, source.tested.family
    seen = record(tested.finals, family, tested.contexts, EPISODES, SHOWING)
    return finetune(generator.generate(tested.contexts), seen, seed=source.seed)


def encoder(config: ImitationEncoderConfig, source: Source) -> ImitationEncoder:
    """The imitation encoder, fitted once and read from then on."""
    path = source.out / f"{slug(ENCODER)}.safetensors"
    fit = lambda: imitation_encoder.fit(config, source.zoo, source.seed).save(path)  # noqa: E731
    return ImitationEncoder.load(make_once(path, fit))


def changed(source: Source) -> Generator:
    """The base, and the change that its experts made to it, interpolated."""
    return residual.around(conditioned.from_base(source.base), source.zoo)
