"""CARE: a sentence about the task chooses among encoders of what is seen.

Sodhani, Zhang and Pineau (2021), "Multi-Task Reinforcement Learning with Context-based
Representations", arXiv:2102.06177; as in facebookresearch/mtrl, where it differs from the paper. A
task's embedding z is made of its row in a table, learned or of a language model; K encoders of what
is seen are mixed with weights

    α = softmax(A(z))          (`attention`, mtrl)
    α_j = softmax_j⟨e_j, z⟩    (`dot-product`, the paper; without a gradient to z)

and what follows is told [Σ_j α_j e_j ; z]. Departures: in mtrl actor and critics have an attention
network each and nothing trains the actor's; here they share one (`untrained` gives the actor's).
"""

from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Positive, Size, Whole
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.types import Key, Task

Mode = Literal["attention", "dot-product", "gate", "ensemble", "identity", "clusters"]


# --- Tasks' embeddings --------------------------------------------------------------------
class Table(eqx.Module):
    """A vector for each task that is not trained, such as a sentence's embedding."""

    rows: Float[Array, "k l"]

    def __call__(self, task: Task) -> Float[Array, " l"]:
        """The row of a task, without its negative numbers."""
        return jax.nn.relu(jax.lax.stop_gradient(self.rows)[task])


class Embedding(eqx.Module):
    """A vector for each task that is trained."""

    rows: Float[Array, "k l"]

    def __call__(self, task: Task) -> Float[Array, " l"]:
        """The row of a task, without its negative numbers."""
        return jax.nn.relu(self.rows[task])


class TaskEncoder(eqx.Module):
    """z of a task: its row, and a network."""

    row: Table | Embedding
    net: Mlp

    @classmethod
    def learned(cls, tasks: int, width: int, key: Key) -> "TaskEncoder":
        """Of rows that are learned, standard normal at first."""
        key_rows, key_net = jax.random.split(key)
        rows = Embedding(jax.random.normal(key_rows, (tasks, width)))
        return cls(rows, Mlp.init([width] * 4, key_net, Linear.xavier))

    @classmethod
    def language(cls, table: Float[Array, "k l"], width: int, key: Key) -> "TaskEncoder":
        """Of the rows of a table, by layers of twice the width and of the width before those of a
        learned one."""
        sizes = [table.shape[1], 2 * width, *[width] * 4]
        return cls(Table(table), Mlp.init(sizes, key, Linear.xavier))

    def __call__(self, task: Task) -> Float[Array, " z"]:
        return self.net(self.row(task))


def trained(net) -> int:
    """How many numbers of a network are trained: all but tables'."""
    parts = jax.tree.leaves(net, is_leaf=lambda part: isinstance(part, Table))
    return sum(part.size for part in parts if not isinstance(part, Table))


# --- Encoders, mixed ----------------------------------------------------------------------
@dataclass(frozen=True)
class MixtureConfig(Bounded):
    """A mixture of encoders of what is seen."""

    mode: Mode = "attention"
    """Who weights the encoders: a network told the task (`attention`; `gate`: its `top` alone), the
    encoders' products with the task's embedding, nobody (`ensemble`: all alike; `identity`: task k
    has encoder k), or a list (`clusters`)."""
    experts: Size = 4
    """K, the number of encoders (mtrl's commands: 4; the paper: 6 for MT10, 10 for MT50)."""
    width: Size = 50
    """Units of encoders, and numbers of what they give."""
    temperature: Positive = 1.0
    """What the logits of weights are divided by."""
    top: Size = 2
    """Encoders that `gate` keeps."""
    clusters: tuple[tuple[Whole, ...], ...] = ()
    """For `clusters`: each task's encoders, which are averaged."""

    def make(self, tasks: int, i: int, z: int, key: Key) -> "Mixture":
        """Fresh encoders of i numbers, for tasks with embeddings of z numbers. Raises BadSetting:
        fewer encoders than tasks in `identity` or than `top`, clusters of other encoders or
        tasks, an embedding of another width for a dot product."""
        self._check(tasks, z)
        key_experts, key_attention = jax.random.split(key)
        one = lambda k: Mlp.init([i, self.width, self.width], k, Linear.xavier)  # noqa: E731
        encoders = jax.vmap(one)(jax.random.split(key_experts, self.experts))
        attention = None
        if self.mode in ("attention", "gate"):
            attention = Mlp.init([z, z, z, self.experts], key_attention, Linear.xavier)
        return Mixture(encoders, attention, self)

    def _check(self, tasks: int, z: int) -> None:
        k = self.experts
        if self.mode == "identity" and k != tasks:
            raise BadSetting(f"mode='identity' wants an encoder a task: {k} for {tasks} tasks")
        if self.mode == "gate" and self.top > k:
            raise BadSetting(f"top={self.top} of {k} encoders")
        if self.mode == "dot-product" and z != self.width:
            raise BadSetting(
                f"mode='dot-product' multiplies encodings of {self.width} numbers with embeddings "
                f"of {z}; give the same width"
            )
        if self.mode != "clusters":
            return
        named = {j for cluster in self.clusters for j in cluster}
        if len(self.clusters) != tasks or not all(self.clusters) or named - set(range(k)):
            raise BadSetting(
                f"clusters={self.clusters}: name, for each of {tasks} tasks, one or more of the "
                f"encoders 0 to {k - 1}"
            )


