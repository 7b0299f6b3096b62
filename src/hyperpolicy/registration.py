"""Tells Gymnasium our environments by name; nothing heavy is imported before one is made."""

import re

import gymnasium

PLAIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Names of families."""
CONTROL = (
    *"cheetah-run walker-stand walker-walk walker-run finger-spin fish-swim reacher-easy".split(),
    *"reacher-hard cartpole-balance cartpole-swingup pendulum-swingup hopper-stand".split(),
    *"hopper-hop quadruped-walk quadruped-run quadruped-escape cheetah-run-exact".split(),
    *"walker-walk-exact walker-run-exact finger-spin-exact hopper-hop-exact".split(),
    *"quadruped-walk-exact quadruped-run-exact cheetah-run-signs walker-walk-signs".split(),
    "cheetah-run-morph",
)
SHIPPED = {
    "cheetah-vel": 200,
    "ant-dir": 200,
    "ant-dir-radians": 200,
    "ant-dir-endless": 200,
    "metaworld": 500,
    "metaworld-v1": 500,
    **dict.fromkeys(CONTROL, 1000),
}
"""Steps of an episode, known before a family is loaded."""


def id_of(family: str) -> str:
    """Gymnasium's name of a family's environments: 'hyperpolicy/CheetahVel-v0'."""
    return f"hyperpolicy/{''.join(map(str.capitalize, family.split('-')))}-v0"


def register(family: str, horizon_steps: int) -> None:
    """Register a family as a single and a vector environment, once."""
    if id_of(family) not in gymnasium.registry:
        gymnasium.register(
            id_of(family),
            entry_point="hyperpolicy.envs.gymnasium:ContextEnv",
            vector_entry_point="hyperpolicy.envs.gymnasium:ContextVectorEnv",
            max_episode_steps=horizon_steps,
            kwargs={"family": family},
        )
