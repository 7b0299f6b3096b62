"""Results out of JSON files: every shape that this library has written, typed and bounded."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from hyperpolicy.errors import BadFile
from hyperpolicy.evaluate.protocol import Protocol
from hyperpolicy.evaluate.published import Published
from hyperpolicy.evaluate.score import CONTEXT, NOTHING, UNTRAINED, Score

MOST_BYTES = 256 * 2**20
LARGEST = 1e12
"""No return or context is larger."""
Text = Annotated[str, msgspec.Meta(max_length=1_000)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Four = list[list[list[list[float | None]]]]
"""Numbers [s, d, k, e]."""


class ScoreRecord(msgspec.Struct, forbid_unknown_fields=True):
    """What `Score.to_json` writes; older versions had no pipelines and no protocol."""

    family: Text
    contexts: list[list[float]]
    tasks: list[Text]
    returns: Four | None
    given: Text = CONTEXT
    env_steps: Whole | None = None
    seed: Whole = 0
    success: Four | None = None
    pipelines: list[Whole] | None = None
    protocol: Protocol | None = None
    rates: bool = False


class Results(NamedTuple):
    """The rows of a file."""

    rows: dict[str, Score]
    published: tuple[Published, ...] = ()


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        BadFile: no regular file, larger than 256 MB, or not JSON.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise BadFile(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        if path.stat().st_size > MOST_BYTES:
            raise BadFile(f"{path} is larger than {MOST_BYTES // 2**20} MB; no result of ours is")
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeError, OSError, RecursionError) as error:
        raise BadFile(f"{path} is not readable JSON ({_line(error)})") from None


def read_score(record: Any) -> Score:
    """The score of a record.

    Raises:
        BadFile: it is none, or its parts do not fit each other.
    """
    try:
        r = msgspec.convert(record, ScoreRecord)
        contexts = np.array(r.contexts, float)
        success = None if r.success is None else np.array(r.success, float)
        if r.returns is not None:
            returns = np.array(r.returns, float)
        elif success is not None:  # only these were looked at
            returns = np.full(success.shape, np.nan)
        else:
            raise ValueError("neither returns nor successes")
        _check(r, contexts, returns, success)
    except (msgspec.ValidationError, ValueError, TypeError, RecursionError) as error:
        raise BadFile(f"this is no score: {_line(error)}") from None
    numbers = None if r.pipelines is None else tuple(r.pipelines)
    if r.pipelines is None and r.given == NOTHING:
        numbers = UNTRAINED
    return Score(
        r.family,
        contexts,
        tuple(r.tasks),
        returns,
        r.given,
        r.env_steps,
        r.seed,
        success,
        numbers,
        r.protocol,
        r.rates,
    )


def _check(r: ScoreRecord, contexts, returns, success) -> None:
    """Raise ValueError where the parts do not fit."""
    if contexts.ndim != 2 or not contexts.size or not np.isfinite(contexts).all():
        raise ValueError(f"contexts of shape {contexts.shape}, which must be finite and [k, c]")
    if returns.ndim != 4 or not returns.size or returns.shape[2] != len(contexts):
        raise ValueError(f"returns {returns.shape} for {len(contexts)} contexts")
    if len(r.tasks) != len(contexts):
        raise ValueError(f"{len(r.tasks)} tasks for {len(contexts)} contexts")
    if success is not None and (
        success.shape != returns.shape or not np.isin(success, (0.0, 1.0)).all()
    ):
        raise ValueError(f"successes {success.shape} that are not 0 or 1, or not as the returns")
    if (np.abs(returns) > LARGEST).any() or (np.abs(contexts) > LARGEST).any():
        raise ValueError(f"numbers beyond {LARGEST:g}")
    if r.pipelines is not None and len(r.pipelines) not in (0, len(returns)):
        raise ValueError(f"{len(r.pipelines)} pipelines for {len(returns)} runs")


def read(path: str | Path) -> Results:
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


def _read(record: Any, name: str) -> Results:
    if isinstance(record, dict) and "rows" in record:
        return read_comparison(record)
    if isinstance(record, dict) and "contexts" in record:
        return Results({name: read_score(record)})
    if isinstance(record, dict) and "strict" in record:
        return Results({name: read_score(record["strict"])})
    scores = record.get("scores", record) if isinstance(record, dict) else None
    if not isinstance(scores, dict) or not scores or not all(map(_like_a_score, scores.values())):
        raise BadFile("no scores in it; give what `hyperpolicy score --out` or Score.save wrote")
    return Results({key: read_score(one) for key, one in scores.items()})


def _like_a_score(value: Any) -> bool:
    return isinstance(value, dict) and "contexts" in value


def read_comparison(record: Any) -> Results:
    """The rows of a saved comparison, and what others published.

    Raises:
        BadFile: it is none.
    """
    try:
        rows = msgspec.convert(record, _Comparison)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadFile(f"this is no comparison: {_line(error)}") from None
    found = {name: read_score(row.score) for name, row in rows.rows.items()}
    return Results(_with_pipelines(found), tuple(rows.published))


class _Row(msgspec.Struct):
    score: dict


class _Comparison(msgspec.Struct):
    rows: Annotated[dict[Text, _Row], msgspec.Meta(min_length=1)]
    published: list[Published] = []


def _with_pipelines(rows: dict[str, Score]) -> dict[str, Score]:
    """Rows of an older table with their pipelines: looking up the nearest expert takes one maker a
    zoo, so that its runs count the pipelines of the table."""
    from dataclasses import replace

    from hyperpolicy.evaluate.compare import NEAREST  # which needs this page

    if NEAREST not in rows or rows[NEAREST].pipelines is not None:
        return rows
    n, found = rows[NEAREST].num_seeds, {}
    for name, row in rows.items():
        s = row.num_seeds
        numbers = tuple(range(s)) if s == n else (0,) * s if n == 1 or s == 1 else None
        found[name] = row if row.pipelines is not None else replace(row, pipelines=numbers)
    return found


def _line(error: BaseException) -> str:
    """An error in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
