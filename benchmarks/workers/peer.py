"""Updates per second of one expert of a peer library as it runs out of the box: its defaults,
but for the width; one environment, one update a step, batch 256. Runs in the peers' environment.

Settings: library ("stable_baselines3" or "sbx"), learner ("sac" or "td3"), width, seconds (of the
timed window), seed.
"""

import json
import sys
import time
from importlib import import_module
from importlib.metadata import version

import jax
from clock import CompileClock

jax.devices()  # jax starts as the peer would start it, before hyperpolicy can set its flags

import gymnasium  # noqa: E402
import torch  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402

import hyperpolicy  # noqa: E402, F401  (registers the task)

WARM_UPDATES = 100
PACKAGES = {"stable_baselines3": ("stable-baselines3", "torch"), "sbx": ("sbx-rl", "jax")}


class Stopwatch(BaseCallback):
    """Ends the training when `seconds` have passed after the first `WARM_UPDATES`."""

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds, self.began, self.ended = seconds, None, None

    def _on_step(self) -> bool:
        now = (time.perf_counter(), self.model._n_updates)
        if self.began is None:
            self.began = now if now[1] >= WARM_UPDATES else None
            return True
        self.ended = now
        return now[0] - self.began[0] < self.seconds


def main(library: str, learner: str, width: int, seconds: float, seed: int) -> dict:
    env = gymnasium.make("hyperpolicy/CheetahVel-v0", velocity=1.5)
    algorithm = getattr(import_module(library), learner.upper())
    compiling, stopwatch = CompileClock(), Stopwatch(seconds)
    model = algorithm("MlpPolicy", env, policy_kwargs={"net_arch": [width, width]}, seed=seed)
    model.learn(1_000_000_000, callback=stopwatch)
    (t0, u0), (t1, u1) = stopwatch.began, stopwatch.ended
    return {
        "per_s": (u1 - u0) / (t1 - t0),
        "env_steps_per_s": (u1 - u0) / (t1 - t0),
        "compile_s": compiling.seconds,
        "window_s": t1 - t0,
        "batch": model.batch_size,
        "gradient_steps": model.gradient_steps,
        "torch_threads": torch.get_num_threads(),
        "device": str(getattr(model, "device", jax.devices()[0])),
        "versions": {name: version(name) for name in PACKAGES[library]},
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
