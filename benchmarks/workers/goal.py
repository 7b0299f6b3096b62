"""What the fine-tuning benchmark asks for: the test speeds, and a return to reach at each."""

from pathlib import Path

import numpy as np

from hyperpolicy.envs import family
from hyperpolicy.generate.writers import lookup
from hyperpolicy.rollout import returns
from hyperpolicy.zoo import Zoo

ZOO = Path(__file__).resolve().parents[2] / "zoos/cheetah-vel/specialized-full"
EVERY_STEPS, EPISODES = 2_500, 5
CHEETAH = family("cheetah-vel")


def goals(speeds: list[float]) -> tuple[np.ndarray, np.ndarray, Zoo]:
    """Contexts [n, 1], returns to reach [n], and the training experts; of the test speeds in
    `speeds`, or of all five where there are none."""
    split, zoo = CHEETAH.grid("macaw").split("full"), Zoo.load(ZOO)
    train = zoo.only(split.train)
    test = split.test[np.isin(split.test[:, 0].round(6), speeds)] if speeds else split.test
    near = lookup.nearest(train).generate(test)
    both = [returns(p, CHEETAH, test) for p in (near, zoo.only(test).finals)]
    return test, np.mean(both, axis=(0, 2)), train
