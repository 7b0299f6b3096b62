"""Generators of critics: contexts → the weights of twin critics, to start fine-tuning or to rank.

GenHyper (IROS 2025 submission) announces one hypernetwork for actors and one for critics. `fit` is
HypLatent on the flat vectors of twin critics, 2q numbers a context. A zoo keeps one pair of critics
an expert, so there is no spread for the noise to learn; `interpolated` and `nearest` are the plain
generators to compare with. All of them keep to what `Generator` promises.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.errors import BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate import loop
from hyperpolicy.generate.fitting import Places, save
from hyperpolicy.generate.generator import Generator, critic_spec, from_zoo
from hyperpolicy.generate.lesson import check_zoo, of_zoo, pairs
from hyperpolicy.generate.parts import Model
from hyperpolicy.generate.writers import hyplatent, lookup
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.lookup import Interpolated, Nearest
from hyperpolicy.nets.mlp import CriticSpec, value_batch
from hyperpolicy.policies import Policies
from hyperpolicy.run.directory import alone
from hyperpolicy.zoo import Zoo


@dataclass(frozen=True)
class CriticGenerator:
    """Writes twin critics, one pair a context; kept on disk as the `Generator` inside it."""

    inside: Generator

    def generate(self, contexts, seed: int = 0) -> Float[np.ndarray, "n 2 q"]:
        """Twin critics for each context [n, c]; errors and warnings as `Generator.generate`."""
        vectors = self.inside.vectors(contexts, seed)
        return vectors.reshape(len(vectors), 2, -1).astype(np.float32)

    def save(self, path: str | Path) -> Path:
        """Write a new directory; errors as `Generator.save`."""
        return self.inside.save(path)


def load(path: str | Path) -> CriticGenerator:
    """The generator of critics in a directory. Raises UnknownGenerator: no generator's directory;
    BadFile: its files are damaged, or it writes policies."""
    found = generators.load(path)
    if found.writes != "critics":
        raise BadFile(f"a {found.kind} generator writes policies, not critics")
    return CriticGenerator(found)


# --- Ways to get one ----------------------------------------------------------------------
@alone
def fit(
    config: HypLatentConfig, zoo: Zoo, seed: int = 0, out: str | Path | None = None
) -> CriticGenerator:
    """HypLatent on the critics of `zoo`; with `out` it is saved there, and a killed fit resumes.
    Raises BadZoo: a zoo without critics, or one that cannot be trained on; BadSetting: an encoder
    other than PCA or a behavior loss, which are for policies."""
    if config.encoder.for_policies or config.behavior > 0:
        raise BadSetting(
            f"critics take a PcaConfig as encoder and no behavior loss; got "
            f"{type(config.encoder).__name__} and behavior {config.behavior}"
        )
    vectors, places = _vectors(zoo), Places.single(seed, out)
    loop.claim(places.path)
    lesson = of_zoo(zoo, zoo.final_rows)
    data = pairs(lesson, with_behavior=False)._replace(weights=jnp.asarray(vectors))
    record = {"config": asdict(config)}
    known = record | {"zoo": loop.digest(data)}
    run = loop.FitJob("critics", places.seeds, config.steps, places.out, known)
    codecs = config.encoder.fit(vectors, zoo.spec, places.seeds)
    writer, codec = hyplatent.train(config, run, data, zoo.spec, codecs)[0]
    model = Model(lesson.reader, writer, codec)
    fitted = from_zoo(zoo, model, record | {"seed": seed}, "critics")
    save(fitted, places.path)
    loop.finish(places.path)
    return CriticGenerator(fitted)


def interpolated(zoo: Zoo) -> CriticGenerator:
    """Mixes the critics of the two neighboring experts; the end ones beyond the trained range.

    Raises:
        BadZoo: a zoo without critics.
    """
    model = lookup.model(Interpolated, zoo, _vectors(zoo))
    return CriticGenerator(from_zoo(zoo, model, {}, "critics"))


def nearest(zoo: Zoo) -> CriticGenerator:
    """Looks up the critics of the nearest expert. Raises BadZoo: a zoo without critics."""
    model = lookup.model(Nearest, zoo, _vectors(zoo))
    return CriticGenerator(from_zoo(zoo, model, {}, "critics"))


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


# --- Judging ------------------------------------------------------------------------------
def values(
    critics: Float[np.ndarray, "2 q"], policies: Policies, states: Float[np.ndarray, "s o"]
) -> Float[np.ndarray, " n"]:
    """E_s[min Q(s, tanh μ(s))] of each policy: the smaller of the twins' values, mean over states.

    `critics` are one context's. Q is the soft return of the policy they were trained with, so it
    orders policies near that one; its size is no forecast. Raises BadShape: critics or states of
    another family or width.
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
        return jnp.mean(jnp.min(value_batch(spec.unflatten(critics), states, actions), axis=1))

    return jax.jit(jax.vmap(one, (None, None, 0)))
