"""Worlds: n simulations of a family stepped together on native threads, one context each."""

from functools import partial
from typing import NamedTuple

import jax
import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from mujoco.batch import Batch as Simulations

from hyperpolicy.devices import num_cores
from hyperpolicy.envs.engine import compile_model, quiet_engine
from hyperpolicy.envs.family import Family
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


class Worlds:
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
        self.contexts = family.context.check(contexts)
        n = len(self.contexts)
        self.seeds = np.asarray(
            seed if np.ndim(seed) else np.arange(n) + 1_000_003 * seed, np.int64
        )
        if self.seeds.shape != (n,):
            raise BadShape(f"{self.seeds.shape} seeds for {n} worlds; give one number or [n]")
        self.model = compile_model(family.model_path)
        threads = num_threads or num_cores()
        self._sims = Simulations(self.model, nsim=n, nthread=min(threads, n))
        self._view = {name: self._sims.bind(name) for name in family.fields}
        self._ctrl = self._sims.bind("ctrl")
        self.episode = np.full(n, -1)
        self.elapsed_steps = np.zeros(n, int)
        self.obs = np.zeros((n, family.obs_size), np.float32)

    def __len__(self) -> int:
        return len(self.contexts)

    def reset(self) -> Float[np.ndarray, "n o"]:
        """Start a new episode in every world; the observations."""
        self._reset(np.arange(len(self)))
        return self.obs.copy()

    def step(self, action: Float[np.ndarray, "n a"]) -> Step:
        """Advance every world by one environment step; actions are clipped to [−1, 1].

        Raises:
            BadShape: not one action of the family's width for each world.
        """
        family, n = self.family, len(self)
        action = np.asarray(action, np.float32)
        if action.shape != (n, family.action_size):
            raise BadShape(
                f"actions have shape {action.shape}; these worlds take [{n}, {family.action_size}]"
            )
        action = np.clip(action, -1.0, 1.0)
        before = {"qpos": self._view["qpos"].copy()}
        faults = self._sims.warning.sum()
        warned = self._sims.warning.copy()
        self._ctrl[:] = action
        with quiet_engine():
            self._sims.step(nstep=family.frame_skip)
        broken = np.zeros(n, bool)
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
        self.elapsed_steps += 1
        truncated = ((self.elapsed_steps >= family.horizon_steps) & ~terminated) | broken

        self.obs = next_obs
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            self.obs = next_obs.copy()
            self._reset(ended)
        return Step(self.obs.copy(), reward, terminated, truncated, next_obs, outcome, broken)

    def _reset(self, ids: Int[np.ndarray, " k"]) -> None:
        self.episode[ids] += 1
        self.elapsed_steps[ids] = 0
        none = mujoco.mjtStage.mjSTAGE_NONE.value
        self._sims.reset(ids, stage=none)
        uniform, normal = reset_noise(self.seeds, self.episode, self.model.nq, self.model.nv)
        self._sims.bind("qpos")[ids] += self.family.qpos_noise * uniform[ids]
        self._sims.bind("qvel")[ids] = self.family.qvel_noise * normal[ids]
        self._sims.forward(ids)
        self.obs[ids] = self.family.observe(self._view)[ids]

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything `restore` needs to go on bit for bit."""
        return {
            "state": self._sims.state.copy(),
            "episode": self.episode.copy(),
            "elapsed_steps": self.elapsed_steps.copy(),
            "obs": self.obs.copy(),
        }

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Go on from a `snapshot` of worlds made with the same arguments."""
        self._sims.state[:] = snapshot["state"]
        self.episode = np.array(snapshot["episode"])
        self.elapsed_steps = np.array(snapshot["elapsed_steps"])
        self.obs = np.array(snapshot["obs"])

    def data(self, i: int) -> mujoco.MjData:
        """World i as MjData, for rendering."""
        return self._sims.get_data(i)


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
