"""The package's scripted policies: hand-written controllers that solve almost every task."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.metaworld.arm import package
from hyperpolicy.envs.metaworld.tasks import TASKS, numbers


class Script:
    """A task's controller: an observation [39] → an action [4] in [−1, 1]."""

    def __init__(self, task: str):
        """Raises UnknownTask, MissingExtra."""
        name = TASKS[int(numbers([task])[0])]
        self._policy = package().policies.ENV_POLICY_MAP[f"{name}-v3"]()

    def __call__(self, obs: Float[np.ndarray, " o"]) -> Float[np.ndarray, " a"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that gains are high; actions are clipped
            action = self._policy.get_action(np.asarray(obs, np.float64))
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def scripted(
    tasks: Sequence[str], noise: float = 0.0, seed: int = 0
) -> Callable[[Float[np.ndarray, "n e o"], int], Float[np.ndarray, "n e a"]]:
    """An actor for rollouts: the controllers of n tasks, with Gaussian noise on their actions."""
    scripts = [Script(task) for task in tasks]

    def act(obs, t):
        action = np.array([[s(row) for row in rows] for s, rows in zip(scripts, obs, strict=True)])
        jitter = np.random.default_rng([seed, t]).normal(0.0, noise, action.shape)
        return np.clip(action + jitter, -1.0, 1.0).astype(np.float32)

    return act
