"""What acts, or judges, for many tasks: an encoder of what is seen and of the task, and a trunk.

    s, z = encoder(observation, task)        out = trunk([s ; action ; z], task)

A policy's encoder is that of its critics (mtrl: "tied"); trunks are theirs alone. What a trunk is
told of the task is z, after what is seen: nothing, a one-hot vector, a learned embedding, or one of
a sentence. The networks with weights of tasks of their own take the task's number besides.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Number, Size, Sizes
from hyperpolicy.errors import BadFile, BadSetting
from hyperpolicy.nets.bronet import BroNetConfig
from hyperpolicy.nets.care import Mixture, MixtureConfig, TaskEncoder
from hyperpolicy.nets.fold import fold_layer
from hyperpolicy.nets.mlp import Linear, Mlp, unravel
from hyperpolicy.nets.modulated import Modulated, ModulatedConfig
from hyperpolicy.nets.moore import MooreConfig
from hyperpolicy.nets.multi_head import MultiHeadConfig
from hyperpolicy.nets.paco import PacoConfig
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.nets.ptsl import PtslConfig
from hyperpolicy.nets.soft_modules import SoftModulesConfig, SoftModulesOfMtrlConfig
from hyperpolicy.types import Key, Task


# --- Trunks -------------------------------------------------------------------------------
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


# --- Encoders -----------------------------------------------------------------------------
@dataclass(frozen=True)
class FeedForwardConfig(Bounded):
    """An encoder of what is seen, the same for all tasks."""

    layers: Sizes = (50, 50, 50)
    """Units of each layer; the last gives s."""

    @property
    def width(self) -> int:
        """Numbers in s."""
        return self.layers[-1]

    def make(self, i: int, key: Key) -> Mlp:
        """A fresh encoder of i numbers."""
        return Mlp.init([i, *self.layers], key, Linear.xavier)


Told = Literal["none", "one-hot", "embedding", "unit-embedding", "language"]
Table = tuple[tuple[Number, ...], ...] | None


@dataclass(frozen=True)
class EncoderConfig(Bounded):
    """What is told of the task, and what becomes of what is seen."""

    told: Told = "none"
    """z: nothing; a one-hot vector; a learned embedding, by a network or (`unit-embedding`) as it
    is, of length 1; the embedding of a sentence, by a network."""
    width: Size = 50
    """Numbers in an embedding."""
    body: FeedForwardConfig | MixtureConfig | ModulatedConfig | None = None
    """What makes s of an observation; None: nothing is changed."""
    language: Table = None
    """For `language`: a sentence's embedding for each task."""

    def __post_init__(self):
        super().__post_init__()
        if (self.told == "language") != (self.language is not None):
            raise BadSetting(
                f"told={self.told!r} and {'a' if self.language else 'no'} table of sentences: give "
                "`language` its rows, one a task, and no other way of telling any"
            )
        if isinstance(self.body, MixtureConfig | ModulatedConfig) and self.told in (
            "none",
            "one-hot",
        ):
            kind = type(self.body).__name__
            raise BadSetting(f"{kind} wants an embedding of the task; told={self.told!r} has none")

    def numbers(self, tasks: int) -> int:
        """Numbers in z."""
        return {"none": 0, "one-hot": tasks}.get(self.told, self.width)

    def seen(self, o: int) -> int:
        """Numbers in s."""
        return o if self.body is None else self.body.width

    def make(self, tasks: int, o: int, key: Key) -> "Encoder":
        """A fresh encoder of o numbers. Raises BadSetting: a table of other tasks; as the body."""
        key_task, key_body = jax.random.split(key)
        z = self.numbers(tasks)
        if isinstance(self.body, MixtureConfig | ModulatedConfig):
            body: Any = self.body.make(tasks, o, z, key_body)
        else:
            body = None if self.body is None else self.body.make(o, key_body)
        return Encoder(self._task(tasks, key_task), body, tasks if self.told == "one-hot" else 0)

    def _task(self, tasks: int, key: Key) -> "TaskEncoder | UnitEmbedding | None":
        if self.told == "embedding":
            return TaskEncoder.learned(tasks, self.width, key)
        if self.told == "unit-embedding":
            return UnitEmbedding(jax.random.normal(key, (tasks, self.width)))
        if self.language is None:
            return None
        if len(self.language) != tasks:
            raise BadSetting(f"a table of {len(self.language)} sentences for {tasks} tasks")
        return TaskEncoder.language(jnp.asarray(self.language), self.width, key)


