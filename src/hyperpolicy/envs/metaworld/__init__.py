"""Meta-World's 50 tasks of one Sawyer arm as a family; its package is the extra `[metaworld]`."""

from hyperpolicy.envs.metaworld.family import MetaWorld

__all__ = ["MetaWorld"]
