"""Environment steps and updates per second of one policy for ten tasks: the whole loop of
`train_multi_task`, with a stopwatch in place of the evaluation.

Settings: method, preset, seeds (side by side), seconds (of the timed window), seed.
"""

import json
import sys
import time
from contextlib import suppress
from dataclasses import replace

import jax
import numpy as np
from clock import CompileClock

from hyperpolicy.fleet import OffPolicy, multi_task
from hyperpolicy.fleet.plan import Exam
from hyperpolicy.recipes.multi_task import study

MARK = 10
"""Steps of every world between two looks at the clock."""


class Enough(Exception):
    """The window is over."""


def main(method: str, preset: str, seeds: int, seconds: float, seed: int) -> dict:
    config = study.StudyConfig(methods=(method,), preset=preset, steps=20_000)
    plan = study.plan_of(config, method)
    looks = plan.schedule.learning_turns // MARK
    schedule = replace(plan.schedule, first_updates=0, fill_steps=300, num_evaluations=looks)
    times, work_of, compiling = [], multi_task._work, CompileClock()

    def look(weights) -> Exam:
        times.append(time.perf_counter())
        if times[-1] - times[min(1, len(times) - 1)] >= seconds:
            raise Enough
        return Exam(np.zeros(len(weights)))

    multi_task._work = lambda *args: work_of(*args)._replace(evaluate=look)
    own = range(seed, seed + seeds)
    goals = multi_task.goals_of(own, len(config.contexts))
    with suppress(Enough):
        multi_task.train_multi_task(
            OffPolicy(plan.cfg, schedule), config.family, config.contexts, own, goals
        )
    window = times[-1] - times[1]
    rate = seeds * MARK * (len(times) - 2) / window
    return {
        "per_s": rate * len(config.contexts),
        "updates_per_s": rate * schedule.updates_per_step,
        "compile_s": compiling.seconds,
        "window_s": window,
        "devices": [str(device) for device in jax.devices()],
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
