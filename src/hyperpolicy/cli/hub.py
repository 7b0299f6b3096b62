"""Commands that fetch generators and zoos from a hub, and send them to one."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy import files
from hyperpolicy.bounds import NewPlace, Rule
from hyperpolicy.cli.command import Command, refuse
from hyperpolicy.errors import AlreadyExists, BadFile

LICENSE = Rule(
    "an identifier of letters, digits, . + and -",
    lambda text: re.fullmatch(r"[A-Za-z0-9.+-]{0,60}", text) is not None,
)
KINDS = {"generator": "model", "zoo": "dataset"}


@dataclass(frozen=True)
class Pull(Command):
    """Fetch a generator or a zoo by its name, from folders, mirrors or the Hugging Face Hub.

    HYPERPOLICY_HUB lists folders and addresses, with commas between; folders come first. Files are
    data, their checksums are verified, nothing in them is run.
    """

    name: Positional[str]
    """USER/NAME."""
    kind: Literal["generator", "zoo"] = "generator"
    """What it is: on the Hub, a model or a data set."""
    out: NewPlace | None = None
    """The directory to write; else it is kept where `load` finds it by its name."""
    again: bool = False
    """Fetch it anew, in the place of what was kept."""

    def run(self, console: Console) -> None:
        from hyperpolicy.hub import places, remote

        refuse(self.out)
        named = places.Named(KINDS[self.kind], self.name)  # type: ignore[arg-type]
        there = None if self.again else places.find(named)
        if there is not None and self.out is None:
            kept = there.is_relative_to(places.kept())
            console.print(f"{there}: is here already{'; --again fetches it anew' * kept}")
            return
        check = _checks(self.kind)
        if there is not None:
            assert self.out is not None
            check(there)
            with files.directory(self.out) as new:
                _copy(there, new, named.kind)
            console.print(f"{self.out}: from {there}")
            return
        out = self.out or named.under(places.kept())
        remote.fetch(named, out, check, replace=self.again)
        console.print(f"{out}")


@dataclass(frozen=True)
class Push(Command):
    """Send a generator or a zoo to a folder or a hub, with a card written from its provenance."""

    path: Positional[str]
    """A generator's directory or shipped name, or a zoo's directory."""
    name: Positional[str]
    """USER/NAME."""
    to: Annotated[str, Rule("the name of a folder, or an address", bool)] | None = None
    """A folder, or a hub's address; the Hugging Face Hub unless given."""
    results: Path | None = None
    """What `score --out` wrote of this generator, for its card."""
    license: Annotated[str, LICENSE] = ""
    """An identifier such as mit, for the card."""
    private: bool = False
    """Where a hub has it not yet, seen by you alone."""
    replace: bool = False
    """Put it in the place of what a folder has under that name."""

    def run(self, console: Console) -> None:
        import tempfile

        from hyperpolicy.hub import places, remote

        if not (Path(self.path) / "config.json").is_file() and (Path(self.path) / "zoo").is_dir():
            raise BadFile(f"{self.path} is a run; give the zoo in it, {self.path}/zoo")
        kind = "zoo" if os.path.isfile(Path(self.path) / "zoo.json") else "generator"
        named = places.Named(KINDS[kind], self.name)  # type: ignore[arg-type]
        source, card = self._zoo(named) if kind == "zoo" else self._generator(named)
        if self.to is not None and not places.is_address(self.to):
            out = named.under(Path(self.to))
            if out.exists() and not self.replace:
                raise AlreadyExists(f"{out} exists; --replace puts this in its place")
            with files.directory(out, self.replace) as new:
                _stage(source, new, named.kind, card)
            console.print(f"{out}")
            return
        with tempfile.TemporaryDirectory() as folder:
            _stage(source, Path(folder), named.kind, card)
            console.print(remote.send(named, Path(folder), self.to, self.private))

    def _generator(self, named) -> tuple[Path, str]:
        from hyperpolicy.evaluate import side_by_side
        from hyperpolicy.generate.generator import SHIPPED, load, shipped
        from hyperpolicy.hub.card import model_card

        generator = load(self.path)
        results = ""
        if self.results is not None:
            rows, published = side_by_side.read(self.results)
            others = {row.family for row in rows.values()} - {generator.family.name}
            if others:
                raise BadFile(
                    f"{self.results} has results of {', '.join(sorted(others))}, and this "
                    f"generator is of {generator.family.name}"
                )
            results = side_by_side.markdown(side_by_side.groups(rows, published))
        card = model_card(
            named,
            generator.family,
            generator.kind,
            generator.takes.name,
            generator.trained_contexts,
            generator.spec.size,
            generator.provenance,
            results.replace("\n## ", "\n### ").removeprefix("## ").strip(),
            self.license,
        )
        return (SHIPPED / self.path if self.path in shipped() else Path(self.path)), card

    def _zoo(self, named) -> tuple[Path, str]:
        from hyperpolicy.hub.card import data_card
        from hyperpolicy.zoo import Zoo

        zoo = Zoo.load(self.path)
        returns = zoo.returns[zoo.final_rows]
        rows, size = len(zoo), zoo.spec.size
        card = data_card(
            named, zoo.family, zoo.contexts, returns, rows, size, zoo.provenance, self.license
        )
        return Path(self.path), card


def _checks(kind: str):
    """What raises where a directory holds no whole generator or zoo."""
    from hyperpolicy.generate import load
    from hyperpolicy.zoo import Zoo

    def zoo(path: Path) -> None:
        if faults := Zoo.verify(path):
            raise BadFile(f"what was fetched is no whole zoo: {'; '.join(faults)}")

    return zoo if kind == "zoo" else load


def _copy(source: Path, into: Path, kind: str) -> None:
    """The files that a generator or a zoo is made of."""
    from hyperpolicy.hub.places import FILES

    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.is_file() and FILES[kind].fullmatch(name):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, into / name)


def _stage(source: Path, into: Path, kind: str, card: str) -> None:
    from hyperpolicy.hub.places import CARD

    _copy(source, into, kind)
    (into / CARD).write_text(card + "\n", encoding="utf-8")
