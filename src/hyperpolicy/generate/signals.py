"""Signs of doubt about a written policy that nobody has played; a larger number is less sure.

    distance      to the nearest training context, in steps of the training contexts
    disagreement  of the actions of several fits, on states of the nearest expert
    draws         of the actions of several draws of one fit, there too
    lost value    E_s[Q(s, π_i(s)) − Q(s, π(s))] with the nearest expert i's critics, there too
    disbelief     −log odds that the latent is an expert's, by a GAN's discriminator

Whether one of them says anything is measured: `confidence.py`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from hyperpolicy import seeds
from hyperpolicy.data.given import Contexts
from hyperpolicy.generate import critics
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.parts import row_keys
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.zoo import Zoo

STATES = 64
"""States of the nearest expert that actions are compared on."""
DRAWS = 8
"""Draws that are compared with each other."""


class Evidence(NamedTuple):
    """What signals look at beside the generator: its training experts, and other fits on them."""

    contexts: Float[np.ndarray, "x c"]
    weights: Float[np.ndarray, "x p"]
    states: Float[np.ndarray, "x s o"] | None = None
    critics: Float[np.ndarray, "x 2 q"] | None = None
    committee: tuple[Generator, ...] = ()
    """Other fits: other seeds, or each without some of the experts."""

    @classmethod
    def of(cls, zoo: Zoo, committee: Sequence[Generator] = ()) -> "Evidence":
        """The final experts of a zoo, with their first states."""
        states = None if zoo.states is None else np.asarray(zoo.states[:, :STATES], np.float32)
        twins = None if zoo.critics is None else np.asarray(zoo.critics, np.float32)
        contexts = np.asarray(zoo.contexts, float)
        return cls(contexts, zoo.finals.weights, states, twins, tuple(committee))


class Asked(NamedTuple):
    """Policies that a generator wrote for contexts, and the nearest expert to each."""

    generator: Generator
    evidence: Evidence
    contexts: Float[np.ndarray, "n c"]
    seed: int

    @property
    def nearest(self):
        """The nearest expert to each context, [n]."""
        space = self.generator.family.context
        return space.distance(self.contexts, self.evidence.contexts).argmin(axis=1)

    def written(self, generator: Generator, seed: int) -> Policies:
        """What a generator writes for these contexts; extrapolations do not warn here."""
        given = Contexts(generator.family, self.contexts)
        keys = row_keys(seeds.small(seed), len(given))
        return Policies(generator.model.vectors(given, keys), generator.spec)

    def spread(self, several: Sequence[Policies]) -> Float[np.ndarray, " n"]:
        """Root mean variance over several policies' actions on the nearest expert's states."""
        states = np.asarray(self.evidence.states)[self.nearest]
        actions = np.stack([policies.act(states) for policies in several])
        return np.sqrt(actions.var(axis=0).mean(axis=(1, 2)))


# --- Signals ------------------------------------------------------------------------------
def distance(asked: Asked) -> Float[np.ndarray, " n"]:
    """To the nearest training context, in median gaps between neighboring training contexts."""
    space, known = asked.generator.family.context, asked.evidence.contexts
    gaps = space.distance(known, known)
    gaps[np.diag_indices(len(known))] = np.inf
    step = np.median(gaps.min(axis=1)) if len(known) > 1 else 1.0
    return space.distance(asked.contexts, known).min(axis=1) / (step or 1.0)


def disagreement(asked: Asked) -> Float[np.ndarray, " n"]:
    """Spread of the actions of this fit and the other ones."""
    fits = (asked.generator, *asked.evidence.committee)
    return asked.spread([asked.written(fit, asked.seed) for fit in fits])


def draws(asked: Asked) -> Float[np.ndarray, " n"]:
    """Spread of the actions of draws of this fit."""
    return asked.spread([asked.written(asked.generator, seed) for seed in range(DRAWS)])


def lost_value(asked: Asked) -> Float[np.ndarray, " n"]:
    """What the nearest expert's critics would lose by acting as the written policy does."""
    evidence, policies = asked.evidence, asked.written(asked.generator, asked.seed)
    experts = Policies(evidence.weights, _spec(asked))
    found = []
    for n, x in enumerate(asked.nearest):
        twins, states = evidence.critics[x], evidence.states[x]  # type: ignore[index]
        own = critics.values(twins, experts[x], states)[0]
        found.append(own - critics.values(twins, policies[n], states)[0])
    return np.array(found)


def disbelief(asked: Asked) -> Float[np.ndarray, " n"]:
    """Minus the logit that the fit's discriminator gives to the written latent."""
    model, given = asked.generator.model, Contexts(asked.generator.family, asked.contexts)
    keys = row_keys(seeds.small(asked.seed), len(given))
    latents = model.writer.write(model.reader.read(given), keys)
    return -np.asarray(jax.vmap(model.writer.judge.logit)(latents))  # type: ignore[attr-defined]


class Signal(NamedTuple):
    measure: Callable[[Asked], Float[np.ndarray, " n"]]
    missing: Callable[[Generator, Evidence], str]
    """Why it cannot be had; empty where it can."""


SIGNALS: dict[str, Signal] = {
    "distance": Signal(distance, lambda made, seen: ""),
    "disagreement": Signal(
        disagreement,
        lambda made, seen: _unlike(made, seen) or ("" if seen.committee else "no other fits"),
    ),
    "draws": Signal(
        draws,
        lambda made, seen: _unlike(made, seen) or ("" if draws_noise(made) else "draws nothing"),
    ),
    "lost value": Signal(
        lost_value,
        lambda made, seen: (
            _unlike(made, seen) or ("the zoo holds no critics" if seen.critics is None else "")
        ),
    ),
    "disbelief": Signal(
        disbelief,
        lambda made, seen: (
            "" if getattr(made.model.writer, "judge", None) is not None else "no discriminator"
        ),
    ),
}
"""The one table of signals."""


def possible(generator: Generator, evidence: Evidence) -> list[str]:
    """Names of the signals that can be had."""
    return [name for name, one in SIGNALS.items() if not one.missing(generator, evidence)]


def draws_noise(generator: Generator) -> bool:
    """Whether two draws of a generator differ."""
    context = generator.trained_contexts[:1]
    given = Contexts(generator.family, context)
    one, other = (generator.model.vectors(given, row_keys(seed, 1)) for seed in (0, 1))
    return not np.array_equal(one, other)


def _unlike(generator: Generator, evidence: Evidence) -> str:
    """Why actions cannot be compared on the experts' states."""
    if evidence.states is None:
        return "the zoo holds no observations"
    if generator.spec.obs != evidence.states.shape[2]:
        return "its policies take other observations than the experts"
    return ""


def _spec(asked: Asked) -> PolicySpec:
    return asked.generator.spec
