"""Projected task-specific layers: a plain network, and for each task a small change of every layer.

Somerville Roberts and Di (2023), "Projected Task-Specific Layers for Multi-Task Reinforcement
Learning", arXiv:2309.08776; as in the released code, where it differs from the paper. One layer
from a to b numbers, with branches of D numbers, for task t:

    x′ = P x        z = g(x′, x′ and y′ of the layer before)        y′ = z W_t + c_t
    y = f(S x + s + U y′)

S is shared by all tasks. P and U are shared by the layers (`shared`) or each layer's own; one that
would cost more numbers than it saves is left out, and W_t then reads x, or writes y, itself. g is
x′ alone (`none`), x′ + x″ + y″ (`sum`), a weighted sum with three numbers (`linear`), or
R [x′ ; x″ ; y″] (`project`), x″ and y″ being those of the layer before.

`init="ptsl"` is the released code's: P = U = R = 0, W ~ N(0, 1). Some variants then have branches
that no gradient ever reaches (`independent`, and `project`: tests/nets/test_ptsl.py shows which).
`init="safe"` has U = 0 alone, P orthogonal, W ~ N(0, 1/D), R = [I 0 0].
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size, Sizes
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets import orthogonal
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.types import Key, Task

Residual = Literal["none", "sum", "linear", "project"]


@dataclass(frozen=True)
class PtslConfig(Bounded):
    """Sizes of the network."""

    hidden: Sizes = (326, 326, 326)
    """Units of each hidden layer; where projections are shared all alike."""
    rank: Size = 50
    """D, the width of the tasks' branches."""
    shared: bool = True
    """Whether all layers share P and U."""
    residual: Residual = "none"
    """g, what a branch takes from that of the layer before."""
    init: Literal["ptsl", "safe"] = "ptsl"

    def __post_init__(self):
        super().__post_init__()
        if self.shared and len(set(self.hidden)) > 1:
            raise BadSetting(
                f"hidden={self.hidden} with shared projections; give layers of one width, or "
                "shared=False"
            )

    def make(self, tasks: int, i: int, o: int, key: Key) -> "Ptsl":
        """A fresh network from i to o numbers for `tasks` tasks. Raises BadSetting: residuals of
        branches that are not all of width D."""
        sizes = list(pairwise([i, *self.hidden, o]))
        plans = [self._plan(n, tasks, a, b) for n, (a, b) in enumerate(sizes)]
        self._check_widths(plans, i)
        key_down, *keys = jax.random.split(key, 1 + len(plans))
        wide = self.hidden[0]
        down = self._down(wide, key_down) if self.shared else None
        up = jnp.zeros((self.rank, wide)) if self.shared else None
        rows = zip(sizes, plans, keys, strict=True)
        layers = [self._layer(tasks, *ends, plan, own) for ends, plan, own in rows]
        return Ptsl(layers, down, up, self._mixing(), self.residual)

    def _plan(self, n: int, tasks: int, a: int, b: int) -> "Branch":
        """Layer n's branch: which projections are its own, and its widths. A projection is left out
        where W_t alone is smaller."""
        d, last = self.rank, n == len(self.hidden)
        outside_down, outside_up = self.shared and n > 0, self.shared and not last
        own_down = not outside_down and a * d + tasks * (d + 1) * d <= tasks * (a + 1) * d
        i = d if own_down or outside_down else a
        own_up = not outside_up and b * d + tasks * (i + 1) * d <= tasks * (i + 1) * b
        return Branch(i, d if own_up or outside_up else b, own_down, own_up)

    def _check_widths(self, plans: list["Branch"], i: int) -> None:
        d = self.rank
        ends = [plan.i for plan in plans] + [plan.o for plan in plans[:-1]]
        if self.residual == "none" or set(ends) == {d}:
            return
        raise BadSetting(
            f"residual={self.residual!r} adds branches of layers, which must all have the width "
            f"rank={d}; with {i} inputs the first layer's has {plans[0].i}. Give an encoder whose "
            f"output is wider than {d}, a smaller rank, or residual='none'"
        )

    def _layer(self, tasks: int, a: int, b: int, plan: "Branch", key: Key) -> "Layer":
        key_shared, key_down, key_task = jax.random.split(key, 3)
        weight = jax.random.normal(key_task, (tasks, plan.i, plan.o))
        if self.init == "safe":
            weight = weight * plan.i**-0.5
        down = self._down(a, key_down) if plan.own_down else None
        up = jnp.zeros((self.rank, b)) if plan.own_up else None
        shared = Linear.xavier(a, b, key_shared)
        return Layer(shared, down, up, weight, jnp.zeros((tasks, plan.o)))

    def _down(self, a: int, key: Key) -> Float[Array, "a d"]:
        if self.init == "ptsl":
            return jnp.zeros((a, self.rank))
        return orthogonal.draw(key, (a, self.rank))

    def _mixing(self) -> Float[Array, "..."] | None:
        if self.residual == "linear":
            return jnp.full(3, 1 / 3)
        if self.residual == "project":
            d, zero = self.rank, self.init == "ptsl"
            return jnp.zeros((3 * d, d)) if zero else jnp.eye(3 * d, d)
        return None


