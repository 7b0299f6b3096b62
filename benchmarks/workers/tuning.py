"""Policies an hour that reach their return: the shipped generator's, fine-tuned all at once.

Settings: steps (of every policy, at most), speeds (of the test speeds; all if empty), seed.
"""

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from goal import EPISODES, EVERY_STEPS, goals

from hyperpolicy.evaluate import learning
from hyperpolicy.generate import load
from hyperpolicy.generate.tune import tune
from hyperpolicy.generate.tune_config import TuneConfig


def main(steps: int, speeds: list[float], seed: int) -> dict:
    contexts, wanted, train = goals(speeds)
    config = TuneConfig(
        steps=min(steps, 50_000), critics="fitted", evaluate_every=EVERY_STEPS, episodes=EPISODES
    )
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # policies that get worse count as they are
        began = time.perf_counter()
        tune(config, load("cheetah-vel"), contexts, train, seed, f"{place}/run")
        spent = time.perf_counter() - began
        metrics = Path(f"{place}/run/metrics.jsonl")
        curves = learning.read(metrics)
        seconds = [json.loads(line)["seconds"] for line in metrics.read_text().splitlines()]
    reached = [
        np.flatnonzero(row >= goal) for row, goal in zip(curves.returns, wanted, strict=True)
    ]
    steps_to = [float(curves.steps[i[0]]) if len(i) else None for i in reached]
    if all(len(i) for i in reached):  # what came after the last of them is not counted
        spent -= seconds[-1] - max(seconds[i[0]] for i in reached)
    count = sum(step is not None for step in steps_to)
    return {"per_s": 3600 * count / spent, "steps_to": steps_to, "seconds": spent}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
