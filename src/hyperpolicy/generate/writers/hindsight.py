"""In hindsight: a generator is asked for the context whose policy, as was seen, earns the most.

    u*, g*(c) = argmax_u,g  mean_t R(a_t, o_t; c),  (a_t, o_t) from an episode of tanh(g μ_u) in a
                                                    training body
    θ(c) = generator(u*, body of c), its outputs times g*

A generator that is asked for 3 m/s may write a policy that runs 3.4 m/s. Where a context changes
the reward alone, what a policy did can be labeled with any context's reward: so policies for a
range of contexts u are played once in the training bodies, at some gains g of their outputs (a
weaker runner is a slower one), and a task is given the one that would have earned the most. So
chooses generalized policy improvement (Barreto et al. 2017, arXiv:1606.05312), whose library of
policies is fixed, and so labels hindsight (Andrychowicz et al. 2017, arXiv:1707.01495). Nothing is
learned and the task itself is never played; the reward's formula is given, and the episodes count
as environment steps.

In another body than the training ones the correction is that of the nearest training body.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from msgspec import Meta

from hyperpolicy.bounds import Count, Positive, Weight
from hyperpolicy.data.given import Contexts
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.generate.fitting import FitConfig, Places, Trainer, save
from hyperpolicy.generate.generator import Generator, from_zoo, load
from hyperpolicy.generate.lesson import Lesson, check_zoo
from hyperpolicy.generate.library import Library, bodies, columns, questions, written
from hyperpolicy.generate.parts import Frame, Identity, Model, PlainContext
from hyperpolicy.generate.writers.residual import ResidualConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.zoo import Zoo

ENV_STEPS = "hindsight_env_steps"
"""In the provenance: steps of the episodes by which policies are chosen."""


Gains = Annotated[tuple[Positive, ...], Meta(min_length=1)]
Counts = Annotated[tuple[Count, ...], Meta(min_length=1)]
GAINS = (1.0, 1.5, 0.8, 0.65, 0.5, 0.35, 0.25)
"""Where two earn the same, the first counts."""


@dataclass(frozen=True)
class HindsightConfig(FitConfig):
    source: Path | None = None
    """Directory of the generator that is asked; by default the zoo's base with the interpolated
    change of its experts (`residual`)."""
    base: Path | None = None
    """The base the zoo's experts started from, where no `source` is given; ZOO/base.safetensors by
    default."""
    points: Count = 41
    """Contexts asked for, in every training body."""
    gains: Gains = GAINS
    """What outputs are multiplied by; 1 leaves policies as they are."""
    reach: Weight = 0.25
    """How far beyond the trained range, as a share of it."""
    finalists: Counts = (100, 50)
    """Policies of each body that are played again, round after round: the best for each of the
    contexts asked for, then the second best, and so on."""
    episodes: Counts = (4, 20)
    """Of each finalist of a round, anew: among hundreds, one with a lucky episode looks best."""
    kept: Count = 1_000
    """Steps kept of each policy of a round, evenly spaced over its episodes."""
    name: ClassVar[str] = "hindsight"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.finalists) != len(self.episodes):
            raise BadSetting(
                f"finalists={self.finalists} and episodes={self.episodes} must be equally many: "
                "one number each for every round"
            )

    def beside(self, zoo: Path) -> "HindsightConfig":
        if self.source is not None:
            return self
        return replace(self, base=ResidualConfig(self.base).beside(zoo).base)

    def check_unused(self) -> None:
        if self.source is not None and self.base is not None:
            raise BadSetting(f"base={self.base} has no effect beside source={self.source}")

    def make(self, lesson: Lesson, places: Places, train: Trainer | None = None) -> list[Generator]:
        if self.source is not None:
            source = load(self.source)
        else:
            source = ResidualConfig(self.base).make(lesson, Places.single(0, None))[0]
        made = [around(source, lesson.zoo, self, seed) for seed in places.seeds]
        for generator, place in zip(made, places.each, strict=True):
            save(generator, place)
        return made


class RewardContext(PlainContext):
    """Reads the context as it is, and knows the family's reward of it."""

    kind: ClassVar[str] = "rewarded-context"
    column: ClassVar[str] = f"{Contexts.column}, the reward's formula"


