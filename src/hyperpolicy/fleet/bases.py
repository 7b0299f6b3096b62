"""Context-conditioned bases: one policy over [obs, context], trained in all contexts of a pool.

Folding a context into its first layer gives one ordinary, aligned policy per context, which
`train` then fine-tunes.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import headers
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadContext, BadFile, BadShape
from hyperpolicy.fleet.start import Start
from hyperpolicy.headers import BaseHeader, Training
from hyperpolicy.nets.fold import fold_actor, fold_critics
from hyperpolicy.nets.mlp import CriticSpec
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies


@dataclass(frozen=True)
class Base:
    """A context-conditioned policy with its critics: inputs are [obs, encoded context]."""

    family: Family
    contexts: Float[np.ndarray, "k c"]
    """The training contexts; nothing else was seen."""
    policy: Policies
    """One row; its spec is wider than the family's observation."""
    critics: Float[np.ndarray, "1 2 q"]
    log_alpha: Float[np.ndarray, " 1"] | None = None
    """Where the critics were learned under a temperature."""
    training: Training = Training()
    provenance: dict = field(default_factory=dict)

    @property
    def critic_spec(self) -> CriticSpec:
        """Of the critics, whose hidden layers are the policy's."""
        spec = self.policy.spec
        return CriticSpec(spec.obs, spec.action, spec.hidden)

    def save(self, path: str | Path) -> Path:
        """Write one file; an existing one is an error."""
        arrays = {
            "weights": self.policy.weights,
            "critics": self.critics,
            "contexts": self.contexts,
        }
        if self.log_alpha is not None:
            arrays["log_alpha"] = np.asarray(self.log_alpha, np.float32)
        record, spec = self.family.record(), self.policy.spec.header
        header = BaseHeader(record, spec, self.training, self.provenance)
        return headers.save_arrays(path, arrays, header)

    @classmethod
    def load(cls, path: str | Path) -> "Base":
        """The base in a file.

        Raises:
            BadFile: it holds none, is damaged, or its parts do not fit each other.
        """
        parts = "contexts", "weights", "critics"
        arrays, header = headers.load_arrays(path, BaseHeader, parts)
        family, spec = read_family(header.family), PolicySpec.of(header.spec)
        try:
            policy = Policies(arrays["weights"], spec)
            contexts = family.context.check(arrays["contexts"])
        except (BadShape, BadContext) as error:
            raise BadFile(f"{path}: {error}") from None
        rest = arrays.get("log_alpha"), header.training, header.provenance
        base = cls(family, contexts, policy, arrays["critics"], *rest)
        inputs, size = family.obs_size + family.context.encoded_size, base.critic_spec.size
        if spec.obs != inputs or base.critics.shape != (1, 2, size) or len(policy) != 1:
            raise BadFile(f"{path}: policy, critics and family {family.name} do not fit each other")
        return base


def fold(base: Base, contexts: Float[np.ndarray, "n c"]) -> Start:
    """The base at n contexts, as ordinary policies and critics.

    Raises:
        BadContext: contexts out of bounds or of the wrong shape.
    """
    family, wide = base.family, base.critic_spec
    critic = replace(wide, obs=family.obs_size)
    critics = wide.unflatten(jnp.asarray(base.critics[0]))
    encoded = _encode(family, contexts)
    folded = jax.vmap(lambda c: critic.flatten(fold_critics(critics, c, critic.obs)))(encoded)
    policies = fold_policy(base.policy.spec, base.policy.weights[0], family, contexts)
    log_alpha = None if base.log_alpha is None else np.full(len(encoded), base.log_alpha[0])
    seen = tuple(map(tuple, base.contexts.tolist()))
    return Start(policies, np.asarray(folded), log_alpha, base.training.usual_reward, seen)


def fold_policy(
    spec: PolicySpec,
    weights: Float[np.ndarray, " p"],
    family: Family,
    contexts: Float[np.ndarray, "n c"],
) -> Policies:
    """A context-conditioned policy at n contexts, as ordinary policies."""
    actor, plain = spec.unflatten(jnp.asarray(weights)), replace(spec, obs=family.obs_size)
    encoded = _encode(family, contexts)
    folded = jax.vmap(lambda c: plain.flatten(fold_actor(actor, c)))(encoded)
    return Policies(np.asarray(folded), plain)


def _encode(family: Family, contexts):
    return jnp.asarray(family.context.encode(family.context.check(contexts)), jnp.float32)
