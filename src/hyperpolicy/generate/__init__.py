"""Generators: contexts or demonstrations → the weights of policies.

`load("cheetah-vel")` opens a shipped one. Submodules load when they are first used.
"""

from importlib import import_module

_MEMBERS = ("Generator", "load", "shipped")
_MODULES = (
    "align",
    "autoencoder",
    "behavior",
    "behavior_embedding",
    "conditioned",
    "critics",
    "demonstrated",
    "genhyper",
    "hypformer",
    "hyplatent",
    "interpolate",
    "legacy",
    "make_an_agent",
    "pca",
    "regression",
    "residual",
    "tune",
)


def __getattr__(name: str):
    if name in _MEMBERS:
        return getattr(import_module("hyperpolicy.generate.generator"), name)
    if name in _MODULES:
        return import_module(f"hyperpolicy.generate.{name}")
    raise AttributeError(f"module 'hyperpolicy.generate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_MEMBERS + _MODULES)