class Branch(NamedTuple):
    """Widths of a layer's task-specific part, and which projections are its own."""

    i: int
    o: int
    own_down: bool
    own_up: bool


class Layer(eqx.Module):
    """One layer; a projection that is None is the network's, or left out."""

    shared: Linear
    down: Float[Array, "a d"] | None
    up: Float[Array, "d b"] | None
    weight: Float[Array, "k i o"]
    """W, for each task."""
    bias: Float[Array, "k o"]
    """c, for each task."""


class Ptsl(eqx.Module):
    """A network for k tasks."""

    layers: list[Layer]
    down: Float[Array, "h d"] | None
    """P of all layers but the first, where it is shared."""
    up: Float[Array, "d h"] | None
    """U of all layers but the last, where it is shared."""
    mixing: Float[Array, "..."] | None
    """a of `linear` or R of `project`."""
    residual: Residual = eqx.field(static=True)

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input of one task.

        Under `vmap` over inputs of one task and then over tasks, W_t is fetched once a task, and
        products are batched over tasks.
        """
        before = None
        for n, layer in enumerate(self.layers):
            down, up = self._projections(n)
            low = x if down is None else x @ down
            z = low if before is None else self._mixed(low, *before)
            changed = z @ layer.weight[task] + layer.bias[task]
            y = layer.shared(x) + (changed if up is None else changed @ up)
            before, x = (low, changed), jax.nn.relu(y)
        return y

    def merge(self, task: int) -> Mlp:
        """The plain network that does the same for one task: S + P W_t U, s + c_t U. Raises
        BadSetting: branches that take something from the layer before."""
        if self.residual != "none":
            raise BadSetting(
                f"a network with residual={self.residual!r} is no plain network at any task; only "
                "residual='none' can be merged"
            )
        merged = []
        for n, layer in enumerate(self.layers):
            down, up = self._projections(n)
            weight, bias = layer.weight[task], layer.bias[task]
            if down is not None:
                weight = down @ weight
            if up is not None:
                weight, bias = weight @ up, bias @ up
            merged.append(Linear(layer.shared.weight + weight, layer.shared.bias + bias))
        return Mlp(merged)

    def _projections(self, n: int):
        """P and U of layer n, its own or the network's."""
        layer = self.layers[n]
        down = self.down if n > 0 and layer.down is None else layer.down
        up = self.up if n < len(self.layers) - 1 and layer.up is None else layer.up
        return down, up

    def _mixed(self, low, low_before, changed_before) -> Float[Array, " d"]:
        """g."""
        if self.residual == "none":
            return low
        parts = jnp.stack([low, low_before, changed_before])
        if self.residual == "sum":
            return parts.sum(axis=0)
        assert self.mixing is not None
        return self.mixing @ parts if self.residual == "linear" else parts.ravel() @ self.mixing
