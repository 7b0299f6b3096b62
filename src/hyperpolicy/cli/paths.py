"""Types of the command line's paths: a wrong one is refused before any work."""

import os
from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from hyperpolicy.bounds import Rule
from hyperpolicy.errors import BadFile


def _file(given: list[str]) -> Path:
    """The path; a `Path` would forget the slash at its end."""
    if given[0].endswith(("/", os.sep)):
        raise BadFile(f"{given[0]} names a directory; give the name of a file")
    return Path(given[0])


def _writable(path: Path) -> bool:
    """Whether something could be written at `path`, as far as its nearest directory says."""
    for parent in path.absolute().parents:
        if os.path.lexists(parent):
            return os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK)
    return False


WRITABLE = Rule("in a directory that can be written to", _writable)
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
"""A file that is written; `command.refuse` says whether it exists."""
NewPlace = Annotated[Path, WRITABLE]
"""A directory that is made; `command.refuse` says whether something is there."""
Place = Annotated[
    Path,
    Rule(
        "the name of a directory, not of a file or a link to nowhere",
        lambda path: os.path.isdir(path) or not os.path.lexists(path),
    ),
    WRITABLE,
]
"""A directory that is made, or goes on."""
