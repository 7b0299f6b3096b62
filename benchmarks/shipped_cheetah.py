"""What does the shipped cheetah-run generator return on hidden speeds and lengths, in dm_control's
own environment?

    python benchmarks/shipped_cheetah.py [--contexts 100] [--seed 99]

Speeds are uniform in ±[0.5, 9] m/s, lengths in [0.35, 0.65] m; none of them was trained on. The
environment is dm_control's, with the Contextual Control Suite's body and one-sided reward.
"""

import warnings

import numpy as np
import tyro
from harness import console, record, save_record

import hyperpolicy as hp


def main(contexts: int = 100, seed: int = 99) -> None:
    """Measure, print, and write results/shipped-cheetah.json.

    Args:
        contexts: how many speeds and lengths.
        seed: of them, and of the starts.
    """
    rng = np.random.default_rng(seed)
    speeds = rng.uniform(0.5, 9.0, contexts) * rng.choice([-1.0, 1.0], contexts)
    told = np.stack([speeds, rng.uniform(0.35, 0.65, contexts)], axis=1)
    found = np.array(returns(told, seed))
    half = 1.96 * found.std(ddof=1) / np.sqrt(contexts)
    console.print(f"mean {found.mean():.1f} ± {half:.1f} over {contexts} contexts (95 %)")
    numbers = {"contexts": told.round(4).tolist(), "returns": found.round(2).tolist()}
    about = {"seed": seed, "mean": round(float(found.mean()), 2), "half_95": round(float(half), 2)}
    question = __doc__.split("\n\n")[0]
    print(save_record("shipped-cheetah", record("shipped_cheetah", question, about, numbers)))


def returns(told, seed: int) -> list[float]:
    """The return of one episode at each [speed, length]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dm_control finds no display
        from dm_control.rl import control
        from dm_control.suite import cheetah
    family = hp.family("cheetah-run")
    policies, total = hp.load("cheetah-run").generate(told), []
    for i, context in enumerate(family.context.check(told)):
        physics = cheetah.Physics.from_xml_string(family.xml(context, plain=False))
        task = cheetah.Cheetah(random=seed + i)
        env = control.Environment(physics, task, time_limit=10, flat_observation=True)
        step, sum_ = env.reset(), 0.0
        while not step.last():
            obs = step.observation["observations"].astype(np.float32)
            step = env.step(policies[[i]].act(obs[None, None])[0, 0])
            ahead = np.sign(context[0]) * physics.speed() / abs(context[0])
            sum_ += float(np.clip(0.1 + 0.9 * ahead, 0.0, 1.0))
        total.append(sum_)
    return total


if __name__ == "__main__":
    tyro.cli(main)
