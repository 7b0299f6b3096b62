"""Parts of a command's work on many machines: options, and the commands that the parts are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from hyperpolicy.bounds import Bounded, Count, Rule, unused
from hyperpolicy.cli.command import asked

Settings = Annotated[
    tuple[str, ...],
    Meta(),
    Rule("name=value, each", lambda some: all(name and "=" in name[1:] for name in some)),
]
Run = Callable[[Sequence[tuple[str, Sequence[str]]]], None]
"""Parts, each a name and the options that its command has besides → None, when all are done."""


@dataclass(frozen=True)
class Elsewhere(Bounded):
    """Where the work is done."""

    on: Literal["here", "ray", "slurm"] = "here"
    """In this process, or in parts on a Ray cluster or under Slurm; parts write below the same
    directory, which all machines must see. Each needs the extra of its name."""
    shards: Count = 4
    """Parts of each fleet, at most one an expert."""
    cores: Count = 1
    """Of each part."""
    cluster: Settings = ()
    """Ray: address=…; without it RAY_ADDRESS, or this machine. Slurm: submitit's parameters, such
    as slurm_partition=gpu timeout_min=600; cluster=local tries it on this machine."""

    def check(self) -> None:
        """Refuse what has no effect here."""
        if self.on == "here":
            unused(self, ["shards", "cores", "cluster"], "without --on ray or --on slurm")

    @contextmanager
    def parts(self, out: Path) -> Iterator[Run]:
        """A block in which parts of this command can be run; their logs lie in `out/logs`. Raises
        MissingExtra, NoCluster, BadSetting: as the pools."""
        from hyperpolicy.cluster import driver
        from hyperpolicy.cluster.pools import POOLS
        from hyperpolicy.cluster.task import Task

        pairs = (one.partition("=") for one in self.cluster)
        pool = POOLS[self.on](out, {name: value for name, _, value in pairs})
        rest = without(asked(), [field.name for field in fields(self)])

        def run(parts: Sequence[tuple[str, Sequence[str]]]) -> None:
            place = out.absolute() / "logs"
            tasks = [
                Task(name, (*rest, *options), place / f"{name.replace(' ', '-')}.txt", self.cores)
                for name, options in parts
            ]
            driver.complete(pool, tasks)

        try:
            yield run
        finally:
            pool.close()


def without(arguments: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The arguments without the options `names` and their values."""
    kept, drops = list[str](), False
    for argument in arguments:
        if argument.startswith("--"):
            drops = argument[2:].partition("=")[0].replace("-", "_") in names
        if not drops:
            kept.append(argument)
    return tuple(kept)
