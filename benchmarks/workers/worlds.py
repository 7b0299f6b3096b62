"""Environment steps per second under random actions, episodes ending and resetting as they do.

Settings: kind ("worlds", "sync" or "async"), env (a family, or an environment of Gymnasium),
options (of that environment), num_envs, threads (of "worlds"; 0: all cores), seconds, seed.
"""

import json
import sys
import time
from collections.abc import Callable

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from hyperpolicy.envs import family

WARM_STEPS = 20


def main(kind, env, options, num_envs, threads, seconds, seed) -> dict:
    make = our_worlds if kind == "worlds" else gymnasium_envs
    step, action_size = make(kind, env, options, num_envs, threads, seed)
    return rate(step, num_envs, action_size, seconds, seed)


def rate(step: Callable, n: int, action_size: int, seconds: float, seed: int) -> dict:
    """Steps a second of n environments that are stepped together."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1.0, 1.0, (64, n, action_size)).astype(np.float32)
    for i in range(WARM_STEPS):
        step(actions[i])
    count, began, passed = 0, time.perf_counter(), 0.0
    while passed < seconds:
        step(actions[count % len(actions)])
        count += 1
        passed = time.perf_counter() - began
    return {"per_s": count * n / passed, "steps": count, "window_s": passed}


def our_worlds(kind, env, options, n: int, threads: int, seed: int) -> tuple[Callable, int]:
    """The step of n worlds of a family, contexts spread over its bounds."""
    found = family(env)
    contexts = np.linspace(found.context.low, found.context.high, n)
    worlds = found.worlds(contexts, seed, threads)
    worlds.reset()
    return worlds.step, found.action_size


def gymnasium_envs(kind, env, options, n: int, threads: int, seed: int) -> tuple[Callable, int]:
    """The step of n single environments in Gymnasium's vector environment."""
    vector = {"autoreset_mode": AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec(env, n, vectorization_mode=kind, vector_kwargs=vector, **options)
    envs.reset(seed=seed)
    return envs.step, envs.single_action_space.shape[0]


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
