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
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from msgspec import Meta
from scipy.stats import qmc

from hyperpolicy.bounds import Count, Positive, Weight
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.given import Contexts
from hyperpolicy.envs import Coordinate, Family
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.generate.fitting import FitConfig, Places, Trainer, save
from hyperpolicy.generate.generator import Generator, from_zoo, load
from hyperpolicy.generate.lesson import Lesson, check_zoo
from hyperpolicy.generate.parts import Frame, Identity, Model, PlainContext, row_keys
from hyperpolicy.generate.writers.residual import ResidualConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import record
from hyperpolicy.zoo import Zoo

ENV_STEPS = "hindsight_env_steps"
"""In the provenance: steps of the episodes by which policies are chosen."""


Gains = Annotated[tuple[Positive, ...], Meta(min_length=1)]
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
    finalists: Count = 120
    """Policies of each body that are played again: the best, second and third best for each of the
    contexts asked for."""
    episodes: Count = 6
    """Of each finalist, anew: among hundreds, one with a lucky episode looks best."""
    kept: Count = 250
    """Steps kept of each finalist, evenly spaced over these episodes."""
    name: ClassVar[str] = "hindsight"

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
    family: Family = eqx.field(static=True)
    spec: PolicySpec = eqx.field(static=True)

    def write(self, conditions, keys) -> Float[np.ndarray, "n p"]:
        asked, gain = self.chosen(np.asarray(conditions, float))
        return _written(self.source, self.spec, Contexts(self.family, asked), gain, keys)

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
        found = [np.asarray(x)[near] for x in (self.action, self.outcome)]
        pairs = zip(*found, contexts, strict=True)
        best = np.array([earned(self.family, *pair).argmax() for pair in pairs])
        asked = contexts.copy()
        asked[:, told] = np.asarray(self.asked)[near, best][:, told]
        return asked, np.asarray(self.gain)[near, best]

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
    asked, gains = questions(family, zoo.contexts, config), np.array(config.gains)
    parts, spent = [], 0
    for body in bodies(family, zoo.contexts):
        library = _Library(
            np.tile(_in_body(family, asked, body), (len(gains), 1)), np.repeat(gains, len(asked))
        )
        first = library.played(source, 1, config.kept, seed)
        best = first.of(finalists(family, first, asked, config.finalists))
        parts.append(best.played(source, config.episodes, config.kept, seed + 1))
        spent += first.env_steps + parts[-1].env_steps
    asked, gain, action, outcome = (
        np.stack(x) for x in zip(*(part[:4] for part in parts), strict=True)
    )
    writer = Hindsight(source.model, asked, gain, action, outcome, family, source.spec)
    about = {"source": source.provenance, ENV_STEPS: spent, "seed": seed}
    model = Model(RewardContext(family.context), writer, Identity(source.spec.size))
    return from_zoo(zoo, model, about, spec=source.spec)


class _Library(NamedTuple):
    """Policies of one body, and what they did."""

    asked: Float[np.ndarray, "u c"]
    gain: Float[np.ndarray, " u"]
    action: Any = None
    outcome: Any = None
    env_steps: int = 0

    def of(self, rows: Int[np.ndarray, " k"]) -> "_Library":
        """Some of them, not played yet."""
        return _Library(self.asked[rows], self.gain[rows])

    def played(self, source: Generator, episodes: int, kept: int, seed: int) -> "_Library":
        """With steps of new episodes."""
        keys = row_keys(seed, len(self.asked))
        given = Contexts(source.family, self.asked)
        weights = _written(source.model, source.spec, given, self.gain, keys)
        policies = Policies(weights, source.spec)
        seen = record(policies, source.family, self.asked, episodes, seed)
        action, outcome = _kept(seen, len(self.asked), kept)
        return _Library(self.asked, self.gain, action, outcome, int(seen.index.length.sum()))


def finalists(
    family: Family, library: _Library, asked: Float[np.ndarray, "q c"], most: int
) -> Int[np.ndarray, " k"]:
    """The policies that are best for one of the contexts asked for, then those that are second,
    third and so on; `most` of them, or all."""
    found = [earned(family, library.action, library.outcome, c) for c in asked]
    rank = np.argsort(np.argsort(-np.array(found), axis=1, kind="stable"), axis=1).min(axis=0)
    return np.sort(np.argsort(rank, kind="stable")[:most])


