"""What the fine-tuning benchmark asks for: the test speeds, and a return to reach at each."""

from pathlib import Path

import numpy as np

from hyperpolicy.envs import family
from hyperpolicy.generate import interpolate
from hyperpolicy.rollout import returns
from hyperpolicy.zoo import Zoo

ZOO = Path(__file__).resolve().parents[2] / "zoos/cheetah-vel/specialized-full"
EVERY_STEPS, EPISODES = 2_500, 5
CHEETAH = family("cheetah-vel")


def goals() -> tuple[np.ndarray, np.ndarray, Zoo]:
    """Contexts [5, 1], returns to reach [5], and the training experts."""
    split, zoo = CHEETAH.grid("macaw").split("full"), Zoo.load(ZOO)
    train = zoo.only(split.train)
    near = interpolate.nearest(train).generate(split.test)
    both = [returns(p, CHEETAH, split.test) for p in (near, zoo.only(split.test).finals)]
    return split.test, np.mean(both, axis=(0, 2)), train
