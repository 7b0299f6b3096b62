"""Worlds: n simulations of a family stepped together, one context each; a family makes its own.

`MujocoWorlds` steps them on MuJoCo's native threads.
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import NamedTuple

import jax
import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from mujoco.batch import Batch as Simulations

from hyperpolicy.devices import num_cores
from hyperpolicy.envs.engine import compile_model, quiet_engine
from hyperpolicy.envs.family import Family, MujocoFamily
from hyperpolicy.errors import BadShape


class Step(NamedTuple):
    """One step of n worlds. Where an episode ended, `obs` opens the next one already (same-step
    autoreset) and `next_obs` is the last observation of the old one; elsewhere they are equal."""

    obs: Float[np.ndarray, "n o"]
    reward: Float[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " n"]
    """The task ended; its value after this step is zero."""
    truncated: Bool[np.ndarray, " n"]
    """The time limit, or a simulation that broke (see `broken`)."""
    next_obs: Float[np.ndarray, "n o"]
    outcome: Float[np.ndarray, "n m"]
    broken: Bool[np.ndarray, " n"]
    """MuJoCo reset this simulation because its state was not finite; the transition is void."""


class Advance(NamedTuple):
    """What one step of the simulations gives, before any episode ends."""

    obs: Float[np.ndarray, "n o"]
    reward: Float[np.ndarray, " n"]
    outcome: Float[np.ndarray, "n m"]
    terminated: Bool[np.ndarray, " n"]
    broken: Bool[np.ndarray, " n"]


class Worlds(ABC):
    """n simulations, one context each, reset automatically in the step that ends an episode.

    Results do not depend on the number of threads, nor on the other worlds: the k-th reset of
    world i is drawn from `seeds[i]` and k alone.
    """

    def __init__(
        self,
        family: Family,
        contexts: Float[np.ndarray, "n c"],
        seed: int | Int[np.ndarray, " n"] = 0,
        num_threads: int = 0,
    ):
        """`seed` is one number, or one for each world; `num_threads` 0 means all cores.

        Raises:
            BadContext: wrong shape, not finite, or out of bounds.
            BadShape: not one seed a world.
        """
        self.family = family
        self.contexts = np.array(family.context.check(contexts))
        n = len(self.contexts)
        self.seeds = np.array(seed if np.ndim(seed) else np.arange(n) + 1_000_003 * seed, np.int64)
        if self.seeds.shape != (n,):
            raise BadShape(f"{self.seeds.shape} seeds for {n} worlds; give one number or [n]")
        self.num_threads = min(num_threads or num_cores(), n)
        self.episode = np.full(n, -1)
        self.elapsed_steps = np.zeros(n, int)
        self.obs = np.zeros((n, family.obs_size), np.float32)
        self.resting = np.zeros(n, bool)

    def __len__(self) -> int:
        return len(self.contexts)

    def reset(self) -> Float[np.ndarray, "n o"]:
        """Start a new episode in every world; the observations."""
        self._begin(np.arange(len(self)))
        return self.obs.copy()

    def step(self, action: Float[np.ndarray, "n a"]) -> Step:
        """Advance every world by one environment step; actions are clipped to [−1, 1].

        Raises:
            BadShape: not one action of the family's width for each world.
        """
        n, a = len(self), self.family.action_size
        action = np.asarray(action, np.float32)
        if action.shape != (n, a):
            raise BadShape(f"actions have shape {action.shape}; these worlds take [{n}, {a}]")
        next_obs, reward, outcome, terminated, broken = self._advance(np.clip(action, -1.0, 1.0))
        self.elapsed_steps += 1
        late = self.elapsed_steps >= self.family.horizon_steps
        truncated = (late & ~terminated) | broken
        self.obs = next_obs
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            self.obs = next_obs.copy()
            self._begin(ended)
        return Step(self.obs.copy(), reward, terminated, truncated, next_obs, outcome, broken)

    def rest(self, ids: Int[np.ndarray, " k"]) -> None:
        """Say that nobody looks at these worlds until their next episode: a simulator may let them
        stand still. Snapshots do not know of it."""
        self.resting[ids] = True

    def recast(
        self,
        ids: Int[np.ndarray, " k"],
        contexts: Float[np.ndarray, "k c"],
        seeds: Int[np.ndarray, " k"],
    ) -> Float[np.ndarray, "n o"]:
        """Put worlds `ids` on other contexts and seeds, as if they were made with them, and begin
        their first episodes; the observations of all worlds.

        Raises:
            BadContext: as on construction.
        """
        self.contexts[ids] = self.family.context.check(contexts)
        self.seeds[ids], self.episode[ids] = seeds, -1
        self._begin(ids)
        return self.obs.copy()

    def _begin(self, ids: Int[np.ndarray, " k"]) -> None:
        self.episode[ids] += 1
        self.resting[ids] = False
        self.elapsed_steps[ids] = 0
        self.obs[ids] = self._reset(ids)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything `restore` needs to go on bit for bit."""
        counts = {"episode": self.episode, "elapsed_steps": self.elapsed_steps, "obs": self.obs}
        return {"state": self._state(), **{name: x.copy() for name, x in counts.items()}}

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Go on from a `snapshot` of worlds made with the same arguments."""
        self.episode = np.array(snapshot["episode"])
        self.elapsed_steps = np.array(snapshot["elapsed_steps"])
        self.obs = np.array(snapshot["obs"])
        self._set_state(snapshot["state"])

    # --- What a simulator has to say ------------------------------------------------------
    @abstractmethod
    def _advance(self, action: Float[np.ndarray, "n a"]) -> Advance:
        """One environment step of all simulations."""

    @abstractmethod
    def _reset(self, ids: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k o"]:
        """Put simulations at the start of their episodes `self.episode[ids]`."""

    @abstractmethod
    def _state(self) -> np.ndarray:
        """All simulations as numbers."""

    @abstractmethod
    def _set_state(self, state: np.ndarray) -> None:
        """What `_state` said; the counters are restored already."""

    @abstractmethod
    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """World i as a model and a state with current positions, for rendering."""


class MujocoWorlds(Worlds):
    """Worlds of one MuJoCo model, on native threads."""

    family: MujocoFamily

    def __init__(self, family: MujocoFamily, contexts, seed=0, num_threads: int = 0):
        super().__init__(family, contexts, seed, num_threads)
        self.model = compile_model(family.model_path)
        self._sims = Simulations(self.model, nsim=len(self), nthread=self.num_threads)
        self._view = {name: self._sims.bind(name) for name in family.fields}
        self._ctrl = self._sims.bind("ctrl")

    def _advance(self, action):
        family = self.family
        before = {"qpos": self._view["qpos"].copy()}
        faults = self._sims.warning.sum()
        warned = self._sims.warning.copy()
        self._ctrl[:] = action
        with quiet_engine():
            self._sims.step(nstep=family.frame_skip)
        broken = np.zeros(len(self), bool)
        if self._sims.warning.sum() != faults or not np.isfinite(action).all():
            broken = (self._sims.warning != warned).any(axis=(1, 2)) | ~np.isfinite(action).all(
                axis=1
            )

        outcome = family.outcome(before, self._view).astype(np.float32)
        next_obs = family.observe(self._view).astype(np.float32)
        broken |= ~np.isfinite(next_obs).all(axis=1)
        if broken.any():
            outcome[broken], next_obs[broken] = 0.0, self.obs[broken]
            action = np.where(broken[:, None], np.float32(0), action)
        reward = np.asarray(family.reward(action, outcome, self.contexts), np.float32)
        terminated = family.terminated(self._view) & ~broken
        return Advance(next_obs, reward, outcome, terminated, broken)

    def _reset(self, ids):
        none = mujoco.mjtStage.mjSTAGE_NONE.value
        self._sims.reset(ids, stage=none)
        uniform, normal = reset_noise(self.seeds, self.episode, self.model.nq, self.model.nv)
        self._sims.bind("qpos")[ids] += self.family.qpos_noise * uniform[ids]
        self._sims.bind("qvel")[ids] = self.family.qvel_noise * normal[ids]
        self._sims.forward(ids)
        return self.family.observe(self._view)[ids]

    def _state(self):
        return self._sims.state.copy()

    def _set_state(self, state):
        self._sims.state[:] = state

    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        data = self._sims.get_data(i)
        mujoco.mj_forward(self.model, data)  # positions of bodies are one sub-step old
        return self.model, data


@partial(jax.jit, static_argnums=(2, 3))
def _noise(seeds, episodes, nq: int, nv: int):
    def one(seed, episode):
        key_q, key_v = jax.random.split(jax.random.fold_in(jax.random.key(seed), episode))
        uniform = jax.random.uniform(key_q, (nq,), minval=-1.0, maxval=1.0)
        return uniform, jax.random.normal(key_v, (nv,))

    return jax.vmap(one)(seeds, episodes)


def reset_noise(seeds: Int[np.ndarray, " n"], episodes: Int[np.ndarray, " n"], nq: int, nv: int):
    """U(−1, 1) [n, nq] and N(0, 1) [n, nv], each row a function of its seed and episode alone."""
    uniform, normal = _noise(seeds.astype(np.uint32), episodes.astype(np.uint32), nq, nv)
    return np.asarray(uniform), np.asarray(normal)
