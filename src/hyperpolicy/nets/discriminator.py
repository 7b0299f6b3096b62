"""AMT-Hyp's discriminator: a GELU trunk over latents, a real/fake head and an auxiliary head.

It never sees the condition; the auxiliary head has to read it out of the latent.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from hyperpolicy.nets.mlp import Linear
from hyperpolicy.types import Key, Scalar


class Trunk(eqx.Module):
    """Linear layers, each followed by GELU; no normalization, no dropout."""

    layers: list[Linear]

    def __call__(self, z: Float[Array, " z"]) -> Float[Array, " f"]:
        for layer in self.layers:
            z = jax.nn.gelu(layer(z), approximate=False)
        return z


class Discriminator(eqx.Module):
    trunk: Trunk
    real: Linear
    auxiliary: Linear

    @classmethod
    def init(cls, z: int, hidden: tuple[int, ...], d: int, key: Key) -> "Discriminator":
        """`z` numbers a latent, `d` numbers an encoded condition."""
        key_real, key_auxiliary, *keys = jax.random.split(key, 2 + len(hidden))
        sizes = zip(pairwise((z, *hidden)), keys, strict=True)
        trunk = Trunk([Linear.init(i, o, k) for (i, o), k in sizes])
        real = Linear.init(hidden[-1], 1, key_real)
        return cls(trunk, real, Linear.init(hidden[-1], d, key_auxiliary))

    def logit(self, z: Float[Array, " z"]) -> Scalar:
        """log odds that the latent is an expert's: F(z) = sigmoid(logit)."""
        return self.real(self.trunk(z))[0]

    def condition(self, z: Float[Array, " z"]) -> Float[Array, " d"]:
        """Q(z), the condition this latent seems to have been made for."""
        return self.auxiliary(self.trunk(z))


def cross_entropy(logit: Float[Array, " b"], label: Float[Array, " b"]) -> Scalar:
    """E[−y log σ(l) − (1 − y) log(1 − σ(l))]."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logit, label))
