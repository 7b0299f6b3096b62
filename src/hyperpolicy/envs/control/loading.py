"""The sixteen tasks as users of dm_control and of the Contextual Control Suite load them.

    env = load("cheetah", "run", {"reward_kwargs": {"speed": {"margin": -4.0}}, "random": 0})
    step = env.reset()
    while not step.last():
        step = env.step(policy(step.observation))

What is not asked for is as in that suite, whose margins are ours by other names: coordinates of the
context. Departures: every component has a shape of its own, also under `ALL`; bounds are never
discarded; a name nobody knows is an error. Components are ours: a hopper's height has a shape,
and stands apart from speed and control.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from hyperpolicy import seeds
from hyperpolicy.envs.context import ContextSpace
from hyperpolicy.envs.control import tasks
from hyperpolicy.envs.control.reward import Component
from hyperpolicy.envs.control.suite import ControlFamily
from hyperpolicy.envs.mujoco import MujocoWorlds
from hyperpolicy.errors import BadContext, BadSetting, MissingExtra, UnknownTask, unknown

if TYPE_CHECKING:
    import dm_env

_SUITE = {tuple(one.name.split("-")): one for one in tasks.SUITE}
ALL_TASKS: tuple[tuple[str, ...], ...] = tuple(sorted(_SUITE))
"""(domain, task) of all sixteen."""
BENCHMARKING = tuple(one for one in ALL_TASKS if one[0] != "quadruped")
EASY = (("reacher", "easy"),)
HARD: tuple[tuple[str, ...], ...] = ()
EXTRA = tuple(one for one in ALL_TASKS if one not in BENCHMARKING)
TASKS_BY_DOMAIN = {
    domain: tuple(task for other, task in ALL_TASKS if other == domain) for domain, _ in ALL_TASKS
}

ALL = "ALL"
"""In `reward_kwargs`: every component."""
TASK_KWARGS = ("reward_kwargs", "dynamics_kwargs", "random", "time_limit")
ENVIRONMENT_KWARGS = ("flat_observation",)
SHAPE = ("sigmoid", "margin", "value_at_margin", "bounds")
"""What may be asked of a component."""
THEIRS: dict[str, dict[str, Any]] = {
    "horizontal_velocity": {"value_at_margin": 0.5},
    "finger_to_target": {"high": 0.0},
}
"""Where that suite's default shapes differ from those of our families, by component."""
LONGEST_STEPS = 10_000_000


def load(
    domain: str,
    task: str,
    task_kwargs: Mapping[str, Any] | None = None,
    environment_kwargs: Mapping[str, Any] | None = None,
    visualize_reward: bool = False,
) -> "dm_env.Environment":
    """One world of a task, as dm_env; `.family` and `.context` say of which family, and where.

    `task_kwargs`: `reward_kwargs` ({component or "ALL": {sigmoid, margin, value_at_margin,
    bounds}}; a margin has a sign where the component has a direction), `dynamics_kwargs`
    ({coordinate: value}), `random` (a seed; None draws one), `time_limit` in seconds.
    `environment_kwargs`: `flat_observation`, whether an observation is one array.

    Raises:
        UnknownTask: no such domain or task.
        BadSetting: a name, a shape, a seed or a time that cannot be.
        BadContext: a margin or a body outside the family's bounds, or no such coordinate.
        MissingExtra: dm_control is not installed.
    """
    if visualize_reward:
        raise BadSetting("rewards are not shown by colors here; leave out visualize_reward")
    asked = _entries("task_kwargs", task_kwargs, TASK_KWARGS)
    around = _entries("environment_kwargs", environment_kwargs, ENVIRONMENT_KWARGS)
    flat = around.get("flat_observation", False)
    if not isinstance(flat, bool | np.bool_):
        raise BadSetting(f"flat_observation is {flat!r}; give True or False")
    family, margins = shaped(find(domain, task), asked.get("reward_kwargs"))
    family = limited(family, asked.get("time_limit"))
    context = placed(family, margins, asked.get("dynamics_kwargs"))
    worlds = family.worlds(context[None], _seed(asked.get("random")), num_threads=1)
    return _kind()(family, worlds, bool(flat))


