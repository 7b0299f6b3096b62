"""Where learners begin: fresh networks, given ones, or a context-conditioned base.

A base is one policy over [obs, context], trained in all contexts of a pool. Folding a context into
its first layer gives one ordinary, aligned policy per context, which `train` then fine-tunes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy import headers
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadContext, BadFile, BadSetting, BadShape, BadZoo
from hyperpolicy.headers import BaseHeader, Training
from hyperpolicy.nets.fold import fold_actor, fold_critics
from hyperpolicy.nets.mlp import CriticSpec
from hyperpolicy.nets.policy import PolicySpec, as_deterministic
from hyperpolicy.policies import Policies
from hyperpolicy.rl.learner import Config, Critics, Spaces, State, WarmStart
from hyperpolicy.rollout import experience
from hyperpolicy.types import Key

Begin = Callable[[jax.Array], State]
"""seeds [n] → n learners, every leaf leading with axis n."""


class Start(NamedTuple):
    """What n experts go on from."""

    policies: Policies
    critics: Float[np.ndarray, "n 2 q"] | None = None
    """None: fresh ones."""
    log_alpha: Float[np.ndarray, " n"] | None = None
    """None: the learner's own first temperature."""
    usual_reward: float = 0.0
    """Reward of a step that the critics leave out."""
    seen: tuple[tuple[float, ...], ...] = ()
    """Training contexts of the base behind all of them (`Training.seen`)."""
    critics_from: str = ""
    """Where the critics come from, in a word, where a run could begin with others."""

    @property
    def text(self) -> str:
        """What a run records of it; another text where the weights are others."""
        critics = f", critics {self.critics_from}" if self.critics_from else ""
        return f"given {headers.digest({'weights': self.policies.weights})[:16]}{critics}"

    def check(self, critic: Config | None, spec: PolicySpec, n: int) -> "Start":
        """The start, once it fits n learners whose actors are of `spec` and whose critics, if there
        are any, are `critic`'s. A Gaussian policy's mean head serves as a deterministic one.

        Raises:
            BadZoo: policies of another number or architecture.
            BadSetting: critics that leave out another reward than the learner's.
        """
        own = self.policies.spec
        if spec.head == "deterministic" and own.head == "gaussian":
            gaussian, own = own, replace(own, head="deterministic")
            plain = jax.vmap(lambda w: own.flatten(as_deterministic(gaussian.unflatten(w))))
            weights = np.asarray(plain(jnp.asarray(self.policies.weights)))
            self = self._replace(policies=Policies(weights, own))
        if own != spec or len(self.policies) != n:
            raise BadZoo(
                f"start holds {len(self.policies)} policies of {own}; {n} of {spec} are needed"
            )
        left_out = critic.learner.usual_reward(critic) if critic else self.usual_reward
        if self.critics is not None and self.usual_reward != left_out:
            raise BadSetting(
                f"start's critics leave out a reward of {self.usual_reward} a step, the learner's "
                f"usual_reward is {left_out}; give it the same"
            )
        return self


def fresh(cfg: Config, spaces: Spaces, shared: int | None = None) -> Begin:
    """New networks: one for each learner's own seed, or all from the seed `shared`."""

    def one(own):
        networks = own if shared is None else shared
        state = cfg.learner.init(cfg, spaces, jax.random.key(networks))
        return state._replace(key=learner_key(own))

    return jax.jit(jax.vmap(one))


def given(
    cfg: Config, family: Family, contexts, start: Start, seed: int, of: range | None = None
) -> Begin:
    """Given actors, with given critics or fresh ones; of a shard those in the rows `of`. A learner
    that normalizes what it sees watches all actors for an episode."""
    learner, spec = cfg.learner, start.policies.spec
    mine = np.arange(len(start.policies)) if of is None else np.array(of)
    critic = learner.critic(cfg, spec.obs, spec.action)

    def one(own, weights, critics, obs):
        if critic is not None and critics is None:
            critics = Critics(critic.init(jax.random.key(own)))
        warm = WarmStart(spec.unflatten(weights), critics, obs)
        return learner.start_from(cfg, warm, learner_key(own))

    def begin(owns):
        rows = mine[np.minimum(np.arange(len(owns)), len(mine) - 1)]  # padded ones repeat the last
        critics = None
        if critic is not None and start.critics is not None:
            twins = jax.vmap(critic.unflatten)(jnp.asarray(start.critics[rows]))
            log_alpha = None if start.log_alpha is None else jnp.asarray(start.log_alpha[rows])
            critics = Critics(twins, log_alpha)
        obs, weights = None, jnp.asarray(start.policies.weights[rows])
        if learner.normalizes:
            seen = experience(start.policies, family, contexts, family.horizon_steps, 1, seed)
            obs = jnp.asarray(seen[..., : family.obs_size].reshape(-1, family.obs_size))
        return jax.jit(jax.vmap(one, (0, 0, 0, None)))(owns, weights, critics, obs)

    return begin


def learner_key(own) -> Key:
    """The randomness of a learner's updates. Networks are drawn from splits of `key(own)`, which
    are its first folds."""
    return jax.random.fold_in(jax.random.key(own), 8)


# --- Context-conditioned bases ------------------------------------------------------------
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
