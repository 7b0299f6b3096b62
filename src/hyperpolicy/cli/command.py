"""What every command shares: how it is run, how it prints, and that it overwrites nothing."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from rich import box
from rich.console import Console
from rich.table import Column
from rich.text import Text
from tyro.constructors import PrimitiveConstructorSpec

from hyperpolicy.bounds import WRITABLE, Bounded, Rule
from hyperpolicy.errors import AlreadyExists, BadFile
from hyperpolicy.terminal import Sheet


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
