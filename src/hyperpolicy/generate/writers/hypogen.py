"""HyPoGen: weights written as an optimizer would, by layers that imitate gradient steps.

"HyPoGen: Optimization-Biased Hypernetworks for Generalizable Policy Generation" (ICLR 2025), by its
released code. From learned first weights θ⁰, K blocks add

    θ^{k+1}_l = θ^k_l + η_k LayerNorm(D_l(∂_w)),   w_l = E_l(θ^k_l)

where a block imitates a forward pass, x_{l+1} = F_l([x_l; w_l]) from x_0 = F(z), and a backward
pass from g_L = G(z):  g_l = Σ_o (g_{l+1})_o J_l([x_l; w_l])_{o·},  ∂_w likewise. z is HyperZero's
embedding; policy and value have a stack each. Losses and data are those of `cloning`. Departures
besides `cloning`'s: the derivatives meet the Jacobian directly (`direct`; the cheetah's published
run uses `slice` for the inputs' in one configuration and not in another); no early supervision.
"""

from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from hyperpolicy.bounds import Count, Rate
from hyperpolicy.generate.cloning import CloneConfig, Cloned, policy_of
from hyperpolicy.generate.writers.hyperzero import Embedding
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.types import Key

FIRST_RATE = -0.01
"""η of every block at the start."""


@dataclass(frozen=True)
class HyPoGenConfig(CloneConfig):
    blocks: Count = 4
    """K (published: 8)."""
    latent: Count = 32
    """Numbers of w_l (published: 128)."""
    width: Count = 64
    """Hidden units of every network inside (published: 128, of E and D 256)."""
    rate: Rate = 5e-4
    """Adam step size at the start; a cosine takes it to 0."""
    name: ClassVar[str] = "hypogen"
    sized: ClassVar[tuple[str, ...]] = ("hidden", "embed", "blocks", "latent", "width")

    def init(self, spec: PolicySpec, d: int, key: Key) -> "OptimizerNet":
        return OptimizerNet.init(self, spec, d, key)

    @property
    def part(self) -> type["HyPoGen"]:
        return HyPoGen


PAPER = HyPoGenConfig(
    hidden=256, embed=256, blocks=8, latent=128, width=128, steps=274_000, episodes=10
)
"""The published sizes, for a GPU: 2000 epochs of seven contexts' 70,000 rows."""


class Layer(eqx.Module):
    """What a block knows of one layer: how it maps, and how its input and weights change that."""

    forward: Mlp
    by_input: Mlp
    by_weight: Mlp

    @classmethod
    def init(cls, i: int, o: int, cfg: HyPoGenConfig, key: Key) -> "Layer":
        """Of a layer from i to o numbers."""
        keys, wide = jax.random.split(key, 3), i + cfg.latent
        sizes = (o, o * i, o * cfg.latent)
        return cls(*(Mlp.init([wide, cfg.width, n], k) for n, k in zip(sizes, keys, strict=True)))

    def back(self, x, w, gradient):
        """The derivatives by input and by weight, from that by the output."""
        seen, o = jnp.concatenate([x, w]), len(gradient)
        pair = (net(seen).reshape(o, -1) for net in (self.by_input, self.by_weight))
        by_input, by_weight = (gradient @ jacobian for jacobian in pair)
        return by_input, by_weight


class OptimizerBlock(eqx.Module):
    """One imitated gradient step."""

    begin: Mlp
    end: Mlp
    layers: list[Layer]
    rate: Float[Array, ""]

    @classmethod
    def init(cls, sizes: list[int], cfg: HyPoGenConfig, key: Key) -> "OptimizerBlock":
        """For target layers between `sizes`."""
        keys = jax.random.split(key, len(sizes) + 1)
        pairs = zip(sizes, sizes[1:], keys[2:], strict=False)
        return cls(
            Mlp.init([cfg.embed, cfg.width, sizes[0]], keys[0]),
            Mlp.init([cfg.embed, cfg.width, sizes[-1]], keys[1]),
            [Layer.init(i, o, cfg, own) for i, o, own in pairs],
            jnp.float32(FIRST_RATE),
        )

    def __call__(self, z, latents: list) -> list:
        """∂_w of each layer."""
        inputs = [self.begin(z)]
        for layer, w in zip(self.layers, latents, strict=True):
            inputs.append(layer.forward(jnp.concatenate([inputs[-1], w])))
        gradient, found = self.end(z), []
        for layer, x, w in reversed(list(zip(self.layers, inputs, latents, strict=False))):
            gradient, by_weight = layer.back(x, w, gradient)
            found.append(by_weight)
        return found[::-1]


class Stack(eqx.Module):
    """The blocks that write one network."""

    start: list[Linear]
    encoders: list[Mlp]
    decoders: list[Mlp]
    norms: list[eqx.nn.LayerNorm]
    blocks: list[OptimizerBlock]

    @classmethod
    def init(cls, sizes: list[int], cfg: HyPoGenConfig, key: Key) -> "Stack":
        """For a network with layers between `sizes`."""
        k_start, k_in, k_out, k_blocks = jax.random.split(key, 4)
        start = Mlp.init(sizes, k_start).layers
        flat = [layer.weight.size + layer.bias.size for layer in start]

        def codecs(key: Key, ends) -> list[Mlp]:
            keys = jax.random.split(key, len(flat))
            return [Mlp.init(ends(p), own) for p, own in zip(flat, keys, strict=True)]

        blocks = jax.random.split(k_blocks, cfg.blocks)
        return cls(
            start,
            codecs(k_in, lambda p: [p, cfg.width, cfg.latent]),
            codecs(k_out, lambda p: [cfg.latent, cfg.width, p]),
            [eqx.nn.LayerNorm(p) for p in flat],
            [OptimizerBlock.init(sizes, cfg, own) for own in blocks],
        )

    def __call__(self, z: Float[Array, " e"]) -> list[Linear]:
        pairs = [ravel_pytree(layer) for layer in self.start]
        flat = [vector for vector, _ in pairs]
        for block in self.blocks:
            latents = [encode(v) for encode, v in zip(self.encoders, flat, strict=True)]
            steps = zip(flat, self.norms, self.decoders, block(z, latents), strict=True)
            flat = [v + block.rate * norm(decode(g)) for v, norm, decode, g in steps]
        return [unravel(v) for v, (_, unravel) in zip(flat, pairs, strict=True)]


class OptimizerNet(eqx.Module):
    """The embedding and a stack for the policy, and one for the value or none."""

    embedding: Embedding
    policy: Stack
    value: Stack | None

    @classmethod
    def init(cls, cfg: HyPoGenConfig, spec: PolicySpec, d: int, key: Key) -> "OptimizerNet":
        """Fresh networks."""
        keys = jax.random.split(key, 3)
        policy = Stack.init([spec.obs, cfg.hidden, spec.action], cfg, keys[1])
        wide = spec.obs + spec.action
        value = Stack.init([wide, cfg.hidden, 1], cfg, keys[2]) if cfg.values else None
        return cls(Embedding.init(d, cfg.embed, keys[0]), policy, value)

    def __call__(self, condition: Float[Array, " d"]) -> tuple[PolicyNet, Mlp | None]:
        z = self.embedding(condition)
        value = None if self.value is None else Mlp(self.value(z))
        return policy_of(self.policy(z)), value


class HyPoGen(Cloned):
    kind: ClassVar[str] = "hypogen"
    config: ClassVar[type[CloneConfig]] = HyPoGenConfig
