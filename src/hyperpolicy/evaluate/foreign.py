"""A method of one's own out of a Python file, so that it enters the same table as ours.

The file defines one of

    def generate(contexts, seed):    # contexts [k, c], noise seed → hyperpolicy.Policies, k of them
    def act(obs, contexts):          # obs [n, o], contexts [n, c] → actions [n, a] in [−1, 1]

and may set NAME (of the row; the file's name by default), GIVEN (what it gets of the test task;
"true context" by default), ENV_STEPS (environment steps spent to train it once) and ACTION
("sampled" where `act` draws its actions). `act` must not remember: its rows belong to different
episodes. Files of one NAME are pipelines of one method.
"""

import sys
import traceback
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, HyperpolicyError
from hyperpolicy.evaluate.protocol import CONTEXT
from hyperpolicy.evaluate.scoring import Row
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import Actor, Memoryless

CONTRACT = "generate(contexts, seed) -> hyperpolicy.Policies or act(obs, contexts) -> actions"
ACTIONS = ("deterministic", "sampled")
TEXT = str, "text"
NAMES = {"NAME": TEXT, "GIVEN": TEXT, "ENV_STEPS": (int, "a whole number"), "ACTION": TEXT}


class BadMethod(HyperpolicyError):
    """A file of a method that does not keep its side of the contract."""


@dataclass(frozen=True)
class Own:
    """What a file defines."""

    path: Path
    function: Callable
    writes: bool
    """Whether it is `generate`."""
    name: str
    given: str = CONTEXT
    env_steps: int | None = None
    action: str = "deterministic"


def load(path: str | Path) -> Own:
    """The method that a file defines; its code runs. Raises BadMethod: no file, an exception in it,
    or not one of the two functions."""
    path = Path(path)
    if not path.is_file():
        raise BadMethod(f"{path} is no file; give a Python file that defines {CONTRACT}")
    found = _guarded(path, _run, path)
    functions = [name for name in ("generate", "act") if callable(found.get(name))]
    if len(functions) != 1:
        raise BadMethod(f"{path} defines {' and '.join(functions) or 'neither'}; define {CONTRACT}")
    facts = {name: found[name] for name in NAMES if found.get(name) is not None}
    for name, value in facts.items():
        kind, wanted = NAMES[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadMethod(f"{path}: {name} = {value!r}; give {wanted}")
    if facts.get("ENV_STEPS", 0) < 0 or facts.get("ACTION", "sampled") not in ACTIONS:
        raise BadMethod(f"{path}: ENV_STEPS is 0 or more, ACTION one of {', '.join(ACTIONS)}")
    named = {key.lower(): value for key, value in facts.items() if key != "NAME"}
    writes = functions[0] == "generate"
    return Own(path, found[functions[0]], writes, facts.get("NAME", path.stem), **named)


def _run(path: Path) -> dict:
    """What the file defines, as a module whose neighbors can be imported."""
    module = ModuleType(f"hyperpolicy_method_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    if (place := str(path.resolve().parent)) not in sys.path:
        sys.path.append(place)
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module.__dict__


def methods(
    paths: Sequence[str | Path],
    family: Family,
    contexts,
    draws: int = 1,
    taken: Container[str] = (),
) -> dict[str, Row]:
    """A row for each NAME among the files, with one pipeline a file. Raises BadMethod: as `load`,
    or files of one name that are given different things; BadSetting: a name that another row has
    `taken`."""
    found: dict[str, list[Own]] = {}
    for path in paths:
        own = load(path)
        found.setdefault(own.name, []).append(own)
    rows = {}
    for name, files in found.items():
        if name in taken:
            raise BadSetting(f"two rows called {name!r}; set another NAME in the file")
        first = files[0]
        for own in files[1:]:
            if (own.given, own.action, own.writes) != (first.given, first.action, first.writes):
                raise BadMethod(
                    f"{first.path} and {own.path} are both called {name!r} and differ in their "
                    "function, GIVEN or ACTION; give them names of their own"
                )
        makers = [_Writer(own) if own.writes else _actor(own, family, contexts) for own in files]
        draws_of = draws if first.writes else 1
        pipelines = range(len(files))
        rows[name] = Row(makers, first.env_steps, draws_of, first.given, pipelines, first.action)
    return rows


@dataclass(frozen=True)
class _Writer:
    own: Own

    def generate(self, given, seed: int = 0) -> Policies:
        made = _guarded(self.own.path, self.own.function, given.copy(), seed)
        if not isinstance(made, Policies):
            raise BadMethod(
                f"{self.own.path}: generate gave {_kind(made)}; give hyperpolicy.Policies, one for "
                f"each of {len(given)} contexts"
            )
        if len(made) != len(given) or not np.isfinite(made.weights).all():
            raise BadMethod(
                f"{self.own.path}: generate gave {len(made)} policies for {len(given)} contexts, "
                "all of them must be there and their weights finite"
            )
        return made


def _actor(own: Own, family: Family, contexts) -> Actor:
    """The file's `act` as an actor of rollouts: rows of all policies and starts at once."""

    def act(obs, t):
        n, e, o = obs.shape
        tasks = np.repeat(np.asarray(contexts, float), e, axis=0)
        answer = _guarded(own.path, own.function, obs.reshape(n * e, o).copy(), tasks)
        try:
            action = np.asarray(answer, np.float32)
        except (TypeError, ValueError):
            raise BadMethod(f"{own.path}: act gave {_kind(answer)}, which is no array") from None
        wanted = (n * e, family.action_size)
        if action.shape != wanted or not np.isfinite(action).all():
            what = f"shape {list(action.shape)}" if action.shape != wanted else "not finite"
            raise BadMethod(
                f"{own.path}: the actions of act are {what}; give finite numbers of shape "
                f"{list(wanted)}, a row for each observation, in [−1, 1]"
            )
        return action.reshape(n, e, -1)

    return Memoryless(act)


def _guarded(path: Path, function: Callable, *arguments):
    """`function(*arguments)`; an exception out of the user's code is one line with its place."""
    try:
        return function(*arguments)
    except HyperpolicyError as error:
        raise type(error)(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:
        line = line_in(path, error)
        said = " ".join(str(error).split())[:300]
        raise BadMethod(f"{path}{line}: {type(error).__name__}: {said}") from error


def line_in(path: Path, error: BaseException) -> str:
    """', line 12' where the traceback passed through the file."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    steps = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in steps if frame.f_code.co_filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _kind(value) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