def earned(
    family: Family,
    action: Float[np.ndarray, "u t a"],
    outcome: Float[np.ndarray, "u t m"],
    context: Float[np.ndarray, " c"],
) -> Float[np.ndarray, " u"]:
    """Mean reward a step, under a context, of every policy as it was seen."""
    u, t = action.shape[:2]
    labels = np.broadcast_to(context, (u * t, len(context)))
    reward = family.reward(action.reshape(u * t, -1), outcome.reshape(u * t, -1), labels)
    return np.asarray(reward).reshape(u, t).mean(axis=1)


def _written(
    source: Model, spec: PolicySpec, given: Contexts, gain: Float[np.ndarray, " n"], keys
) -> Float[np.ndarray, "n p"]:
    """What a generator writes, its outputs times a gain each."""
    policies = Policies(source.vectors(given, keys), spec)
    return policies.with_gain(np.repeat(gain[:, None], spec.action, axis=1)).weights


def columns(family: Family) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " d"]]:
    """The coordinates of a context that change the reward alone, and the others."""
    told = family.context.where("reward")
    return told, np.setdiff1d(np.arange(family.context.size), told)


def bodies(family: Family, contexts: Float[np.ndarray, "x c"]) -> Float[np.ndarray, "b c"]:
    """The first of the contexts with each body."""
    _, first = np.unique(contexts[:, columns(family)[1]], axis=0, return_index=True)
    return contexts[np.sort(first)]


def questions(
    family: Family, contexts: Float[np.ndarray, "x c"], config: HindsightConfig
) -> Float[np.ndarray, "u c"]:
    """Contexts to ask for: over the range of the training contexts and some way beyond it, evenly
    along one coordinate, by Halton's sequence in several; and the training contexts themselves."""
    told = columns(family)[0]
    varied = [i for i in told if len(set(contexts[:, i])) > 1]
    if not varied:
        raise BadZoo(
            f"these experts of {family.name} differ in nothing that changes the reward alone; "
            "hindsight needs rewards that differ"
        )
    ends = [_ends(family.context.coordinates[i], contexts[:, i], config.reach) for i in varied]
    low, high = np.array(ends).T
    if len(varied) == 1:
        unit = np.linspace(0.0, 1.0, config.points)[:, None]
    else:
        unit = qmc.Halton(len(varied), scramble=False).random(config.points)
    free = np.repeat(contexts[:1], config.points, axis=0)
    free[:, varied] = low + unit * (high - low)
    spaces = [family.context.coordinates[i] for i in varied]
    for i, one in zip(varied, spaces, strict=True):
        free = free[np.abs(free[:, i]) >= one.least]
    own = np.repeat(contexts[:1], len(contexts), axis=0)
    own[:, varied] = contexts[:, varied]
    return np.unique(np.concatenate([free, own]), axis=0)


def _ends(one: Coordinate, x: Float[np.ndarray, " x"], reach: float) -> tuple[float, float]:
    if one.period is not None:
        return 0.0, one.period
    more = reach * np.ptp(x)
    return max(one.low, float(x.min() - more)), min(one.high, float(x.max() + more))


def _in_body(family: Family, asked, body: Float[np.ndarray, " c"]) -> Float[np.ndarray, "u c"]:
    own, (_, fixed) = asked.copy(), columns(family)
    own[:, fixed] = body[fixed]
    return own


def _kept(
    seen: Episodes, n: int, t: int
) -> tuple[Float[np.ndarray, "n t a"], Float[np.ndarray, "n t m"]]:
    """Actions and outcomes of t steps of each of n policies, evenly spaced over its episodes; of
    one that ended early as well, so that it is judged by the steps it lived."""
    actions: list[list] = [[] for _ in range(n)]
    outcomes: list[list] = [[] for _ in range(n)]
    for one in seen:
        actions[one.policy].append(one.action)
        outcomes[one.policy].append(one.outcome)
    found = []
    for parts in (actions, outcomes):
        whole = [np.concatenate(part) for part in parts]
        rows = [x[np.linspace(0, len(x) - 1, t).round().astype(int)] for x in whole]
        found.append(np.stack(rows))
    return found[0], found[1]
