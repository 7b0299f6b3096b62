"""Generators of critics: contexts → the weights of twin critics, to start fine-tuning or to rank.

GenHyper (IROS 2025 submission) announces one hypernetwork for actors and one for critics. `fit` is
HypLatent on the flat vectors of twin critics, 2q numbers a context. A zoo keeps one pair of critics
an expert, so there is no spread for the noise to learn; `interpolated` and `nearest` are the plain
generators to compare with. All of them keep to what `Generator` promises.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy import seeds
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate import hyplatent, interpolate, loop, pca
from hyperpolicy.generate.generator import Generator, check_zoo, from_zoo, write
from hyperpolicy.generate.hyplatent import HypLatentConfig
from hyperpolicy.generate.interpolate import Linear, Nearest
from hyperpolicy.generate.latent_model import HypLatent
from hyperpolicy.generate.pairs import Pairs
from hyperpolicy.generate.pca import PcaConfig
from hyperpolicy.nets.critic import CriticSpec, value
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.run.directory import alone
from hyperpolicy.zoo import Zoo


class Critics(eqx.Module):
    """What a generator's directory holds where its vectors are twin critics and not policies."""

    kind: ClassVar[str] = "critics"
    vectors: HypLatent | Linear | Nearest
    """Writes the two critics of a context one after the other, [n, 2q]."""

    def write(self, family: Family, contexts, seed: int) -> Float[np.ndarray, "n p"]:
        raise BadSetting(
            "this generator writes critics, not policies; open it with generate.critics.load"
        )

    def settings(self) -> dict:
        return {"model": self.vectors.kind, **self.vectors.settings()}

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec: PolicySpec) -> "Critics":
        size = 2 * critic_spec(spec).size
        if settings["model"] == HypLatent.kind:
            encoder = pca.blank(settings["components"], size)
            return cls(HypLatent.around(encoder, settings, family.context.encoded_size))
        kinds: dict[str, type[Linear] | type[Nearest]] = {"linear": Linear, "nearest": Nearest}
        kind = kinds[settings["model"]]
        x, c = settings["experts"], family.context.size
        return jax.eval_shape(lambda: cls(kind(jnp.zeros((x, c)), jnp.zeros((x, size)))))


@dataclass(frozen=True)
class CriticGenerator:
    """Writes twin critics, one pair a context; kept on disk as a `Generator` is."""

    family: Family
    spec: PolicySpec
    """Of the policies these critics judge; `critic_spec` says what the critics are."""
    trained_contexts: Float[np.ndarray, "x c"]
    model: Critics
    provenance: dict = field(default_factory=dict)

    def generate(self, contexts, seed: int = 0) -> Float[np.ndarray, "n 2 q"]:
        """Twin critics for each context [n, c]; row i depends on context i, i and `seed` only.

        Raises:
            BadContext: wrong shape, not finite, or outside what physics allows.

        Warns:
            UserWarning: a context lies outside the trained range.
        """
        contexts = Generator(**vars(self)).check(contexts)
        vectors = self.model.vectors.write(self.family, contexts, seeds.small(seed))
        return vectors.reshape(len(contexts), 2, -1).astype(np.float32)

    def save(self, path: str | Path) -> Path:
        """Write a new directory; it appears whole or not at all.

        Raises:
            AlreadyExists: something is at `path`.
        """
        return Generator(**vars(self)).save(path)


def load(path: str | Path) -> CriticGenerator:
    """The generator of critics in a directory.

    Raises:
        UnknownGenerator: no generator's directory.
        BadFile: its files are damaged, or it writes policies.
    """
    return _of_critics(generators.load(path))


def critic_spec(spec: PolicySpec) -> CriticSpec:
    """The critics that stand beside policies of `spec`: hidden layers of the same widths, ReLU."""
    return CriticSpec(spec.obs, spec.action, spec.hidden)


