"""Generators: contexts or demonstrations → the weights of policies.

`load("cheetah-vel")` opens a shipped one, `fit(config, zoo)` makes one; `kinds` lists what there
is. Pages load when they are first used.
"""

from importlib import import_module

_MEMBERS = {
    "Generator": "generator",
    "load": "generator",
    "shipped": "generator",
    "fit": "fitting",
    "fit_seeds": "fitting",
}


def __getattr__(name: str):
    if name in _MEMBERS:
        return getattr(import_module(f"hyperpolicy.generate.{_MEMBERS[name]}"), name)
    raise AttributeError(f"module 'hyperpolicy.generate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_MEMBERS)
