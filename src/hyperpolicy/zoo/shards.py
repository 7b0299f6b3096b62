"""One zoo out of several: shards of a fleet that was trained in parts, or of its checkpoints."""

from collections.abc import Sequence

import numpy as np

from hyperpolicy.errors import BadZoo
from hyperpolicy.zoo.zoo import PER_EXPERT, PER_ROW, Zoo


def join(shards: Sequence[Zoo]) -> Zoo:
    """The zoo of all rows of `shards`, one after the other; experts at one context are one expert.

    Its provenance is what all shards say alike, and beside it each shard's own (`shards`).

    Raises:
        BadZoo: no shard; another family, policy or training; arrays that only some have, or that
            differ where an expert is in several; a second final row of an expert.
    """
    if not shards:
        raise BadZoo("no zoos to join; give at least one")
    first = shards[0]
    for number, shard in enumerate(shards[1:], start=1):
        _check_alike(first, shard, number)
    contexts = np.concatenate([shard.contexts for shard in shards])
    _, places, numbers = np.unique(contexts, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(places)  # experts stand in the order in which they first appear
    kept, rank = places[order], np.argsort(order)
    experts = _experts(shards, kept, kept[rank[numbers.ravel()]])
    starts = np.cumsum([0, *(len(shard.contexts) for shard in shards)])
    rows = np.concatenate([s.expert + start for s, start in zip(shards, starts, strict=False)])
    expert = rank[numbers.ravel()[rows]]
    final = np.concatenate([shard.final for shard in shards])
    counts = np.bincount(expert[final], minlength=len(kept))
    if (counts > 1).any():
        twice = contexts[kept[int(counts.argmax())]].tolist()
        raise BadZoo(f"the expert at {twice} has {counts.max()} final rows; keep one of them")
    return Zoo(
        spec=first.spec,
        family=first.family,
        expert=expert,
        training=first.training,
        provenance=_provenance([shard.provenance for shard in shards]),
        **{name: np.concatenate([getattr(s, name) for s in shards]) for name in PER_ROW},
        **experts,
    )


def _check_alike(first: Zoo, other: Zoo, number: int) -> None:
    for name in ("family", "spec", "training"):
        ours, theirs = getattr(first, name), getattr(other, name)
        if ours != theirs:
            told = ""
            if name == "family" and ours.name != theirs.name:
                told = f": {theirs.name}, not {ours.name}"
            elif name == "spec":
                told = f": {_sizes(theirs)}, not {_sizes(ours)}"
            raise BadZoo(f"zoo {number} has another {name} than zoo 0{told}; join zoos of one kind")
    for name in PER_EXPERT:
        having = [getattr(zoo, name) is not None for zoo in (first, other)]
        if having[0] != having[1]:
            which = "zoo 0" if having[0] else f"zoo {number}"
            raise BadZoo(
                f"only {which} has {name}; leave them out of it, or give them to the other"
            )


def _sizes(spec) -> str:
    return " → ".join(map(str, (spec.obs, *spec.hidden, spec.action)))


def _experts(shards: Sequence[Zoo], kept, same) -> dict[str, np.ndarray]:
    """Each expert's arrays, once; `same` is the place of the first copy of every copy."""
    found = {}
    for name in PER_EXPERT:
        if getattr(shards[0], name) is None:
            continue
        every = np.concatenate([getattr(shard, name) for shard in shards])
        if not np.array_equal(every, every[same]):
            at = int(np.argmax((every != every[same]).reshape(len(every), -1).any(axis=1)))
            context = np.concatenate([shard.contexts for shard in shards])[at].tolist()
            raise BadZoo(
                f"two zoos have an expert at {context}, and not the same one (its {name} differ); "
                "keep one of them"
            )
        found[name] = every[kept]
    return found


def _provenance(records: Sequence[dict]) -> dict:
    """What all records say alike, and what each says besides."""
    alike = {k: v for k, v in records[0].items() if all(k in r and r[k] == v for r in records)}
    rest = [{k: v for k, v in record.items() if k not in alike} for record in records]
    return alike | ({"shards": rest} if any(rest) else {})
