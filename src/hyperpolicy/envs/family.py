"""A family: tasks that share observation and action spaces and differ in a context; and the worlds
it makes, n simulations stepped together.

A family is a frozen value. It states facts (sizes, context space, grids, splits), knows its reward
as a function of the context, and makes `Worlds`; `record` writes it as JSON, `registry.read` reads
it back. The facts are fields, so that `dataclasses.replace(family, horizon_steps=400)` is another
family; what it computes (reward, observation) is its class.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Annotated, NamedTuple

import msgspec
import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from msgspec import Meta

from hyperpolicy import seeds
from hyperpolicy.devices import num_cores
from hyperpolicy.envs.context import ContextSpace, Grid, Numbers
from hyperpolicy.errors import BadSetting, BadShape, UnknownGrid, unknown
from hyperpolicy.symmetry import Symmetry

Size = Annotated[int, Meta(ge=1, le=100_000)]
Steps = Annotated[int, Meta(ge=1, le=10_000_000)]
Seconds = Annotated[float, Meta(gt=0)]
LEAST, MOST = np.float32(-1), np.float32(1)
"""Of an action's numbers."""


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
    """The simulation was reset because its state was not finite, or lost; the transition is
    void."""


class Advance(NamedTuple):
    """What one step of the simulations gives, before any episode ends."""

    obs: Float[np.ndarray, "n o"]
    reward: Float[np.ndarray, " n"]
    outcome: Float[np.ndarray, "n m"]
    terminated: Bool[np.ndarray, " n"]
    broken: Bool[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """Facts and reward of some tasks; a subclass gives the fields defaults and adds its own."""

    name: str
    context: ContextSpace
    grids: tuple[Grid, ...] = ()
    obs_size: Size
    action_size: Size
    outcome_size: Size
    """Width m of a step's outcome: what the reward depends on besides action and context."""
    horizon_steps: Steps
    dt_s: Seconds
    """Seconds per environment step."""
    symmetries: tuple[Symmetry, ...] = ()
    """The robot's, all of them, the identity first; none are known by default."""
    most_worlds: Size | None = None
    """Worlds held in memory at once by an evaluation; None: as many as it wants."""
    camera: str = "track"
    """The model's camera that shows the task; empty for a free one that follows the first body."""
    camera_turned: bool = False
    """Whether it hangs upside down."""

    def __post_init__(self):
        cls = type(self)
        if "__dataclass_params__" not in vars(cls):
            raise BadSetting(
                f"class {cls.__name__} needs the decorator @dataclass(frozen=True, kw_only=True)"
            )
        for one in fields(self):
            if one.name in vars(cls) and one.name not in cls.__annotations__:
                raise BadSetting(
                    f"class {cls.__name__} sets {one.name} without a type, which has no effect; "
                    f"write '{one.name}: … = …'"
                )

    @abstractmethod
    def worlds(
        self, contexts, seed: int | Int[np.ndarray, " n"] = 0, num_threads: int = 0
    ) -> "Worlds":
        """Worlds of this family, one for each context; arguments and errors as theirs."""

    @abstractmethod
    def reward(self, action: Numbers, outcome: Numbers, context: Numbers, xp=np) -> Numbers:
        """Reward [b] of actions [b,a] with outcomes [b,m] under any contexts [b,c]; `xp` is
        numpy or jax.numpy."""

    def outcome_name(self, outcome: Float[np.ndarray, " m"]) -> str:
        """What a policy does, from the mean outcome of its last steps: '1.2 m/s'."""
        return "outcome " + ", ".join(f"{x:.2f}" for x in outcome)

    def task_name(self, context: Float[np.ndarray, " c"]) -> str:
        """A context with its units: '1.2 m/s'."""
        pairs = zip(context, self.context.coordinates, strict=True)
        return ", ".join(f"{x:.4g} {coordinate.unit}".rstrip() for x, coordinate in pairs)

    def success(self, outcome: Float[np.ndarray, "*b m"]) -> Bool[np.ndarray, "*b"] | None:
        """Where a step's outcome is a success; None for families that only know returns."""
        return None

    def relabels(self, contexts: Float[np.ndarray, "n c"]) -> bool:
        """Whether a transition made in one of these contexts may be labeled with another: they
        differ in coordinates of the reward only, not in bodies or choices."""
        others = [i for i, x in enumerate(self.context.coordinates) if x.role != "reward"]
        return bool((contexts[:, others] == contexts[:1, others]).all())

    def check_relabels(self, what: str, contexts: Float[np.ndarray, "n c"]) -> None:
        """Raises BadSetting where `what` labels transitions with others of these contexts, and
        they differ in more than their reward."""
        if not self.relabels(contexts):
            raise BadSetting(
                f"{what} labels transitions with other contexts; these of {self.name} differ in "
                "more than their reward, so a transition holds for its own one only"
            )

    def grid(self, name: str | None = None) -> Grid:
        """The grid of contexts called `name`, the family's first one unless one is named. Raises
        UnknownGrid: no such grid in this family, or none at all."""
        found = {grid.name: grid for grid in self.grids}
        if name is None:
            name = next(iter(found), "none")
        if name not in found:
            raise unknown(UnknownGrid, f"grid of {self.name} called", "Grids", name, found)
        return found[name]

    def record(self) -> dict:
        """The family as JSON: its class's name and every fact."""
        return {"kind": type(self).__name__, **msgspec.json.decode(msgspec.json.encode(self))}


class Worlds(ABC):
    """n simulations, one context each, reset automatically in the step that ends an episode.

    Results do not depend on the number of threads, nor on the other worlds: the k-th reset of
    world i is drawn from `seeds[i]` and k alone.
    """

    def __init__(
        self,
        family: Family,
        contexts,
        seed: int | Int[np.ndarray, " n"] = 0,
        num_threads: int = 0,
    ):
        """`contexts` are [n, c]; `seed` is one number, or one for each world; `num_threads` 0 means
        all cores.

        Raises:
            BadContext: wrong shape, not finite, or out of bounds.
            BadShape: not one seed a world.
            BadSetting: a negative seed, or number of threads.
        """
        self.family = family
        self.contexts = family.context.check(contexts)
        n = len(self.contexts)
        each = seeds.worlds(int(seed), n) if np.ndim(seed) == 0 else seed
        self.seeds = np.array(each, np.int64)
        if self.seeds.shape != (n,):
            raise BadShape(f"{self.seeds.shape} seeds for {n} worlds; give one number or [n]")
        if self.seeds.min() < 0 or num_threads < 0:
            raise BadSetting(
                f"seed={self.seeds.min()}, num_threads={num_threads}; give numbers ≥ 0"
            )
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
        """Advance every world by one environment step; actions are clipped to [−1, 1]. Raises
        BadShape: not one action of the family's width for each world."""
        shape = len(self.contexts), self.family.action_size
        action = np.asarray(action, np.float32)
        if action.shape != shape:
            raise BadShape(f"actions have shape {action.shape}; these worlds take {list(shape)}")
        action = np.minimum(np.maximum(action, LEAST), MOST)
        next_obs, reward, outcome, terminated, broken = self._advance(action)
        self.elapsed_steps += 1
        late = self.elapsed_steps >= self.family.horizon_steps
        truncated = (late > terminated) | broken  # late, and not ended by itself
        ended = terminated | truncated
        self.obs = next_obs
        if np.count_nonzero(ended):
            self.obs = next_obs.copy()
            self._begin(np.flatnonzero(ended))
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
        their first episodes; the observations of all worlds. Raises BadContext: as on construction.
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

    def picture(self, i: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """World i as its environment draws itself; None where its scene is to be drawn. Raises
        NoRendering: it cannot."""
        return None

    @abstractmethod
    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """World i as a model and a state with current positions, for rendering."""
