"""A context-conditioned policy as a generator.

An actor of [obs, e(c)], e the encoded context, becomes an actor of obs for any one context c: the
context's share of the first layer is a constant, b₁ + e(c)·W_c, and moves into the bias. Two ways
to get one: from the weights of a conditioned learner, or by distilling the experts of a zoo.
"""

from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Count, Rate
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadShape
from hyperpolicy.fleet import Base
from hyperpolicy.generate import behavior, loop
from hyperpolicy.generate.generator import Generator, check_zoo, from_zoo, write
from hyperpolicy.nets.fold import fold_actor
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.provenance import library_versions
from hyperpolicy.run.directory import alone
from hyperpolicy.types import Key, Scalar
from hyperpolicy.zoo import Zoo


@dataclass(frozen=True)
class DistillConfig(Bounded):
    steps: Count = 20_000
    """Gradient steps."""
    batch: Count = 256
    """Pairs (expert, observation) a step."""
    rate: Rate = 1e-3
    """Adam step size at the start; a cosine takes it to 0."""


class Conditioned(eqx.Module):
    kind: ClassVar[str] = "conditioned"
    weights: Float[Array | np.ndarray, " p_conditioned"]
    spec: PolicySpec = eqx.field(static=True)

    def write(self, family: Family, contexts, seed: int) -> Float[np.ndarray, "n p"]:
        encoded = jnp.asarray(family.context.encode(contexts), jnp.float32)
        return np.asarray(_fold_many(self.spec)(jnp.asarray(self.weights), encoded))

    def settings(self) -> dict:
        return {}

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec: PolicySpec) -> "Conditioned":
        return cls.blank(settings, spec, family.context.encoded_size)

    @classmethod
    def blank(cls, settings: dict, spec: PolicySpec, d: int) -> "Conditioned":
        """The shapes of a model for conditions of `d` numbers."""
        spec = conditioned_spec(spec, d)
        return jax.eval_shape(lambda: cls(jnp.zeros(spec.size), spec))


def conditioned_spec(spec: PolicySpec, d: int) -> PolicySpec:
    """The policy that takes [obs, condition] where `spec` takes obs."""
    return replace(spec, obs=spec.obs + d)


def generate(model: Conditioned, condition: Float[Array, " d"], key: Key) -> Float[Array, " p"]:
    """The policy for one condition; nothing is drawn."""
    return fold(model.spec, jnp.asarray(model.weights), condition)


def fold(
    spec: PolicySpec, weights: Float[Array, " p_conditioned"], encoded: Float[Array, " d"]
) -> Float[Array, " p"]:
    """The ordinary policy for one context: b₁ + e(c)·W_c. `spec` is the conditioned policy's."""
    folded = replace(spec, obs=spec.obs - len(encoded))
    return folded.flatten(fold_actor(spec.unflatten(weights), encoded))


def from_weights(
    tasks: Family,
    spec: PolicySpec,
    weights: Float[np.ndarray, " p_conditioned"],
    trained_contexts,
    provenance: dict,
) -> Generator:
    """A generator from the weights of a conditioned policy of a family.

    `spec` takes [obs, encoded context].

    Raises:
        BadShape: the weights or the spec do not fit the family.
    """
    plain = replace(spec, obs=tasks.obs_size)
    weights = np.asarray(weights, np.float32)
    if spec != conditioned_spec(plain, tasks.context.encoded_size) or weights.shape != (spec.size,):
        wide = tasks.obs_size + tasks.context.encoded_size
        raise BadShape(
            f"a conditioned policy of {tasks.name} takes {wide} numbers; got {spec} and weights of "
            f"shape {weights.shape}, expected [{spec.size}]"
        )
    contexts = tasks.context.check(trained_contexts)
    record = {"kind": Conditioned.kind, **provenance, "versions": library_versions()}
    return Generator(tasks, plain, contexts, Conditioned(weights, spec), record)


def from_base(base: Base) -> Generator:
    """The generator of a context-conditioned base."""
    spec, weights = base.policy.spec, base.policy.weights[0]
    return from_weights(base.family, spec, weights, base.contexts, base.provenance)


# --- Distillation -------------------------------------------------------------------------
def cloning_loss(
    actor: PolicyNet, inputs: Float[Array, "b i"], actions: Float[Array, "b a"]
) -> Scalar:
    """E[(tanh μ([s, e(c)]) − a*)²] over pairs of experts and their observations."""
    return behavior.action_gap(actor, inputs, actions)


@alone
def distill(
    config: DistillConfig, zoo: Zoo, seed: int = 0, out: str | Path | None = None
) -> Generator:
    """Behavior cloning of the experts' deterministic actions on their own observations.

    The log σ head is not trained. With `out`, metrics and snapshots go there and a killed run
    resumes.

    Raises:
        BadZoo: a zoo without observations, or one that cannot be trained on.
    """
    tasks = check_zoo(zoo)
    states, actions = behavior.probe(zoo)
    encoded = jnp.asarray(tasks.context.encode(zoo.contexts), jnp.float32)
    data = Shown(states, actions, encoded, jnp.arange(len(encoded)))
    out = None if out is None else Path(out)
    signature = {"config": asdict(config), "zoo": loop.digest(data)}
    run = loop.Run("distill", (seed,), config.steps, out, signature)
    record = {"config": asdict(config), "seed": seed}
    generator = from_zoo(zoo, train(config, run, data, zoo.spec)[0], record)
    if out is not None:
        write(generator, out)
        loop.finish(out)
    return generator


class Shown(NamedTuple):
    """What a conditioned policy is cloned from: condition r is one of expert `expert[r]`."""

    states: Float[Array, "x s o"]
    actions: Float[Array, "x s a"]
    conditions: Float[Array, "r d"]
    expert: Int[Array, " r"]


def train(
    config: DistillConfig, run: loop.Run, data: Shown, spec: PolicySpec
) -> dict[int, Conditioned]:
    """The conditioned policies of the fits that lived, by their place in `run.seeds`."""
    spec = conditioned_spec(spec, data.conditions.shape[1])
    tx = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))

    def step(state, seed, data, i):
        actor, adam = state
        key_r, key_s = jax.random.split(jax.random.fold_in(jax.random.key(seed), i))
        r = jax.random.randint(key_r, (config.batch,), 0, len(data.conditions))
        s = jax.random.randint(key_s, (config.batch,), 0, data.states.shape[1])
        x = data.expert[r]
        inputs = jnp.concatenate([data.states[x, s], data.conditions[r]], axis=1)
        loss, grads = jax.value_and_grad(cloning_loss)(actor, inputs, data.actions[x, s])
        updates, adam = tx.update(grads, adam)
        return (optax.apply_updates(actor, updates), adam), {"loss/behavior": loss}

    @jax.jit
    @jax.vmap
    def start(seed):
        actor = spec.init(jax.random.key(seed))
        return actor, tx.init(actor)

    numbers = jnp.asarray(run.numbers)
    (actors, _), died_at = loop.train(run, step, start(numbers), numbers, data)
    flat = np.asarray(jax.vmap(spec.flatten)(actors))
    return {n: Conditioned(flat[n], spec) for n in range(len(run.seeds)) if died_at[n] < 0}


@cache
def _fold_many(spec: PolicySpec):
    return jax.jit(jax.vmap(partial(fold, spec), (None, 0)))
