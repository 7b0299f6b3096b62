"""Worlds of Gymnasium environments, stepped in this process or in several others.

A `Crew` holds some environments; a `Worker` is a crew in a process of its own
(`python -m hyperpolicy.envs.gym_worker`), which is told what to do by messages on its standard
input and ends when that input does. A message is its length in eight bytes, then MessagePack: a
command and arrays as (type, shape, bytes). A worker that dies is replaced; the episodes it had are
broken.
"""

import atexit
import subprocess
import sys
import tempfile
import warnings
import weakref
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
import mujoco
import numpy as np

from hyperpolicy.envs.family import Advance, Family, Worlds
from hyperpolicy.envs.mujoco import quiet_engine
from hyperpolicy.envs.places import place_of, write
from hyperpolicy.errors import BadSetting, HyperpolicyError, NoRendering, WorkerDied

MODULE = "hyperpolicy.envs.gym_worker"
KEEPS = mujoco.mjtState.mjSTATE_INTEGRATION.value
MOST_DEATHS = 3
"""A worker that dies so often in a row is given up."""
EACH = 4
"""Worlds a process has at least; fewer are stepped in this one."""
Arrays = dict[str, np.ndarray]


# --- In this process ----------------------------------------------------------------------
class Crew:
    """Some environments of a family, each put on its context when its episode begins."""

    def __init__(self, family: Any, n: int):
        """Raises BadSetting: Gymnasium cannot make the environment."""
        self.family, probe = family, family.make()
        names = [x.name for x in family.context.coordinates]
        self.places = [place_of(name, family.env_id, probe) for name in names]
        space: Any = probe.action_space
        self.low, self.half = space.low, 0.5 * (space.high - space.low)
        self.envs: list[Any] = [probe, *([None] * (n - 1))]
        self.held: list[Any] = [None] * n

    def tell(self, command: str, **arrays: np.ndarray) -> None:
        """Do what a command says; `wait` has what came out."""
        with quiet_engine():
            self.found = getattr(self, command)(**arrays)

    def wait(self) -> Arrays:
        """What the last command gave."""
        return self.found

    def step(self, action: np.ndarray, rows: np.ndarray) -> Arrays:
        """One step of some environments, by the actions [k, a] of theirs."""
        k, width = len(rows), self.family.obs_size
        obs, reward = np.zeros((k, width), np.float32), np.zeros(k, np.float32)
        terminated, broken = np.zeros(k, bool), np.zeros(k, bool)
        scaled = self.low + (np.nan_to_num(action) + 1.0) * self.half
        for i, row in enumerate(rows.tolist()):
            seen, paid, over, *_ = self.envs[row].step(scaled[i].astype(self.low.dtype))
            sound = np.isfinite(seen).all() and np.isfinite(paid) and np.isfinite(action[i]).all()
            if sound:
                obs[i], reward[i], terminated[i] = seen, paid, over
            broken[i] = not sound
        return {"obs": obs, "reward": reward, "terminated": terminated, "broken": broken}

    def reset(self, rows: np.ndarray, contexts: np.ndarray, seeds: np.ndarray) -> Arrays:
        """The first observations of some environments' episodes."""
        obs = np.zeros((len(rows), self.family.obs_size), np.float32)
        for i, row in enumerate(rows.tolist()):
            self._put(row, contexts[i].tolist())
            obs[i] = self.envs[row].reset(seed=int(seeds[i]))[0]
        return {"obs": obs}

    def _put(self, i: int, context: list[float]) -> None:
        """Environment i on a context."""
        if self.held[i] == context:
            return
        pairs = list(zip(self.places, context, strict=True))
        told = {place.field: x for place, x in pairs if place.kind == "argument"}
        if told or self.envs[i] is None or self.held[i] is not None:
            if self.envs[i] is not None:
                self.envs[i].close()
            self.envs[i] = self.family.make(**told)
        plain = self.envs[i].unwrapped
        for place, x in pairs:
            if place.kind == "attribute":
                setattr(plain, place.field, x)
            elif place.kind == "model":
                write(plain.model, place, x)
        if any(place.kind == "model" for place, _ in pairs):
            mujoco.mj_setConst(plain.model, plain.data)
        self.held[i] = context

    def state(self) -> Arrays:
        """The simulations' state where they are MuJoCo's; rows of no numbers elsewhere."""
        rows = [_state_of(env) for env in self.envs]
        known = [np.zeros(0) if row is None else row for row in rows]
        return {
            "state": np.stack(known) if len({*map(len, known)}) == 1 else np.zeros((len(rows), 0))
        }

    def set_state(self, state: np.ndarray) -> Arrays:
        """Put simulations where `state` found them."""
        for env, row in zip(self.envs, state, strict=True):
            mujoco.mj_setState(env.unwrapped.model, env.unwrapped.data, row, KEEPS)
            mujoco.mj_forward(env.unwrapped.model, env.unwrapped.data)
        return {}


