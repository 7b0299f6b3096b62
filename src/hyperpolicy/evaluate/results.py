"""Files of results: every shape that this library has written, and what older ones left unsaid."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from hyperpolicy.errors import BadFile
from hyperpolicy.evaluate.records import Text, line, read_json
from hyperpolicy.evaluate.rows import NEAREST, Published
from hyperpolicy.evaluate.score import Score


class ResultFile(NamedTuple):
    """The rows of a file of results."""

    rows: dict[str, Score]
    published: tuple[Published, ...] = ()


def read(path: str | Path) -> ResultFile:
    """The rows of a file of results: a saved Score, a saved Comparison, several named scores, or a
    cell of AMT-Hyp's tables.

    Raises:
        BadFile: it holds none of these.
    """
    path = Path(path)
    record = read_json(path)
    try:
        return _read(record, path.stem)
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from None


def _read(record: Any, name: str) -> ResultFile:
    if isinstance(record, dict) and "rows" in record:
        return read_comparison(record)
    if isinstance(record, dict) and "contexts" in record:
        return ResultFile({name: Score.from_json(record)})
    if isinstance(record, dict) and "strict" in record:
        return ResultFile({name: Score.from_json(record["strict"])})
    scores = record.get("scores", record) if isinstance(record, dict) else None
    if not isinstance(scores, dict) or not scores or not all(map(_like_a_score, scores.values())):
        raise BadFile("no scores in it; give what `hyperpolicy score --out` or Score.save wrote")
    return ResultFile({key: Score.from_json(one) for key, one in scores.items()})


def _like_a_score(value: Any) -> bool:
    return isinstance(value, dict) and "contexts" in value


def read_comparison(record: Any) -> ResultFile:
    """The rows of a saved comparison, and what others published.

    Raises:
        BadFile: it is none.
    """
    try:
        rows = msgspec.convert(record, _Comparison)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadFile(f"this is no comparison: {line(error)}") from None
    found = {name: Score.from_json(row.score) for name, row in rows.rows.items()}
    return ResultFile(_with_pipelines(found), tuple(rows.published))


class _Row(msgspec.Struct):
    score: dict


class _Comparison(msgspec.Struct):
    rows: Annotated[dict[Text, _Row], msgspec.Meta(min_length=1)]
    published: list[Published] = []


def _with_pipelines(rows: dict[str, Score]) -> dict[str, Score]:
    """Rows of an older table with their pipelines: looking up the nearest expert takes one maker a
    zoo, so that its runs count the pipelines of the table."""
    if NEAREST not in rows or rows[NEAREST].pipelines is not None:
        return rows
    n, found = rows[NEAREST].num_seeds, {}
    for name, row in rows.items():
        s = row.num_seeds
        numbers = tuple(range(s)) if s == n else (0,) * s if n == 1 or s == 1 else None
        found[name] = row if row.pipelines is not None else replace(row, pipelines=numbers)
    return found
