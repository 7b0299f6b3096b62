"""TensorBoard, for who wants to watch; `metrics.jsonl` is written anyway."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hyperpolicy.errors import MissingExtra


def tensorboard(out: Path) -> Callable[[dict], None]:
    """A function that writes one record of metrics, its lists as median, lowest and highest.

    The logs appear in `out/tensorboard` with the first record.

    Raises:
        MissingExtra: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise MissingExtra(
            "TensorBoard logs need tensorboardX: pip install 'hyperpolicy[track]'"
        ) from None
    writers: list[SummaryWriter] = []

    def write(record: dict) -> None:
        try:
            _add(record)
        except OSError as error:  # metrics.jsonl has the record
            warnings.warn(f"no TensorBoard log of this record: {error}", stacklevel=2)

    def _add(record: dict) -> None:
        if not writers:
            writers.append(SummaryWriter(str(out / "tensorboard")))
        writer, step = writers[0], record["updates"]
        for name, value in record.items():
            if not isinstance(value, list):
                writer.add_scalar(name, value, step)
                continue
            finite = np.array(value, float)[np.isfinite(np.array(value, float))]
            if len(finite):  # before the first episode ends there is no return
                writer.add_scalar(f"{name}/median", np.median(finite), step)
                writer.add_scalar(f"{name}/lowest", finite.min(), step)
                writer.add_scalar(f"{name}/highest", finite.max(), step)
        writer.flush()

    return write
