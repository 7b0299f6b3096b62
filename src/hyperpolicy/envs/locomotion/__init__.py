"""Bodies that run: Gymnasium's half-cheetah and ant."""

from hyperpolicy.envs.locomotion.ant_dir import ANT_DIR_RADIANS, AntDir
from hyperpolicy.envs.locomotion.cheetah_vel import CheetahVel

__all__ = ["ANT_DIR_RADIANS", "AntDir", "CheetahVel"]