# --- The family ---------------------------------------------------------------------------
def find(domain: str, task: str) -> ControlFamily:
    """The task's family with the Contextual Control Suite's default shapes. Raises UnknownTask."""
    if domain not in TASKS_BY_DOMAIN:
        raise unknown(UnknownTask, "domain", "Domains", domain, TASKS_BY_DOMAIN)
    if task not in TASKS_BY_DOMAIN[domain]:
        raise unknown(UnknownTask, f"task of {domain}", "Tasks", task, TASKS_BY_DOMAIN[domain])
    family = _SUITE[domain, task]
    parts = tuple(replace(one, **THEIRS.get(one.name, {})) for one in family.components)
    return replace(family, components=parts)


def shaped(family: ControlFamily, reward_kwargs: Any) -> tuple[ControlFamily, dict[str, float]]:
    """The family with other components, and those margins that are coordinates of its context.

    `ALL` comes first, its sign only for what has a direction, then a component's own entries.
    Coordinates that are margins without a sign take any positive one: nothing physical bounds them.
    Raises BadSetting.
    """
    names = [one.name for one in family.components]
    if reward_kwargs and not names:
        raise BadSetting(f"{family.name} has no component with a shape; leave reward_kwargs out")
    given = _entries("reward_kwargs", reward_kwargs, [ALL, *names])
    shapes = {name: _entries(f"reward_kwargs[{name!r}]", x, SHAPE) for name, x in given.items()}
    for name, shape in shapes.items():
        signed = any(one.directed for one in family.components if name in (ALL, one.name))
        _check_margin(name, shape, signed)
    if ALL in shapes and "margin" not in shapes[ALL]:
        raise BadSetting("ALL has no margin; give one, it is for every component")
    parts, margins = [], {}
    for one in family.components:
        shape = _of_all(one, shapes.get(ALL)) | shapes.get(one.name, {})
        if one.coordinate is not None and "margin" in shape:
            margins[one.coordinate] = float(shape.pop("margin"))
        parts.append(_replaced(one, shape))
    wide = {one.coordinate for one in family.components if not one.directed} & margins.keys()
    coordinates = (
        replace(x, low=min(x.low, margins[x.name]), high=max(x.high, margins[x.name]))
        if x.name in wide
        else x
        for x in family.context.coordinates
    )
    space = ContextSpace(tuple(coordinates))
    return replace(family, context=space, components=tuple(parts)), margins


def _check_margin(name: str, shape: dict[str, Any], signed: bool) -> None:
    margin = _number(f"margin of {name}", shape.get("margin", 1))
    if margin == 0 or (margin < 0 and not signed):
        possible = "other than 0; its sign is the direction" if signed else "above 0"
        raise BadSetting(f"margin of {name} is {margin:g}; give a number {possible}")


def _of_all(one: Component, shape: dict[str, Any] | None) -> dict[str, Any]:
    """What `ALL` asks of a component: what it leaves out is as in dm_control's tolerance."""
    if shape is None:
        return {}
    margin = shape["margin"] if one.directed else abs(shape["margin"])
    return {"sigmoid": "gaussian", "value_at_margin": 0.1} | shape | {"margin": margin}


def _replaced(one: Component, shape: dict[str, Any]) -> Component:
    """The component in another shape."""
    changes: dict[str, Any] = {}
    if "sigmoid" in shape:
        changes["sigmoid"] = str(shape["sigmoid"])
    for name in ("margin", "value_at_margin"):
        if name in shape:
            changes[name] = _number(f"{name} of {one.name}", shape[name])
    if "bounds" in shape:
        if one.directed:
            raise BadSetting(
                f"bounds of {one.name} come from its margin, [|margin|, ∞); leave them out and "
                "give the margin"
            )
        changes["low"], changes["high"] = _bounds(one.name, shape["bounds"])
    return replace(one, **changes)


def _bounds(name: str, pair: Any) -> tuple[float | None, float | None]:
    try:
        low, high = map(float, pair)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not low <= high:
        raise BadSetting(f"bounds of {name} are {pair!r}; give two numbers, the lower one first")
    return (None if low == -math.inf else low), (None if high == math.inf else high)


def limited(family: ControlFamily, time_limit: Any) -> ControlFamily:
    """The family whose episodes last for some seconds. Raises BadSetting."""
    if time_limit is None:
        return family
    seconds = _number("time_limit", time_limit)
    most = LONGEST_STEPS * family.dt_s
    if not 0 < seconds <= most:
        raise BadSetting(f"time_limit is {seconds:g} s; give more than 0 and at most {most:g} s")
    return replace(family, horizon_steps=max(1, math.ceil(seconds / family.dt_s - 1e-6)))


