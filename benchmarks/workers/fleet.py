"""Expert-updates per second of a hyperpolicy fleet: the whole loop of `fleet.train`, with a
stopwatch in place of the evaluation.

Settings: experts, learner, width, seconds (of the timed window), seed.
"""

import json
import sys
import time
from contextlib import suppress

import jax
import numpy as np
from clock import CompileClock

from hyperpolicy import fleet
from hyperpolicy.envs import family
from hyperpolicy.fleet import training
from hyperpolicy.rl.sac import SacConfig
from hyperpolicy.rl.td3 import Td3Config

LEARNERS = {"sac": SacConfig, "td3": Td3Config}
UPDATES = 200_000
"""More than fit into any window; the stopwatch ends the run."""
FILL_STEPS = 2_500
"""10,000 transitions an expert: too many for the cores' caches, as in a real run."""
MARK_UPDATES = 16
"""Updates of each expert between two looks at the clock."""


class Enough(Exception):
    """The window is over."""


class Stopwatch:
    """Stands where the evaluation stands: called with the weights every `MARK_UPDATES`."""

    def __init__(self, seconds: float):
        self.seconds, self.times = seconds, []

    def __call__(self, weights) -> np.ndarray:
        self.times.append(time.perf_counter())
        if self.times[-1] - self.times[min(1, len(self.times) - 1)] >= self.seconds:
            raise Enough
        return np.zeros(len(weights))

    @property
    def updates_per_s(self) -> float:
        """Of each expert, from the second mark on: compilation and a first full round are over."""
        return MARK_UPDATES * (len(self.times) - 2) / (self.times[-1] - self.times[1])


def main(experts: int, learner: str, width: int, seconds: float, seed: int) -> dict:
    contexts = np.linspace(0.075, 3.0, experts)[:, None]
    schedule = fleet.Schedule(
        num_updates=UPDATES,
        fill_steps=FILL_STEPS,
        num_evaluations=UPDATES // MARK_UPDATES,
        average_from=0.0,
        num_checkpoints=1,
    )
    plan = fleet.OffPolicy(LEARNERS[learner](hidden=(width, width)), schedule)
    stopwatch, compiling = Stopwatch(seconds), CompileClock()
    training.evaluate = lambda family, spec, contexts, episodes, weights: stopwatch(weights)
    with suppress(Enough):
        fleet.train(plan, family("cheetah-vel"), contexts, seed=seed)
    rate = stopwatch.updates_per_s * experts
    return {
        "per_s": rate,
        "env_steps_per_s": rate * schedule.num_envs / schedule.updates_per_step,
        "compile_s": compiling.seconds,
        "window_s": stopwatch.times[-1] - stopwatch.times[1],
        "devices": [str(device) for device in jax.devices()],
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
