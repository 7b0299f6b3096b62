"""Files of results, as sections of a report: a table a protocol, with its card and its pictures."""

from collections.abc import Sequence
from pathlib import Path

from hyperpolicy.envs import FAMILIES
from hyperpolicy.errors import BadSetting
from hyperpolicy.evaluate import side_by_side
from hyperpolicy.evaluate.compare import Comparison
from hyperpolicy.evaluate.tables import number
from hyperpolicy.report import document, pictures
from hyperpolicy.report.directory import Report
from hyperpolicy.report.document import Section


def report(paths: Sequence[Path]) -> Report:
    """The report of files of results; tables of unlike givens stand apart.

    Raises:
        BadFile: a file that holds no scores.
        BadSetting: no file, one file twice, or scores of unlike protocols; the message says what
            they differ in.
    """
    rows, published, origin = side_by_side.load(paths)
    groups = side_by_side.groups(rows, published)
    first = groups[0].head
    for group in groups[1:] if len(paths) > 1 else []:
        if why := group.head.card.unlike(first.card):
            raise BadSetting(
                f"{_named(group, origin)} and {_named(groups[0], origin)} are of unlike protocols "
                f"({'; '.join(why)}); write a report of each, or set them apart with: hyperpolicy "
                "compare"
            )
    sections = [_section(place, group) for place, group in enumerate(groups, start=1)]
    names = ", ".join(path.stem for path in paths)
    lead = f"{len(rows)} rows on {len(first.tasks)} test tasks."
    return Report(f"{first.family}: {names}", lead, sections)


def _named(group: side_by_side.Group, origin: dict[str, Path]) -> str:
    """The files of a group's rows."""
    return ", ".join(dict.fromkeys(str(origin[name]) for name in group.rows))


def _section(place: int, group: side_by_side.Group) -> Section:
    comparison = group.comparison
    n = len(comparison.rows)
    header, lines = comparison.cells(full=False)
    card = dict(group.head.card.lines()) | {"given at test time": group.head.given}
    parts = [document.paragraph(_ahead(comparison))]
    parts.append(document.table(header, lines[:n], comparison.ahead))
    parts += [document.paragraph(note, note=True) for note in comparison.notes()]
    drawn = [pictures.rows(comparison)]
    family = FAMILIES.get(group.head.family)
    if family is not None:
        drawn.append(pictures.by_context(comparison, family))
    parts.append(document.figures(*drawn))
    header, rows = comparison.cells()
    parts.append(document.folded("Every column", document.table(header, rows[:n])))
    if published := comparison.here():
        cells = [[p.method, number(p.value, 2), p.given, p.source] for p in published]
        quoted = document.table(["published", "mean", "given at test time", "source"], cells)
        parts.append(document.folded("Published numbers on these tasks", quoted))
    parts.append(document.folded("Protocol", document.facts(card)))
    title = "Table" if place == 1 else f"Table {place}, given {group.head.given}"
    return Section(title, tuple(parts))


def _ahead(comparison: Comparison) -> str:
    """The finding in a sentence."""
    if names := comparison.ahead:
        return f"Ahead of every trivial row by more than its interval: {', '.join(names)}."
    return "No row is ahead of every trivial row by more than its interval."
