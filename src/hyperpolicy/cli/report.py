"""The command that writes what a run, a zoo, a generator or results hold as one page."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.cli.command import Command, NewFile, refuse
from hyperpolicy.errors import BadSetting, HyperpolicyError

NAME = "report.html"


@dataclass(frozen=True)
class Report(Command):
    """Write one HTML file, with everything inside, of a run's directory, a zoo, a generator or a
    recipe's directory; or of files of results.

    The file of a directory is DIRECTORY/report.html, written anew each time.
    """

    source: Positional[tuple[Path, ...]]
    """One directory, the name of a shipped generator, or one or more JSON files of results."""
    out: NewFile | None = None
    """The file to write; DIRECTORY/report.html, or beside the first file of results."""
    zoo: Path | None = None
    """The zoo that a generator was fitted on, to show its experts' weights."""
    video: bool = True
    """Film two policies; needs a rendering back end."""

    def run(self, console: Console) -> None:
        from hyperpolicy.generate.generator import SHIPPED
        from hyperpolicy.zoo import Zoo

        refuse(self.out)
        if not self.source:
            raise BadSetting("nothing to report; give a directory, or files of results")
        if [str(path) for path in self.source] == [self._shipped()]:
            out = self.out or Path(f"{self.source[0]}.html")
            refuse(out)
            console.print(f"{of_directory(SHIPPED / self.source[0], out, film=self.video)}")
            return
        folders = [path for path in self.source if path.is_dir()]
        if folders and len(self.source) > 1:
            raise BadSetting(f"{folders[0]} is a directory: give it alone, or files of results")
        zoo = None if self.zoo is None else Zoo.load(self.zoo)
        if folders:
            written = of_directory(folders[0], self.out, zoo, self.video)
        else:
            written = self._of_results()
        console.print(f"{written}")

    def _shipped(self) -> str:
        """The name of a shipped generator, where the source is one; '' otherwise."""
        from hyperpolicy.generate.generator import shipped

        name = str(self.source[0])
        return name if not self.source[0].exists() and name in shipped() else ""

    def _of_results(self) -> Path:
        from hyperpolicy.report import document, results

        if self.zoo is not None:
            raise BadSetting("--zoo has no effect on files of results; leave it out")
        out = self.out or self.source[0].with_suffix(".html")
        refuse(out)
        return document.save(out, *results.report(self.source))


def leave(console: Console, path: Path, zoo=None) -> None:
    """Write the report of what a command left in the directory `path`, without a film. The command
    has done its work: a report that cannot be written is only said."""
    try:
        console.print(f"everything on one page: {of_directory(path, zoo=zoo)}")
    except HyperpolicyError as error:
        console.print(f"no report: {error}")


def of_directory(path: Path, out: Path | None = None, zoo=None, film: bool = False) -> Path:
    """Write the report of a directory; of one in its usual place the last one is replaced."""
    from hyperpolicy.report import directory, document

    found = directory.report(path, zoo, film)
    return document.save(out or path / NAME, *found, overwrite=out is None)
