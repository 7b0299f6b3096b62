"""Where a fleet's replay lies in memory."""

from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from hyperpolicy.fleet.runner import EXPERTS, SAME, place
from hyperpolicy.fleet.schedule import Schedule


class Rings(NamedTuple):
    """How the replay of n learners lies in memory: a ring each, or one that all share."""

    learners: int
    shared: bool
    block: int
    """Rows that one step of the worlds adds to a ring."""
    capacity: int
    """Rows of a ring."""

    @classmethod
    def of(cls, schedule: Schedule, n: int) -> "Rings":
        """The rings of a fleet of n."""
        shared = schedule.replay == "shared"
        writers = n if shared else 1
        return cls(n, shared, writers * schedule.num_envs, writers * schedule.ring)

    def filled(self, turns: int) -> int:
        """Rows of a ring that hold something after so many turns."""
        return min(turns * self.block, self.capacity)

    def place(self, rows: Float[np.ndarray, "*n k d"], mesh: Mesh):
        """Rings on the devices whose first rows are `rows`."""
        ring = np.zeros((*rows.shape[:-2], self.capacity, rows.shape[-1]), np.float32)
        ring[..., : rows.shape[-2], :] = rows
        return place(ring, mesh, SAME if self.shared else EXPERTS)

    def of_learners(self, rings, filled: int) -> Float[np.ndarray, "n k d"]:
        """The filled rows, learner by learner."""
        rows = np.asarray(rings)[..., :filled, :]
        if not self.shared:
            return rows
        steps = rows.reshape(-1, self.learners, self.block // self.learners, rows.shape[-1])
        return steps.swapaxes(0, 1).reshape(self.learners, -1, rows.shape[-1])
