"""Environment steps per second of one of the control suite's tasks, under random actions.

Settings: kind ("worlds", "bodies" or "dm-control"), task, num (worlds), seconds, seed.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable

import numpy as np
from worlds import rate

from hyperpolicy.envs import family


def main(kind, task, num, seconds, seed) -> dict:
    if kind == "dm-control":
        step, action_size = dm_control(task, seed)
        return rate(step, 1, action_size, seconds, seed)
    step, action_size = worlds_of(task, num, seed, kind == "bodies")
    return rate(step, num, action_size, seconds, seed)


def worlds_of(task: str, num: int, seed: int, bodies: bool) -> tuple[Callable, int]:
    """The step of worlds of the usual context, or of forty lengths around the usual one."""
    found = family(task)
    contexts = np.tile(found.context.usual, (num, 1))
    if bodies:
        i = found.context.names.index("length")
        lengths = found.context.usual[i] * np.linspace(0.9, 1.1, 40)
        contexts[:, i] = lengths[np.arange(num) % 40]
    worlds = found.worlds(contexts, seed)
    worlds.reset()
    return worlds.step, found.action_size


def dm_control(task: str, seed: int) -> tuple[Callable, int]:
    """The step of dm_control's own environment, with actions of its own range."""
    os.environ["MUJOCO_GL"] = "disable"
    warnings.simplefilter("ignore")
    from dm_control import suite

    flat = {"flat_observation": True}
    env = suite.load(*task.split("-"), {"random": seed}, environment_kwargs=flat)
    spec = env.action_spec()
    middle, half = (spec.maximum + spec.minimum) / 2, (spec.maximum - spec.minimum) / 2

    def step(action):
        if task == "quadruped-escape":  # its reset asks for a renderer
            env._reset_next_step = False
        return env.step(middle + half * action[0])

    return step, spec.shape[0]


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
