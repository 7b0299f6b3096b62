"""Base plus difference: the simplest generator that uses all of a specialized zoo.

    θ(c) = fold(base, c) + Σᵢ wᵢ(c) (θᵢ − fold(base, cᵢ))

The base is the context-conditioned policy the experts started from; folded at c it is an ordinary
policy. What fine-tuning changed is interpolated linearly between the two neighboring experts and
kept constant beyond the last one. Inside the trained range of a one-number context this equals the
interpolation of the experts' weights, because folding is linear in the encoded context; outside it
the base goes on and carries the last expert's change along.
"""

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadZoo
from hyperpolicy.generate.conditioned import Conditioned
from hyperpolicy.generate.generator import Generator, from_zoo
from hyperpolicy.generate.interpolate import Linear, linear
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.zoo import Zoo


class Residual(eqx.Module):
    kind: ClassVar[str] = "residual"
    base: Conditioned
    change: Linear
    """Its weights are what fine-tuning added to the folded base."""

    def write(self, family: Family, contexts, seed: int) -> Float[np.ndarray, "n p"]:
        return self.base.write(family, contexts, seed) + self.change.write(family, contexts, seed)

    def settings(self) -> dict:
        return self.change.settings()

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec: PolicySpec) -> "Residual":
        change = Linear.skeleton(settings, family, spec)
        return cls(Conditioned.skeleton(settings, family, spec), change)


def fit(base: Generator, zoo: Zoo) -> Generator:
    """The generator of `zoo`'s experts, which were fine-tuned from `base`.

    Raises:
        BadZoo: the base is of another family or architecture.
        BadSetting: contexts of more than one number; neighbors are not defined there.
    """
    if not isinstance(base.model, Conditioned) or (base.family, base.spec) != (
        zoo.family,
        zoo.spec,
    ):
        raise BadZoo(
            f"the base is a {base.model.kind} of {base.family.name} for {base.spec}; the zoo holds "
            f"{zoo.family.name} policies of {zoo.spec}: give the base these experts started from"
        )
    seen = zoo_contexts_missing(base, zoo)
    if len(seen):
        raise BadZoo(
            f"the base was trained on contexts the zoo's training experts lack, such as "
            f"{seen[0].tolist()}; they would leak into the generator: give the base of this split"
        )
    linear(zoo)  # raises where neighbors are not defined
    folded = base.generate(zoo.contexts).weights
    change = Linear(np.asarray(zoo.contexts, float), zoo.finals.weights - folded)
    return from_zoo(zoo, Residual(base.model, change), {"base": base.provenance})


def zoo_contexts_missing(base: Generator, zoo: Zoo) -> Float[np.ndarray, "k c"]:
    """Contexts the base has seen and none of the zoo's experts stands at."""
    gaps = np.abs(base.trained_contexts[:, None] - zoo.contexts[None]).max(axis=-1).min(axis=1)
    return base.trained_contexts[gaps > 1e-6]
