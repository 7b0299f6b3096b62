"""The command line: `hyperpolicy <command> --help` says what each one takes.

Exit codes: 0 done, 1 `doctor` found this machine unusable, 2 bad input, 130 interrupted.
"""

import shlex
import sys
import warnings
from collections.abc import Sequence

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes

from hyperpolicy.cli.command import Command, console
from hyperpolicy.cli.policies import Generate, Play, Score
from hyperpolicy.cli.reports import Doctor, Families, Zoo
from hyperpolicy.errors import HyperpolicyError

COMMANDS = {
    "doctor": Doctor,
    "families": Families,
    "play": Play,
    "generate": Generate,
    "score": Score,
    "zoo": Zoo,
}


def parse(arguments: Sequence[str]) -> Command:
    """The command that `arguments` ask for; wrong usage ends the program with code 2."""
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="hyperpolicy",
        description="Generate reinforcement-learning policies: contexts in, weights out.",
        args=arguments,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Faults a user can mend are one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command = parse(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            return command.run(console()) or 0
        except HyperpolicyError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            again = f"; resume with: hyperpolicy {shlex.join(arguments)}" if command.resumes else ""
            print(f"interrupted{again}", file=sys.stderr)
            return 130


def _warn(message, category, filename, lineno, file=None, line=None) -> None:
    """A warning as one line, without the place in our code that raised it."""
    print(f"warning: {message}", file=sys.stderr)
