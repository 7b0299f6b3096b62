"""The families as Gymnasium environments, single and vectorized.

    env  = gymnasium.make("hyperpolicy/CheetahVel-v0", velocity=1.7)
    envs = gymnasium.make_vec("hyperpolicy/CheetahVel-v0", num_envs=3, velocity=[0.5, 1.0, 1.5])

The context is given by name or as `context=[1.7]`, and again at a reset as
`options={"context": [1.7]}`; by default it is the family's usual one (`ContextSpace.usual`), also
where only some coordinates that have a default are named. Episodes
end by themselves at the family's horizon. Both are Worlds underneath, and give what Worlds give.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from jaxtyping import Float, Int

from hyperpolicy.envs.family import Family
from hyperpolicy.envs.registry import family as find
from hyperpolicy.envs.rendering import Pictures
from hyperpolicy.errors import BadContext, BadShape

FRAME_PIXELS = (240, 320)
"""Height and width of a rendered frame."""


class ContextEnv(gymnasium.Env):
    """One world of a family. `info` holds the context, the step's outcome, and whether MuJoCo's
    state broke."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, family: str | Family, context=None, render_mode: str | None = None, **named):
        """Raises BadContext where the context does not fit the family."""
        self.family = find(family) if isinstance(family, str) else family
        self.metadata = self.metadata | {"render_fps": round(1 / self.family.dt_s)}
        self.context = contexts_of(self.family, 1, context, named)
        self.observation_space, self.action_space = spaces_of(self.family)
        self.render_mode = render_mode
        start = np.array([new_seed(self.np_random)])
        self._worlds = self.family.worlds(self.context, start, num_threads=1)
        self._shown: tuple[mujoco.MjModel, mujoco.MjData] | None = None
        self._pictures = Pictures(*FRAME_PIXELS, self.family.camera, self.family.camera_turned)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        given = (options or {}).get("context")
        if given is not None:
            self.context = contexts_of(self.family, 1, given, {})
        if seed is not None or given is not None:
            start = np.array([new_seed(self.np_random)])
            obs = self._worlds.recast(np.array([0]), self.context, start)[0]
        else:
            obs = self._worlds.reset()[0]
        if self.render_mode is not None:
            self._shown = self._worlds.scene(0)
        return obs, {"context": self.context[0].copy()}

    def step(self, action: Float[np.ndarray, " a"]):
        step = self._worlds.step(np.asarray(action)[None])
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        if self.render_mode is not None and not (terminated or truncated):
            self._shown = self._worlds.scene(0)  # an ended world has been reset already
        info = {
            "context": self.context[0].copy(),
            "outcome": step.outcome[0],
            "broken": bool(step.broken[0]),
        }
        return step.next_obs[0], float(step.reward[0]), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """A frame [height, width, 3]; after an episode's last step, the one before it. Raises
        NoRendering: no OpenGL back end works; the message says what to install."""
        if self.render_mode is None or self._shown is None:
            return None
        return self._pictures.draw(*self._shown)

    def close(self) -> None:
        self._pictures.close()


