"""What experts start from: policies cloned from scripted policies, on states that these reach with
noisy actions, then on their own (DAgger, Ross et al. 2011, arXiv:1011.0686).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from hyperpolicy import rollout
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.envs.metaworld.scripted import Script, Scripted
from hyperpolicy.generate import loop
from hyperpolicy.generate.lesson import Pairs, action_gap
from hyperpolicy.nets.fold import fold_actor, fold_normalizer
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.amt_hyp.presets import DataPreset

BASE_SEED = 11
"""Of configurations, from which those of `data.py` and of tables differ."""
BASE_WORLDS = 8
"""Of each task, in which scripted policies and the base collect states."""
EACH_BATCH = 64
"""Pairs a step where each policy is cloned by itself."""
SMALLEST_VARIANCE = 1e-3
"""Added to that of an observed number before it is normalized."""


def base(preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]) -> Policies:
    """The cloned policy at each task, which experts start from; it is fitted on what noisy scripted
    policies see, then on what it sees itself."""
    clone = clone_all if preset.one_start else clone_each
    states = scripted_states(preset, family, contexts)
    actions = scripted_actions(family, contexts, states)
    policies = clone(preset, family, contexts, states, actions)
    for i in range(1, preset.fits):
        reached = rollout.trace(policies, family, contexts, BASE_WORLDS, BASE_SEED + i).obs
        new = reached.reshape(len(contexts), -1, family.obs_size)
        states = np.concatenate([states, new], axis=1)
        actions = np.concatenate([actions, scripted_actions(family, contexts, new)], axis=1)
        policies = clone(preset, family, contexts, states, actions)
    return policies


def scripted_states(
    preset: DataPreset, family: MetaWorld, contexts: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n s o"]:
    """What noisy scripted policies see, some tasks at a time."""
    names, parts = tasks_of(family, contexts), []
    seeds = BASE_SEED * 1009 + np.arange(len(names) * BASE_WORLDS).reshape(-1, BASE_WORLDS)
    turn = max(1, family.most_worlds // BASE_WORLDS)
    for first in range(0, len(names), turn):
        here = slice(first, first + turn)
        own = np.repeat(contexts[here], BASE_WORLDS, axis=0)
        actor = Scripted(names[here], preset.noise, BASE_SEED + first)
        worlds = family.worlds(own, seeds[here].ravel())
        rows = rollout.collect(actor, worlds, BASE_WORLDS, preset.prior_steps)
        parts.append(rows[:, :, : family.obs_size])
    return np.concatenate(parts)


def scripted_actions(
    family: MetaWorld, contexts: Float[np.ndarray, "n c"], states: Float[np.ndarray, "n s o"]
) -> Float[np.ndarray, "n s a"]:
    """What the tasks' scripts do in these states."""
    scripts = map(Script, tasks_of(family, contexts))
    return np.array([[s(row) for row in rows] for s, rows in zip(scripts, states, strict=True)])


class Normal(NamedTuple):
    """What cloned policies see observations through, until it is folded into them."""

    mean: Float[np.ndarray, " o"]
    scale: Float[np.ndarray, " o"]

    def of(self, states: Float[np.ndarray, "n s o"]) -> Float[np.ndarray, "n s o"]:
        """Normalized observations."""
        return (states - self.mean) * self.scale


def normal_of(states: Float[np.ndarray, "n s o"]) -> Normal:
    """By the moments of all tasks' states."""
    variance = states.var(axis=(0, 1)) + SMALLEST_VARIANCE
    return Normal(states.mean(axis=(0, 1)), 1.0 / np.sqrt(variance))


def clone_all(
    preset: DataPreset,
    family: MetaWorld,
    contexts: Float[np.ndarray, "n c"],
    states: Float[np.ndarray, "n s o"],
    actions: Float[np.ndarray, "n s a"],
) -> Policies:
    """One policy, conditioned on the task, that does these actions in these states; folded at each
    task. It learns from normalized observations: a goal moves by centimeters."""
    cfg = preset.expert.cfg
    spec = cfg.learner.policy(cfg, family.obs_size, family.action_size)
    normal = normal_of(states)
    encoded = jnp.asarray(family.context.encode(contexts), jnp.float32)
    seen = jnp.asarray(normal.of(states))
    none = jnp.zeros((len(encoded), spec.size))
    shown = Pairs(none, jnp.arange(len(encoded)), encoded, seen, jnp.asarray(actions))
    run = loop.FitJob("base", (0,), preset.clone.steps, None, {})
    model, _ = preset.clone.train(run, shown, spec, None)[0]

    @jax.jit
    @jax.vmap
    def fold(row):
        actor = fold_actor(model.spec.unflatten(jnp.asarray(model.weights)), row)
        return spec.flatten(fold_normalizer(actor, *map(jnp.asarray, normal)))

    return Policies(np.asarray(fold(encoded)), spec)


def clone_each(
    preset: DataPreset,
    family: MetaWorld,
    contexts: Float[np.ndarray, "n c"],
    states: Float[np.ndarray, "n s o"],
    actions: Float[np.ndarray, "n s a"],
) -> Policies:
    """As `clone_all`, but a policy for each task alone, all from different starts."""
    cfg = preset.expert.cfg
    spec = cfg.learner.policy(cfg, family.obs_size, family.action_size)
    normal = normal_of(states)
    seen, done = jnp.asarray(normal.of(states)), jnp.asarray(actions)
    tx = optax.adam(optax.cosine_decay_schedule(preset.clone.rate, preset.clone.steps))

    def init(key):
        actor = spec.init(key)
        return actor, tx.init(actor)

    def step(state, key, i, own, data):
        (actor, adam), (seen, done) = state, own
        rows = jax.random.randint(key, (EACH_BATCH,), 0, len(seen))
        loss, grads = jax.value_and_grad(action_gap)(actor, seen[rows], done[rows])
        updates, adam = tx.update(grads, adam)
        return (optax.apply_updates(actor, updates), adam), {"loss/behavior": loss}

    n = len(contexts)
    run = loop.FitJob("clones", tuple(range(n)), preset.clone.steps, None, {})
    actors = loop.learn(run, init, step, (seen, done), None).state[0]

    @jax.jit
    @jax.vmap
    def fold(actor):
        return spec.flatten(fold_normalizer(actor, *map(jnp.asarray, normal)))

    return Policies(np.asarray(fold(actors)), spec)


def shown_steps(preset: DataPreset) -> int:
    """Environment steps of each task that the base was fitted on, the scripts' and its own."""
    own = (preset.fits - 1) * MetaWorld.horizon_steps
    return BASE_WORLDS * (preset.prior_steps + own)


def tasks_of(family: MetaWorld, contexts: Float[np.ndarray, "k 1"]) -> list[str]:
    """Names of tasks."""
    return list(map(family.task_name, contexts))
