"""A family of any Gymnasium environment: some of its constructor's arguments, attributes or MuJoCo
numbers become the coordinates of a context.

    hopper = hp.envs.from_gymnasium(
        "Hopper-v5",
        context={"forward_reward_weight": (0.5, 2.0), "body_mass[torso]": (2.0, 6.0)},
    )
    hp.envs.register(hopper)

A name is looked for in this order: an argument of the constructor; an attribute of the environment;
a field of its MuJoCo model (`body_mass`, `geom_friction`, `actuator_gear`, `opt.gravity`, …), of
which brackets choose a body, a joint, a geom by name or number and then a column
(`geom_friction[floor, 0]`, `opt.gravity[2]`), and which a star multiplies (`body_mass*`: all).

Its reward is the environment's own, so a transition holds for its own context only: nothing is
relabeled. Observations are numbers in one row, actions numbers within bounds, scaled from [−1, 1].
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import gymnasium
import mujoco
import numpy as np

from hyperpolicy.envs.context import ContextSpace, Coordinate, Grid
from hyperpolicy.envs.family import Advance, Family, Worlds
from hyperpolicy.envs.mujoco import quiet_engine
from hyperpolicy.errors import BadSetting
from hyperpolicy.registration import PLAIN

FIELD = re.compile(r"((?:opt\.)?[a-z_0-9]+)(?:\[([^\]]+)\])?(\*?)")
OWNERS = {"body": "body", "geom": "geom", "jnt": "joint", "dof": "joint", "actuator": "actuator"}
"""First word of a field's name → what its rows are named after."""
Json = str | int | float | bool | None


# --- Where a coordinate is ----------------------------------------------------------------
class Place(NamedTuple):
    """Where a coordinate's number goes."""

    kind: str
    """argument, attribute or model."""
    field: str
    at: tuple[int, ...] = ()
    factor: bool = False
    """Whether the number multiplies what is there."""


def place_of(name: str, env_id: str, env: gymnasium.Env) -> Place:
    """Where the number called `name` goes. Raises BadSetting: nowhere."""
    plain: Any = env.unwrapped
    arguments = inspect.signature(type(plain).__init__).parameters
    if name in arguments and _is_number(arguments[name].default):
        return Place("argument", name)
    if isinstance(getattr(plain, name, None), int | float | np.number):
        return Place("attribute", name)
    model = getattr(plain, "model", None)
    if isinstance(model, mujoco.MjModel):
        place = model_place(model, name)
        if place is not None:
            return place
    told = {key for key, one in arguments.items() if _is_number(one.default)}
    known = sorted(told | set(_numbers(plain)))
    raise BadSetting(
        f"{env_id} has no argument, attribute or number of its model called {name!r}; arguments "
        f"and attributes: {', '.join(known)}"
    )


def model_place(model: mujoco.MjModel, name: str) -> Place | None:
    """Where a number of the model called `name` is; None where it has no such field. Raises
    BadSetting: brackets that choose nothing."""
    found = FIELD.fullmatch(name)
    if not found:
        return None
    field, inside, star = found.groups()
    array = _array(model, field)
    if array is None:
        return None
    return Place("model", field, _index(model, field, inside, array, bool(star)), bool(star))


def _is_number(value) -> bool:
    return type(value) in (int, float)


def _numbers(plain) -> list[str]:
    return [k for k, v in vars(plain).items() if k[0] != "_" and _is_number(v)]


def _array(model: mujoco.MjModel, field: str):
    """The model's array of that name; None where there is none."""
    holder, _, name = field.rpartition(".")
    found = getattr(model.opt if holder else model, name, None)
    return found if isinstance(found, np.ndarray | float) else None


