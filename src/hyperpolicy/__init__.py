"""hyperpolicy: generators that write the weights of reinforcement-learning policies.

    family    = hp.family("cheetah-vel")
    generator = hp.load("cheetah-vel")
    policies  = generator.generate([[0.31], [2.17]], seed=0)

Modules load when they are first used, so that importing the package is cheap.
"""

from hyperpolicy import interrupts as _interrupts

_interrupts.prepare()

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from hyperpolicy import devices as _devices
from hyperpolicy import opengl as _opengl
from hyperpolicy import registration as _registration

_devices.prepare()
_opengl.prepare()
for _family, _horizon_steps in _registration.SHIPPED.items():
    _registration.register(_family, _horizon_steps)

try:
    __version__ = version("hyperpolicy")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0.0.0"

_MEMBERS = {
    "family": "hyperpolicy.envs:family",
    "Contexts": "hyperpolicy.data.given:Contexts",
    "Demonstrations": "hyperpolicy.data.demonstrations:Demonstrations",
    "Prompts": "hyperpolicy.data.prompts:Prompts",
    "Episodes": "hyperpolicy.data.episodes:Episodes",
    "Worlds": "hyperpolicy.envs:Worlds",
    "Policies": "hyperpolicy.policies:Policies",
    "PolicySpec": "hyperpolicy.nets.policy:PolicySpec",
    "SacConfig": "hyperpolicy.rl.sac:SacConfig",
    "Zoo": "hyperpolicy.zoo:Zoo",
    "load": "hyperpolicy.generate:load",
}
_MODULES = "envs nets rl fleet evaluate generate baselines recipes errors zoo data rollout".split()


def __getattr__(name: str):
    if name in _MEMBERS:
        module, _, member = _MEMBERS[name].partition(":")
        return getattr(import_module(module), member)
    if name in _MODULES:
        return import_module(f"hyperpolicy.{name}")
    raise AttributeError(f"module 'hyperpolicy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_MEMBERS, *_MODULES, "__version__"])
