"""Who plays when a demonstration is shown, told wrongly, told of several, or told nothing: makers
around others, and policies that look at no demonstration."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy.data.demonstrations import BLOCK_ACTIONS, NUM_BLOCKS, Demonstrations
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Scripted
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.parts import row_keys
from hyperpolicy.generate.symmetric import image_weights
from hyperpolicy.policies import Policies
from hyperpolicy.symmetry import Signed, Symmetry

OBJECTS = (*range(4, 18), *range(22, 39))
"""Numbers of an observation that say where objects and goal are."""
SIDEWAYS = (0, 4, 11, 18, 22, 29, 36)
"""x of the hand, of both objects, of the same a step before, and of the goal."""


# --- Told something else ------------------------------------------------------------------
@dataclass(frozen=True)
class Instead:
    """A maker that is shown other demonstrations of the task, as many as were given."""

    maker: Any
    shown: Demonstrations
    task: Callable[[Float[np.ndarray, " 1"]], Float[np.ndarray, " 1"]] = lambda context: context
    """Whose demonstrations a task's are taken from."""

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        other = self.shown.of(self.task(given.contexts[0]))
        return self.maker.generate(other[np.arange(len(given)) % len(other)], seed)


def another(
    contexts: Float[np.ndarray, "k 1"],
) -> Callable[[Float[np.ndarray, " 1"]], Float[np.ndarray, " 1"]]:
    """Of each task another one: the one half way round the list."""
    k = len(contexts)

    def task(context):
        (i,) = np.flatnonzero((contexts == context).all(axis=1))
        return contexts[(i + max(1, k // 2)) % k]

    return task


@dataclass(frozen=True)
class Averaged:
    """A generator that writes each policy for the mean condition of `count` demonstrations of the
    task: the shown one and those after it."""

    generator: Generator
    count: int

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        model, n = self.generator.model, len(given)
        each = np.asarray(model.reader.read(given))
        rows = (np.arange(n)[:, None] + np.arange(self.count)) % n
        latents = model.writer.write(each[rows].mean(axis=1), row_keys(seed, n))
        return Policies(np.asarray(model.codec.decode_rows(latents)), self.generator.spec)


# --- Told nothing -------------------------------------------------------------------------
@dataclass(frozen=True)
class Always:
    """One policy, whatever is shown."""

    policy: Policies

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        return Policies(np.repeat(self.policy.weights[:1], len(given), axis=0), self.policy.spec)


@dataclass(frozen=True)
class OwnPolicy:
    """The policy of the task that is shown, out of one for each task."""

    policies: Policies
    contexts: Float[np.ndarray, "k 1"]

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        (i,) = np.flatnonzero((self.contexts == given.contexts[:1]).all(axis=1))
        return Always(self.policies[i]).generate(given, seed)


@dataclass(frozen=True)
class OwnScript:
    """The script of the task that is shown."""

    family: MetaWorld

    def actor(self, given: Demonstrations) -> Scripted:
        return Scripted([self.family.task_name(context) for context in given.contexts])


# --- Changes of demonstrations ------------------------------------------------------------
def blanked(given: Demonstrations) -> Demonstrations:
    """Without where objects and goal are: the hand's path and the actions are left."""
    return _each_observation(given, lambda obs: _at(obs, OBJECTS, 0.0), lambda action: action)


def mirrored(given: Demonstrations) -> Demonstrations:
    """Left and right exchanged."""
    return _each_observation(
        given, lambda obs: _at(obs, SIDEWAYS, -1.0), lambda action: _at(action, (0,), -1.0)
    )


def _at(x: np.ndarray, places: tuple[int, ...], factor: float) -> np.ndarray:
    """Some of the last axis's numbers, multiplied."""
    x = x.copy()
    x[..., list(places)] *= factor
    return x


def _each_observation(given: Demonstrations, of_obs: Callable, of_action: Callable):
    family, d = given.family, len(given)
    o, a = family.obs_size, family.action_size
    blocks = given.opening.reshape(d, NUM_BLOCKS, o + BLOCK_ACTIONS * a)
    actions = of_action(blocks[..., o:].reshape(d, NUM_BLOCKS, BLOCK_ACTIONS, a))
    parts = of_obs(blocks[..., :o]), actions.reshape(d, NUM_BLOCKS, -1)
    ending = of_obs(given.ending.reshape(d, -1, o)).reshape(d, -1)
    return replace(given, opening=np.concatenate(parts, axis=2).reshape(d, -1), ending=ending)


def with_mirrored(lesson: Lesson) -> Lesson:
    """The lesson, and the same once more in a mirror: what an arm does that sees left as right.
    Walls and objects are not mirrored, so these are experts of tasks that do not exist."""
    zoo, given = lesson.zoo, lesson.given
    assert isinstance(given, Demonstrations)
    o, a = zoo.spec.obs, zoo.spec.action
    flip = Symmetry(_signed(o, SIDEWAYS), _signed(a, (0,)))
    turned = np.stack(
        [np.asarray(image_weights(flip, zoo.spec, jnp.asarray(w))) for w in zoo.weights]
    )
    both = replace(
        zoo,
        weights=np.concatenate([zoo.weights, turned]),
        expert=np.tile(zoo.expert, 2),
        updates=np.tile(zoo.updates, 2),
        returns=np.tile(zoo.returns, 2),
        final=np.concatenate([zoo.final, np.zeros(len(zoo), bool)]),
    )
    rows = np.concatenate([lesson.rows, np.asarray(lesson.rows) + len(zoo)])
    shown = Demonstrations.joined([given, mirrored(given)])
    return Lesson(both, shown, rows, lesson.reader)


def _signed(n: int, places: tuple[int, ...]) -> Signed:
    return Signed(tuple(range(n)), tuple(-1 if i in places else 1 for i in range(n)))
