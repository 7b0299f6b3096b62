"""A file on the command line: a wrong name is refused before any work."""

import os
from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from hyperpolicy.bounds import WRITABLE, Rule
from hyperpolicy.errors import BadFile


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
"""A file that is written; `command.refuse` says whether it exists."""
