"""Gradient steps per second of a Decision Transformer's loss on made-up steps.

Settings: dropout, scanned (whether its blocks are a scan or written out), seconds, seed.
"""

import json
import sys
import time
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from clock import CompileClock

from hyperpolicy.baselines import decision_transformer
from hyperpolicy.envs import family
from hyperpolicy.nets.decision import Steps
from hyperpolicy.nets.gpt import PLACES, Gpt
from hyperpolicy.nets.transformer import Dropout
from hyperpolicy.recipes.meta_rl.presets import SMALL


class WrittenOut(Gpt):
    """The same numbers, block by block."""

    def __call__(self, tokens, there, drop):
        l = len(tokens)
        sees, x = jnp.tril(jnp.ones((l, l), bool)) & there[None, :], drop(0, tokens)
        for i, block in enumerate(self.blocks):
            x = block(x, sees, drop, 1 + PLACES * i)
        return jax.vmap(self.norm)(x)


def main(dropout: float, scanned: bool, seconds: float, seed: int) -> dict:
    config = replace(SMALL.decision, dropout=dropout)
    keys = jax.random.split(jax.random.key(seed), 4)
    net = decision_transformer.init(config, family("cheetah-vel"), keys[0])
    if not scanned:
        net = eqx.tree_at(lambda net: net.gpt, net, WrittenOut(net.gpt.blocks, net.gpt.norm))
    b = config.tasks * config.each
    steps, prompt = (made_up(b, l, k) for l, k in zip((config.context, 5), keys[1:3], strict=True))
    drop = Dropout(jax.random.split(keys[3], b), dropout)
    compiling, step = CompileClock(), jax.jit(jax.value_and_grad(decision_transformer.loss))
    value = float(step(net, steps, prompt, steps.action, drop)[0])
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        jax.block_until_ready(step(net, steps, prompt, steps.action, drop))
        count += 1
    return {"per_s": count / passed, "compile_s": compiling.seconds, "loss": value}


def made_up(b: int, l: int, key) -> Steps:
    """Steps of standard normal numbers."""
    cheetah, t = family("cheetah-vel"), jnp.broadcast_to(jnp.arange(l), (b, l))
    obs = jax.random.normal(key, (b, l, cheetah.obs_size))
    action = jnp.tanh(obs[..., : cheetah.action_size])
    return Steps(jnp.zeros((b, l)), obs, action, t, jnp.ones((b, l), bool))


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
