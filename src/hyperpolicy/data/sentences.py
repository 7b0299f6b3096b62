"""What Meta-World's tasks are, in a sentence each, and the sentences' embeddings.

`sentences.json` holds the embeddings, made by `benchmarks/sentences.py` with WordLlama's static
embeddings (256 numbers). The script takes any other encoder.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy import files
from hyperpolicy.errors import BadFile, UnknownTask, unknown

SENTENCES = {
    "assembly": "Pick up a ring by its handle and put it over a peg.",
    "basketball": "Lift a basketball and drop it through the hoop.",
    "bin-picking": "Grasp a block in one bin and carry it to the other bin.",
    "box-close": "Grasp the lid of a box and close the box with it.",
    "button-press": "Press a button on the front of a box.",
    "button-press-topdown": "Press a button from above.",
    "button-press-topdown-wall": "Go over a wall and press a button from above.",
    "button-press-wall": "Go past a wall and press a button on the front of a box.",
    "coffee-button": "Press the button of a coffee machine.",
    "coffee-pull": "Pull a mug away from under a coffee machine.",
    "coffee-push": "Push a mug under a coffee machine.",
    "dial-turn": "Turn a dial by half a turn.",
    "disassemble": "Take a ring off the peg it hangs on.",
    "door-close": "Close a door that turns on a hinge.",
    "door-lock": "Lock a door by turning its lock clockwise.",
    "door-open": "Open a door that turns on a hinge by pulling its handle.",
    "door-unlock": "Unlock a door by turning its lock counter-clockwise.",
    "drawer-close": "Push a drawer until it is closed.",
    "drawer-open": "Pull a drawer open by its handle.",
    "faucet-close": "Close a faucet by turning its handle clockwise.",
    "faucet-open": "Open a faucet by turning its handle counter-clockwise.",
    "hammer": "Grasp a hammer and drive a nail into the wall.",
    "hand-insert": "Put the gripper into a hole in the table.",
    "handle-press": "Press a handle down.",
    "handle-press-side": "Press a handle down from the side.",
    "handle-pull": "Pull a handle up.",
    "handle-pull-side": "Pull a handle up from the side.",
    "lever-pull": "Turn a lever upward by a quarter turn.",
    "peg-insert-side": "Grasp a peg and push it sideways into a hole.",
    "peg-unplug-side": "Pull a peg sideways out of a hole.",
    "pick-out-of-hole": "Lift a puck out of a hole and carry it to a goal.",
    "pick-place": "Grasp a puck and carry it to a goal in the air.",
    "pick-place-wall": "Grasp a puck and carry it over a wall to a goal.",
    "plate-slide": "Slide a plate forward into a cabinet.",
    "plate-slide-back": "Slide a plate back out of a cabinet.",
    "plate-slide-back-side": "Slide a plate sideways out of a cabinet.",
    "plate-slide-side": "Slide a plate sideways into a cabinet.",
    "push": "Push a puck along the table to a goal.",
    "push-back": "Pull a puck back along the table to a goal.",
    "push-wall": "Push a puck around a wall to a goal.",
    "reach": "Move the gripper to a goal in the air.",
    "reach-wall": "Move the gripper past a wall to a goal in the air.",
    "shelf-place": "Grasp a block and put it on a shelf.",
    "soccer": "Kick a ball into the goal.",
    "stick-pull": "Grasp a stick and pull a box with it.",
    "stick-push": "Grasp a stick and push a box with it.",
    "sweep": "Sweep a block off the edge of the table.",
    "sweep-into": "Sweep a block into a hole in the table.",
    "window-close": "Push a sliding window closed by its handle.",
    "window-open": "Push a sliding window open by its handle.",
}
FILE = Path(__file__).with_name("sentences.json")


def of(
    tasks: Sequence[str], file: Path = FILE, centered: bool = True
) -> tuple[tuple[float, ...], ...]:
    """The embeddings of tasks' sentences, a row each.

    Centered, each number has mean 0 and variance 1 over all tasks of the file; as an encoder gives
    them, sentences are nearly alike (in mtrl's table their cosines are 0.9975 and more).

    Raises:
        BadFile: the file holds no embeddings.
        UnknownTask: it has none of a task.
    """
    names, table = _table(file)
    for task in tasks:
        if task not in names:
            raise unknown(UnknownTask, "sentence of a task", "Tasks", task, names)
    if centered:
        spread = table.std(axis=0)
        table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    rows = table[[names.index(task) for task in tasks]]
    return tuple(map(tuple, rows.round(5).tolist()))


@cache
def _table(file: Path) -> tuple[list[str], Float[np.ndarray, "k l"]]:
    record = files.load_json(file)
    try:
        names = list(record)
        table = np.array([record[name] for name in names], float)
        assert table.ndim == 2 and np.isfinite(table).all()
    except (TypeError, ValueError, AssertionError):
        raise BadFile(f"{file} holds no embeddings: task → numbers, equally many") from None
    return names, table
