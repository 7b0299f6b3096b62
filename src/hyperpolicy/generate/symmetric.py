"""A generator that knows its robot's symmetries.

A symmetry g acts on what a policy sees and says by signed permutations, (g x)_i = s_i x_{p(i)}. It
takes the task c to the task g c, and a policy π that does c to one that does g c just as well; only
the rows of the first layer and the columns of the heads move, and it is exact:

    π_g(s) = g π(g⁻¹ s)        W₁[i, ·] → s_i W₁[p(i), ·]        W_μ[·, k] → s_k W_μ[·, p(k)]

So for a context c some g is chosen whose image g c lies nearest to a training context; the
generator inside writes a policy for g c, which is turned back:

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

from hyperpolicy.data.given import Contexts
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.evaluate.protocol import TOLD_SYMMETRIES
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.parts import Frame, Identity, Model, PlainContext
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.symmetry import Signed, Symmetry


class SymmetricContext(PlainContext):
    """The context as it is, for a writer that knows the robot's symmetries."""

    kind: ClassVar[str] = "symmetric-context"
    column: ClassVar[str] = TOLD_SYMMETRIES


class Symmetric(eqx.Module):
    kind: ClassVar[str] = "symmetric"
    inside: Model
    contexts: Float[Array | np.ndarray, "x c"]
    """What the model inside was trained on."""
    family: Family = eqx.field(static=True)
    spec: PolicySpec = eqx.field(static=True)

    def write(self, conditions, keys) -> Float[np.ndarray, "n p"]:
        family, known = self.family, np.asarray(self.contexts)
        images = np.stack([_wrapped(family, g, conditions) for g in family.symmetries])
        gaps = np.stack([family.context.distance(c, known).min(axis=1) for c in images])
        chosen = gaps.argmin(axis=0)  # the identity where nothing is nearer
        there = Contexts(family, images[chosen, np.arange(len(conditions))])
        inside = self.inside.vectors(there, keys)
        written = np.empty_like(inside)
        for i in np.unique(chosen):
            back = inverse(family.symmetries, family.symmetries[i])
            written[chosen == i] = _image_many(back, self.spec)(jnp.asarray(inside[chosen == i]))
        return written

    def settings(self) -> dict:
        return {"inside": self.inside.settings(), "experts": len(self.contexts)}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Symmetric":
        inside = Model.blank(settings["inside"], frame._replace(condition=0, latent=0))
        contexts = jnp.zeros((settings["experts"], frame.family.context.size))
        return cls(inside, contexts, frame.family, frame.spec)


def symmetric(generator: Generator) -> Generator:
    """`generator`, asked at the image of a context that lies nearest to one it was trained on.
    Raises BadSetting: its family knows no symmetries, or it does not read contexts."""
    tasks = generator.family
    if not tasks.symmetries or generator.takes is not Contexts:
        raise BadSetting(
            f"{generator.kind} of {tasks.name}: symmetries are known of ant-dir, and "
            "generators that read contexts can use them"
        )
    known = generator.trained_contexts
    images = [_wrapped(tasks, g, known) for g in tasks.symmetries]
    writer = Symmetric(generator.model, known, tasks, generator.spec)
    model = Model(SymmetricContext(tasks.context), writer, Identity(generator.spec.size))
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


def image_weights(g: Symmetry, spec: PolicySpec, weights: Float[Array, " p"]) -> Float[Array, " p"]:
    """π_g of flat weights: it returns at g's image of a task what they return at the task."""
    actor = spec.unflatten(weights)
    first, log_std = actor.hidden[0], actor.log_std

    def moved(g: Signed, head: Linear) -> Linear:
        return Linear(jnp.asarray(g(head.weight)), jnp.asarray(g(head.bias)))

    turned = PolicyNet(
        [Linear(jnp.asarray(g.obs(first.weight.T)).T, first.bias), *actor.hidden[1:]],
        moved(g.action, actor.mean),
        None if log_std is None else moved(g.action.unsigned, log_std),
        actor.activations,
    )
    return spec.flatten(turned)
