"""Whether an exported policy does what ours does: actions on recorded observations, returns in the
loop, and how long a step takes."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile
from hyperpolicy.policies import Actor, Memoryless, Policies
from hyperpolicy.rollout import returns, trace

EPISODES = 5
TIMED = 300
"""Steps by which acting is timed, one observation each."""
CLOSE = 1e-5
"""Largest difference of an action that float32 in another order explains."""


@dataclass(frozen=True)
class Parity:
    """An exported policy beside ours."""

    runtime: str
    gap: float
    """Largest difference of an action's number, in [−1, 1], on all observations of our episodes."""
    ours: Float[np.ndarray, " e"]
    theirs: Float[np.ndarray, " e"]
    """Returns of episodes that begin alike."""
    step_ms: float

    @property
    def holds(self) -> bool:
        """Whether the actions are the same but for rounding."""
        return self.gap <= CLOSE


def numpy_actor(program: Path, low: float = -1.0, high: float = 1.0) -> Memoryless:
    """Who acts by an exported program, whose actions run from `low` to `high`. Raises BadFile: it
    is no such program."""
    spec = importlib.util.spec_from_file_location(f"hyperpolicy_exported_{program.stem}", program)
    if spec is None or spec.loader is None:
        raise BadFile(f"{program} is no Python program")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable = module.act
    return Memoryless(lambda obs, t: 2.0 * (function(obs) - low) / (high - low) - 1.0)


def compare(
    policy: Policies, exported: Actor, family: Family, context, runtime: str, episodes=EPISODES
) -> Parity:
    """An exported policy beside the one that it was made from, in its own context."""
    contexts = np.asarray(context, float)[None]
    seen = trace(policy, family, contexts, episodes)
    obs = seen.obs[seen.alive][None]
    carry, key = exported.start(1, 1), np.zeros(2, np.uint32)
    theirs = np.asarray(exported.act(carry, obs, key)[0])
    gap = float(np.abs(theirs - policy.act(obs)).max())
    one = obs[:, :1]
    began = time.perf_counter()
    for _ in range(TIMED):
        exported.act(carry, one, key)
    step_ms = 1e3 * (time.perf_counter() - began) / TIMED
    found = returns(exported, family, contexts, episodes)[0]
    return Parity(runtime, gap, seen.returns[0], found, step_ms)
