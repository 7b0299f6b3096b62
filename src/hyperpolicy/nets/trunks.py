"""Trunks: what acts, or judges, for many tasks, behind an encoder.

`trunk([s ; action ; z], task)`: what the encoder makes of an observation, an action where one is
judged, and what is told of the task. Networks with weights of tasks of their own take the task's
number besides.
"""

from dataclasses import dataclass

import equinox as eqx
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Sizes
from hyperpolicy.nets.bronet import BroNetConfig
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.moore import MooreConfig
from hyperpolicy.nets.multi_head import MultiHeadConfig
from hyperpolicy.nets.paco import PacoConfig
from hyperpolicy.nets.ptsl import PtslConfig
from hyperpolicy.nets.soft_modules import SoftModulesConfig, SoftModulesOfMtrlConfig
from hyperpolicy.types import Key, Task


@dataclass(frozen=True)
class PlainConfig(Bounded):
    """A plain network, the same for all tasks."""

    hidden: Sizes = (400, 400, 400)
    """Units of each hidden layer."""

    def make(self, tasks: int, i: int, o: int, key: Key) -> "Plain":
        """A fresh network from i to o numbers."""
        return Plain(Mlp.init([i, *self.hidden, o], key, Linear.xavier))


class Plain(eqx.Module):
    """A network that is not asked for a task."""

    net: Mlp

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input."""
        return self.net(x)

    def merge(self, task: Task) -> Mlp:
        """The network itself."""
        return self.net


Trunk = (
    PlainConfig
    | MultiHeadConfig
    | PtslConfig
    | PacoConfig
    | MooreConfig
    | SoftModulesConfig
    | SoftModulesOfMtrlConfig
    | BroNetConfig
)
"""A configuration whose `make(tasks, i, o, key)` gives a network `net(x [i], task) → [o]`."""
TRUNKS: dict[str, type] = {
    "plain": PlainConfig,
    "multi-head": MultiHeadConfig,
    "ptsl": PtslConfig,
    "paco": PacoConfig,
    "moore": MooreConfig,
    "soft-modules": SoftModulesConfig,
    "soft-modules-mtrl": SoftModulesOfMtrlConfig,
    "bronet": BroNetConfig,
}
"""Their names in files."""


def hidden(trunk: Trunk) -> tuple[int, ...]:
    """Units of a trunk's layers, as far as its configuration names them."""
    if isinstance(trunk, MultiHeadConfig):
        return (*trunk.body, *trunk.head) or (1,)
    if isinstance(trunk, SoftModulesConfig | SoftModulesOfMtrlConfig | BroNetConfig):
        return (trunk.width,)
    return trunk.hidden
