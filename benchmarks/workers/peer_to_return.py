"""Policies an hour that reach their return: SBX SAC from scratch, one speed after another, as it
runs out of the box but for the width. Runs in the peers' environment.

Settings: steps (of every policy, at most), speeds (of the test speeds; all if empty), seed.
"""

import json
import sys
import time

import jax

jax.devices()  # jax starts as the peer would start it, before hyperpolicy can set its flags

import gymnasium  # noqa: E402
import sbx  # noqa: E402
from goal import CHEETAH, EPISODES, EVERY_STEPS, goals  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402

from hyperpolicy.rollout import Memoryless, returns  # noqa: E402

WIDTH = 64


class Until(BaseCallback):
    """Ends the training once an evaluation reaches `goal`."""

    def __init__(self, context, goal: float):
        super().__init__()
        self.context, self.goal, self.reached = context, goal, None

    def _on_step(self) -> bool:
        if self.num_timesteps % EVERY_STEPS:
            return True

        def act(obs, t):
            flat = obs.reshape(-1, obs.shape[-1])
            return self.model.predict(flat, deterministic=True)[0].reshape(*obs.shape[:2], -1)

        found = returns(Memoryless(act), CHEETAH, self.context[None], EPISODES, 7_000_000).mean()
        if found >= self.goal:
            self.reached = self.num_timesteps
        return self.reached is None


def main(steps: int, speeds: list[float], seed: int) -> dict:
    contexts, wanted, _ = goals(speeds)
    steps_to, began = [], time.perf_counter()
    for i, (context, goal) in enumerate(zip(contexts, wanted, strict=True)):
        env = gymnasium.make("hyperpolicy/CheetahVel-v0", velocity=float(context[0]))
        policy = {"net_arch": [WIDTH, WIDTH]}
        model = sbx.SAC("MlpPolicy", env, policy_kwargs=policy, seed=10 * seed + i)
        until = Until(context, float(goal))
        model.learn(steps, callback=until)
        steps_to.append(until.reached)
    spent = time.perf_counter() - began
    count = sum(step is not None for step in steps_to)
    return {"per_s": 3600 * count / spent, "steps_to": steps_to, "seconds": spent}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
