"""Soft Modularization: layers of modules, and a routing network that says for each task and
observation how much of each module's output goes to each module of the next layer.

Yang et al. (2020), "Multi-Task Reinforcement Learning with Soft Modularization", arXiv:2003.13661.
With e modules a layer, the observation's embedding f and the task's h, c = f ⊙ h:

    p¹ = D₁ ReLU(c)     p^{l+1} = D_{l+1} ReLU(U_l [p̂¹ … p̂^l] ⊙ c)     p̂ = softmax over sources
    g_i^{l+1} = ReLU(Σ_j p̂^l_{ij} W_j^l g_j^l)

`SoftModules` is the authors' released code, which departs from their paper: two layers lead from c
to the routing's width; a layer sees all routings before it; ReLU follows the weighted sum; a last
routing weights the last layer's modules; a linear layer ends the network.
`SoftModulesOfMtrl` is the version of facebookresearch/mtrl, by which CARE and PTSL are compared:
two layers of experts with one routing between them, and the mean of the last layer's experts.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Size
from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.types import Key, Task


def experts(e: int, i: int, o: int, key: Key, linear=Linear.xavier) -> Linear:
    """e linear layers from i to o numbers, stacked on axis 0."""
    return jax.vmap(lambda k: linear(i, o, k))(jax.random.split(key, e))


def mixed(weights: Float[Array, "e f"], rows: Float[Array, "f d"]) -> Float[Array, "e d"]:
    """`weights @ rows`, as a sum: of many such small products XLA makes a slow loop."""
    return jnp.sum(weights[..., None] * rows[None], axis=1)


# --- As mtrl has it -----------------------------------------------------------------------
@dataclass(frozen=True)
class SoftModulesOfMtrlConfig(Bounded):
    """Sizes of mtrl's version, which has two layers whatever it is asked for."""

    width: Size = 326
    """Units of an expert, and of the routing network."""
    experts: Size = 4
    """Experts of each layer."""
    told: Size = 50
    """Numbers of the task's embedding, the last of an input."""

    def make(self, tasks: int, i: int, o: int, key: Key) -> "SoftModulesOfMtrl":
        """A fresh network from i numbers, the last of which tell the task, to o. Raises BadSetting:
        fewer inputs than `told`."""
        e, h, z = self.experts, self.width, self.told
        i -= z
        if i < 1:
            raise BadSetting(f"told={z} numbers tell the task, of {i + z} inputs; give an encoder")
        keys = jax.random.split(key, 5)
        return SoftModulesOfMtrl(
            Linear.xavier(i, z, keys[0]) if i != z else None,
            experts(e, z, h, keys[1]),
            experts(e, h, o, keys[2]),
            Linear.xavier(z, h, keys[3]),
            Linear.xavier(h, e * e, keys[4]),
        )


class SoftModulesOfMtrl(eqx.Module):
    """Two layers of experts with one routing between them."""

    entry: Linear | None
    """Brings an input that is not as wide as the task's embedding to that width."""
    first: Linear
    """e experts."""
    last: Linear
    """e experts."""
    embed: Linear
    route: Linear

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input, which ends with the task's embedding."""
        z = x[-self.embed.weight.shape[0] :]
        x = x[: -len(z)]
        x = x if self.entry is None else self.entry(x)
        logits = self.route(jax.nn.relu(self.embed(x * z)))
        e = len(self.first.bias)
        weights = jax.nn.softmax(logits.reshape(e, e), axis=-1)
        hidden = jax.nn.relu(jax.vmap(lambda expert: expert(x))(self.first))
        each = jax.vmap(lambda expert: hidden @ expert)(self.last.weight)
        out = jnp.sum(weights[..., None] * each, axis=1) + self.last.bias
        return out.mean(axis=0)


# --- As its authors have it ---------------------------------------------------------------
@dataclass(frozen=True)
class SoftModulesConfig(Bounded):
    """Sizes of the authors' network; the defaults are their shallow one, for MT10."""

    layers: Size = 2
    """Layers of modules (MT50: 4)."""
    modules: Size = 2
    """Modules of each layer (MT50: 4)."""
    width: Size = 256
    """Units of a module (MT50: 128)."""
    embed: Size = 400
    """Units of both embeddings, f and h."""
    gate: Size = 256
    """Units of the routing network."""

    def make(self, tasks: int, i: int, o: int, key: Key) -> "SoftModules":
        """A fresh network from i to o numbers for `tasks` tasks."""
        e, d, f, g, n = self.modules, self.width, self.embed, self.gate, self.layers
        keys = iter(jax.random.split(key, 5 + 4 * n))
        linear = Linear.init
        routings = [linear(g, e * e if m < n - 1 else e, next(keys)) for m in range(n)]
        return SoftModules(
            Mlp.init([i, f, f], next(keys)),
            linear(tasks, f, next(keys)),
            Mlp.init([f, g, g], next(keys)),
            [linear((m + 1) * e * e, g, next(keys)) for m in range(n - 1)],
            routings,
            [experts(e, f if m == 0 else d, d, next(keys), linear) for m in range(n)],
            linear(d, o, next(keys)),
        )


class SoftModules(eqx.Module):
    """n layers of e modules."""

    embed: Mlp
    """f."""
    tasks: Linear
    """h of a task's one-hot vector."""
    gate: Mlp
    """From c to the routing's width."""
    carry: list[Linear]
    """U, from all routings so far."""
    route: list[Linear]
    """D; the last gives one weight a module."""
    modules: list[Linear]
    """W, e of them a layer."""
    last: Linear

    def __call__(self, x: Float[Array, " i"], task: Task) -> Float[Array, " o"]:
        """The output for one input of one task."""
        f, h = self.embed(x), self.tasks.weight[task] + self.tasks.bias
        weights = self.routings(self.gate(jax.nn.relu(f * h)))
        outputs = jax.vmap(lambda module: module(jax.nn.relu(f)))(self.modules[0])
        for layer, p in zip(self.modules[1:], weights, strict=False):
            given = jax.nn.relu(mixed(p, outputs))
            outputs = jax.vmap(lambda module, own: module(own))(layer, given)
        return self.last(jax.nn.relu(mixed(weights[-1][None], outputs)[0]))

    def routings(self, c: Float[Array, " g"]) -> list[Float[Array, "..."]]:
        """p̂ of each layer: [e, e], and of the last [e]."""
        e = len(self.modules[0].bias)
        seen: list = []
        found = []
        for n, route in enumerate(self.route):
            told = c if n == 0 else self.carry[n - 1](jnp.concatenate(seen)) * c
            logits = route(jax.nn.relu(told))
            shape = (e, e) if n < len(self.route) - 1 else (e,)
            found.append(jax.nn.softmax(logits.reshape(shape), axis=-1))
            seen.append(found[-1].ravel())
        return found