class ContextVectorEnv(gymnasium.vector.VectorEnv):
    """n worlds of a family, one context each. An episode that ends is reset in the same step; its
    last observation is `info["final_obs"]`, its last info `info["final_info"]`."""

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        num_envs: int,
        family: str | Family,
        context=None,
        num_threads: int = 0,
        max_episode_steps: int | None = None,
        **named,
    ):
        """`context` is [c] for all or [n, c]; a named one is a number or [n]. Episodes end at the
        family's horizon, or after fewer `max_episode_steps`. Raises BadContext: the contexts do not
        fit the family or the number of environments."""
        self.family = find(family) if isinstance(family, str) else family
        if max_episode_steps is not None and max_episode_steps < self.family.horizon_steps:
            self.family = replace(self.family, horizon_steps=max_episode_steps)
        self.num_envs = num_envs
        self.contexts = contexts_of(self.family, num_envs, context, named)
        self.single_observation_space, self.single_action_space = spaces_of(self.family)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._worlds = self.family.worlds(self.contexts, self._seeds(None), num_threads)

    def reset(  # type: ignore[override]
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ):
        """`seed` is one number, or one for each environment; environment i of seed s is the single
        environment of seed s + i, or of the i-th number. Raises BadContext: as on construction;
        BadShape: not one seed an environment."""
        one_each = isinstance(seed, Sequence | np.ndarray)
        super().reset(seed=None if one_each else seed)  # type: ignore[arg-type]
        given = (options or {}).get("context")
        if given is not None:
            self.contexts = contexts_of(self.family, self.num_envs, given, {})
        if seed is not None or given is not None:
            rows = np.arange(self.num_envs)
            obs = self._worlds.recast(rows, self.contexts, self._seeds(seed))
        else:
            obs = self._worlds.reset()
        everywhere = np.ones(self.num_envs, bool)
        return obs, {"context": self.contexts.copy(), "_context": everywhere}

    def _seeds(self, seed) -> Int[np.ndarray, " n"]:
        """The worlds' seeds for a `seed` as `reset` takes it."""
        if seed is None:
            return self.np_random.integers(2**31, size=self.num_envs)
        each = [seed + i for i in range(self.num_envs)] if np.ndim(seed) == 0 else list(seed)
        if len(each) != self.num_envs:
            raise BadShape(f"{len(each)} seeds for {self.num_envs} environments; give one each")
        return np.array([new_seed(seeding.np_random(one)[0]) for one in each])

    def step(self, actions: Float[np.ndarray, "n a"]):
        step = self._worlds.step(actions)
        ended = step.terminated | step.truncated
        details = {"context": self.contexts, "outcome": step.outcome, "broken": step.broken}
        info = masked({k: x.copy() for k, x in details.items()}, np.ones(self.num_envs, bool))
        if ended.any():
            final_obs = np.full(self.num_envs, None, object)
            for i in np.flatnonzero(ended):
                final_obs[i] = step.next_obs[i]
            final_info = masked({k: x.copy() for k, x in details.items()}, ended)
            info |= masked({"final_obs": final_obs, "final_info": final_info}, ended)
        return step.obs, step.reward.astype(np.float64), step.terminated, step.truncated, info


def spaces_of(family: Family) -> tuple[Box, Box]:
    """Observation and action space. Worlds never hand out a number that is not finite, so the
    observation's bounds are those of float32."""
    most = float(np.finfo(np.float32).max)
    return Box(-most, most, (family.obs_size,)), Box(-1.0, 1.0, (family.action_size,))


def contexts_of(family: Family, n: int, context, named: dict) -> Float[np.ndarray, "n c"]:
    """n checked contexts, from `context` ([c] or [n, c]) or from numbers by `named` coordinate.
    Raises BadContext: both or half of them given, an unknown name, a wrong shape, out of bounds."""
    space = family.context
    known = {x.name: x.default for x in space.coordinates if x.default is not None}
    given = known | named
    if named and (context is not None or set(given) != set(space.names)):
        raise BadContext(
            f"{family.name} got {sorted(named)}; give context=[…], or by name "
            f"{list(space.names)}, not both"
        )
    if named:
        context = np.stack(np.broadcast_arrays(*(given[k] for k in space.names)), axis=-1)
    elif context is None:
        context = space.usual
    checked = space.check(context if np.ndim(context) == 2 else [context])
    if len(checked) not in (1, n):
        raise BadContext(f"{len(checked)} contexts for {n} environments; give one, or one each")
    return np.repeat(checked, n, axis=0) if len(checked) == 1 else checked


def new_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def masked(info: dict[str, Any], where: np.ndarray) -> dict[str, Any]:
    """`info` in Gymnasium's form: beside each entry a mask of the environments it speaks of."""
    return info | {f"_{name}": where.copy() for name in info}
