"""The command line: `hyperpolicy <command> --help` says what each one takes.

Exit codes: 0 done, 1 `doctor` found this machine unusable, 2 bad input or a fault of the machine,
130 interrupted, 141 nobody reads what is printed.
"""

import errno
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes

import hyperpolicy
from hyperpolicy import devices, engine, interrupts, terminal
from hyperpolicy.cli.command import Command, note_asked, table
from hyperpolicy.errors import BadFile, BadSetting, HyperpolicyError, NoDevice, OutOfMemory, unknown
from hyperpolicy.run.progress import Announced
from hyperpolicy.terminal import OutputLost, Terminal, complain

COMMANDS = {
    "demo": ("recipes:Demo", "fit a generator, let it write policies for unseen speeds, and look"),
    "doctor": (
        "look:Doctor",
        "versions, devices, rendering, disk; what is wrong and what to do",
    ),
    "families": ("look:Families", "the task families: contexts, grids and splits"),
    "play": ("play:Play", "run policies for one episode; record a video"),
    "train": ("training:Train", "train one expert for each training context of a split"),
    "fit": ("training:Fit", "fit a generator on a zoo"),
    "tune": ("training:Tune", "let generated policies go on learning in their own tasks"),
    "generate": ("play:Generate", "write policies for contexts nobody trained on"),
    "export": ("export:Export", "write a policy as an ONNX file, or for NumPy alone"),
    "score": ("score:Score", "score policies beside trivial and published rows"),
    "compare": ("look:Compare", "set results side by side, unlike protocols apart"),
    "zoo": (
        "look:Zoo",
        "look into a zoo, check its files, align its experts, join, import, export",
    ),
    "new": ("new:New", "write a file to start from: a family with a test, a method"),
    "report": ("report:Report", "write what a run, a zoo, a generator or results hold as one page"),
    "pull": ("hub:Pull", "fetch a generator or a zoo by name, from a folder, a mirror or a hub"),
    "push": ("hub:Push", "send a generator or a zoo to a folder or a hub, with a card"),
    "page": ("page:Page", "write a page in which generators write policies and robots move"),
    "recipe": ("recipes:Recipe", "rebuild a published table or figure, or the zoos behind it"),
}
"""Where each command lives and what it does. Its module is imported when it is called, so that
the overview is quick."""

OTHERS = """
hyperpolicy help COMMAND      what a command takes
hyperpolicy --version
--engine mjx                  with any command: step worlds with MJX, on JAX's device
--import FILE                 with any command: run a Python file first, e.g. one that makes a
                              family of yours known by hp.envs.register(family)
"""
IMPORT, ENGINE = "--import", "--engine"
MEMORY = ("RESOURCE_EXHAUSTED", "bad_alloc", "can't start new thread", "Cannot allocate memory")


class UnknownCommand(HyperpolicyError):
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Faults a user can mend are one line on stderr. Raises
    SystemExit: after a command's help (code 0) or wrong options (code 2)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    with terminal.adapted(), interrupts.Heard() as heard, warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            try:
                code = _answer(arguments)
            finally:
                sys.stdout.flush()
            return 130 if heard.swallowed else code
        except KeyboardInterrupt:
            again = f"; resume with: hyperpolicy {shlex.join(arguments)}"
            complain(f"interrupted{again if _resumes(arguments) else ''}")
            return 130
        except Exception as error:
            return _fail(error)


def _answer(arguments: Sequence[str]) -> int:
    """Do what is asked; the exit code."""
    files, rest = split_imports(arguments)
    chosen, rest = split_engine(rest)
    if rest[:1] == ["help"]:
        rest = [rest[1], "--help"] if len(rest) > 1 else ["--help"]
    if not rest or rest[0] in ("-h", "--help"):
        console, version = Terminal(), hyperpolicy.__version__
        console.print(f"hyperpolicy {version}: contexts in, policies' weights out\n")
        console.print("usage: hyperpolicy COMMAND [OPTIONS]; hyperpolicy COMMAND --help\n")
        console.print(table(["command", ""], ([k, does] for k, (_, does) in COMMANDS.items())))
        console.print(OTHERS.strip())
        return 0 if rest else 2
    if rest[0] == "--version":
        print(f"hyperpolicy {hyperpolicy.__version__}")
        return 0
    _check(rest[0])  # before anything slow
    for path in files:
        run_file(path)
    command = parse(rest)
    note_asked(arguments)
    with (
        Announced(f"{rest[0]}: preparing") if command.resumes else nullcontext(),
        engine.chosen(chosen),
    ):
        return command.run(Terminal()) or 0


