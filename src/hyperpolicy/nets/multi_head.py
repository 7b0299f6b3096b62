"""One body and a head for each task; or, without a body, a network for each task.

Heads are mtrl's, two layers with ReLU between them (`head=(400,)`), or one linear layer as in
Meta-World's own multi-head SAC (`head=()`).
"""

from dataclasses import dataclass

import equinox as eqx
import jax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size
from hyperpolicy.nets.mlp import Mlp
from hyperpolicy.types import Key, Task


@dataclass(frozen=True)
class MultiHeadConfig(Bounded):
    """Sizes of body and heads."""

    body: tuple[Size, ...] = (400, 400, 400)
    """Units of each layer of the body; () for networks that share nothing."""
    head: tuple[Size, ...] = ()
    """Units of each hidden layer of a head."""

    def make(self, tasks: int, i: int, o: int, key: Key) -> "MultiHead":
        """A fresh network from i to o numbers for `tasks` tasks."""
        key_body, key_heads = jax.random.split(key)
        wide = self.body[-1] if self.body else i
        one = lambda k: Mlp.init([wide, *self.head, o], k)  # noqa: E731
        heads = jax.vmap(one)(jax.random.split(key_heads, tasks))
        return MultiHead(Mlp.init([i, *self.body], key_body) if self.body else None, heads)


class MultiHead(eqx.Module):
    """A body, and a head for each task."""

    body: Mlp | None
    heads: Mlp
    """One a task, stacked on axis 0."""

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input of one task; only its head is computed."""
        return self.merge(task)(x)

    def merge(self, task: Task) -> Mlp:
        """The plain network of one task."""
        head = jax.tree.map(lambda leaf: leaf[task], self.heads)
        return head if self.body is None else Mlp([*self.body.layers, *head.layers])