def _index(model, field: str, inside: str | None, array, factor: bool) -> tuple[int, ...]:
    if inside is None:
        if factor or isinstance(array, float) or array.size == 1:
            return ()
        raise BadSetting(
            f"{field} holds {array.size} numbers; choose one, such as {field}[0], or all times a "
            f"factor: {field}*"
        )
    words = [word.strip() for word in inside.split(",")]
    found = []
    for axis, word in enumerate(words):
        if word.isdigit():
            found.append(int(word))
            continue
        owner = OWNERS.get(field.split("_")[0]) if axis == 0 else None
        if owner is None:
            raise BadSetting(f"{field}[{inside}]: {word!r} is no number")
        try:
            found.append(int(getattr(model, owner)(word).id))
        except KeyError as error:
            raise BadSetting(f"{field}[{inside}]: {' '.join(str(error).split())}") from None
    wanted = 1 if isinstance(array, float) else array.ndim
    if len(found) != wanted or any(i >= n for i, n in zip(found, np.shape(array), strict=False)):
        raise BadSetting(f"{field}[{inside}] is no place in an array of shape {np.shape(array)}")
    return tuple(found)


# --- The family ---------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class GymnasiumFamily(Family):
    """Tasks of one Gymnasium environment. The outcome of a step is its reward."""

    env_id: str
    arguments: tuple[tuple[str, Json], ...] = ()
    """Of the constructor, the same in every task."""
    outcome_size: int = 1
    most_worlds: int | None = 256

    def worlds(self, contexts, seed=0, num_threads: int = 0) -> "GymnasiumWorlds":
        return GymnasiumWorlds(self, contexts, seed, num_threads)

    def reward(self, action, outcome, context, xp=np):
        return outcome[..., 0]

    def outcome_name(self, outcome):
        return f"{outcome[0]:.3g} a step"

    def make(self, **more: Any) -> gymnasium.Env:
        """A bare environment."""
        return make(self.env_id, dict(self.arguments) | more)


def make(env_id: str, arguments: dict[str, Any]) -> gymnasium.Env:
    """An environment without its time limit and order checks. Raises BadSetting: Gymnasium cannot
    make it."""
    try:
        return gymnasium.make(env_id, **arguments).unwrapped
    except Exception as error:  # an environment's constructor may raise anything
        said = " ".join(str(error).split())[:200]
        raise BadSetting(f"Gymnasium cannot make {env_id!r}: {said}") from None


def from_gymnasium(
    env_id: str,
    context: Mapping[str, Sequence[float | int] | Coordinate],
    name: str | None = None,
    arguments: dict[str, Json] | None = None,
    horizon_steps: int | None = None,
    train: int = 20,
    test: int = 5,
    check: bool = True,
) -> GymnasiumFamily:
    """A family of a Gymnasium environment, whose grid `even` has `train` contexts for training and
    `test` others, spread over the bounds.

    `context` names the coordinates with their bounds; a `Coordinate` has a unit and a usual value
    besides. `name` is the environment's own in small letters unless given. With `check`, every
    coordinate is moved once: one that changes neither what is seen nor what is paid is refused.

    Raises:
        BadSetting: Gymnasium cannot make the environment, its observations are not numbers in one
            row, its actions not numbers within bounds, it has no end, or it has no such argument,
            attribute or number; a coordinate that changes nothing.
    """
    arguments = dict(arguments or {})
    env = make(env_id, arguments)
    _check_spaces(env_id, env)
    coordinates = []
    for key, given in context.items():
        place_of(key, env_id, env)
        if not isinstance(given, Coordinate):
            if len(given) != 2:
                raise BadSetting(f"{key}: {given}; give its two bounds, or a Coordinate")
            given = Coordinate(key, "", float(given[0]), float(given[1]), "dynamics")
        coordinates.append(given)
    if not coordinates:
        raise BadSetting("a family needs a coordinate; name one in context, with its bounds")
    spec = gymnasium.spec(env_id)
    horizon = horizon_steps or spec.max_episode_steps
    if horizon is None:
        raise BadSetting(f"{env_id} says no longest episode; give horizon_steps")
    name = name or re.sub(r"[^a-z0-9]+", "-", env_id.split("/")[-1].lower()).strip("-")
    if not PLAIN.fullmatch(name):
        raise BadSetting(f"family name {name!r}: give lower-case letters, digits and hyphens")
    space = ContextSpace(tuple(coordinates))
    family = GymnasiumFamily(
        name=name,
        context=space,
        grids=(even(name, space, train, test),),
        obs_size=_width(env.observation_space),
        action_size=_width(env.action_space),
        horizon_steps=int(horizon),
        dt_s=float(getattr(env, "dt", 1.0)),
        env_id=env_id,
        arguments=tuple(sorted(arguments.items())),
        camera=_camera(env),
    )
    env.close()
    if check:
        _check_effects(family)
    return family