class Hindsight(eqx.Module):
    """A generator, and what its policies did."""

    kind: ClassVar[str] = "hindsight"
    source: Model
    asked: Float[Array | np.ndarray, "b u c"]
    """What the generator was asked for in each body."""
    gain: Float[Array | np.ndarray, "b u"]
    """What the outputs of that policy were multiplied by."""
    action: Float[Array | np.ndarray, "b u t a"]
    outcome: Float[Array | np.ndarray, "b u t m"]
    """Steps of each policy in each body."""
    lived: Float[Array | np.ndarray, "b u"]
    """Share of the horizon that its episodes lasted."""
    family: Family = eqx.field(static=True)
    spec: PolicySpec = eqx.field(static=True)

    def write(self, conditions, keys) -> Float[np.ndarray, "n p"]:
        asked, gain = self.chosen(np.asarray(conditions, float))
        return written(self.source, self.spec, Contexts(self.family, asked), gain, keys)

    def chosen(
        self, contexts: Float[np.ndarray, "n c"]
    ) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, " n"]]:
        """What the generator is asked for instead of each context, and the gain; bodies stay as
        they are."""
        told, body = columns(self.family)
        bodies = np.asarray(self.asked)[:, 0]
        there = np.zeros_like(contexts), np.zeros_like(bodies)
        for bare, full in zip(there, (contexts, bodies), strict=True):
            bare[:, body] = full[:, body]
        near = self.family.context.distance(*there).argmin(axis=1)
        seen = [self.library(b) for b in range(len(bodies))]
        pairs = zip(near, contexts, strict=True)
        best = np.array([seen[b].earned(self.family, context).argmax() for b, context in pairs])
        asked = contexts.copy()
        asked[:, told] = np.asarray(self.asked)[near, best][:, told]
        return asked, np.asarray(self.gain)[near, best]

    def library(self, b: int) -> Library:
        """The policies of body b."""
        arrays = (self.asked, self.gain, self.action, self.outcome, self.lived)
        return Library(*(np.asarray(x)[b] for x in arrays))

    def settings(self) -> dict:
        sizes = dict(zip(("bodies", "asked", "steps"), self.action.shape[:3], strict=True))
        return {"source": self.source.settings(), **sizes}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Hindsight":
        b, u, t = (settings[name] for name in ("bodies", "asked", "steps"))
        family = frame.family
        return cls(
            Model.blank(settings["source"], frame),
            jnp.zeros((b, u, family.context.size)),
            jnp.zeros((b, u)),
            jnp.zeros((b, u, t, family.action_size)),
            jnp.zeros((b, u, t, family.outcome_size)),
            jnp.zeros((b, u)),
            family,
            frame.spec,
        )


def around(
    source: Generator, zoo: Zoo, config: HindsightConfig | None = None, seed: int = 0
) -> Generator:
    """`source`, asked in hindsight; its policies are played in the bodies of `zoo`'s experts.

    Raises:
        BadZoo: another family's generator, or experts that differ in nothing of the reward.
    """
    config, family = config or HindsightConfig(), check_zoo(zoo)
    if source.family != family or source.writes != "policies":
        raise BadZoo(
            f"the generator is for {source.family.name}, the zoo for {family.name}; give a "
            "generator of policies of the zoo's family"
        )
    asked = questions(family, zoo.contexts, config.points, config.reach)
    rounds = list(zip(config.finalists, config.episodes, strict=True))
    parts, spent = [], 0
    for body in bodies(family, zoo.contexts):
        some = Library.of(family, asked, config.gains, body).played(source, 1, config.kept, seed)
        for i, (most, episodes) in enumerate(rounds, start=1):
            spent += some.env_steps
            best = some.only(some.finalists(family, asked, most))
            some = best.played(source, episodes, config.kept, seed + i)
        spent += some.env_steps
        parts.append(some)
    asked, gain, action, outcome, lived = (
        np.stack(x) for x in zip(*(part[:5] for part in parts), strict=True)
    )
    writer = Hindsight(source.model, asked, gain, action, outcome, lived, family, source.spec)
    about = {"source": source.provenance, ENV_STEPS: spent, "seed": seed}
    model = Model(RewardContext(family.context), writer, Identity(source.spec.size))
    return from_zoo(zoo, model, about, spec=source.spec)
