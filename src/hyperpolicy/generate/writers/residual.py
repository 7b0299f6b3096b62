"""Base plus difference: the simplest generator that uses all of a specialized zoo.

    θ(c) = fold(base, c) + Σᵢ wᵢ(c) (θᵢ − fold(base, cᵢ))

The base is the context-conditioned policy the experts started from; folded at c it is an ordinary
policy. What fine-tuning changed is interpolated linearly between the two neighboring experts and
kept constant beyond the last one. Inside the trained range of a one-number context this equals the
interpolation of the experts' weights, because folding is linear in the encoded context; outside it
the base goes on and carries the last expert's change along.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import equinox as eqx
import numpy as np
from jaxtyping import Float
from tyro.conf import Suppress

from hyperpolicy.bounds import Number
from hyperpolicy.errors import BadSetting, BadZoo
from hyperpolicy.fleet import Base
from hyperpolicy.generate.fitting import FitConfig, Places, Trainer, save
from hyperpolicy.generate.generator import Generator, from_zoo
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.parts import Frame, Model
from hyperpolicy.generate.writers import lookup
from hyperpolicy.generate.writers.conditioned import Conditioned, from_base
from hyperpolicy.generate.writers.lookup import Interpolated
from hyperpolicy.headers import Context
from hyperpolicy.zoo import Zoo


@dataclass(frozen=True)
class ResidualConfig(FitConfig):
    base: Path | None = None
    """The base the zoo's experts started from; ZOO/base.safetensors by default."""
    shared: Suppress[tuple[tuple[Number, ...], ...]] = ()
    """Contexts beside the zoo's that its base was trained on."""
    name: ClassVar[str] = "residual"
    draws: ClassVar[bool] = False

    def beside(self, zoo: Path) -> "ResidualConfig":
        return replace(self, base=self.base or zoo / "base.safetensors")

    def on_part_of(self, zoo: Zoo) -> "ResidualConfig":
        more = map(tuple, zoo.contexts.tolist())
        return replace(self, shared=tuple(dict.fromkeys((*self.shared, *more))))

    def make(self, lesson: Lesson, places: Places, train: Trainer | None = None) -> list[Generator]:
        if self.base is None:
            raise BadSetting("base=None; give the file of the base that the experts started from")
        base = from_base(Base.load(self.base))
        made = [around(base, lesson.zoo, self.shared) for _ in places.seeds]
        for generator, place in zip(made, places.each, strict=True):
            save(generator, place)
        return made


class Residual(eqx.Module):
    kind: ClassVar[str] = "residual"
    base: Conditioned
    change: Interpolated
    """Its weights are what fine-tuning added to the folded base."""

    def write(self, conditions, keys) -> Float[np.ndarray, "n p"]:
        encoded = self.change.space.encode(conditions)
        return np.asarray(self.base.write(encoded, keys)) + self.change.write(conditions, keys)

    def settings(self) -> dict:
        return self.change.settings()

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Residual":
        encoded = frame._replace(condition=frame.family.context.encoded_size)
        return cls(Conditioned.blank(settings, encoded), Interpolated.blank(settings, frame))


def around(base: Generator, zoo: Zoo, shared: tuple[Context, ...] = ()) -> Generator:
    """The generator of `zoo`'s experts, which were fine-tuned from `base`; `shared` are contexts
    that the base may know beside the zoo's.

    Raises:
        BadZoo: the base is of another family or architecture.
    """
    if base.kind != Conditioned.kind or (base.family, base.spec) != (zoo.family, zoo.spec):
        raise BadZoo(
            f"the base is a {base.kind} of {base.family.name} for {base.spec}; the zoo holds "
            f"{zoo.family.name} policies of {zoo.spec}: give the base these experts started from"
        )
    known = np.concatenate([zoo.contexts, *([shared] if shared else [])])
    gaps = np.abs(base.trained_contexts[:, None] - known[None]).max(axis=-1).min(axis=1)
    seen = base.trained_contexts[gaps > 1e-6]
    if len(seen):
        raise BadZoo(
            f"the base was trained on contexts the zoo's training experts lack, such as "
            f"{seen[0].tolist()}; they would leak into the generator: give the base of this split"
        )
    folded = base.generate(zoo.contexts).weights
    change = lookup.model(Interpolated, zoo, zoo.finals.weights - folded)
    parts = cast(Conditioned, base.model.writer), cast(Interpolated, change.writer)
    model = Model(change.reader, Residual(*parts), change.codec)
    return from_zoo(zoo, model, {"base": base.provenance})
