"""What fits of HypLatent and GenHyper leave behind: a network that writes latents, and the encoder
whose decoder makes weights of them."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.envs import Family
from hyperpolicy.generate import encoder as encoders
from hyperpolicy.generate import loop
from hyperpolicy.generate.encoder import Encoder
from hyperpolicy.generate.generator import Generator, from_zoo, write
from hyperpolicy.nets import skip_mlp
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.nets.skip_mlp import Moments, SkipMlp
from hyperpolicy.types import Key
from hyperpolicy.zoo import Zoo


class HypLatent(eqx.Module):
    """decode(G(n, m)), m the encoded context."""

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
        return cls.blank(settings, spec, family.context.encoded_size)

    @classmethod
    def blank(cls, settings: dict, spec: PolicySpec, d: int) -> "HypLatent":
        """The shapes of a model with these settings, for conditions of `d` numbers."""
        return cls.around(encoders.blank(settings, spec), settings, d)

    @classmethod
    def around(cls, encoder: Encoder, settings: dict, d: int) -> "HypLatent":
        """The same for an encoder's shapes."""
        noise, hidden = settings["noise"], tuple(settings["hidden"])

        def make(encoder):
            net = SkipMlp.init(noise + d, hidden, encoder.size, jax.random.key(0))
            return cls(net, skip_mlp.first_moments(net), encoder, noise)

        return jax.eval_shape(make, encoder)


class GenHyper(HypLatent):
    """The same, with an encoder of normalized weights."""

    kind: ClassVar[str] = "genhyper"


def generate(model: HypLatent, condition: Float[Array, " d"], key: Key) -> Float[Array, " p"]:
    """θ = decode(G(n, m)) in evaluation mode, n ~ N(0, 1)."""
    noise = jax.random.normal(key, (model.noise,))
    inputs = jnp.concatenate([noise, condition])
    return model.encoder.decode(skip_mlp.evaluate(model.net, model.running, inputs))


@cache
def _write_many():
    return jax.jit(jax.vmap(generate, (None, 0, 0)))


def keep(
    zoo: Zoo, run: loop.Run, models: Mapping[int, HypLatent], record: dict, places: Sequence
) -> list[Generator]:
    """The generators of a run's models, by place in `run.seeds`, each saved in its place."""
    fitted = {n: from_zoo(zoo, m, record | {"seed": run.seeds[n]}) for n, m in models.items()}
    if run.out is not None:
        for n, one in fitted.items():
            write(one, places[n])
        loop.finish(run.out)
    return list(fitted.values())
