"""What of an AMT-Hyp run is small enough to ship: a slice of its zoo, with demonstrations to try
generators on, and one generator."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from hyperpolicy.recipes.amt_hyp.bench import HALVES, Bench, contexts_of
from hyperpolicy.recipes.zero_shot import zoos

CHECKPOINTS, STATES = 2, 64
"""Of each expert, beside its final row."""
DEMONSTRATIONS = 5
"""Of each of the sixteen tasks, for testing."""


def ship(b: Bench, into: Path) -> list[Path]:
    """The slice `into/metaworld/amt-hyp`, with `demonstrations.safetensors` among its files; empty
    where it exists already."""
    path = into / "metaworld/amt-hyp"
    if path.exists():
        return []
    zoo = zoos.cut(b.data.zoo, CHECKPOINTS, STATES)
    zoo = replace(zoo, critics=None, provenance=zoos.UNRECORDED | zoo.provenance)
    tasks = np.concatenate([contexts_of(half) for half in HALVES])
    shown = b.data.few(tasks, DEMONSTRATIONS)
    zoo.save(path, lambda new: shown.save(new / "demonstrations.safetensors"))
    return [path]


def ship_generator(b: Bench, path: Path) -> list[Path]:
    """The small HypLatent as the compact directory `path`; empty where it exists already."""
    return [] if path.exists() else [b.shipped().save(path, compact=True)]
