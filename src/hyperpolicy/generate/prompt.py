"""The reader of prompts: it guesses the context from a few steps, and what reads contexts goes on.

    e(s, a, r) = φ([s ; a ; r])      ĉ = ψ(mean of e over the steps)      L = E[‖ĉ − encode(c)‖²]

What is given is what Prompt-DT is given: a method that writes weights need not be told the true
context. Steps are pooled by their mean, so a prompt may be of any length and order; an actor that
guesses from its own steps keeps their sum (`baselines/inferring.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hyperpolicy.bounds import Bounded, Count, Rate, Size
from hyperpolicy.data.given import Contexts, Given
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import loop, parts
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.generate.parts import EncodedContext, Frame, Model, Reader
from hyperpolicy.nets.mlp import Mlp


@dataclass(frozen=True)
class PromptReaderConfig(Bounded):
    hidden: Size = 128
    """Units of each hidden layer."""
    steps: Count = 4_000
    """Gradient steps."""
    batch: Count = 256
    """Prompts a step."""
    rate: Rate = 1e-3
    """AdamW's step size at the start; a cosine takes it to 0."""
    noise: Rate = 0.05
    """Of the normalized steps, while it learns: training tasks are few."""
    name: ClassVar[str] = "prompt-reader"


class Guess(eqx.Module):
    """Steps → an encoded context."""

    normalizer: Normalizer
    step: Mlp
    head: Mlp

    @classmethod
    def init(cls, hidden: int, i: int, d: int, key) -> "Guess":
        """For steps of `i` numbers and encoded contexts of `d`."""
        keys = jax.random.split(key)
        step = Mlp.init([i, hidden, hidden], keys[0])
        return cls(norm.blank(i), step, Mlp.init([hidden, hidden, d], keys[1]))

    def embed(self, step: Float[Array, " i"]) -> Float[Array, " h"]:
        """e(s, a, r) of one step."""
        return jax.nn.relu(self.step(self.normalizer(step)))

    def __call__(self, steps: Float[Array, "l i"]) -> Float[Array, " d"]:
        """ĉ of some steps."""
        return self.head(jax.vmap(self.embed)(steps).mean(axis=0))


class PromptReader(eqx.Module):
    """A prompt → the condition that `inner` would give for the context it seems to be of."""

    kind: ClassVar[str] = "prompt"
    takes: ClassVar[type[Given]] = Prompts
    column: ClassVar[str] = Prompts.column
    guess: Guess
    inner: Reader
    family: Family = eqx.field(static=True)

    @property
    def size(self) -> int:
        return self.inner.size

    def contexts(self, given: Prompts) -> Float[np.ndarray, "n c"]:
        """The context that each prompt seems to be of."""
        return self.family.context.decode(np.asarray(_guess(self.guess, rows_of(given))))

    def read(self, given: Given) -> parts.Rows:
        assert isinstance(given, Prompts)
        return self.inner.read(Contexts(self.family, self.contexts(given)))

    def settings(self) -> dict:
        return {"hidden": len(self.guess.step.layers[0].bias), "inner": parts.record(self.inner)}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "PromptReader":
        family = frame.family
        d = family.context.encoded_size
        guess = Guess.init(settings["hidden"], width(family), d, jax.random.key(0))
        return cls(guess, parts.blank(settings["inner"], frame), family)


def width(family: Family) -> int:
    """Numbers of a step."""
    return family.obs_size + family.action_size + 1


def rows_of(given: Prompts) -> Float[Array, "n l i"]:
    """Steps of prompts."""
    return jnp.asarray(given.rows.reshape(len(given), given.steps, -1))


@jax.jit
def _guess(guess: Guess, steps: Float[Array, "n l i"]) -> Float[Array, "n d"]:
    return jax.vmap(guess)(steps)


# --- Training -----------------------------------------------------------------------------
def fit(
    config: PromptReaderConfig, prompts: Prompts, inner: Reader | None = None, seed: int = 0
) -> PromptReader:
    """A reader of prompts like these, of training tasks; `inner` reads the contexts that it guesses
    (encoded contexts unless given). Raises BadSetting: all prompts are of one task."""
    return fit_seeds(config, prompts, inner, (seed,))[0]


def fit_seeds(
    config: PromptReaderConfig,
    prompts: Prompts,
    inner: Reader | None = None,
    seeds: Sequence[int] = (0,),
) -> list[PromptReader]:
    """One reader for each seed, trained side by side; as `fit`."""
    family = prompts.family
    if not (prompts.contexts != prompts.contexts[:1]).any():
        raise BadSetting("these prompts are of one task; give some of several")
    space = family.context
    steps = rows_of(prompts)
    wanted = jnp.asarray(space.encode(prompts.contexts, np), jnp.float32)
    flat = np.asarray(steps).reshape(-1, steps.shape[-1])
    scale = 1.0 / (flat.std(axis=0) + 1e-3)
    normal = Normalizer(jnp.asarray(scale), jnp.asarray(-flat.mean(axis=0) * scale))
    tx = optax.adamw(optax.cosine_decay_schedule(config.rate, config.steps))

    def init(key):
        guess = Guess.init(config.hidden, width(family), space.encoded_size, key)
        guess = replace(guess, normalizer=normal)
        return guess, tx.init((guess.step, guess.head))

    def step(state, key, i, own, data):
        guess, adam = state
        steps, wanted = data
        key_rows, key_noise = jax.random.split(key)
        some = jax.random.randint(key_rows, (config.batch,), 0, len(steps))
        rows, noise = steps[some], jax.random.normal(key_noise, (config.batch, *steps.shape[1:]))
        rows = rows + config.noise * noise / guess.normalizer.scale[None, None]

        def loss(nets):
            found = jax.vmap(replace(guess, step=nets[0], head=nets[1]))(rows)
            return jnp.mean((found - wanted[some]) ** 2)

        nets = guess.step, guess.head
        value, grads = jax.value_and_grad(loss)(nets)
        updates, adam = tx.update(grads, adam, nets)
        nets = optax.apply_updates(nets, updates)
        return (replace(guess, step=nets[0], head=nets[1]), adam), {"loss/context": value}

    run = loop.FitJob(config.name, tuple(seeds), config.steps, None, {})
    fits = loop.learn(run, init, step, None, (steps, wanted))
    inner = inner or EncodedContext(space)
    return [PromptReader(guess, inner, family) for guess in fits.living(fits.state[0]).values()]


def told_prompts(generator: Generator, reader: PromptReader) -> Generator:
    """The generator that is told prompts where it was told contexts. Raises BadSetting: it reads
    something else than contexts, or another family's."""
    if generator.takes is not Contexts:
        raise BadSetting(
            f"this generator reads {generator.takes.name}; give one that reads contexts"
        )
    if generator.family.name != reader.family.name:
        raise BadSetting(
            f"a reader of prompts of {reader.family.name} for a generator of "
            f"{generator.family.name}"
        )
    model: Any = generator.model
    mine = PromptReader(reader.guess, model.reader, generator.family)
    return replace(generator, model=Model(mine, model.writer, model.codec))