def _state_of(env) -> np.ndarray | None:
    plain: Any = getattr(env, "unwrapped", None)
    model = getattr(plain, "model", None)
    if not isinstance(model, mujoco.MjModel):
        return None
    state = np.zeros(mujoco.mj_stateSize(model, KEEPS))
    mujoco.mj_getState(model, plain.data, state, KEEPS)
    return state


# --- In other processes -------------------------------------------------------------------
idle: list["Worker"] = []
"""Kept for the next worlds."""
here: set[str] = set()
"""Environments that other processes could not make."""


def pack(command: str, arrays: Arrays, more: Any = None) -> bytes:
    """A message."""
    plain = {k: (x.dtype.str, x.shape, x.tobytes()) for k, x in arrays.items()}
    body = msgspec.msgpack.encode((command, plain, more))
    return len(body).to_bytes(8, "little") + body


def unpack(pipe) -> tuple[str, Arrays, Any] | None:
    """The next message; None where there are no more."""
    size = pipe.read(8)
    if len(size) < 8:
        return None
    body = pipe.read(int.from_bytes(size, "little"))
    try:
        command, plain, more = msgspec.msgpack.decode(body)
    except msgspec.DecodeError:  # cut short
        return None
    arrays = {
        k: np.frombuffer(data, kind).reshape(shape) for k, (kind, shape, data) in plain.items()
    }
    return command, arrays, more


