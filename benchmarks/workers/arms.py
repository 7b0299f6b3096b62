"""Environment steps per second on Meta-World tasks under random actions, episodes resetting.

Settings: kind ("worlds", "sync" or "async"), tasks (names), threads (of "worlds"; 0: all cores),
seconds, seed.
"""

import json
import sys
import warnings
from collections.abc import Callable

import gymnasium
from worlds import rate

from hyperpolicy.envs import family


def main(kind: str, tasks: list[str], threads: int, seconds: float, seed: int) -> dict:
    step = our_worlds(tasks, threads, seed) if kind == "worlds" else theirs(kind, tasks, seed)
    return rate(step, len(tasks), 4, seconds, seed)


def our_worlds(tasks, threads: int, seed: int) -> Callable:
    """The step of one world a task."""
    found = family("metaworld")
    worlds = found.worlds(found.contexts(tasks), seed, threads)
    worlds.reset()
    return worlds.step


def theirs(kind: str, tasks, seed: int) -> Callable:
    """The step of the package's own vector environment, its weld mended for this MuJoCo."""
    import metaworld.sawyer_xyz_env

    from hyperpolicy.envs.metaworld.arm import _Quick

    metaworld.sawyer_xyz_env.SawyerMocapBase.reset_mocap_welds = _Quick.reset_mocap_welds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        envs = gymnasium.make_vec(
            "Meta-World/custom-mt-envs",
            vector_strategy=kind,
            envs_list=[f"{task}-v3" for task in tasks],
            seed=seed,
        )
        envs.reset(seed=seed)
    return envs.step


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(main(**json.loads(sys.argv[1]))))
