"""Environments: contexts → worlds. `family("cheetah-vel")` finds a family by name."""

from hyperpolicy.envs.ant_dir import AntDir, AntDirRadians
from hyperpolicy.envs.cheetah_vel import CheetahVel
from hyperpolicy.envs.family import ContextSpace, Family, Grid, Split
from hyperpolicy.envs.metaworld import MetaWorld, MetaWorldV1
from hyperpolicy.envs.worlds import Step, Worlds
from hyperpolicy.errors import UnknownFamily, unknown

FAMILIES = {
    family.name: family
    for family in (CheetahVel(), AntDir(), AntDirRadians(), MetaWorld(), MetaWorldV1())
}

__all__ = ["FAMILIES", "ContextSpace", "Family", "Grid", "Split", "Step", "Worlds", "family"]


def family(name: str) -> Family:
    """The family called `name`.

    Raises:
        UnknownFamily: no such family; the message suggests one.
    """
    if name not in FAMILIES:
        raise unknown(UnknownFamily, "task family", "Families", name, FAMILIES)
    return FAMILIES[name]
