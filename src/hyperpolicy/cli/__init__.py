"""The command line: `hyperpolicy <command> --help` says what each one takes.

Exit codes: 0 done, 1 `doctor` found this machine unusable, 2 bad input, 130 interrupted.
"""

import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes

import hyperpolicy
from hyperpolicy.cli.command import Command, console, table
from hyperpolicy.errors import HyperpolicyError, unknown

COMMANDS = {
    "demo": ("recipes:Demo", "fit a generator, let it write policies for unseen speeds, and look"),
    "doctor": (
        "reports:Doctor",
        "versions, devices, rendering, disk; what is wrong and what to do",
    ),
    "families": ("reports:Families", "the task families: contexts, grids and splits"),
    "play": ("play:Play", "run policies for one episode; record a video"),
    "train": ("training:Train", "train one expert for each training context of a split"),
    "fit": ("training:Fit", "fit a generator on a zoo"),
    "tune": ("tuning:Tune", "let generated policies go on learning in their own tasks"),
    "generate": ("generate:Generate", "write policies for contexts nobody trained on"),
    "score": ("score:Score", "score policies beside trivial and published rows"),
    "compare": ("compare:Compare", "set results side by side, unlike protocols apart"),
    "zoo": ("reports:Zoo", "look into a zoo, check its files, align its experts, import, export"),
    "recipe": ("recipes:Recipe", "rebuild a published table or figure, or the zoos behind it"),
}
"""Where each command lives and what it does. Its module is imported when it is called, so that
the overview is quick."""


class UnknownCommand(HyperpolicyError):
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Faults a user can mend are one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        _overview()
        return 0 if arguments else 2
    resumes = False
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            command = parse(arguments)
            resumes = command.resumes
            return command.run(console()) or 0
        except HyperpolicyError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            again = f"; resume with: hyperpolicy {shlex.join(arguments)}" if resumes else ""
            print(f"interrupted{again}", file=sys.stderr)
            return 130


def parse(arguments: Sequence[str]) -> Command:
    """The command that `arguments` ask for; wrong options end the program with code 2.

    Raises:
        UnknownCommand: no such command; the message suggests one.
    """
    name, *options = arguments
    if name not in COMMANDS:
        raise unknown(UnknownCommand, "command", "Commands", name, COMMANDS)
    config = (OmitArgPrefixes, OmitSubcommandPrefixes)
    return tyro.cli(load(name), prog=f"hyperpolicy {name}", args=options, config=config)


def load(name: str) -> type[Command]:
    """The class of a command."""
    module, _, member = COMMANDS[name][0].partition(":")
    return getattr(import_module(f"hyperpolicy.cli.{module}"), member)


def _overview() -> None:
    print(f"hyperpolicy {hyperpolicy.__version__}: contexts in, policies' weights out\n")
    print("usage: hyperpolicy COMMAND [OPTIONS]; hyperpolicy COMMAND --help\n")
    console().print(table(["command", ""], ([k, does] for k, (_, does) in COMMANDS.items())))


def _warn(message, category, filename, lineno, file=None, line=None) -> None:
    """A warning as one line, without the place in our code that raised it."""
    print(f"warning: {message}", file=sys.stderr)
