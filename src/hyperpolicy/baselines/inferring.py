"""Unknown context: an actor that guesses the task from its own steps, and lets a generator write
the policy for what it guessed.

It begins with the policy of one context. After every m steps, the mean embedding of all its steps
so far gives a guess at the context (`generate/prompt.py`), and the generator writes the policy that
acts from then on. It is told nothing; PEARL is given whole episodes to explore in, this one the
steps of the episode that counts.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy import seeds as streams
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.given import Contexts
from hyperpolicy.data.prompts import Prompts
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import prompt
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.parts import row_keys
from hyperpolicy.generate.prompt import Guess, PromptReader, PromptReaderConfig
from hyperpolicy.nets.policy import PolicySpec, act
from hyperpolicy.policies import Actor
from hyperpolicy.rollout import record


class Memory(NamedTuple):
    """What an actor knows of its episode."""

    obs: Float[Any, "n e o"]
    """Before the last action."""
    action: Float[Any, "n e a"]
    total: Float[Any, "n e h"]
    """Of the steps' embeddings."""
    t: Int[Any, "n e"]
    """Steps so far."""
    weights: Float[Any, "n e p"]


@dataclass(frozen=True)
class Inferring(Actor):
    """Every policy of a rollout is this one."""

    column: ClassVar[str] = "its own first steps"
    """What the column "given" of a table says about it."""
    generator: Generator
    guess: Guess
    start_context: Float[np.ndarray, "1 c"]
    """Whose policy acts first."""
    every: int = 10
    """m, steps between two guesses."""

    def start(self, n: int, e: int) -> Memory:
        family = self.generator.family
        first = self._written(self.start_context)[0]
        h = len(self.guess.head.layers[0].weight)
        return Memory(
            np.zeros((n, e, family.obs_size), np.float32),
            np.zeros((n, e, family.action_size), np.float32),
            np.zeros((n, e, h), np.float32),
            np.zeros((n, e), np.int32),
            np.tile(first, (n, e, 1)),
        )

    def _written(self, contexts: Float[np.ndarray, "k c"]) -> Float[np.ndarray, "k p"]:
        """The weights for guesses, wherever they lie: a warning would only say that it guesses."""
        given = Contexts(self.generator.family, contexts)
        return self.generator.model.vectors(given, row_keys(0, len(given)))

    def act(self, carry: Memory, obs, key):
        now = carry.t
        ripe = (now > 0) & (now % self.every == 0)
        weights = carry.weights
        if ripe.any():
            weights = np.array(weights)
            mean = carry.total[ripe] / now[ripe][:, None]
            encoded = np.asarray(_head(self.guess, jnp.asarray(mean)))
            weights[ripe] = self._written(self.generator.family.context.decode(encoded))
        obs = np.asarray(obs, np.float32)
        action = np.asarray(_act(self.generator.spec, jnp.asarray(weights), jnp.asarray(obs)))
        return action, carry._replace(obs=obs, action=action, weights=weights)

    def observe(self, carry: Memory, step) -> Memory:
        """One step more; a new episode begins with the first policy."""
        reward = np.asarray(step.reward, np.float32)[..., None]
        rows = np.concatenate([carry.obs, carry.action, reward], axis=2)
        total = carry.total + np.asarray(_embed(self.guess, jnp.asarray(rows)))
        ended = np.asarray(step.terminated | step.truncated)
        grown = carry._replace(total=total, t=carry.t + 1)
        if not ended.any():
            return grown
        fresh = self.start(*ended.shape)

        def put(new, old):
            return np.where(ended.reshape(*ended.shape, *(1,) * (old.ndim - 2)), new, old)

        return jax.tree.map(put, fresh, grown)

    def take(self, rows: Int[np.ndarray, " k"]) -> "Inferring":
        return self


@jax.jit
def _embed(guess: Guess, rows: Float[Array, "n e i"]) -> Float[Array, "n e h"]:
    return jax.vmap(jax.vmap(guess.embed))(rows)


@jax.jit
def _head(guess: Guess, mean: Float[Array, "k h"]) -> Float[Array, "k d"]:
    return jax.vmap(guess.head)(mean)


@partial(jax.jit, static_argnums=0)
def _act(spec: PolicySpec, weights: Float[Array, "n e p"], obs: Float[Array, "n e o"]):
    """Actions [n,e,a]."""
    return jax.vmap(jax.vmap(lambda w, x: act(spec.unflatten(w), x)))(weights, obs)


# --- Fitting ------------------------------------------------------------------------------
def fit(
    config: PromptReaderConfig,
    generator: Generator,
    tasks: Float[np.ndarray, "k c"],
    every: int = 10,
    asked: int = 8,
    seed: int = 0,
) -> tuple[Inferring, int]:
    """The actor in front of a generator that reads contexts, and the environment steps it took to
    fit it: in each of the training tasks `tasks`, policies that the generator writes for `asked` of
    the tasks play an episode each, and what they did at its beginning is what the guess learns
    from. Raises BadSetting: a number that cannot be, or a generator that reads something else."""
    if every < 1 or asked < 1:
        raise BadSetting(f"every={every}, asked={asked}; give 1 or more of each")
    tasks = generator.family.context.check(tasks)
    found = played(generator, tasks, asked, seed)
    horizon = int(found.index.length.min())
    lengths = [steps for steps in (every, 2 * every, 4 * every) if steps <= horizon]
    if not lengths:
        raise BadSetting(f"every={every} steps; the shortest episode has {horizon}")
    reader = _readers(config, found, tasks, lengths, asked, seed)
    middle = tasks[np.argsort(tasks[:, 0])[len(tasks) // 2]][None]
    steps = int(found.index.length.sum())
    return Inferring(generator, reader.guess, middle, every), steps


def played(generator: Generator, tasks, asked: int, seed: int) -> Episodes:
    """An episode of `asked` policies in each task, each written for one of the tasks."""
    rng = np.random.default_rng([seed, 6])
    wanted = np.concatenate([tasks[rng.permutation(len(tasks))[:asked]] for _ in tasks])
    here = np.repeat(tasks, len(wanted) // len(tasks), axis=0)
    who = generator.generate(wanted, seed=0)
    starts = rng.integers(streams.HALF, size=(len(here), 1))
    return record(who, generator.family, here, starts, seed)


def _readers(config, found: Episodes, tasks, lengths, asked: int, seed: int) -> PromptReader:
    """A reader of the first steps: of as many as any guess is made from, each length as often."""
    longest = max(lengths)
    cuts = [Prompts.cut(found, tasks, 1, n, "start", seed, 4 * asked) for n in lengths]
    padded = [_repeated(one, longest) for one in cuts]
    parts = ("contexts", "obs", "action", "reward", "to_go", "t")
    together = (np.concatenate([getattr(one, name) for one in padded]) for name in parts)
    return prompt.fit(config, Prompts(found.family, *together), seed=seed)


def _repeated(prompts: Prompts, steps: int) -> Prompts:
    """The prompts with their steps repeated, which does not change their mean."""
    at = np.arange(steps) % prompts.steps
    parts = prompts.obs, prompts.action, prompts.reward, prompts.to_go, prompts.t
    return Prompts(prompts.family, prompts.contexts, *(x[:, at] for x in parts))
