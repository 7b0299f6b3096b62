"""What commands share: how they run and print, that they overwrite nothing, and where their tasks
and policies come from.

Tasks are a family and contexts, or stand by name behind the family's: `metaworld:window-open`.

A *source* of policies is `zero`, `random`, `expert` (the zoo's nearest one), `generator` (the one
shipped for the family), the name of a shipped generator, or a path: a generator's directory, a zoo
(its nearest expert), a file of policies, one a context, or an ONNX file, one policy for all.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, ClassVar

from rich import box
from rich.console import Console
from rich.table import Column
from rich.text import Text
from tyro.constructors import PrimitiveConstructorSpec

from hyperpolicy.bounds import WRITABLE, Bounded, Rule
from hyperpolicy.errors import AlreadyExists, BadContext, BadFile, BadZoo
from hyperpolicy.terminal import Sheet

_asked: ContextVar[tuple[str, ...]] = ContextVar("asked", default=())


def asked() -> tuple[str, ...]:
    """The arguments of the command that runs."""
    return _asked.get()


def note_asked(arguments: Sequence[str]) -> None:
    """Keep the arguments of the command that will run."""
    _asked.set(tuple(arguments))


class Command(Bounded, ABC):
    """A frozen dataclass whose fields are the command's options.

    `run` imports what it needs, so that `--help` stays quick.
    """

    resumes: ClassVar[bool] = False
    """Whether the same command, given again after Ctrl-C, goes on where it stopped."""

    @classmethod
    def shaped(cls, options: Sequence[str]) -> "type[Command]":
        """The command with the fields that `options` ask for, where one decides on others."""
        return cls

    @abstractmethod
    def run(self, console: Console) -> int | None:
        """Do it; an exit code, None for success."""


def option(options: Sequence[str], name: str, default: str) -> str:
    """The value of `--name` among the options of a command line."""
    for i, word in enumerate(options):
        if word == f"--{name}":
            return options[i + 1] if i + 1 < len(options) else default
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return default


def table(header: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Sheet:
    """For the terminal; brackets in the cells are only brackets."""
    columns = (Column(name, overflow="fold") for name in header)
    out = Sheet(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        out.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return out


def refuse(path: Path | None) -> None:
    """Raise AlreadyExists before any work is done for a `path` that could not be written."""
    if path is not None and os.path.lexists(path):
        raise AlreadyExists(f"{path} exists; choose another name or remove it first")


# --- Files --------------------------------------------------------------------------------
def _file(given: list[str]) -> Path:
    """The path; a `Path` would forget the slash at its end."""
    if given[0].endswith(("/", os.sep)):
        raise BadFile(f"{given[0]} names a directory; give the name of a file")
    return Path(given[0])


_AS_TYPED = PrimitiveConstructorSpec(
    nargs=1,
    metavar="PATH",
    instance_from_str=_file,
    is_instance=lambda value: isinstance(value, Path),
    str_from_instance=lambda path: [str(path)],
)
NewFile = Annotated[
    Path,
    _AS_TYPED,
    Rule("the name of a file, not of a directory", lambda path: not os.path.isdir(path)),
    WRITABLE,
]
"""A file that is written; `refuse` says whether it exists."""


# --- Tasks --------------------------------------------------------------------------------
def tasks_of(name: str, numbers: tuple[float, ...]):
    """A family and contexts [n, c], from `cheetah-vel` and numbers, or `metaworld:window-open`."""
    from hyperpolicy.envs import family

    plain, _, tasks = name.partition(":")
    fam = family(plain)
    if not tasks:
        return fam, contexts_of(fam, numbers)
    if not hasattr(fam, "contexts"):
        raise BadContext(f"tasks of {plain} have no names; give --context")
    return fam, fam.contexts(tasks.split(","))


def reads_demonstrations(maker) -> bool:
    """Whether a maker of policies is a generator that reads demonstrations."""
    from hyperpolicy.data.demonstrations import Demonstrations

    return getattr(maker, "takes", None) is Demonstrations


def given_to(generator, contexts, demo: Path | None):
    """What a generator is given: contexts, or demonstrations out of a file, the first of each task
    that is asked for, all of them if none is. BadContext where one is missing or nothing reads it.
    """
    from hyperpolicy.data.demonstrations import Demonstrations

    if not reads_demonstrations(generator):
        if demo is not None:
            raise BadContext("nothing reads demonstrations here, only contexts: leave --demo out")
        return contexts
    if demo is None:
        raise BadContext("this generator reads demonstrations; give --demo FILE")
    shown = Demonstrations.load(demo)
    if contexts is None:
        return shown
    rows = [(shown.contexts == context[None]).all(axis=1) for context in contexts]
    if absent := [context for context, row in zip(contexts, rows, strict=True) if not row.any()]:
        name = generator.family.task_name
        names = ", ".join(map(name, absent))
        there = ", ".join(sorted(set(map(name, shown.contexts))))
        raise BadContext(f"{demo} has no demonstration of {names}; it has some of: {there}")
    return shown[[int(row.argmax()) for row in rows]]


def scripts_of(fam, contexts):
    """The package's own controllers; BadContext for a family without any."""
    if not hasattr(fam, "contexts"):
        raise BadContext(f"{fam.name} has no scripted policies; metaworld has")
    from hyperpolicy.envs.metaworld.scripted import Scripted

    return Scripted([fam.task_name(context) for context in contexts])


