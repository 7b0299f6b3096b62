"""Training pairs of a latent generator: (encoded context of an expert, one of its rows)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hyperpolicy.generate import behavior
from hyperpolicy.types import Key
from hyperpolicy.zoo import Zoo


class Pairs(NamedTuple):
    """What all fits on one zoo share; rows r, experts x."""

    weights: Float[Array, "r p"]
    expert: Int[Array, " r"]
    conditions: Float[Array, "x d"]
    states: Float[Array, "x s o"] | None
    actions: Float[Array, "x s a"] | None
    """What the expert's final policy does on `states`; both None without behavior loss."""


class Batch(NamedTuple):
    noise: Float[Array, "b noise"]
    condition: Float[Array, "b d"]
    target: Float[Array, "b z"]
    """What G is to write: latents, or weights."""
    states: Float[Array, "b s o"] | None
    actions: Float[Array, "b s a"] | None

    @property
    def inputs(self) -> Float[Array, "b i"]:
        """[n ; m], the generator's input."""
        return jnp.concatenate([self.noise, self.condition], axis=1)


def pairs(zoo: Zoo, with_behavior: bool) -> Pairs:
    """All rows of `zoo`, its encoded contexts and, if asked for, what its experts do.

    Raises:
        BadZoo: behavior is asked for and the zoo holds no observations.
    """
    encoded = zoo.family.context.encode(zoo.contexts)
    states, actions = behavior.probe(zoo) if with_behavior else (None, None)
    return Pairs(
        jnp.asarray(zoo.weights),
        jnp.asarray(zoo.expert),
        jnp.asarray(encoded, jnp.float32),
        states,
        actions,
    )


def draw(
    data: Pairs, targets: Float[Array, "r z"], b: int, noise: int, num_states: int, key: Key
) -> Batch:
    """b pairs with replacement, a noise vector for each, and `num_states` observations of each's
    expert."""
    key_rows, key_noise, key_states = jax.random.split(key, 3)
    rows = jax.random.randint(key_rows, (b,), 0, len(targets))
    x = data.expert[rows]
    states = actions = None
    if data.states is not None and data.actions is not None:
        s = jax.random.randint(key_states, (b, num_states), 0, data.states.shape[1])
        states, actions = data.states[x[:, None], s], data.actions[x[:, None], s]
    noises = jax.random.normal(key_noise, (b, noise))
    return Batch(noises, data.conditions[x], targets[rows], states, actions)
