"""Worlds on MJX, MuJoCo's engine in JAX: all simulations advance as one program on JAX's device.

For a GPU; on a CPU the native engine is far faster. Numbers are single precision and MJX's solver
is another one, so episodes drift apart from those of the native engine: a score says which engine
made it. All worlds must share one model, and nothing may change it.
"""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import mujoco
import numpy as np

from hyperpolicy.envs.family import Advance, Worlds
from hyperpolicy.envs.mujoco import MujocoFamily, _check, _check_widths, _scale, start_of
from hyperpolicy.errors import BadSetting, MissingExtra

CARRIED = ("qpos", "qvel", "act", "qacc_warmstart")
"""What an engine's next step depends on, beside controls."""


class MjxWorlds(Worlds):
    """Worlds of one MuJoCo model, on JAX's device."""

    family: MujocoFamily

    def __init__(self, family: MujocoFamily, contexts, seed=0, num_threads: int = 0):
        """Raises BadSetting where MJX cannot step the family, and as `Worlds`; MissingExtra: it is
        not installed."""
        super().__init__(family, contexts, seed, num_threads)
        self.model = family.model(self.contexts[0])
        _check(family, self.model)
        if family.reshapes or any(family.model(c) is not self.model for c in self.contexts[1:]):
            raise BadSetting(
                f"--engine mjx steps worlds of one body; those of {family.name} differ in their "
                "models. Use --engine mujoco"
            )
        self._engine = Engine(family, self.model, len(self))
        self._data = self._engine.blank
        self._drawn = np.zeros((len(self), family.drawn_size))
        self._scale = _scale(self.model)
        _check_widths(family, self._view(), len(self))

    def recast(self, ids, contexts, seeds):
        if any(self.family.model(c) is not self.model for c in self.family.context.check(contexts)):
            raise BadSetting("--engine mjx steps worlds of one body; these contexts have others")
        return super().recast(ids, contexts, seeds)

    def _view(self) -> dict[str, np.ndarray]:
        return self._engine.view(self._data) | {"drawn": self._drawn}

    def _advance(self, action):
        family = self.family
        ctrl = action if self._scale is None else self._scale[0] + self._scale[1] * action
        before = {"qpos": np.asarray(self._data.qpos, np.float64)}
        good = np.isfinite(action).all(axis=1)
        ctrl = np.where(good[:, None], ctrl, 0.0).astype(np.float32)
        self._data = self._engine.step(self._data, ctrl)
        view = self._view()
        outcome = family.outcome(before, view).astype(np.float32)
        next_obs = family.observe(view).astype(np.float32, copy=False)
        terminated = family.terminated(view)
        if terminated is None:
            terminated = np.zeros(len(outcome), bool)
        broken = ~(np.isfinite(next_obs).all(axis=1) & good)
        outcome[broken], next_obs[broken] = 0.0, self.obs[broken]
        action = np.where(broken[:, None], np.float32(0), action)
        reward = np.asarray(family.reward(action, outcome, self.contexts), np.float32)
        return Advance(next_obs, reward, outcome, terminated & ~broken, broken)

    def _reset(self, ids):
        n, model = len(self), self.model
        qpos, qvel = np.zeros((n, model.nq)), np.zeros((n, model.nv))
        fresh = np.zeros(n, bool)
        fresh[ids] = True
        scratch = mujoco.MjData(model)
        for i in ids.tolist():
            start = start_of(self.family, model, scratch, self.seeds[i], self.episode[i])
            qpos[i], qvel[i], self._drawn[i] = start.qpos, start.qvel, start.drawn
        self._data = self._engine.reset(self._data, fresh, qpos, qvel)
        return self.family.observe(self._view())[ids].astype(np.float32, copy=False)

    def _state(self):
        parts = [np.asarray(getattr(self._data, name)) for name in CARRIED]
        return np.concatenate([*parts, self._drawn], axis=1, dtype=np.float64)

    def _set_state(self, state):
        sizes = [getattr(self._data, name).shape[1] for name in CARRIED]
        *parts, self._drawn = np.split(state, np.cumsum(sizes), axis=1)
        self._data = self._engine.put(self._data, dict(zip(CARRIED, parts, strict=True)))

    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self.family.scenery(self.contexts[i], self._drawn[i])
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = (np.asarray(x)[i] for x in (self._data.qpos, self._data.qvel))
        mujoco.mj_forward(model, data)
        return model, data


class Engine:
    """MJX's programs for n simulations of a model."""

    def __init__(self, family: MujocoFamily, model: mujoco.MjModel, n: int):
        try:
            import jax
            import jax.numpy as jnp

            with (
                redirect_stdout(StringIO()),
                redirect_stderr(StringIO()),
            ):  # it misses NVIDIA's warp
                from mujoco import mjx
        except ImportError:
            raise MissingExtra(
                "--engine mjx needs mujoco-mjx: pip install 'hyperpolicy[mjx]'"
            ) from None
        try:
            with jax.numpy_rank_promotion("allow"):
                there, one = mjx.put_model(model), mjx.make_data(model)
        except (NotImplementedError, ValueError) as error:
            raise BadSetting(f"MJX cannot step {family.name}: {error}") from None
        scratch = mujoco.MjData(model)
        self.shapes = {name: np.shape(getattr(scratch, name)) for name in family.fields}
        self.fields = sorted({"qpos", "qvel", *family.fields})
        self.blank = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *jnp.shape(leaf))), one)
        current = family.stage != mujoco.mjtStage.mjSTAGE_NONE.value

        def advance(data: Any, ctrl: Any, steps: int) -> Any:
            data = data.replace(ctrl=ctrl)
            data = jax.lax.fori_loop(0, steps, lambda _, d: mjx.step(there, d), data)
            return mjx.forward(there, data) if current else data

        def begin(old: Any, fresh: Any, qpos: Any, qvel: Any) -> Any:
            data = one.replace(qpos=qpos, qvel=qvel)
            if family.settle_steps:
                data = advance(data, jnp.zeros(model.nu), family.settle_steps)
            drawn = data.qpos
            data = mjx.forward(there, data).replace(qpos=drawn)  # it normalizes quaternions there
            return jax.tree.map(lambda new, kept: jnp.where(fresh, new, kept), data, old)

        self._step = jax.jit(jax.vmap(lambda d, c: advance(d, c, family.frame_skip)))
        self._begin = jax.jit(jax.vmap(begin))
        self._allowed = lambda: jax.numpy_rank_promotion("allow")  # MJX broadcasts as NumPy does
        self.array = lambda x: jnp.asarray(x, jnp.float32)

    def step(self, data: Any, ctrl: np.ndarray) -> Any:
        """An environment step of all."""
        with self._allowed():
            return self._step(data, self.array(ctrl))

    def reset(self, data: Any, fresh: np.ndarray, qpos: np.ndarray, qvel: np.ndarray) -> Any:
        """Those that are `fresh` at the start of an episode."""
        with self._allowed():
            return self._begin(data, fresh, self.array(qpos), self.array(qvel))

    def put(self, data: Any, parts: dict[str, np.ndarray]) -> Any:
        """With these fields."""
        return data.replace(**{name: self.array(x) for name, x in parts.items()})

    def view(self, data: Any) -> dict[str, np.ndarray]:
        """MuJoCo's fields, as the native engine lays them out."""
        found = {}
        for name in self.fields:
            array = np.asarray(getattr(data, name), np.float64)
            shape = self.shapes.get(name, array.shape[1:])
            found[name] = array.reshape(len(array), *shape)
        return found
