"""The command that sets files of results side by side."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text
from tyro.conf import Positional

from hyperpolicy.cli.command import Command, refuse


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