def placed(
    family: ControlFamily, margins: dict[str, float], dynamics_kwargs: Any
) -> Float[np.ndarray, " c"]:
    """The context with these margins and this body, and usual values elsewhere. Raises BadContext,
    BadSetting."""
    space = family.context
    names = [space.names[i] for i in space.where("dynamics")]
    body = _entries("dynamics_kwargs", dynamics_kwargs, names, BadContext)
    numbers = {name: _number(name, x) for name, x in body.items()}
    usual = dict(zip(space.names, space.usual.tolist(), strict=True))
    return space.check([list((usual | margins | numbers).values())])[0]


# --- What is given ------------------------------------------------------------------------
def _entries(what: str, given: Any, names: Iterable[str], error=BadSetting) -> dict[str, Any]:
    """The dict `given`, all of whose keys are among the names. Raises BadSetting: no dict; `error`:
    another key."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise BadSetting(f"{what} is {given!r}; give a dict with some of: {', '.join(names)}")
    for name in given:
        if name not in names:
            raise unknown(error, f"entry of {what} called", "Entries", name, names)
    return dict(given)


def _number(what: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, Real) or not math.isfinite(given):
        raise BadSetting(f"{what} is {given!r}; give a finite number")
    return float(given)


def _seed(given: Any) -> int:
    if given is None:
        return int(np.random.default_rng().integers(seeds.HALF))
    return seeds.check(given)


# --- The environment ----------------------------------------------------------------------
class OneWorld:
    """One world with dm_env's methods.

    An episode ends by the time limit, with discount 1; the step after it begins the next one.
    """

    def __init__(self, family: ControlFamily, worlds: MujocoWorlds, flat: bool):
        self.family = family
        self.context = worlds.contexts[0].copy()
        self._worlds, self._flat = worlds, flat
        self._over, self._begun = True, False

    def reset(self) -> "dm_env.TimeStep":
        """Begin an episode, without reward and discount."""
        import dm_env

        if not self._begun:  # worlds begin the next one in the step that ends one
            self._worlds.reset()
        self._over = self._begun = False
        return dm_env.restart(self._parts(self._worlds.obs[0].copy()))

    def step(self, action) -> "dm_env.TimeStep":
        """One step; actions are clipped to [−1, 1].

        Raises:
            BadShape: another width. BadSetting: numbers that are not finite.
            PhysicsError: dm_control's; the simulation became unstable.
        """
        import dm_env
        from dm_control.rl.control import PhysicsError

        if self._over:
            return self.reset()
        if not np.isfinite(action := np.asarray(action, np.float32)).all():
            raise BadSetting(f"action is {action.tolist()}; give finite numbers")
        step = self._worlds.step(action[None])
        self._over = self._begun = bool(step.terminated[0] or step.truncated[0])
        if step.broken[0]:
            where = self.family.task_name(self.context)
            raise PhysicsError(
                f"the simulation of {self.family.name} ({where}) became unstable; reset() begins "
                "the next episode"
            )
        make = dm_env.truncation if self._over else dm_env.transition
        return make(float(step.reward[0]), self._parts(step.next_obs[0]))

    def action_spec(self) -> "dm_env.specs.BoundedArray":
        from dm_env import specs

        return specs.BoundedArray((self.family.action_size,), np.float32, -1.0, 1.0, "action")

    def observation_spec(self) -> "OrderedDict[str, dm_env.specs.Array]":
        from dm_env import specs

        zeros = self._parts(np.zeros(self.family.obs_size, np.float32))
        return OrderedDict((k, specs.Array(x.shape, x.dtype, k)) for k, x in zeros.items())

    def _parts(self, obs: Float[np.ndarray, " o"]) -> OrderedDict[str, np.ndarray]:
        if self._flat:
            return OrderedDict(observations=obs)
        sizes = self.family.observations
        ends = np.cumsum(list(sizes.values()))[:-1]
        return OrderedDict(zip(sizes, np.split(obs, ends), strict=True))


@cache
def _kind() -> type:
    """OneWorld as a dm_env.Environment. Raises MissingExtra."""
    try:
        import dm_env
    except ImportError:
        raise MissingExtra(
            "environments as of dm_control need dm_env: pip install 'hyperpolicy[control]'"
        ) from None
    return type("Environment", (OneWorld, dm_env.Environment), {"__doc__": OneWorld.__doc__})