class UnitEmbedding(eqx.Module):
    """A learned vector for each task, of length 1."""

    rows: Float[Array, "k z"]

    def __call__(self, task: Task) -> Float[Array, " z"]:
        row = self.rows[task]
        return row / jnp.linalg.norm(row)


class Encoder(eqx.Module):
    """s and z."""

    task: TaskEncoder | UnitEmbedding | None
    body: Mlp | Mixture | Modulated | None
    one_hot: int = eqx.field(static=True)
    """Tasks of a one-hot vector, 0 for none."""

    def __call__(
        self, obs: Float[Array, " o"], task: Task
    ) -> tuple[Float[Array, " s"], Float[Array, " z"]]:
        """Of one observation of one task."""
        z = self.told(task)
        if self.body is None:
            return obs, z
        return (self.body(obs) if isinstance(self.body, Mlp) else self.body(obs, z, task)), z

    def told(self, task: Task) -> Float[Array, " z"]:
        """z."""
        if self.one_hot:
            return jax.nn.one_hot(task, self.one_hot)
        return jnp.zeros(0) if self.task is None else self.task(task)

    def merge(self, task: Task) -> list[Linear]:
        """The layers, with ReLU between them and none after the last, that give s for one task; []
        where s is the observation. Raises BadSetting: its mixture changes with what is seen."""
        if isinstance(self.body, Mixture):
            return self.body.merge(self.told(task), task)
        if isinstance(self.body, Modulated):
            return self.body.merge(self.told(task))
        return [] if self.body is None else self.body.layers


# --- Both ---------------------------------------------------------------------------------
class MultiTaskNet(eqx.Module):
    """An encoder and a trunk."""

    encoder: Encoder
    trunk: Any

    def __call__(self, obs: Float[Array, " o"], task: Task) -> Float[Array, " n"]:
        """The output for one observation of one task."""
        return through(self.trunk, *self.encoder(obs, task), task)

    def merge(self, task: Task) -> Mlp:
        """The plain network of observations that does the same for one task. Raises BadSetting: a
        network whose weights depend on what is seen is no plain one at any task."""
        if not hasattr(self.trunk, "merge"):
            raise BadSetting(
                f"{type(self.trunk).__name__} is no plain network at any task; networks that can "
                "be merged: plain, with heads, PaCo, PTSL without residuals"
            )
        trunk, z = self.trunk.merge(task), self.encoder.told(task)
        first, *rest = trunk.layers
        first = fold_layer(first, z, first.weight.shape[0] - len(z))
        before = self.encoder.merge(task)
        if before:
            last = before[-1]
            weight = last.weight @ first.weight
            first = Linear(weight, last.bias @ first.weight + first.bias)
        return Mlp([*before[:-1], first, *rest])


def through(trunk, s: Float[Array, " s"], z: Float[Array, " z"], task: Task, action=None):
    """A trunk's output [n] for [s ; action ; z]."""
    seen = [s, z] if action is None else [s, action, z]
    return trunk(jnp.concatenate(seen), task)