def _camera(env: gymnasium.Env) -> str:
    """The first camera of its model; empty where there is none."""
    model: Any = getattr(env.unwrapped, "model", None)
    known = isinstance(model, mujoco.MjModel) and model.ncam
    return str(model.camera(0).name) if known else ""


def _width(space: Any) -> int:
    return int(space.shape[0])


def even(family: str, space: ContextSpace, train: int, test: int) -> Grid:
    """`train` + `test` contexts spread over the bounds: evenly along one coordinate, by a Sobol
    sequence in several; every few of them is for testing, none at an end of one coordinate."""
    n = train + test
    if train < 2 or test < 1:
        raise BadSetting(f"train={train}, test={test}; give 2 and 1, or more")
    if space.size == 1:
        unit = np.linspace(0.0, 1.0, n)[:, None]
    else:
        from scipy.stats import qmc  # slow, and loads JAX

        unit = qmc.Sobol(space.size, scramble=False).random(2 ** int(np.ceil(np.log2(n))))[:n]
    contexts = space.low + unit * (space.high - space.low)
    rows = np.unique(np.linspace(1, n - 2, test).round().astype(int))
    rest = np.setdiff1d(np.arange(n), rows)
    splits = {"full": (rest.tolist(), rows.tolist())}
    return Grid.of(family, "even", contexts, splits)


def _check_spaces(env_id: str, env: gymnasium.Env) -> None:
    spaces = gymnasium.spaces
    for what, space in (("observations", env.observation_space), ("actions", env.action_space)):
        plain = isinstance(space, spaces.Box) and len(space.shape) == 1
        if not plain or not np.issubdtype(space.dtype, np.floating):
            raise BadSetting(
                f"{what} of {env_id} are {space}; supported are Box spaces of one row of numbers "
                "(no dictionaries, images or discrete choices)"
            )
    action: Any = env.action_space
    if not np.isfinite([action.low, action.high]).all():
        raise BadSetting(f"actions of {env_id} have no bounds; give the environment some")


def _check_effects(family: GymnasiumFamily) -> None:
    from hyperpolicy.envs.sensitivity import effects

    for one in effects(family):
        if not one.changed:
            raise BadSetting(
                f"{one.name} changes neither what {family.env_id} shows nor what it pays "
                f"({one.usual:g} and {one.moved:g} give the same episodes); name another coordinate"
            )


