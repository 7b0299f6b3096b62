"""Tells Gymnasium our environments by name; nothing heavy is imported before one is made."""

import gymnasium

ENVS = {"hyperpolicy/CheetahVel-v0": "cheetah-vel", "hyperpolicy/AntDir-v0": "ant-dir"}


def register() -> None:
    """Register every family as a single and a vector environment, once."""
    for name, family in ENVS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point="hyperpolicy.envs.gymnasium:ContextEnv",
                vector_entry_point="hyperpolicy.envs.gymnasium:ContextVectorEnv",
                kwargs={"family": family},
            )
