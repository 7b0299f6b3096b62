"""A generator that knows its robot's symmetries.

A symmetry g takes the task c to the task g c and a policy π that does c to a policy π_g that does
g c just as well (`nets/equivariance.py`). So for a context c some g is chosen whose image g c lies
nearest to a training context; the generator inside writes a policy for g c, which is turned back:

    θ(c) = g⁻¹ θ_inside(g c),    g = argmin_g min_i |g c − c_i|

Nothing is trained. With the eight symmetries of an ant, fifteen directions are as good as 120.
"""

from functools import cache
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate.generator import Generator, Model, kind_of
from hyperpolicy.nets.equivariance import image_weights
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.symmetry import Symmetry


class Symmetric(eqx.Module):
    kind: ClassVar[str] = "symmetric"
    inside: Model
    contexts: Float[Array | np.ndarray, "x c"]
    """What the model inside was trained on."""
    spec: PolicySpec = eqx.field(static=True)

    def write(self, family: Family, contexts, seed: int) -> Float[np.ndarray, "n p"]:
        images = np.stack([_wrapped(family, g, contexts) for g in family.symmetries])
        known = np.asarray(self.contexts)
        gaps = np.stack([family.context.distance(c, known).min(axis=1) for c in images])
        chosen = gaps.argmin(axis=0)  # the identity where nothing is nearer
        rows = np.arange(len(contexts))
        there = self.inside.write(family, images[chosen, rows], seed)
        written = np.empty_like(there)
        for i in np.unique(chosen):
            back = inverse(family.symmetries, family.symmetries[i])
            written[chosen == i] = _image_many(back, self.spec)(jnp.asarray(there[chosen == i]))
        return written

    def settings(self) -> dict:
        inside = {"inside": self.inside.kind, "settings": self.inside.settings()}
        return inside | {"experts": len(self.contexts)}

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec: PolicySpec) -> "Symmetric":
        inside = kind_of(settings["inside"]).skeleton(settings["settings"], family, spec)
        shape = settings["experts"], family.context.size
        return jax.eval_shape(lambda inside: cls(inside, jnp.zeros(shape), spec), inside)


def symmetric(generator: Generator) -> Generator:
    """`generator`, asked at the image of a context that lies nearest to one it was trained on.

    Raises:
        BadSetting: its family knows no symmetries, or it reads demonstrations.
    """
    tasks = generator.family
    if not tasks.symmetries or generator.takes_demonstrations:
        raise BadSetting(
            f"{generator.model.kind} of {tasks.name}: symmetries are known of ant-dir, and "
            "generators that read contexts can use them"
        )
    known = generator.trained_contexts
    images = [_wrapped(tasks, g, known) for g in tasks.symmetries]
    model = Symmetric(generator.model, known, generator.spec)
    record = {"inside": generator.provenance}
    return Generator(generator.family, generator.spec, np.concatenate(images), model, record)


def inverse(group: tuple[Symmetry, ...], g: Symmetry) -> Symmetry:
    """The element of `group` that undoes `g` on observations and actions."""
    one = group[0]
    return next(h for h in group if (h @ g).obs == one.obs and (h @ g).action == one.action)


def _wrapped(tasks: Family, g: Symmetry, contexts) -> Float[np.ndarray, "n c"]:
    return tasks.context.check(g.context(np.asarray(contexts, float)))


@cache
def _image_many(g: Symmetry, spec: PolicySpec):
    return jax.jit(jax.vmap(lambda weights: image_weights(g, spec, weights)))
