"""A policy for many tasks: an encoder and a trunk, as one network and as a flat vector.

s, z = encoder(observation, task)        out = trunk([s ; action ; z], task)
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Size
from hyperpolicy.errors import BadFile, BadSetting
from hyperpolicy.nets.encoders import BODIES, Encoder, EncoderConfig, Table, Told
from hyperpolicy.nets.fold import fold_layer
from hyperpolicy.nets.mlp import Linear, Mlp, unravel
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.nets.trunks import TRUNKS, Trunk, hidden
from hyperpolicy.types import Key, Task


# --- One network --------------------------------------------------------------------------
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


# --- As JSON ------------------------------------------------------------------------------


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
