"""Results of several files side by side: rows of one protocol in one table, others in tables of
their own, with what they differ in.

Rows that are told nothing of the test task, or everything (its own expert), are references: they
stand in every table of their tasks, horizon, reward and rule of success.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from hyperpolicy.errors import BadFile, BadSetting, unknown
from hyperpolicy.evaluate.compare import Comparison, compare, read_comparison
from hyperpolicy.evaluate.protocol import GIVEN, NOT_RECORDED, Published
from hyperpolicy.evaluate.records import read_json
from hyperpolicy.evaluate.score import Score
from hyperpolicy.evaluate.tables import interval_text, number

REFERENCES = frozenset(GIVEN.values())
"""What reference rows are given."""
MOST_NAMED = 5
"""Tasks that a reason names."""


@dataclass
class Group:
    """Rows of one protocol; `why` says what keeps them from the first table."""

    head: Score
    why: list[str]
    rows: dict[str, Score] = field(default_factory=dict)
    published: tuple[Published, ...] = ()

    @property
    def comparison(self) -> Comparison:
        return compare(self.rows, self.published)


class Loaded(NamedTuple):
    rows: dict[str, Score]
    published: tuple[Published, ...]
    origin: dict[str, Path]
    """The file of each row."""


def read(path: str | Path) -> tuple[dict[str, Score], tuple[Published, ...]]:
    """The rows of a file of results, and what it quotes: a saved Score, a saved Comparison, several
    named scores, or a cell of AMT-Hyp's tables. Raises BadFile: it holds none of these."""
    path = Path(path)
    record = read_json(path)
    try:
        return _read(record, path.stem)
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from None


def _read(record: Any, name: str) -> tuple[dict[str, Score], tuple[Published, ...]]:
    if isinstance(record, dict):
        if "rows" in record:
            return read_comparison(record)
        if "contexts" in record or "strict" in record:
            score = record if "contexts" in record else record["strict"]
            return {name: Score.from_json(score)}, ()
        scores = record.get("scores", record)
        several = scores.values() if isinstance(scores, dict) else ()
        if several and all(isinstance(one, dict) and "contexts" in one for one in several):
            return {key: Score.from_json(one) for key, one in scores.items()}, ()
    raise BadFile("no scores in it; give what `hyperpolicy score --out` or Score.save wrote")


def load(paths: Sequence[str | Path]) -> Loaded:
    """The rows of all files, and what they quote; a name that several files use has its file's name
    before it. Raises BadFile: a file without scores; BadSetting: no file, or one file twice."""
    if not paths:
        raise BadSetting("nothing to compare; give files of results")
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise BadSetting("one file twice; give every file once")
    found = [read(path) for path in paths]
    names = [name for one, _ in found for name in one]
    labels = _labels([Path(path) for path in paths])
    rows, origin = {}, {}
    for path, label, (one, _) in zip(paths, labels, found, strict=True):
        for name, row in one.items():
            key = name if names.count(name) == 1 else f"{label}: {name}"
            rows[key], origin[key] = row, Path(path)
    return Loaded(rows, tuple(dict.fromkeys(p for _, quoted in found for p in quoted)), origin)


def _labels(paths: list[Path]) -> list[str]:
    """As little of each path as tells it from the others."""
    for parts in range(1, 1 + max(len(path.parts) for path in paths)):
        labels = ["/".join(path.with_suffix("").parts[-parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
    return labels


def groups(rows: dict[str, Score], published: tuple[Published, ...] = ()) -> list[Group]:
    """The rows in tables of one protocol each, in their order."""
    found: list[Group] = []
    for reference in (False, True):
        for name, row in rows.items():
            if (row.given in REFERENCES) != reference:
                continue
            homes = [group for group in found if not unlike(row, group.head, reference)]
            if not homes:
                homes = [Group(row, unlike(row, found[0].head, reference) if found else [])]
                found += homes
            for group in homes:
                group.rows[name] = row
    for group in found:
        group.rows = {name: row for name, row in rows.items() if name in group.rows}
        group.published = tuple(p for p in published if p.family == group.head.family)
    return found


def unlike(row: Score, other: Score, reference: bool = False) -> list[str]:
    """In words what keeps two rows from one table; of a reference, what it is given, its actions
    and whether starts are shared do not count."""
    a, b = row.card, other.card
    if reference:
        a = replace(a, action=b.action, starts=b.starts)
    found = a.unlike(b)
    if row.tasks != other.tasks:
        found.append(f"test tasks {_named(row.tasks)}, not {_named(other.tasks)}")
    if not reference and row.given != other.given:
        found.append(f"given at test time: {row.given}, not {other.given}")
    return found


def _named(tasks: tuple[str, ...]) -> str:
    more = f" and {len(tasks) - MOST_NAMED} more" if len(tasks) > MOST_NAMED else ""
    return f"{', '.join(tasks[:MOST_NAMED])}{more}"


# --- Out ----------------------------------------------------------------------------------
def markdown(found: list[Group]) -> str:
    """Every table with its protocol, and why it is one of its own."""
    parts = []
    for place, group in enumerate(found, start=1):
        parts += [f"## Table {place}: {title(group)}", *notes(group), group.comparison.markdown()]
    return "\n\n".join(parts) + "\n"


def title(group: Group) -> str:
    """What a table is about."""
    return f"{group.head.family}, {len(group.head.tasks)} test tasks, given {group.head.given}"


def notes(group: Group) -> list[str]:
    """The protocol in a line, and why the table stands apart."""
    known = [f"{what} {value}" for what, value in group.head.card.lines() if value != NOT_RECORDED]
    rest = "" if len(known) == len(group.head.card.lines()) else f"; the rest {NOT_RECORDED}"
    apart = [f"Apart from table 1: {'; '.join(group.why)}."] if group.why else []
    return [*apart, f"Protocol: {', '.join(known)}{rest}."]


def differences(
    found: list[Group], against: str, origin: dict[str, Path]
) -> list[tuple[str, list[list[str]]]]:
    """For every table that has the row `against`: what the others are ahead of it, with the
    interval.

    A row is put beside the one of its own file (`origin`) where that has it, and then paired: they
    played the same starts. Raises BadSetting: no table has that row.
    """
    names = dict.fromkeys(name for group in found for name in group.rows)
    bases = [name for name in names if name == against or name.endswith(f": {against}")]
    if not bases:
        plain = {name.partition(": ")[2] or name for name in names}
        raise unknown(BadSetting, "row called", "Rows", against, plain)
    out = []
    for place, group in enumerate(found, start=1):
        here = [name for name in bases if name in group.rows]
        shown, rows = group.comparison.shown, []
        for name, row in shown.items():
            if name in here or not here:
                continue
            own = [base for base in here if origin[base] == origin[name]]
            base = shown[(own or here)[0]]
            scale = 100.0 if row.rates else 1.0
            ends = interval_text(row.minus(base, paired=bool(own)), scale=scale)
            rows.append([name, number(scale * (row.mean - base.mean)), ends, row.over])
        if rows:
            out.append((f"Table {place}, ahead of {against!r}", rows))
    return out