class Mixture(eqx.Module):
    """Σ_j α_j e_j."""

    encoders: Mlp
    """K of them, stacked on axis 0."""
    attention: Mlp | None
    config: MixtureConfig = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, " i"], z: Float[Array, " z"], task: Task
    ) -> Float[Array, " w"]:
        """The encoding of one input of one task, whose embedding is z."""
        encoded = jax.vmap(lambda encoder: encoder(x))(self.encoders)
        return self.weights(encoded, z, task) @ encoded

    def weights(
        self, encoded: Float[Array, "j w"], z: Float[Array, " z"], task: Task
    ) -> Float[Array, " j"]:
        """α, which sums to 1."""
        cfg = self.config
        if cfg.mode == "ensemble":
            return jnp.full(cfg.experts, 1 / cfg.experts)
        if cfg.mode == "identity":
            return jax.nn.one_hot(task, cfg.experts)
        if cfg.mode == "clusters":
            return jnp.asarray(self._shares())[task]
        if cfg.mode == "dot-product":
            return jax.nn.softmax(encoded @ jax.lax.stop_gradient(z) / cfg.temperature)
        assert self.attention is not None
        if cfg.mode == "attention":
            return jax.nn.softmax(self.attention(z) / cfg.temperature)
        logits = self.attention(jax.lax.stop_gradient(z)) / cfg.temperature
        least = jnp.sort(logits)[-cfg.top]
        return jax.nn.softmax(jnp.where(logits >= least, logits, -jnp.inf))

    def merge(self, z: Float[Array, " z"], task: Task) -> list[Linear]:
        """The two plain layers that do the same for one task. Raises BadSetting: weights that
        change with what is seen."""
        if self.config.mode == "dot-product":
            raise BadSetting(
                "mode='dot-product' weights encoders by what is seen; such a network is no plain "
                "one at any task"
            )
        first, last = self.encoders.layers
        width = self.config.width
        shares = self.weights(jnp.zeros((self.config.experts, width)), z, task)
        wide = Linear(jnp.concatenate(list(first.weight), axis=1), first.bias.ravel())
        mixed = (shares[:, None, None] * last.weight).reshape(-1, width)
        return [wide, Linear(mixed, shares @ last.bias)]

    def _shares(self) -> list[list[float]]:
        """α of each task, from the clusters."""
        k = range(self.config.experts)
        return [[(j in c) / len(c) for j in k] for c in self.config.clusters]


def untrained(mixture: Mixture, key: Key) -> Mixture:
    """The mixture as mtrl's actor has it: the same encoders, and an attention network that stays as
    it was drawn, for no optimizer ever gets it."""
    if mixture.attention is None:
        return mixture
    sizes = [len(mixture.attention.layers[0].weight)]
    sizes += [len(layer.bias) for layer in mixture.attention.layers]
    fresh = Mlp.init(sizes, key, Linear.xavier)
    return eqx.tree_at(lambda m: m.attention, mixture, jax.lax.stop_gradient(fresh))
