"""Policies that other libraries trained, as a zoo; and what interpolation between them is worth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hyperpolicy.envs import Family
from hyperpolicy.errors import BadFile, BadSetting, BadShape
from hyperpolicy.generate import align
from hyperpolicy.generate.writers import lookup
from hyperpolicy.imports import layers
from hyperpolicy.imports.layers import Hints, Layers, Output
from hyperpolicy.rollout import returns
from hyperpolicy.zoo import Zoo

EPISODES = 10
"""Of each expert, by which its return is measured."""
LEAST = 1e-8
"""VecNormalize's ε, beneath the root of the variance."""


def hints(
    activation: str | None = None,
    output: Output | None = None,
    ends: tuple[float | None, float | None] = (None, None),
    normalizer: Path | None = None,
    prefix: str = "",
) -> Hints:
    """What files do not say. Raises BadFile: the normalizer's file holds no mean and var."""
    mean = scale = None
    if normalizer is not None:
        held = _arrays(normalizer, ("mean", "var"))
        mean, scale = held["mean"], 1.0 / np.sqrt(held["var"] + LEAST)
    return Hints(activation, output, ends[0], ends[1], prefix, mean, scale)


def check(found: Layers, recorded: Path, name: str) -> float:
    """The largest difference from the actions in a file of recordings. Raises BadFile: they differ,
    or it holds none; BadShape: of other sizes."""
    held = _arrays(recorded, ("obs", "action"))
    return layers.check(found, held["obs"], held["action"], name)


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: np.asarray(held[name], float) for name in names}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadFile(
            f"{path} holds no arrays {' and '.join(names)} (.npz): {type(error).__name__}"
        ) from None


def make_zoo(
    found: Sequence[Layers],
    family: Family,
    contexts: Float[np.ndarray, "x c"],
    names: Sequence[str],
) -> Zoo:
    """One expert a context, its return measured here.

    Raises:
        BadShape: policies that differ, or do not fit the family.
        BadSetting: two of one context.
    """
    contexts = family.context.check(contexts)
    if len(np.unique(contexts, axis=0)) != len(contexts):
        raise BadSetting("two files for one context; a zoo has one expert each")
    made = layers.policies(found)
    if (made.spec.obs, made.spec.action) != (family.obs_size, family.action_size):
        raise BadShape(
            f"these policies take {made.spec.obs} observations and give {made.spec.action} "
            f"actions; {family.name} has {family.obs_size} and {family.action_size}"
        )
    x = len(contexts)
    return Zoo(
        spec=made.spec,
        family=family,
        weights=made.weights,
        expert=np.arange(x),
        updates=np.zeros(x, int),
        final=np.ones(x, bool),
        returns=returns(made, family, contexts, EPISODES).mean(axis=1).astype(np.float32),
        contexts=contexts,
        provenance={"made_by": "zoo import", "files": list(names), "start": "unknown"},
    )


def aligned(zoo: Zoo) -> tuple[Zoo, str | None]:
    """The zoo with its experts' hidden units in one order, and what interpolation is worth before
    and after, in one line."""
    if len(zoo.contexts) < 2:
        return zoo, None
    made = align.align_chain(zoo)
    before, after = (_between(one) for one in (zoo, made))
    own = float(np.nanmean(zoo.returns))
    text = f"half way between neighbors, mixed weights return {before:.1f}, aligned {after:.1f}; "
    return made, f"{text}the experts {own:.1f}"


def worth(zoo: Zoo) -> str | None:
    """The same without alignment."""
    if len(zoo.contexts) < 2:
        return None
    own = float(np.nanmean(zoo.returns))
    found = f"half way between neighbors, mixed weights return {_between(zoo):.1f}"
    return f"{found}; the experts {own:.1f}"


def _between(zoo: Zoo) -> float:
    """The mean return of interpolated policies half way between each expert and its nearest."""
    gaps = zoo.family.context.distance(zoo.contexts, zoo.contexts)
    np.fill_diagonal(gaps, np.inf)
    pairs = {tuple(sorted((i, int(j)))) for i, j in enumerate(gaps.argmin(axis=1))}
    rows = np.array(sorted(pairs))
    encoded = zoo.family.context.encode(zoo.contexts)
    middle = zoo.family.context.decode(encoded[rows].mean(axis=1))
    made = lookup.linear(zoo).generate(zoo.family.context.check(middle))
    return float(returns(made, zoo.family, middle, EPISODES).mean())