def parse(arguments: Sequence[str]) -> Command:
    """The command that `arguments` ask for, `--import` aside; UnknownCommand for another name.
    Wrong options end the program with code 2."""
    name, *options = split_engine(split_imports(arguments)[1])[1]
    config = (OmitArgPrefixes, OmitSubcommandPrefixes)
    _check(name)
    command = load(name).shaped(options)
    return tyro.cli(command, prog=f"hyperpolicy {name}", args=options, config=config)


def _check(name: str) -> None:
    if name not in COMMANDS:
        raise unknown(UnknownCommand, "command", "Commands", name, [*COMMANDS, "help"])


def load(name: str) -> type[Command]:
    """The class of a command."""
    module, _, member = COMMANDS[name][0].partition(":")
    return getattr(import_module(f"hyperpolicy.cli.{module}"), member)


def _resumes(arguments: Sequence[str]) -> bool:
    """Whether the command that was interrupted goes on when it is given again."""
    name = next(iter(split_engine(split_imports(arguments)[1])[1]), "")
    where = COMMANDS.get(name, ("",))[0].partition(":")[0]
    return f"hyperpolicy.cli.{where}" in sys.modules and load(name).resumes


def _fail(error: Exception) -> int:
    """Say what is wrong in one line; the exit code. What nobody expects is raised again."""
    if isinstance(error, OutputLost):
        terminal.give_up(sys.stdout)
        if error.errno == errno.EPIPE:
            return 141  # as of a program that the signal ends
        complain(f"DiskFull: cannot write to standard output: {error.strerror}")
        return 2
    known = explained(error)
    if known is None:
        raise error
    complain(f"{type(known).__name__}: {known}")
    return 2


def explained(error: BaseException) -> HyperpolicyError | None:
    """The error to tell the user of; None for a fault of the code, which its traceback explains."""
    if isinstance(error, HyperpolicyError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or any(word in text for word in MEMORY):
        what = text.splitlines()[0] if text else "not enough memory"
        return OutOfMemory(f"{what}; ask for fewer worlds, a smaller replay, batch or network")
    if "jax" in sys.modules and (lacking := devices.lacking()) is not None:
        return NoDevice(lacking)
    if isinstance(error, OSError):
        name = "" if error.filename is None else f": {error.filename}"
        return BadFile(f"{error.strerror or error}{name}")
    return None


def _warn(message, category, filename, lineno, file=None, line=None) -> None:
    """A warning as one line, without the place in our code that raised it."""
    complain(f"warning: {message}")


# --- `--import FILE` -------------------------------------------------------------------------
def split_imports(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files that `--import` names anywhere among the arguments, and all other arguments;
    BadFile where nothing follows the last one."""
    files, others, rest = [], [], iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name != IMPORT:
            others.append(argument)
            continue
        value = value if equals else next(rest, "")
        if not value:
            raise BadFile(f"{IMPORT} wants the name of a Python file")
        files.append(Path(value))
    return files, others


def split_engine(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The engine that `--engine` names, '' where it is not there, and all other arguments."""
    found, others, rest = "", [], iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == ENGINE:
            found = value if equals else next(rest, "")
            if not found:
                raise BadSetting(f"{ENGINE} wants the name of one; engines: mujoco, mjx")
        else:
            others.append(argument)
    return found, others


def run_file(path: Path) -> None:
    """Run a user's Python file, such as one that makes families known, once in a process; BadFile
    where there is none, or it raises, with the line and the exception."""
    if not path.is_file():
        raise BadFile(f"{IMPORT} {path}: there is no such file")
    name = f"hyperpolicy_import_{path.resolve()}"
    if name in sys.modules:
        return
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadFile(f"{IMPORT} {path}: a Python file ends in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    sys.path.append(str(path.resolve().parent))  # tables name pages by their modules
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        from hyperpolicy.evaluate.foreign import line_in

        said = traceback.format_exception_only(error)[-1].strip()
        raise BadFile(f"{IMPORT} {path}{line_in(path, error)}: {said}") from error
