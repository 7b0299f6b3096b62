"""What a HypLatent fit leaves behind: a network that writes latents, and the encoder's decoder."""

from functools import cache
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.envs import Family
from hyperpolicy.generate import encoder as encoders
from hyperpolicy.generate.encoder import Encoder
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.nets.skip_mlp import Moments, SkipMlp
from hyperpolicy.types import Key


class HypLatent(eqx.Module):
    kind: ClassVar[str] = "hyplatent"
    net: SkipMlp
    running: list[Moments]
    encoder: Encoder
    noise: int = eqx.field(static=True)

    def write(self, family: Family, contexts, seed: int) -> Float[np.ndarray, "n p"]:
        encoded = jnp.asarray(family.context.encode(contexts), jnp.float32)
        row_key = jax.vmap(jax.random.fold_in, (None, 0))
        keys = row_key(jax.random.key(seed), jnp.arange(len(encoded)))
        return np.asarray(_write_many()(self, encoded, keys))

    def settings(self) -> dict:
        hidden = [block.scale.shape[0] for block in self.net.down]
        return {"noise": self.noise, "hidden": hidden, **encoders.settings(self.encoder)}

    @classmethod
    def skeleton(cls, settings: dict, family: Family, spec: PolicySpec) -> "HypLatent":
        encoder, noise = encoders.blank(settings, spec), settings["noise"]
        inputs, hidden = noise + family.context.encoded_size, tuple(settings["hidden"])

        def make(encoder):
            net = SkipMlp.init(inputs, hidden, encoder.size, jax.random.key(0))
            return cls(net, skip_mlp.first_moments(net), encoder, noise)

        return jax.eval_shape(make, encoder)


def generate(model: HypLatent, condition: Float[Array, " d"], key: Key) -> Float[Array, " p"]:
    """θ = decode(G(n, m)) in evaluation mode, n ~ N(0, 1)."""
    noise = jax.random.normal(key, (model.noise,))
    inputs = jnp.concatenate([noise, condition])
    return model.encoder.decode(skip_mlp.evaluate(model.net, model.running, inputs))


@cache
def _write_many():
    return jax.jit(jax.vmap(generate, (None, 0, 0)))
