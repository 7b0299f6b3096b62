"""How often does the policy succeed that experts of all fifty tasks of Meta-World start from?

    python benchmarks/base_of_fifty.py [--fits 4] [--episodes 8]

The base of `recipe mt50-demonstration`, told its task, and the noisy scripted policies that show
unseen tasks; configurations are of no table.
"""

from dataclasses import replace

import numpy as np
import tyro
from harness import console, record, save_record

from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Scripted
from hyperpolicy.recipes.amt_hyp import imitation
from hyperpolicy.recipes.fifty.presets import DATA
from hyperpolicy.rollout import success_rate

SEED, SCRIPTED_SEED = 99, 98
"""Of configurations."""


def main(fits: int = DATA.fits, episodes: int = 8) -> None:
    """Fit the base, play, and write results/base-of-fifty.json.

    Args:
        fits: of the base; each after the first also sees states that the one before reached.
        episodes: of each task; scripted policies play twice as many.
    """
    family = MetaWorld()
    contexts = family.grid("mt50").contexts
    names = imitation.tasks_of(family, contexts)
    policies = imitation.base(replace(DATA, fits=fits), family, contexts)
    own = success_rate(policies, family, contexts, episodes, SEED)
    scripts = []
    for name, context in zip(names, contexts, strict=True):
        actor, twice = Scripted([name], DATA.noise, 5), 2 * episodes
        (share,) = success_rate(actor, family, context[None], twice, SCRIPTED_SEED)
        scripts.append(float(share))
    found = {"base": dict(zip(names, own.tolist(), strict=True))}
    found["script"] = dict(zip(names, scripts, strict=True))
    console.print({which: f"{100 * np.mean(list(x.values())):.1f} %" for which, x in found.items()})
    about = {"fits": fits, "episodes": episodes, "seeds": [SEED, SCRIPTED_SEED]}
    question = __doc__.split("\n\n")[0]
    save_record("base-of-fifty", record("base_of_fifty", question, about, found))


if __name__ == "__main__":
    tyro.cli(main)
