"""Commands that only look: doctor, families, zoo info, zoo verify; and zoo align, join, import,
export, which copy."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from rich.text import Text
from tyro.conf import Positional, subcommand

from hyperpolicy.bounds import NewPlace
from hyperpolicy.cli.command import Command, refuse, table
from hyperpolicy.cli.interchange import ZooExport, ZooImport, ZooImportMakeAnAgent
from hyperpolicy.errors import BadZoo

SHARD = re.compile(r"shard-(\d+)-of-(\d+)(?:/zoo)?$")
"""A shard's directory, or the zoo in it."""


@dataclass(frozen=True)
class Doctor(Command):
    """Versions, devices, rendering, disk; what is wrong and what to do. Exit code 1 if unusable.

    With `--contexts`, whether every coordinate of a family's contexts changes its worlds; exit code
    2 if one does not."""

    json: bool = False
    """Print JSON."""
    contexts: str | None = None
    """A family; its coordinates are examined instead of this machine."""

    def run(self, console: Console) -> int:
        from hyperpolicy import doctor

        if self.contexts is not None:
            return self._examine(self.contexts, console)
        findings = doctor.examine()
        usable = doctor.usable(findings)
        if self.json:
            console.print(json.dumps(doctor.to_json(findings), indent=1))
        else:
            rows = ((_mark(f), f.name, f.value, f.advice) for f in findings)
            console.print(table(["", "", "found", "what to do"], rows))
            console.print("usable" if usable else "not usable")
        return 0 if usable else 1

    def _examine(self, name: str, console: Console) -> int:
        """What each coordinate changes."""
        from hyperpolicy.envs import family
        from hyperpolicy.envs.sensitivity import effects

        found = effects(family(name))
        idle = [one.name for one in found if not one.counts]
        if self.json:
            facts = {"family": name, "coordinates": [asdict(one) for one in found], "idle": idle}
            console.print(json.dumps(facts, indent=1))
        else:
            rows = (
                [
                    Text("✓", "green") if one.counts else Text("✗", "red"),
                    one.name,
                    one.role,
                    f"{one.usual:g} → {one.moved:g}",
                    ", ".join(one.changed) or "nothing",
                ]
                for one in found
            )
            console.print(table(["", "coordinate", "role", "moved", "changes"], rows))
            console.print(f"without effect: {', '.join(idle)}" if idle else "all count")
        return 2 if idle else 0


def _mark(finding) -> Text:
    if finding.fatal:
        return Text("✗", "red")
    return Text("!", "yellow") if finding.advice else Text("✓", "green")


@dataclass(frozen=True)
class Families(Command):
    """The task families: contexts, grids and splits."""

    def run(self, console: Console) -> None:
        from hyperpolicy.envs import FAMILIES

        rows = []
        for family in FAMILIES.values():
            space = family.context
            bounds = zip(space.names, space.low, space.high, space.units, strict=True)
            ranges = "\n".join(
                f"{name} {low:g} … {high:.4g} {unit}" for name, low, high, unit in bounds
            )
            about = [family.name, ranges, f"{family.obs_size} → {family.action_size}"]
            for grid in family.grids:
                rows.append([*about, grid.name, str(len(grid.contexts)), ", ".join(grid.splits)])
                about = ["", "", ""]
        header = ["family", "context", "observation → action", "grid", "contexts", "splits"]
        console.print(table(header, rows))


@dataclass(frozen=True)
class Compare(Command):
    """Set results side by side: what `score --out` wrote, and the JSON files of results/.

    Rows of unlike protocol (grid, tasks, reward version, horizon, rule of success, what ends an
    episode, actions, starts, what is given at test time) stand in tables of their own, with the
    reason.
    """

    files: Positional[tuple[Path, ...]]
    """JSON files of results."""
    against: str | None = None
    """A row; what all others of its table are ahead of it, with intervals. Rows of one file are
    paired by their starts and pipelines."""
    out: Path | None = None
    """Write the full tables here, as Markdown."""

    def run(self, console: Console) -> None:
        from hyperpolicy import files
        from hyperpolicy.evaluate import side_by_side, tables

        refuse(self.out)
        rows, published, origin = side_by_side.load(self.files)
        groups = side_by_side.groups(rows, published)
        header = ["row", "ahead by", "95 % CI", "over"]
        gaps = []
        if self.against is not None:
            gaps = side_by_side.differences(groups, self.against, origin)
        if self.out is not None:
            parts = [side_by_side.markdown(groups)]
            parts += [f"## {name}\n\n{tables.markdown(header, lines)}\n" for name, lines in gaps]
            text = "\n".join(parts)
            files.write(self.out, lambda p: p.write_text(text, encoding="utf-8"))
        for number, group in enumerate(groups, start=1):
            title = f"Table {number}: {side_by_side.title(group)}"
            console.print(group.comparison.rich(title))
            for line in side_by_side.notes(group):
                console.print(Text(line))
        for name, lines in gaps:
            console.print(tables.rich_table(name, header, lines))
        if self.out is not None:
            console.print(f"full tables: {self.out}")


