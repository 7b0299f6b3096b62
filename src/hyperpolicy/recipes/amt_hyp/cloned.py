"""CARE as a row of AMT-Hyp's tables: one policy for all tasks, told the sentence of its task and
cloned from the experts.

    E[(tanh μ(s, z(sentence)) − a*)²] over the experts' states

AMT-Hyp's Table II has CARE (82.1 % seen, 58.5 % unseen) and does not say how it was trained; this
is our definition. An unseen task has a sentence, so it can be asked for.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy import files
from hyperpolicy.data import sentences
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs import Family
from hyperpolicy.generate import loop
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.lesson import probe
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.nets.care import MixtureConfig
from hyperpolicy.nets.encoders import EncoderConfig
from hyperpolicy.nets.multi_task import MultiTaskNet, MultiTaskSpec
from hyperpolicy.nets.trunks import PlainConfig
from hyperpolicy.policies import Actor
from hyperpolicy.recipes.amt_hyp.bench import Bench
from hyperpolicy.recipes.stage import make_once, timed

EXPERTS, WIDTH = 4, 50
"""Of the mixture: encoders, and their units (mtrl's)."""
SMALLEST_DEVIATION = 1e-2
"""Added to that of an observed number before it is normalized."""
BATCH_OF_TASK = 32
"""States of each task a step."""


@dataclass(frozen=True)
class Care:
    """A fitted policy for all of a family's tasks."""

    net: MultiTaskNet
    normal: Normalizer

    def actor(self, given: Demonstrations) -> "CareActor":
        """Only the names of the tasks are read."""
        return CareActor(self.net, self.normal, given.contexts[:, 0].round().astype(int))


@dataclass(frozen=True)
class CareActor(Actor):
    """Policy i is told the sentence of task i."""

    net: MultiTaskNet
    normal: Normalizer
    tasks: Int[np.ndarray, " n"]

    def act(self, carry, obs: Float[np.ndarray, "n e o"], key):
        return np.asarray(_act(self.net, self.normal, self.tasks, obs)), carry

    def take(self, rows):
        return replace(self, tasks=self.tasks[rows])


@jax.jit
def _act(net: MultiTaskNet, normal: Normalizer, tasks: Int[Array, " n"], obs):
    each = jax.vmap(partial(_action, net, normal), (0, None))
    return jax.vmap(each)(obs, tasks)


def _action(net: MultiTaskNet, normal: Normalizer, obs: Float[Array, " o"], task):
    """[a]."""
    out = net(normal(obs), task)
    return jnp.tanh(out[: out.shape[0] // 2])


def spec_of(family: Family, hidden: tuple[int, ...]) -> MultiTaskSpec:
    """A CARE policy of all tasks of a family that have sentences."""
    tasks = [family.task_name(context) for context in family.grid("all").contexts]
    body = MixtureConfig("attention", EXPERTS, WIDTH)
    encoder = EncoderConfig("language", WIDTH, body, sentences.of(tasks))
    trunk = PlainConfig(hidden)
    return MultiTaskSpec(family.obs_size, family.action_size, len(tasks), encoder, trunk)


def fit(b: Bench, spec: MultiTaskSpec) -> tuple[MultiTaskNet, Normalizer]:
    """The first seed's network, and what it sees observations through."""
    zoo, config = b.data.zoo, b.preset.distill
    states, actions = probe(zoo)
    scale = 1.0 / (states.std(axis=(0, 1)) + SMALLEST_DEVIATION)
    normal = Normalizer(scale, -states.mean(axis=(0, 1)) * scale)
    tasks = jnp.asarray(zoo.contexts[:, 0].round().astype(int))
    tx = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))

    def init(key):
        net = spec.init(key)
        return net, tx.init(net)

    def loss(net: MultiTaskNet, seen, done):
        own = jax.vmap(jax.vmap(partial(_action, net, normal), (0, None)))
        return jnp.mean((own(seen, tasks) - done) ** 2)

    def step(state, key, i, own, data):
        net, adam = state
        seen, done = data
        rows = jax.random.randint(key, (len(tasks), BATCH_OF_TASK), 0, seen.shape[1])
        x = jnp.arange(len(tasks))[:, None]
        value, grads = jax.value_and_grad(loss)(net, seen[x, rows], done[x, rows])
        updates, adam = tx.update(grads, adam)
        return (optax.apply_updates(net, updates), adam), {"loss/behavior": value}

    run = loop.FitJob("care", b.preset.seeds[:1], config.steps, None, {})
    fits = loop.learn(run, init, step, None, (states, actions))
    net = jax.tree.map(lambda x: x[0], fits.state[0])
    return net, normal


def fitted(b: Bench) -> list[Care]:
    """The first seed's, from disk where it is there."""
    spec = spec_of(b.family, b.data.zoo.spec.hidden)
    path = b.out / "fits/care.safetensors"
    make_once(path, lambda: files.save_tree(path, fit(b, spec)), timed(b.minutes, "fit, care"))
    like = jax.eval_shape(lambda: (spec.init(jax.random.key(0)), norm.blank(spec.obs)))
    return [Care(*files.load_tree(path, like)[0])]
