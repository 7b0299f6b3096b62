"""Tells Gymnasium our environments by name; nothing heavy is imported before one is made."""

import re

import gymnasium

PLAIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Names of families."""
SHIPPED = {
    "cheetah-vel": 200,
    "ant-dir": 200,
    "ant-dir-radians": 200,
    "metaworld": 500,
    "metaworld-v1": 500,
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