@dataclass(frozen=True)
class MultiTaskSpec:
    """Sizes of a policy for many tasks: everything needed to read its flat vector. A trunk gives
    μ, then the logarithm of σ before it is squashed."""

    obs: int
    action: int
    tasks: int
    encoder: EncoderConfig
    trunk: Trunk

    def init(self, key: Key) -> MultiTaskNet:
        """A policy with fresh weights."""
        key_encoder, key_trunk = jax.random.split(key)
        encoder = self.encoder.make(self.tasks, self.obs, key_encoder)
        return MultiTaskNet(encoder, self.trunk_of(self.action * 2, key_trunk))

    def trunk_of(self, o: int, key: Key, actions: int = 0):
        """A fresh trunk of so many outputs, which sees so many numbers of an action."""
        i = self.encoder.seen(self.obs) + actions + self.encoder.numbers(self.tasks)
        return self.trunk.make(self.tasks, i, o, key)

    @property
    def size(self) -> int:
        """P, the length of a flat vector, tables of sentences included."""
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    @property
    def hidden(self) -> tuple[int, ...]:
        """Units of the trunk's widest layers."""
        return hidden(self.trunk)

    def flatten(self, net: MultiTaskNet) -> Float[Array, " p"]:
        """The flat vector of a policy."""
        return ravel_pytree(net)[0]

    def unflatten(self, weights: Float[Array, " p"]) -> MultiTaskNet:
        """The policy of a flat vector."""
        return unravel(MultiTaskSpec.init, self)(weights)

    def record(self) -> dict:
        """As JSON, read back by `of`."""
        return {
            "obs": self.obs,
            "action": self.action,
            "tasks": self.tasks,
            "encoder": asdict(self.encoder) | {"body": named(self.encoder.body)},
            "trunk": named(self.trunk),
        }

    @classmethod
    def of(cls, record: dict) -> "MultiTaskSpec":
        """What `record` wrote. Raises BadFile: something else."""
        try:
            encoder = record["encoder"]
            facts = [encoder[name] for name in ("told", "width", "language")]
            told, width, language = msgspec.convert(facts, tuple[Told, Size, Table])
            cfg = EncoderConfig(told, width, _read(encoder["body"], BODIES), language)
            given = [record[name] for name in ("obs", "action", "tasks")]
            obs, action, tasks = msgspec.convert(given, tuple[Size, Size, Size])
            trunk = _read(record["trunk"], TRUNKS)
        except (KeyError, TypeError, ValueError, msgspec.ValidationError, BadSetting) as error:
            raise BadFile(f"this is no description of a policy for many tasks: {error}") from None
        if trunk is None:
            raise BadFile("this is no description of a policy for many tasks: no trunk")
        return cls(obs, action, tasks, cfg, trunk)

    def plain(self, net: MultiTaskNet, task: int) -> PolicyNet:
        """The deterministic policy of one task. Raises BadSetting: as `MultiTaskNet.merge`."""
        *layers, last = net.merge(task).layers
        mean = Linear(last.weight[:, : self.action], last.bias[: self.action])
        return PolicyNet(layers, mean, None, ("relu",) * len(layers))

    def plain_spec(self) -> PolicySpec:
        """The specification of the plain policies. Raises BadSetting: as `plain`."""
        found = jax.eval_shape(lambda: self.plain(self.init(jax.random.key(0)), 0))
        widths = tuple(layer.bias.shape[0] for layer in found.hidden)
        return PolicySpec(
            self.obs, self.action, widths, ("relu",) * len(widths), head="deterministic"
        )


def hidden(trunk: Trunk) -> tuple[int, ...]:
    """Units of a trunk's layers, as far as its configuration names them."""
    if isinstance(trunk, MultiHeadConfig):
        return (*trunk.body, *trunk.head) or (1,)
    if isinstance(trunk, SoftModulesConfig | SoftModulesOfMtrlConfig | BroNetConfig):
        return (trunk.width,)
    return trunk.hidden


# --- As JSON ------------------------------------------------------------------------------
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
BODIES: dict[str, type] = {
    "feed-forward": FeedForwardConfig,
    "mixture": MixtureConfig,
    "modulated": ModulatedConfig,
}


def named(config) -> dict | None:
    """A part's configuration with its name."""
    if config is None:
        return None
    kinds = {kind: name for name, kind in (TRUNKS | BODIES).items()}
    return {"kind": kinds[type(config)], **asdict(config)}


def _read(record: dict | None, kinds: dict[str, type]):
    if record is None:
        return None
    facts = dict(record)
    return msgspec.convert(facts, kinds[facts.pop("kind")])


# --- Over many rows -----------------------------------------------------------------------
class Rows(NamedTuple):
    """How b rows are told apart by task."""

    task: Int[Array, " g"]
    """Of each group of b/g rows: a task's rows together, or every row for itself."""

    def over(self, function: Callable, *rows: Float[Array, "b ..."]):
        """`function(…, task)` of every row: a task's own weights are fetched once a group."""
        g, b = len(self.task), len(rows[0])
        parts = [x.reshape(g, b // g, *x.shape[1:]) for x in rows]
        inner = jax.vmap(function, (*(0 for _ in rows), None))
        found = jax.vmap(inner)(*parts, self.task)
        return jax.tree.map(lambda x: x.reshape(b, *x.shape[2:]), found)
