"""A policy that is told its context's embedding, and its value: what HyperZero is compared with.

    π̂(s, c) = tanh(W₂ ReLU(W₁ [z; s])),  Q̂(s, a, c) = V₂ ReLU(V₁ [z; s; a]),  z as HyperZero's

With w_q and w_td this is the paper's "context-conditioned policy + UVFA" (Schaul et al. 2015),
without them its "context-conditioned policy". For one context the embedding is a constant and folds
into the first biases, so it writes ordinary policies, too. Losses and data are `cloning`'s; the
first weights are orthogonal, as in the released code.
"""

from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float

from hyperpolicy.generate.cloning import CloneConfig, Cloned, policy_of
from hyperpolicy.generate.writers.hyperzero import Embedding
from hyperpolicy.nets.fold import fold_layer
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.orthogonal import orthogonal
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.types import Key


class ToldNet(eqx.Module):
    """An embedding, and networks whose first inputs it is."""

    embedding: Embedding
    policy: list[Linear]
    value: list[Linear]

    @classmethod
    def init(cls, cfg: CloneConfig, spec: PolicySpec, d: int, key: Key) -> "ToldNet":
        """Fresh networks: orthogonal weights, biases 0."""
        keys, e = jax.random.split(key, 3), cfg.embed
        policy = Mlp.init([e + spec.obs, cfg.hidden, spec.action], keys[1]).layers
        wide = e + spec.obs + spec.action
        value = Mlp.init([wide, cfg.hidden, 1], keys[2]).layers if cfg.values else []
        return orthogonal(cls(Embedding.init(d, e, keys[0]), policy, value), key)

    def __call__(self, condition: Float[Array, " d"]) -> tuple[PolicyNet, Mlp | None]:
        z = self.embedding(condition)
        value = Mlp(told(self.value, z)) if self.value else None
        return policy_of(told(self.policy, z)), value


def told(layers: list[Linear], z: Float[Array, " e"]) -> list[Linear]:
    """The layers for good told z, which is their first input."""
    return [fold_layer(layers[0], z, 0), *layers[1:]]


@dataclass(frozen=True)
class ConditionedCloneConfig(CloneConfig):
    name: ClassVar[str] = "conditioned-clone"

    def init(self, spec: PolicySpec, d: int, key: Key) -> ToldNet:
        return ToldNet.init(self, spec, d, key)

    @property
    def part(self) -> type[Cloned]:
        return ConditionedClone


class ConditionedClone(Cloned):
    kind: ClassVar[str] = "conditioned-clone"
    config: ClassVar[type[CloneConfig]] = ConditionedCloneConfig
