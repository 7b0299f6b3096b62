"""`--import FILE`: a user's Python file, run before the command, that makes families known."""

import sys
import traceback
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from hyperpolicy.errors import BadFile

OPTION = "--import"


def split(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files that `--import` names anywhere among the arguments, and all other arguments.

    Raises:
        BadFile: nothing follows the last one.
    """
    files, others, rest = [], [], iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name != OPTION:
            others.append(argument)
            continue
        value = value if equals else next(rest, "")
        if not value:
            raise BadFile(f"{OPTION} wants the name of a Python file")
        files.append(Path(value))
    return files, others


def load(path: Path) -> None:
    """Run a file, once in a process.

    Raises:
        BadFile: there is none, or it raises; the message has the line and the exception.
    """
    if not path.is_file():
        raise BadFile(f"{OPTION} {path}: there is no such file")
    name = f"hyperpolicy_import_{path.resolve()}"
    if name in sys.modules:
        return
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadFile(f"{OPTION} {path}: a Python file ends in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        from hyperpolicy.evaluate.foreign import line_in

        said = traceback.format_exception_only(error)[-1].strip()
        raise BadFile(f"{OPTION} {path}{line_in(path, error)}: {said}") from error
