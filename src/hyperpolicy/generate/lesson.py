"""What a generator learns from: rows of a zoo, what is told of each, and what its expert does.

Two policies may act alike with different weights and unlike with similar ones; a generator that is
judged by its policies' returns should also be trained on what they do: the behavior loss.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.data.given import Contexts, Given
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadZoo
from hyperpolicy.generate.parts import Codec, EncodedContext, Reader
from hyperpolicy.nets.policy import PolicyNet, PolicySpec, act
from hyperpolicy.types import Key, Scalar
from hyperpolicy.zoo import Zoo


class Lesson(NamedTuple):
    """Row i of `given` tells of row `rows[i]` of the zoo."""

    zoo: Zoo
    given: Given
    rows: Int[np.ndarray, " r"]
    reader: Reader

    @property
    def expert(self) -> Int[np.ndarray, " r"]:
        """Whose row each one is."""
        return self.zoo.expert[self.rows]


class Pairs(NamedTuple):
    """Training rows r as arrays, and what the x experts of the zoo do."""

    weights: Float[Array, "r p"]
    expert: Int[Array, " r"]
    conditions: Float[Array, "r d"]
    states: Float[Array, "x s o"] | None = None
    actions: Float[Array, "x s a"] | None = None
    """What the expert's final policy does on `states`; both None where nothing needs them."""


class Minibatch(NamedTuple):
    noise: Float[Array, "b noise"]
    condition: Float[Array, "b d"]
    target: Float[Array, "b z"]
    """What G is to write: latents, or weights."""
    states: Float[Array, "b s o"] | None = None
    actions: Float[Array, "b s a"] | None = None

    @property
    def inputs(self) -> Float[Array, "b i"]:
        """[n ; m], the generator's input."""
        return jnp.concatenate([self.noise, self.condition], axis=1)


def of_zoo(zoo: Zoo, rows: Int[np.ndarray, " r"] | None = None) -> Lesson:
    """Rows of a zoo, all of them unless some are named, each with its expert's encoded context;
    errors as `check_zoo`."""
    family = check_zoo(zoo)
    rows = np.arange(len(zoo)) if rows is None else rows
    given = Contexts(family, zoo.contexts[zoo.expert[rows]])
    return Lesson(zoo, given, rows, EncodedContext(family.context))


def pairs(lesson: Lesson, with_behavior: bool) -> Pairs:
    """The rows of a lesson, their conditions and, if asked for, what their experts do.

    Raises:
        BadZoo: rows the zoo has not, a row of another task than is told of it, a zoo that cannot be
            trained on; or behavior is asked for and the zoo holds no observations.
    """
    zoo, given, rows = lesson.zoo, lesson.given, np.asarray(lesson.rows)
    check_zoo(zoo)
    if len(rows) != len(given) or rows.min() < 0 or rows.max() >= len(zoo.weights):
        raise BadZoo(
            f"{len(given)} {given.name} for {len(rows)} rows up to {rows.max()} of a zoo of "
            f"{len(zoo.weights)}; give the row each one tells of"
        )
    told = zoo.family.context.check(zoo.contexts)[zoo.expert[rows]]
    wrong = (told != zoo.family.context.check(given.contexts)).any(axis=1)
    if wrong.any():
        raise BadZoo(f"row {np.argmax(wrong)} of the {given.name} is of another task than its row")
    conditions = jnp.asarray(lesson.reader.read(lesson.given), jnp.float32)
    states, actions = probe(zoo) if with_behavior else (None, None)
    weights = jnp.asarray(zoo.weights[rows])
    return Pairs(weights, jnp.asarray(lesson.expert), conditions, states, actions)


def draw(
    data: Pairs, targets: Float[Array, "r z"], sizes: tuple[int, int, int], key: Key
) -> Minibatch:
    """b pairs with replacement, a noise vector for each, and s observations of each's expert;
    `sizes` are b, numbers of noise, and s."""
    b, noise, num_states = sizes
    key_rows, key_noise, key_states = jax.random.split(key, 3)
    rows = jax.random.randint(key_rows, (b,), 0, len(targets))
    x = data.expert[rows]
    states = actions = None
    if data.states is not None and data.actions is not None:
        s = jax.random.randint(key_states, (b, num_states), 0, data.states.shape[1])
        states, actions = data.states[x[:, None], s], data.actions[x[:, None], s]
    noises = jax.random.normal(key_noise, (b, noise))
    return Minibatch(noises, data.conditions[rows], targets[rows], states, actions)


def check_zoo(zoo: Zoo) -> Family:
    """The zoo's family, once its rows are fit to train on. Raises BadZoo: its policies do not fit
    its family, an expert has no final row, or weights are not finite."""
    tasks = zoo.family
    if (zoo.spec.obs, zoo.spec.action) != (tasks.obs_size, tasks.action_size):
        raise BadZoo(
            f"this zoo's policies take {zoo.spec.obs} observations and give {zoo.spec.action} "
            f"actions; {tasks.name} has {tasks.obs_size} and {tasks.action_size}"
        )
    if len(zoo.final_rows) != len(zoo.contexts):
        raise BadZoo(
            f"this zoo has {len(zoo.final_rows)} final rows for {len(zoo.contexts)} experts; one "
            "each is needed"
        )
    if not np.isfinite(zoo.weights).all():
        raise BadZoo(
            "this zoo holds weights that are not finite; `hyperpolicy zoo verify` says which"
        )
    return tasks


# --- What experts do ----------------------------------------------------------------------
class Aim(NamedTuple):
    """What latents are for: the policies they decode to."""

    spec: PolicySpec
    codec: Codec


def probe(zoo: Zoo) -> tuple[Float[Array, "x s o"], Float[Array, "x s a"]]:
    """Observations from each expert's replay, and its final policy's action tanh(μ) on each; raises
    BadZoo where the zoo holds none."""
    if zoo.states is None:
        raise BadZoo(
            "this zoo holds no observations, which behavior needs; rebuild it, or set the "
            "behavior loss to 0"
        )
    return jnp.asarray(zoo.states, jnp.float32), jnp.asarray(zoo.finals.act(zoo.states))


def action_gap(actor: PolicyNet, obs: Float[Array, "s o"], action: Float[Array, "s a"]) -> Scalar:
    """E[(tanh μ(s) − a)²], the mean over observations and action coordinates."""
    return jnp.mean((jax.vmap(partial(act, actor))(obs) - action) ** 2)


def behavior_loss(
    spec: PolicySpec,
    weights: Float[Array, "b p"],
    obs: Float[Array, "b s o"],
    action: Float[Array, "b s a"],
) -> Scalar:
    """E_b[E_s[(tanh μ_θb(s) − a)²]] for b generated policies, each on its expert's observations."""
    gap = jax.vmap(lambda w, s, a: action_gap(spec.unflatten(w), s, a))
    return jnp.mean(gap(weights, obs, action))
