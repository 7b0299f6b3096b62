"""The network of Decision Transformer (Chen et al. 2021, arXiv:2106.01345) and of Prompt-DT (Xu et
al. 2022, arXiv:2206.13499), for ONE sequence of K steps.

A step is three tokens: return-to-go, observation, action, each through a linear layer of its own,
and to each the step's learned time embedding is added. The transformer's output at an observation's
token gives the action: a_t = tanh(W y_t). A prompt's tokens stand before the others, through
embeddings of their own, and skip the LayerNorm that the others pass.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hyperpolicy.nets.gpt import Gpt
from hyperpolicy.nets.mlp import Linear
from hyperpolicy.nets.transformer import KEEP, Dropout
from hyperpolicy.types import Key


class Steps(NamedTuple):
    """l steps of an episode; any leading axes."""

    to_go: Float[Array, "*b l"]
    """Return-to-go, scaled."""
    obs: Float[Array, "*b l i"]
    """Normalized, with what is told besides."""
    action: Float[Array, "*b l a"]
    t: Int[Array, "*b l"]
    there: Bool[Array, "*b l"]
    """Which steps are no padding."""


class Embedding(eqx.Module):
    """Tokens of steps."""

    to_go: Linear
    obs: Linear
    action: Linear
    time: Float[Array, "h d"]

    @classmethod
    def init(cls, obs: int, action: int, horizon: int, d: int, key: Key) -> "Embedding":
        """As PyTorch starts linear layers and embeddings."""
        keys = jax.random.split(key, 4)
        return cls(
            Linear.init(1, d, keys[0]),
            Linear.init(obs, d, keys[1]),
            Linear.init(action, d, keys[2]),
            jax.random.normal(keys[3], (horizon, d)),
        )

    def __call__(self, steps: Steps) -> Float[Array, "l3 d"]:
        """Three tokens a step."""
        time = self.time[jnp.minimum(steps.t, len(self.time) - 1)]
        parts = (
            jax.vmap(self.to_go)(steps.to_go[:, None]),
            jax.vmap(self.obs)(steps.obs),
            jax.vmap(self.action)(steps.action),
        )
        tokens = jnp.stack([part + time for part in parts], axis=1)
        return tokens.reshape(-1, tokens.shape[-1])


class DecisionNet(eqx.Module):
    """Steps, and a prompt or none → actions."""

    history: Embedding
    norm: eqx.nn.LayerNorm
    prompt: Embedding | None
    gpt: Gpt
    head: Linear

    @classmethod
    def init(
        cls,
        sizes: tuple[int, int, int],
        d: int,
        heads: int,
        layers: int,
        key: Key,
        prompted: bool = False,
    ) -> "DecisionNet":
        """A fresh network; `sizes` are numbers of an observation and an action, and the time
        embeddings."""
        keys = jax.random.split(key, 4)
        return cls(
            Embedding.init(*sizes, d, keys[0]),
            eqx.nn.LayerNorm(d),
            Embedding.init(*sizes, d, keys[1]) if prompted else None,
            Gpt.init(d, heads, layers, keys[2]),
            Linear.init(d, sizes[1], keys[3]),
        )

    def __call__(
        self, steps: Steps, prompt: Steps | None = None, drop: Dropout = KEEP
    ) -> Float[Array, "l a"]:
        """The action after each step's observation, for what came before it."""
        tokens, there = jax.vmap(self.norm)(self.history(steps)), jnp.repeat(steps.there, 3)
        shown = 0
        if self.prompt is not None and prompt is not None:
            before = self.prompt(prompt)
            shown = len(before)
            tokens = jnp.concatenate([before, tokens])
            there = jnp.concatenate([jnp.repeat(prompt.there, 3), there])
        out = self.gpt(tokens, there, drop)[shown + 1 :: 3]
        return jnp.tanh(jax.vmap(self.head)(out))