# --- Sources ------------------------------------------------------------------------------
def contexts_of(fam, numbers: tuple[float, ...]):
    """The numbers given on the command line as contexts [n, c]: a multiple of c, or the first
    numbers of one context. Raises BadContext: neither, or out of bounds."""
    size = fam.context.size
    pairs = zip(fam.context.names, fam.context.units, strict=True)
    names = ", ".join(f"{name} in {unit}" if unit else name for name, unit in pairs)
    if 0 < len(numbers) < size:
        try:
            return fam.context.check([numbers])
        except BadContext as error:
            raise BadContext(
                f"{error}. Fewer than {size} numbers are the first of one context ({names}); "
                f"several contexts need all {size} each"
            ) from None
    if not numbers or len(numbers) % size:
        raise BadContext(
            f"{len(numbers)} numbers in --context; {fam.name} takes {size} for each task: {names}"
        )
    rows = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    return fam.context.check(rows)


def zoo_path(fam, given: Path | None, split: str = "full") -> Path:
    """The zoo that was given, or the one the repository ships for the family and split; BadZoo
    where none is there."""
    path = given or Path("zoos") / fam.name / f"specialized-{split}"
    if not path.exists():
        raise BadZoo(f"no zoo at {path}; run in a clone of the repository, or give --zoo")
    return path


def open_zoo(fam, path: Path):
    """The zoo at `path`; BadZoo where it is damaged or none, or not of the family `fam`."""
    from hyperpolicy.zoo import Zoo

    return _of_family(fam, Zoo.load(path), str(path))


def maker_of(fam, source: str, zoo: Path | None):
    """Who makes or is the policies: a generator, Policies, or bare actions; UnknownGenerator,
    BadZoo or BadFile where `source` is neither a word nor a path that holds one."""
    from hyperpolicy import rollout
    from hyperpolicy.generate import load
    from hyperpolicy.generate.writers import lookup
    from hyperpolicy.policies import Policies

    if source == "zero":
        return rollout.zero(fam)
    if source == "random":
        return rollout.uniform(fam)
    if source == "expert":
        return lookup.nearest(open_zoo(fam, zoo_path(fam, zoo)))
    if os.path.isfile(Path(source) / "zoo.json"):
        return lookup.nearest(open_zoo(fam, Path(source)))
    if os.path.isfile(source) and Path(source).suffix == ".onnx":
        from hyperpolicy.export.onnx_file import OnnxActor

        return OnnxActor(Path(source), fam)
    if os.path.isfile(source):
        return Policies.load(source)
    return _of_family(fam, load(fam.name if source == "generator" else source), source)


def _of_family(fam, found, source: str):
    if found.family.name != fam.name:
        raise BadZoo(f"{source} is of family {found.family.name}; give one of {fam.name}")
    return found
