"""Gradient steps per second of HyperZero's losses on made-up rows.

Settings: width, once (whether weights are written once a context or for every row), seconds, seed.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from clock import CompileClock

from hyperpolicy.envs import family
from hyperpolicy.generate import cloning
from hyperpolicy.generate.behavior import Rows
from hyperpolicy.generate.writers.hyperzero import HyperZeroConfig
from hyperpolicy.nets.policy import PolicySpec

CONTEXTS, BATCH = 7, 512


def main(width: int, once: bool, seconds: float, seed: int) -> dict:
    cheetah, config = family("cheetah-run"), HyperZeroConfig(hidden=width, embed=width)
    spec = PolicySpec(cheetah.obs_size, cheetah.action_size, (width,), ("relu",), "deterministic")
    net = config.init(spec, 1, jax.random.key(seed))
    each = BATCH // CONTEXTS
    conditions = jnp.linspace(-1.0, 1.0, CONTEXTS)[:, None]
    rows = made_up(spec, CONTEXTS, each, seed)
    if not once:
        conditions = jnp.repeat(conditions, each, axis=0)
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, 1, *leaf.shape[2:]), rows)

    def loss(net, conditions, rows):
        lost = lambda c, own: cloning.losses(net, config, c, own, cloning.discounted_target)  # noqa: E731
        parts = jax.vmap(lost)(conditions, rows)
        return cloning.total(config, jax.tree.map(jnp.mean, parts))

    compiling, step = CompileClock(), jax.jit(jax.value_and_grad(loss))
    value = float(step(net, conditions, rows)[0])
    steps, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        jax.block_until_ready(step(net, conditions, rows))
        steps += 1
    return {"per_s": steps / passed, "compile_s": compiling.seconds, "loss": value}


def made_up(spec: PolicySpec, n: int, each: int, seed: int) -> Rows:
    """Rows of standard normal numbers."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=(n, each, *shape)), jnp.float32)  # noqa: E731
    return Rows(draw(spec.obs), draw(spec.action), draw(), draw(spec.obs), draw(), draw())


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
