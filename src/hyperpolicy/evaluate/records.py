"""JSON of scores, read: typed, bounded, and in one line where it is damaged."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from hyperpolicy.errors import BadFile
from hyperpolicy.evaluate.protocol import CONTEXT, NOTHING, UNTRAINED, Protocol

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


def read_json(path: str | Path) -> Any:
    """What a JSON file holds. Raises BadFile: no regular file, larger than 256 MB, or not JSON."""
    path = Path(path)
    try:
        if not path.is_file():
            raise BadFile(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
        if path.stat().st_size > MOST_BYTES:
            raise BadFile(f"{path} is larger than {MOST_BYTES // 2**20} MB; no result of ours is")
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeError, OSError, RecursionError) as error:
        raise BadFile(f"{path} is not readable JSON ({line(error)})") from None


def parts(record: Any) -> dict[str, Any]:
    """The fields of the score that a record holds. Raises BadFile: it is none, or its parts do not
    fit each other."""
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
        raise BadFile(f"this is no score: {line(error)}") from None
    numbers = None if r.pipelines is None else tuple(r.pipelines)
    if r.pipelines is None and r.given == NOTHING:
        numbers = UNTRAINED
    arrays = {"contexts": contexts, "returns": returns, "success": success}
    return msgspec.structs.asdict(r) | arrays | {"tasks": tuple(r.tasks), "pipelines": numbers}


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


def line(error: BaseException) -> str:
    """An error in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
