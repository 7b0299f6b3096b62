"""Environments: contexts → worlds. `family("cheetah-vel")` finds a family by name, `register` makes
one's own known. Nothing here imports JAX."""

from hyperpolicy.envs.context import ContextSpace, Coordinate, Grid, Split, line
from hyperpolicy.envs.family import Advance, Family, Step, Worlds
from hyperpolicy.envs.gym_family import GymnasiumFamily, from_gymnasium
from hyperpolicy.envs.mjcf_family import from_mjcf
from hyperpolicy.envs.mujoco import MujocoFamily, MujocoWorlds
from hyperpolicy.envs.registry import FAMILIES, family, read, register

__all__ = [
    "FAMILIES",
    "Advance",
    "ContextSpace",
    "Coordinate",
    "Family",
    "Grid",
    "GymnasiumFamily",
    "MujocoFamily",
    "MujocoWorlds",
    "Split",
    "Step",
    "Worlds",
    "family",
    "from_gymnasium",
    "from_mjcf",
    "line",
    "read",
    "register",
]