class Worker:
    """A crew in a process of its own, which is replaced when it dies."""

    def __init__(self) -> None:
        self.deaths = 0
        self.opening: Any = None
        self._start()

    def _start(self) -> None:
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    def open(self, family: dict, n: int) -> None:
        """Hold n environments of a family; `wait` for it."""
        self.opening, self.deaths = (family, n), 0
        self._send(pack("open", {}, self.opening))

    def tell(self, command: str, **arrays: np.ndarray) -> None:
        """Give a command, to be waited for."""
        self._send(pack(command, arrays))

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # of a dead one, as `wait` will find
            self._process.stdin.write(message)
            self._process.stdin.flush()

    def wait(self) -> Arrays | None:
        """What the last command gave; None where the process died and another, whose environments
        have no episodes yet, took over. Raises BadSetting: it cannot make the environment;
        WorkerDied: it died again and again, with its last words."""
        found = self._answer()
        if found is not None:
            self.deaths = 0
            return found
        last = ""
        while self.deaths < MOST_DEATHS:
            self.deaths += 1
            self._process.wait()
            self._words.seek(0)
            last = (self._words.read().strip().splitlines() or [last])[-1]
            self.stop()
            self._start()
            self._send(pack("open", {}, self.opening))
            if self._answer() is not None:
                return None
        raise WorkerDied(f"a process that steps environments died {self.deaths} times: {last}")

    def _answer(self) -> Arrays | None:
        assert self._process.stdout is not None
        found = unpack(self._process.stdout)
        if found is None:
            return None
        if found[0] == "refused":
            raise BadSetting(str(found[2]))
        return found[1]

    def stop(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self._process.kill()
        self._process.wait()
        self._words.close()


def hire() -> Worker:
    """A worker: an idle one where there is one."""
    while idle:
        worker = idle.pop()
        if worker.alive:
            return worker
        worker.stop()
    return Worker()


@atexit.register
def dismiss() -> None:
    """End all idle workers."""
    while idle:
        idle.pop().stop()


# --- Both as worlds -----------------------------------------------------------------------
class GymnasiumWorlds(Worlds):
    """n environments, stepped by as many processes as there are threads; a few of them, or those
    that only this process knows, in this one."""

    keeps: ClassVar[int] = KEEPS

    def __init__(self, family: Any, contexts, seed=0, num_threads: int = 0):
        super().__init__(family, contexts, seed, num_threads)
        n = len(self)
        k = min(self.num_threads, n // EACH)
        self._lost = np.zeros(n, bool)
        self._crews: list[Any] = _workers(family, n, k) if k > 1 else []
        weakref.finalize(self, idle.extend, list(self._crews))
        self._crews = self._crews or [Crew(family, n)]

    def _each(self, rows: np.ndarray) -> list[tuple[Any, np.ndarray, np.ndarray]]:
        """Crews with the rows among `rows` they have, by place in `rows` and by their own count."""
        k = len(self._crews)
        places = [np.flatnonzero(rows % k == i) for i in range(k)]
        return [
            (crew, at, rows[at] // k)
            for crew, at in zip(self._crews, places, strict=True)
            if len(at)
        ]

    def _advance(self, action):
        n = len(self)
        obs, reward = self.obs.copy(), np.zeros(n, np.float32)
        terminated, broken = np.zeros(n, bool), self._lost & ~self.resting
        rows = np.flatnonzero(~self.resting & ~self._lost)
        told = self._each(rows)
        for crew, at, own in told:
            crew.tell("step", action=action[rows[at]], rows=own)
        for crew, at, _ in told:
            found, here = crew.wait(), rows[at]
            if found is None:
                self._lose(crew)
                broken[here] = True
                continue
            sound = ~found["broken"]
            obs[here[sound]], broken[here] = found["obs"][sound], found["broken"]
            reward[here], terminated[here] = found["reward"], found["terminated"]
        return Advance(obs, reward, reward[:, None].copy(), terminated, broken)

    def _reset(self, ids):
        words = [
            np.random.SeedSequence([int(self.seeds[i]), int(self.episode[i])]).generate_state(1)[0]
            for i in ids
        ]
        drawn, left = np.array(words, np.int64), self._each(ids)
        for _ in range(MOST_DEATHS):
            for crew, at, own in left:
                rows = ids[at]
                crew.tell("reset", rows=own, contexts=self.contexts[rows], seeds=drawn[at])
            again = []
            for crew, at, own in left:
                found = crew.wait()
                if found is None:
                    self._lose(crew)
                    again.append((crew, at, own))
                else:
                    self.obs[ids[at]], self._lost[ids[at]] = found["obs"], False
            left = again
            if not left:
                return self.obs[ids]
        raise WorkerDied(
            f"processes died {MOST_DEATHS} times as {self.family.env_id} began an episode"  # type: ignore[attr-defined]
        )

    def _lose(self, crew: Any) -> None:
        """The episodes of a worker that died are lost."""
        self._lost[self._crews.index(crew) :: len(self._crews)] = True

    def _state(self):
        for crew in self._crews:
            crew.tell("state")
        found = [crew.wait() for crew in self._crews]
        if any(one is None or not one["state"].shape[1] for one in found):
            return np.zeros((len(self), 0))
        state = np.zeros((len(self), found[0]["state"].shape[1]))
        for i, one in enumerate(found):
            state[i :: len(found)] = one["state"]
        return state

    def _set_state(self, state):
        """Where an environment's state cannot be kept, its episode begins anew."""
        seen = self.obs.copy()
        self._reset(np.arange(len(self)))
        if not state.shape[1]:
            self.elapsed_steps[:] = 0
            return
        k = len(self._crews)
        for i, crew in enumerate(self._crews):
            crew.tell("set_state", state=np.ascontiguousarray(state[i::k]))
        for crew in self._crews:
            if crew.wait() is None:
                self._lose(crew)
        self.obs = seen

    def picture(self, i: int):
        plain = self._plain(i)
        if isinstance(getattr(plain, "model", None), mujoco.MjModel):
            return None
        plain.render_mode = "rgb_array"
        try:
            found = np.asarray(plain.render())
        except Exception as error:  # an environment's own code may raise anything
            said = " ".join(str(error).split())[:200]
            raise NoRendering(f"{self.family.name} cannot draw itself: {said}") from None
        if found.ndim != 3 or found.shape[2] != 3:
            raise NoRendering(f"{self.family.name} draws nothing as rgb_array")
        return found.astype(np.uint8, copy=False)

    def _plain(self, i: int) -> Any:
        """World i's environment. Raises BadSetting: it is in another process."""
        crew = self._crews[0]
        if not isinstance(crew, Crew):
            raise BadSetting("environments in other processes cannot be drawn; give num_threads=1")
        return crew.envs[i].unwrapped

    def scene(self, i: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Raises BadSetting: the environment is not MuJoCo's, or in another process."""
        plain = self._plain(i)
        if not isinstance(getattr(plain, "model", None), mujoco.MjModel):
            raise BadSetting(f"{self.family.name} is not MuJoCo's; there is no scene to draw")
        return plain.model, plain.data


def _workers(family: Family, n: int, k: int) -> list[Worker]:
    """Workers that hold n environments, row i in worker i modulo k; none where they do not know the
    environment, which is said."""
    if family.env_id in here:  # type: ignore[attr-defined]
        return []
    found = [hire() for _ in range(k)]
    try:
        for i, worker in enumerate(found):
            worker.open(family.record(), len(range(i, n, k)))
        for worker in found:
            worker.wait()
    except HyperpolicyError as error:
        for worker in found:
            worker.stop()
        here.add(family.env_id)  # type: ignore[attr-defined]
        warnings.warn(
            f"environments step one after the other in this process: {error}. Other processes find "
            "an environment whose id names its module: 'my_module:MyEnv-v0'",
            stacklevel=4,
        )
        return []
    return found
