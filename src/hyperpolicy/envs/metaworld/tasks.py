"""Meta-World's 50 tasks by name, and AMT-Hyp's sixteen."""

import numpy as np
from jaxtyping import Int

from hyperpolicy.errors import UnknownTask, unknown

TASKS = (
    "assembly basketball bin-picking box-close button-press button-press-topdown "
    "button-press-topdown-wall button-press-wall coffee-button coffee-pull coffee-push dial-turn "
    "disassemble door-close door-lock door-open door-unlock drawer-close drawer-open faucet-close "
    "faucet-open hammer hand-insert handle-press handle-press-side handle-pull handle-pull-side "
    "lever-pull peg-insert-side peg-unplug-side pick-out-of-hole pick-place pick-place-wall "
    "plate-slide plate-slide-back plate-slide-back-side plate-slide-side push push-back push-wall "
    "reach reach-wall shelf-place soccer stick-pull stick-push sweep sweep-into window-close "
    "window-open"
).split()
"""In alphabetical order; a task's place is its context."""
SEEN = (
    "window-open door-open drawer-open dial-turn plate-slide button-press handle-press faucet-close"
).split()
UNSEEN = (
    "drawer-close handle-press-side door-lock window-close reach-wall coffee-button "
    "button-press-wall faucet-open"
).split()


def numbers(tasks) -> Int[np.ndarray, " k"]:
    """The places of named tasks.

    Raises:
        UnknownTask: no such task; the message suggests one.
    """
    plain = [str(task).removesuffix("-v3").removesuffix("-v2") for task in tasks]
    for name in plain:
        if name not in TASKS:
            raise unknown(UnknownTask, "Meta-World task", "Tasks", name, TASKS)
    return np.array([TASKS.index(name) for name in plain], int)