# --- Ways to get one ----------------------------------------------------------------------
@alone
def fit(
    config: HypLatentConfig, zoo: Zoo, seed: int = 0, out: str | Path | None = None
) -> CriticGenerator:
    """HypLatent on the critics of `zoo`; with `out` it is saved there, and a killed fit resumes.

    Raises:
        BadZoo: a zoo without critics, or one that cannot be trained on.
        BadSetting: an encoder other than PCA or a behavior loss, which are for policies.
    """
    if not isinstance(config.encoder, PcaConfig) or config.behavior > 0:
        raise BadSetting(
            f"critics take a PcaConfig as encoder and no behavior loss; got "
            f"{type(config.encoder).__name__} and behavior {config.behavior}"
        )
    vectors, place = _vectors(zoo), None if out is None else Path(out)
    loop.claim(place)
    encoded = zoo.family.context.encode(zoo.contexts)
    order, conditions = jnp.arange(len(vectors)), jnp.asarray(encoded, jnp.float32)
    data = Pairs(jnp.asarray(vectors), order, conditions, None, None)
    record = {"config": asdict(config)}
    signature = record | {"zoo": loop.digest(data)}
    run = loop.Run("critics", (seed,), config.steps, place, signature)
    encoder = jax.tree.map(lambda x: jnp.asarray(x)[None], pca.fit(config.encoder, vectors))
    model = hyplatent.train(config, run, data, zoo.spec, encoder)[0]
    fitted = _made(zoo, model, record | {"seed": seed})
    if place is not None:
        write(Generator(**vars(fitted)), place)
        loop.finish(place)
    return fitted


def interpolated(zoo: Zoo) -> CriticGenerator:
    """Mixes the critics of the two neighboring experts; the end ones beyond the trained range.

    Raises:
        BadZoo: a zoo without critics.
        BadSetting: contexts of more than one number; neighbors are not defined there.
    """
    interpolate.linear(zoo)  # raises where neighbors are not defined
    return _made(zoo, Linear(np.asarray(zoo.contexts, float), _vectors(zoo)), {})


def nearest(zoo: Zoo) -> CriticGenerator:
    """Looks up the critics of the nearest expert.

    Raises:
        BadZoo: a zoo without critics.
    """
    return _made(zoo, Nearest(np.asarray(zoo.contexts, float), _vectors(zoo)), {})


def _vectors(zoo: Zoo) -> Float[np.ndarray, "x p"]:
    """Each expert's twin critics as one vector of 2q numbers."""
    check_zoo(zoo)
    if zoo.critics is None:
        raise BadZoo("this zoo holds no critics; rebuild it to get them")
    wanted = (len(zoo.contexts), 2, critic_spec(zoo.spec).size)
    if zoo.critics.shape != wanted:
        raise BadZoo(f"this zoo's critics have shape {zoo.critics.shape}, expected {wanted}")
    if not np.isfinite(zoo.critics).all():
        raise BadZoo("this zoo holds critics that are not finite")
    return np.asarray(zoo.critics, np.float32).reshape(len(zoo.contexts), -1)


def _made(zoo: Zoo, vectors: HypLatent | Linear | Nearest, record: dict) -> CriticGenerator:
    return _of_critics(from_zoo(zoo, Critics(vectors), {"model": vectors.kind, **record}))


def _of_critics(generator: Generator) -> CriticGenerator:
    if not isinstance(generator.model, Critics):
        raise BadFile(f"a {generator.model.kind} generator writes policies, not critics")
    return CriticGenerator(**vars(generator))


# --- Judging ------------------------------------------------------------------------------
def values(
    critics: Float[np.ndarray, "2 q"], policies: Policies, states: Float[np.ndarray, "s o"]
) -> Float[np.ndarray, " n"]:
    """E_s[min Q(s, tanh μ(s))] of each policy: the smaller of the twins' values, mean over states.

    `critics` are one context's. Q is the soft return of the policy they were trained with, so it
    orders policies near that one; its size is no forecast.

    Raises:
        BadShape: critics or states of another family or width.
    """
    spec, states = critic_spec(policies.spec), np.asarray(states, np.float32)
    if critics.shape != (2, spec.size) or states.ndim != 2:
        raise BadShape(
            f"critics {critics.shape} and states {states.shape} do not fit; {policies.spec} needs "
            f"(2, {spec.size}) and (s, {spec.obs})"
        )
    actions = policies.act(np.broadcast_to(states, (len(policies), *states.shape)))
    return np.asarray(_judge(spec)(critics, states, actions))


def rank(
    critics: Float[np.ndarray, "2 q"], policies: Policies, states: Float[np.ndarray, "s o"]
) -> Int[np.ndarray, " n"]:
    """Rows of `policies` from the best to the worst by their `values`; needs no environment."""
    return np.argsort(-values(critics, policies, states), kind="stable")


@cache
def _judge(spec: CriticSpec) -> Callable:
    """Jitted: critics [2,q], states [s,o], actions [n,s,a] → values [n]."""

    def one(critics: Float[Array, "2 q"], states: Float[Array, "s o"], actions):
        both = jax.vmap(partial(value, spec.unflatten(critics)))(states, actions)
        return jnp.mean(jnp.min(both, axis=1))

    return jax.jit(jax.vmap(one, (None, None, 0)))
