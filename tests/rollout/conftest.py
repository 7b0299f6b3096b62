from dataclasses import dataclass

import pytest

from hyperpolicy.envs.locomotion import AntDir


@dataclass(frozen=True, kw_only=True)
class FallingAnt(AntDir):
    """Ends as soon as the torso is a little below where it starts."""

    horizon_steps: int = 30

    def terminated(self, view):
        return view["qpos"][:, 2] < 0.6


@pytest.fixture
def falling_ant() -> FallingAnt:
    return FallingAnt()
