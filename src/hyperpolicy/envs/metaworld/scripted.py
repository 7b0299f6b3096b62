"""The package's scripted policies: hand-written controllers that solve almost every task."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.metaworld.arm import package
from hyperpolicy.envs.metaworld.family import TASKS, contexts_of


class Script:
    """A task's controller: an observation [39] → an action [4] in [−1, 1]."""

    def __init__(self, task: str):
        """Raises UnknownTask, MissingExtra."""
        name = TASKS[int(contexts_of([task])[0, 0])]
        self._policy = package().policies.ENV_POLICY_MAP[f"{name}-v3"]()

    def __call__(self, obs: Float[np.ndarray, " o"]) -> Float[np.ndarray, " a"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that gains are high; actions are clipped
            action = self._policy.get_action(np.asarray(obs, np.float64))
        return np.clip(action, -1.0, 1.0).astype(np.float32)


class Scripted:
    """An `Actor` for rollouts: the controllers of n tasks, with Gaussian noise on their actions,
    drawn for all of them together."""

    def __init__(self, tasks: Sequence[str], noise: float = 0.0, seed: int = 0):
        """Raises UnknownTask, MissingExtra."""
        self.scripts = [Script(task) for task in tasks]
        self.noise, self.seed = noise, seed

    def start(self, n: int, e: int):
        return ()

    def act(self, carry, obs: Float[np.ndarray, "n e o"], key):
        pairs = zip(self.scripts, obs, strict=True)
        action = np.array([[script(row) for row in rows] for script, rows in pairs])
        jitter = np.random.default_rng([self.seed, key[1]]).normal(0.0, self.noise, action.shape)
        return np.clip(action + jitter, -1.0, 1.0).astype(np.float32), carry

    def observe(self, carry, step):
        return carry

    def take(self, rows):
        """Those of some policies, which can be told apart where no noise is drawn for all."""
        if self.noise:
            return None
        found = Scripted((), 0.0, self.seed)
        found.scripts = [self.scripts[i] for i in np.atleast_1d(rows)]
        return found