@dataclass(frozen=True)
class ZooInfo(Command):
    """What a zoo holds, and where it came from."""

    path: Positional[Path]
    """The zoo's directory."""

    def run(self, console: Console) -> None:
        from hyperpolicy.zoo import Zoo

        zoo = Zoo.load(self.path)
        low, high = (end.round(4).tolist() for end in (zoo.contexts.min(0), zoo.contexts.max(0)))
        sizes = " → ".join(map(str, (zoo.spec.obs, *zoo.spec.hidden, zoo.spec.action)))
        rows = {
            "family": zoo.family.name,
            "policy": f"{sizes}, {zoo.spec.size:,} numbers",
            "experts": f"{len(zoo.contexts)}, contexts {low} … {high}",
            "rows": f"{len(zoo)}, of which {zoo.final.sum()} final",
            "experts' returns": _spread(zoo.returns[zoo.final_rows]),
            "critics": "none" if zoo.critics is None else "one pair an expert",
            "states": "none" if zoo.states is None else f"{zoo.states.shape[1]} an expert",
        }
        if (spent := zoo.training).updates:
            steps = f"{spent.env_steps:,} environment steps, {spent.updates:,} updates"
            rows["of each expert"] = steps
            rows["seen by all experts"] = f"{len(spent.seen)} contexts"
        for name, value in zoo.provenance.items():
            rows[name] = value if isinstance(value, str) else json.dumps(value)
        console.print(table([str(self.path), ""], rows.items()))


def _spread(returns) -> str:
    measured = returns[returns == returns]
    if not len(measured):
        return "not measured"
    return f"mean {measured.mean():.1f}, from {measured.min():.1f} to {measured.max():.1f}"


@dataclass(frozen=True)
class ZooVerify(Command):
    """Check a zoo's files: checksums, sizes, finite numbers. Exit code 2 if something is wrong."""

    path: Positional[Path]
    """The zoo's directory."""

    def run(self, console: Console) -> None:
        from hyperpolicy.zoo import Zoo

        faults = Zoo.verify(self.path)
        if faults:
            raise BadZoo(f"{len(faults)} faults in {self.path}: {'; '.join(faults)}")
        console.print(f"{self.path}: every file is whole")


@dataclass(frozen=True)
class ZooAlign(Command):
    """Write a copy of a zoo whose experts have their hidden units in one order, at one scale.

    Every policy acts as before. Files beside the zoo's own, such as a base, are not copied: their
    units stand in the old order.
    """

    path: Positional[Path]
    """The zoo's directory."""
    out: NewPlace
    """The directory to write."""
    to: Literal["neighbors", "middle"] = "neighbors"
    """What experts are matched to: each to its neighbor in context, from the middle outward, or all
    to the one in the middle."""

    def run(self, console: Console) -> None:
        from hyperpolicy.generate import align
        from hyperpolicy.zoo import Zoo

        refuse(self.out)
        zoo = Zoo.load(self.path)
        how = {"middle": align.align, "neighbors": align.align_chain}[self.to]
        steps = {"as it was": zoo, "balanced": align.balance(zoo), "aligned": how(zoo)}
        steps["aligned"].save(self.out)
        rows = []
        for name, one in steps.items():
            norm = (one.finals.weights**2).sum(axis=1).mean() ** 0.5
            gaps = align.neighbor_gaps(one)
            gap = f"{gaps.mean():.2f}" if len(gaps) else "–"
            rows.append([name, f"{norm:.2f}", gap])
        console.print(table(["experts", "norm of weights", "distance of neighbors"], rows))
        console.print(f"aligned: {self.out}")


@dataclass(frozen=True)
class ZooJoin(Command):
    """Join zoos that were trained in parts, such as the shards of `train --shard`."""

    parts: Positional[tuple[Path, ...]]
    """The zoos, or directories of runs that hold one, in their order."""
    out: NewPlace
    """The zoo to write."""

    def run(self, console: Console) -> None:
        from hyperpolicy.zoo import Zoo, join

        refuse(self.out)
        inside = [
            path / "zoo" if (path / "zoo").is_dir() else path for path in in_order(self.parts)
        ]
        zoo = join([Zoo.load(path) for path in inside])
        zoo.save(self.out)
        console.print(f"{self.out}: {len(zoo)} rows of {len(zoo.contexts)} experts")


def in_order(parts: Sequence[Path]) -> list[Path]:
    """The parts in the order of their shards, where they are shards of one fleet. Raises BadZoo:
    one is missing."""
    found = {path: SHARD.search(path.as_posix()) for path in parts}
    if not all(found.values()):
        return list(parts)
    numbers = {int(match[1]): path for path, match in found.items() if match}
    counts = {int(match[2]) for match in found.values() if match}
    if len(counts) > 1:
        raise BadZoo(f"shards of fleets in {', '.join(map(str, sorted(counts)))} parts; give one's")
    if missing := [str(i) for i in range(counts.pop()) if i not in numbers]:
        raise BadZoo(f"shards {', '.join(missing)} are not among these; a fleet is all of them")
    return [numbers[i] for i in sorted(numbers)]


@dataclass(frozen=True)
class Zoo(Command):
    """Look into a zoo, check its files, align its experts, join it with others, or interchange."""

    action: (
        Annotated[ZooInfo, subcommand("info")]
        | Annotated[ZooVerify, subcommand("verify")]
        | Annotated[ZooAlign, subcommand("align")]
        | Annotated[ZooJoin, subcommand("join")]
        | Annotated[ZooImport, subcommand("import")]
        | Annotated[ZooImportMakeAnAgent, subcommand("import-make-an-agent")]
        | Annotated[ZooExport, subcommand("export")]
    )

    def run(self, console: Console) -> int | None:
        return self.action.run(console)
