"""A context-conditioned policy as a generator.

An actor of [obs, e(c)], e the encoded context, becomes an actor of obs for any one context c: the
context's share of the first layer is a constant, b₁ + e(c)·W_c, and moves into the bias. Two ways
to get one: from the weights of a conditioned learner, or by distilling the experts of a zoo.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Count, Rate
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadShape
from hyperpolicy.fleet import Base
from hyperpolicy.generate import loop
from hyperpolicy.generate.fitting import LearnedConfig, Written
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson, Pairs, action_gap, of_zoo
from hyperpolicy.generate.parts import EncodedContext, Frame, Identity, Model, RowWriter
from hyperpolicy.nets.fold import fold_actor
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.provenance import library_versions
from hyperpolicy.types import Key
from hyperpolicy.zoo import Zoo


@dataclass(frozen=True)
class DistillConfig(LearnedConfig):
    steps: Count = 20_000
    """Gradient steps."""
    batch: Count = 256
    """Pairs (expert, observation) a step."""
    rate: Rate = 1e-3
    """Adam step size at the start; a cosine takes it to 0."""
    name: ClassVar[str] = "distill"

    @property
    def needs_behavior(self) -> bool:
        return True

    def lesson(self, zoo: Zoo) -> Lesson:
        """Each expert once: checkpoints say nothing here."""
        return of_zoo(zoo, zoo.final_rows)

    def train(self, run: loop.FitJob, data: Pairs, spec: PolicySpec, codecs) -> Written:
        return train(self, run, data, spec, codecs)


class Conditioned(RowWriter):
    """Folds a policy that is told a condition at one condition; nothing is drawn."""

    kind: ClassVar[str] = "conditioned"
    weights: Float[Array | np.ndarray, " p_conditioned"]
    spec: PolicySpec = eqx.field(static=True)

    def __call__(self, condition: Float[Array, " d"], key: Key) -> Float[Array, " p"]:
        return fold(self.spec, jnp.asarray(self.weights), condition)

    def settings(self) -> dict:
        return {}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Conditioned":
        spec = conditioned_spec(frame.spec, frame.condition)
        return cls(jnp.zeros(spec.size), spec)


def conditioned_spec(spec: PolicySpec, d: int) -> PolicySpec:
    """The policy that takes [obs, condition] where `spec` takes obs."""
    return replace(spec, obs=spec.obs + d)


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

    `spec` takes [obs, encoded context]. Raises BadShape: the weights or the spec do not fit the
    family.
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
    reader, writer = EncodedContext(tasks.context), Conditioned(weights, spec)
    return Generator(tasks, plain, contexts, Model(reader, writer, Identity(plain.size)), record)


def from_base(base: Base) -> Generator:
    """The generator of a context-conditioned base."""
    spec, weights = base.policy.spec, base.policy.weights[0]
    return from_weights(base.family, spec, weights, base.contexts, base.provenance)


# --- Distillation -------------------------------------------------------------------------
def train(
    config: DistillConfig, run: loop.FitJob, data: Pairs, spec: PolicySpec, codecs
) -> Written:
    """Conditioned policies, by behavior cloning of the experts' deterministic actions a* on their
    own observations: E[(tanh μ([s, e(c)]) − a*)²]. The log σ head is not trained.
    """
    plain, spec = spec, conditioned_spec(spec, data.conditions.shape[1])
    tx = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))

    def init(key):
        actor = spec.init(key)
        return actor, tx.init(actor)

    def step(state, key, i, own, data):
        actor, adam = state
        key_r, key_s = jax.random.split(key)
        r = jax.random.randint(key_r, (config.batch,), 0, len(data.conditions))
        s = jax.random.randint(key_s, (config.batch,), 0, data.states.shape[1])
        x = data.expert[r]
        inputs = jnp.concatenate([data.states[x, s], data.conditions[r]], axis=1)
        loss, grads = jax.value_and_grad(action_gap)(actor, inputs, data.actions[x, s])
        updates, adam = tx.update(grads, adam)
        return (optax.apply_updates(actor, updates), adam), {"loss/behavior": loss}

    fits = loop.learn(run, init, step, None, data)
    flat = np.asarray(jax.vmap(spec.flatten)(fits.state[0]))
    codec = Identity(plain.size)
    return {n: (Conditioned(weights, spec), codec) for n, weights in fits.living(flat).items()}