# --- Its worlds ---------------------------------------------------------------------------
class GymnasiumWorlds(Worlds):
    """n environments in this process, each put on its context when its episode begins."""

    family: GymnasiumFamily
    keeps: ClassVar[int] = mujoco.mjtState.mjSTATE_INTEGRATION.value

    def __init__(self, family: GymnasiumFamily, contexts, seed=0, num_threads: int = 0):
        super().__init__(family, contexts, seed, num_threads)
        probe = family.make()
        names = [x.name for x in family.context.coordinates]
        self._places = [place_of(name, family.env_id, probe) for name in names]
        space: Any = probe.action_space
        self._low, self._half = space.low, 0.5 * (space.high - space.low)
        self._envs: list[Any] = [probe, *([None] * (len(self) - 1))]
        self._held: list[Any] = [None] * len(self)

    def _advance(self, action):
        n = len(self)
        obs, reward = self.obs.copy(), np.zeros(n, np.float32)
        terminated, broken = np.zeros(n, bool), np.zeros(n, bool)
        scaled = self._low + (np.nan_to_num(action) + 1.0) * self._half
        with quiet_engine():
            for i in np.flatnonzero(~self.resting):
                seen, paid, over, *_ = self._envs[i].step(scaled[i].astype(self._low.dtype))
                sound = (
                    np.isfinite(seen).all() and np.isfinite(paid) and np.isfinite(action[i]).all()
                )
                if sound:
                    obs[i], reward[i], terminated[i] = seen, paid, over
                else:
                    broken[i] = True
        return Advance(obs, reward, reward[:, None].copy(), terminated, broken)

    def _reset(self, ids):
        with quiet_engine():
            for i in ids.tolist():
                self._put(i)
                words = np.random.SeedSequence([int(self.seeds[i]), int(self.episode[i])])
                seed = int(words.generate_state(1)[0])
                self.obs[i] = self._envs[i].reset(seed=seed)[0]
        return self.obs[ids]

    def _put(self, i: int) -> None:
        """Environment i on its context."""
        context = self.contexts[i].tolist()
        if self._held[i] == context:
            return
        pairs = list(zip(self._places, context, strict=True))
        told = {place.field: x for place, x in pairs if place.kind == "argument"}
        if told or self._envs[i] is None or self._held[i] is not None:
            if self._envs[i] is not None:
                self._envs[i].close()
            self._envs[i] = self.family.make(**told)
        plain = self._envs[i].unwrapped
        for place, x in pairs:
            if place.kind == "attribute":
                setattr(plain, place.field, x)
            elif place.kind == "model":
                write(plain.model, place, x)
        if any(place.kind == "model" for place, _ in pairs):
            mujoco.mj_setConst(plain.model, plain.data)
        self._held[i] = context

    def _state(self):
        """The simulations' state where they are MuJoCo's; nothing elsewhere."""
        rows = [_state_of(env) for env in self._envs]
        if any(row is None for row in rows):
            return np.zeros((len(self), 0))
        return np.stack(rows)

    def _set_state(self, state):
        """Where an environment's state cannot be kept, its episode begins anew."""
        everyone = np.arange(len(self))
        seen = self.obs.copy()
        self._reset(everyone)
        if not state.shape[1]:
            self.elapsed_steps[:] = 0
            return
        for env, row in zip(self._envs, state, strict=True):
            mujoco.mj_setState(env.unwrapped.model, env.unwrapped.data, row, self.keeps)
            mujoco.mj_forward(env.unwrapped.model, env.unwrapped.data)
        self.obs = seen

    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Raises BadSetting: the environment is not MuJoCo's."""
        plain = self._envs[i].unwrapped
        if not isinstance(getattr(plain, "model", None), mujoco.MjModel):
            raise BadSetting(f"{self.family.env_id} is not MuJoCo's; there is no scene to draw")
        return plain.model, plain.data


def write(model: mujoco.MjModel, place: Place, x: float) -> None:
    """Put a number into a model."""
    holder, _, name = place.field.rpartition(".")
    owner = model.opt if holder else model
    found = getattr(owner, name)
    if isinstance(found, float):
        setattr(owner, name, found * x if place.factor else x)
    elif place.factor:
        found[place.at or ...] *= x
    else:
        found[place.at or ...] = x


def _state_of(env) -> np.ndarray | None:
    plain: Any = getattr(env, "unwrapped", None)
    model = getattr(plain, "model", None)
    if not isinstance(model, mujoco.MjModel):
        return None
    state = np.zeros(mujoco.mj_stateSize(model, GymnasiumWorlds.keeps))
    mujoco.mj_getState(model, plain.data, state, GymnasiumWorlds.keeps)
    return state
