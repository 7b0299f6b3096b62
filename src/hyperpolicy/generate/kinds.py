"""The table of kinds: every part a generator can be made of, by the name that its files use.

A new part is a page of its own and one line here. Pages are imported when they are first needed.
"""

from importlib import import_module
from typing import Any, NamedTuple

from hyperpolicy.errors import BadFile


class Kind(NamedTuple):
    page: str
    """A module; with a leading point one of this package."""
    part: str
    """The class of the reader, writer or codec."""
    config: str | None = None
    """The class of the settings with which `fit` makes one from a zoo alone."""


KINDS = {
    "context": Kind(".parts", "PlainContext"),
    "encoded-context": Kind(".parts", "EncodedContext"),
    "varying-context": Kind(".parts", "VaryingContext"),
    "rewarded-context": Kind(".writers.hindsight", "RewardContext"),
    "demonstration": Kind(".demonstration", "DemonstrationReader"),
    "prompt": Kind(".prompt", "PromptReader"),
    "sentence": Kind(".sentence", "SentenceReader"),
    "symmetric-context": Kind(".symmetric", "SymmetricContext"),
    "identity": Kind(".parts", "Identity"),
    "pca": Kind(".codecs", "Pca"),
    "autoencoder": Kind(".codecs", "Autoencoder"),
    "scaled": Kind(".codecs", "ScaledCoder"),
    "nearest": Kind(".writers.lookup", "Nearest"),
    "linear": Kind(".writers.lookup", "Interpolated"),
    "regression": Kind(".writers.regression", "Regression", "RegressionConfig"),
    "hyplatent": Kind(".writers.hyplatent", "HypLatent", "HypLatentConfig"),
    "genhyper": Kind(".writers.genhyper", "GenHyper", "GenHyperConfig"),
    "conditioned": Kind(".writers.conditioned", "Conditioned", "DistillConfig"),
    "residual": Kind(".writers.residual", "Residual", "ResidualConfig"),
    "hindsight": Kind(".writers.hindsight", "Hindsight", "HindsightConfig"),
    "hypformer": Kind(".writers.hypformer", "HypFormer"),
    "make-an-agent": Kind(".writers.make_an_agent", "MakeAnAgent", "MakeAnAgentConfig"),
    "symmetric": Kind(".symmetric", "Symmetric"),
    "hyperzero": Kind(".writers.hyperzero", "HyperZero", "HyperZeroConfig"),
    "hypogen": Kind(".writers.hypogen", "HyPoGen", "HyPoGenConfig"),
    "conditioned-clone": Kind(
        ".writers.conditioned_clone", "ConditionedClone", "ConditionedCloneConfig"
    ),
    "maml": Kind(".writers.maml", "Maml", "MamlConfig"),
}


def part(name: str) -> type[Any]:
    """The class of the part called `name`; raises BadFile where this version has none."""
    if name not in KINDS:
        raise BadFile(
            f"there is no part {name!r} of generators; this version has: {', '.join(KINDS)}; name "
            "a page of your own with --import FILE"
        )
    return _member(KINDS[name].page, KINDS[name].part)


def configs() -> dict[str, type[Any]]:
    """The settings with which `fit` makes a generator from a zoo, by their own names."""
    found = [_member(kind.page, kind.config) for kind in KINDS.values() if kind.config]
    return {config.name: config for config in found}


def _member(page: str, name: str) -> type[Any]:
    return getattr(import_module(page, "hyperpolicy.generate"), name)
