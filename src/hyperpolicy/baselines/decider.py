"""Who acts by a Decision Transformer: its memory of the last steps, and what it is owed."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.baselines.decision_transformer import DecisionConfig
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadShape
from hyperpolicy.generate.behavior import Moments
from hyperpolicy.nets.decision import DecisionNet, Steps
from hyperpolicy.nets.transformer import KEEP
from hyperpolicy.policies import Actor


class Memory(NamedTuple):
    """The last K steps of each world; the newest at the right end."""

    to_go: Float[Any, "n e l"]
    obs: Float[Any, "n e l i"]
    action: Float[Any, "n e l a"]
    t: Int[Any, "n e"]
    """Steps of the episode so far."""
    owed: Float[Any, "n e"]
    """Return-to-go that is fed next, scaled."""


@dataclass(frozen=True)
class Decider(Actor):
    """Acts on the last K steps; policy i is told prompt i, or context i."""

    family: Family
    config: DecisionConfig
    net: Any
    """One network; where it is `tuned` one for each policy, on axis n."""
    moments: Moments
    prompt: Steps | None
    told: Float[np.ndarray, "n c"]
    first: float
    """The first return-to-go that is fed, scaled."""
    column: str
    """What the column "given" of a table says about it."""
    tuned: bool = False
    counts: bool = True
    """Whether what was paid is taken off the return-to-go."""

    def start(self, n: int, e: int) -> Memory:
        l, i = self.config.context, self.family.obs_size + self.told.shape[1]
        return Memory(
            np.zeros((n, e, l), np.float32),
            np.zeros((n, e, l, i), np.float32),
            np.zeros((n, e, l, self.family.action_size), np.float32),
            np.zeros((n, e), np.int32),
            np.full((n, e), self.first, np.float32),
        )

    def act(self, carry: Memory, obs, key):
        """Raises BadShape: observations of another family, or not one prompt a policy."""
        n = obs.shape[0]
        if obs.shape[-1] != self.family.obs_size:
            raise BadShape(
                f"observations have {obs.shape[-1]} numbers; this model was fitted on "
                f"{self.family.name}, which has {self.family.obs_size}"
            )
        known = len(self.told) if self.prompt is None else len(self.prompt.t)
        if known != n and (self.prompt is not None or self.told.shape[1] or self.tuned):
            raise BadShape(f"told of {known} tasks and asked to act in {n}; give one a policy")
        told = self.told if len(self.told) == n else np.zeros((n, 0), np.float32)
        memory = jax.tree.map(np.array, _push(self.moments, told, carry, obs))
        action = np.asarray(_act(self.net, self.tuned, memory, self.prompt))
        memory.action[:, :, -1] = action
        return action, memory

    def observe(self, carry: Memory, step) -> Memory:
        """What was paid is taken off what is owed; a new episode begins empty."""
        paid = np.asarray(step.reward, np.float32) / np.float32(self.config.scale)
        owed = carry.owed - paid * self.config.returns * self.counts
        ended = np.asarray(step.terminated | step.truncated)
        fresh = self.start(*ended.shape)

        def put(new, old):
            return np.where(ended.reshape(*ended.shape, *(1,) * (old.ndim - 2)), new, old)

        return jax.tree.map(put, fresh, carry._replace(t=carry.t + 1, owed=owed))

    def take(self, rows: Int[np.ndarray, " k"]) -> "Decider":
        prompt = None if self.prompt is None else jax.tree.map(lambda x: x[rows], self.prompt)
        told = self.told[rows] if self.told.shape[1] else self.told
        net = jax.tree.map(lambda x: x[rows], self.net) if self.tuned else self.net
        return replace(self, prompt=prompt, told=told, net=net)


def constant_target(actor: Decider) -> Decider:
    """The actor that is fed the target as return-to-go at every step, as Prompt-DT's released code
    does where a model was trained without returns: on Ant-Dir 1, where training fed 0."""
    return replace(actor, first=actor.config.target / actor.config.scale, counts=False)


@jax.jit
def _push(moments: Moments, told: Float[Array, "n c"], carry: Memory, obs: Float[Array, "n e o"]):
    """The memory with what is seen now at its end, and no action yet."""
    seen = jax.vmap(jax.vmap(lambda x: (x - moments.mean) * moments.scale))(obs)
    wide = jnp.broadcast_to(told[:, None], (*obs.shape[:2], told.shape[1]))
    seen = jnp.concatenate([seen, wide], axis=2)

    def push(old, new):
        return jnp.concatenate([old[:, :, 1:], new[:, :, None]], axis=2)

    return Memory(
        push(carry.to_go, carry.owed),
        push(carry.obs, seen),
        push(carry.action, jnp.zeros_like(carry.action[:, :, 0])),
        carry.t,
        carry.owed,
    )


@partial(jax.jit, static_argnums=1)
def _act(net: DecisionNet, tuned: bool, memory: Memory, prompt: Steps | None):
    """The newest action [n,e,a]."""
    l = memory.to_go.shape[2]
    before = jnp.arange(l) - (l - 1)

    def one(net, memory: Memory, prompt):
        at = memory.t + before
        steps = Steps(memory.to_go, memory.obs, memory.action, jnp.maximum(at, 0), at >= 0)
        return net(steps, prompt, KEEP)[-1]

    of_policy = jax.vmap(one, (None, 0, None))
    axes = 0 if tuned else None, 0, None if prompt is None else 0
    return jax.vmap(of_policy, axes)(net, memory, prompt)
