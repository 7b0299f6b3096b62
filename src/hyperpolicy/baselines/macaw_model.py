"""MACAW as a method: fitted models, what one inner step makes of them, and online fine-tuning.

The losses are on `macaw.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hyperpolicy.baselines import disk
from hyperpolicy.baselines.disk import Fitted
from hyperpolicy.baselines.macaw import (
    Actor,
    MacawConfig,
    Meta,
    adapt_policy,
    adapt_value,
    advantages,
    draw,
    init,
    outer_policy_loss,
    prepare,
    train,
    value_loss,
)
from hyperpolicy.data import by_task
from hyperpolicy.data.by_task import TaskRows
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.envs import Family
from hyperpolicy.generate import loop
from hyperpolicy.nets.policy import PolicyNet, PolicySpec
from hyperpolicy.policies import Memoryless, Policies
from hyperpolicy.provenance import library_versions
from hyperpolicy.run.job import Output


# --- Fitting ------------------------------------------------------------------------------
def fit(
    config: MacawConfig,
    episodes: Episodes,
    contexts: Float[np.ndarray, "k c"],
    inner: Episodes | None = None,
    seed: int = 0,
    out: str | Path | Output | None = None,
) -> "Macaw":
    """A model of the tasks `contexts`; arguments and errors as `fit_seeds`."""
    return fit_seeds(config, episodes, contexts, inner, (seed,), out)[0]


def fit_seeds(
    config: MacawConfig,
    episodes: Episodes,
    contexts: Float[np.ndarray, "k c"],
    inner: Episodes | None = None,
    seeds: Sequence[int] = (0,),
    out: str | Path | Output | None = None,
) -> list["Macaw"]:
    """One model for each seed, trained side by side on `episodes` of the tasks `contexts`.

    The inner steps learn from `inner`, the same episodes unless others are given: episodes of an
    untrained policy make the variant that needs no good data of a test task. With `out` a killed
    fit resumes there. A seed whose numbers stop being finite is left out, with a warning.

    Raises:
        BadSetting: a task without episodes or with fewer rows than a batch, episodes without
            rewards, or of another family; numbers of every seed stopped being finite.
    """
    family = episodes.family
    data = prepare(config, episodes, contexts, config.outer_batch)
    shown = data
    if inner is not None:
        by_task.check_family(family, inner)
        shown = prepare(config, inner, contexts, config.inner_batch)
    known = {"config": asdict(config), "data": loop.digest((data, shown))}
    known["family"] = family.record()
    run = loop.FitJob(config.name, tuple(seeds), config.steps, Output.of(out), known)
    about = {"versions": library_versions(), "contexts": np.asarray(contexts).tolist()}
    return [
        Macaw(family, config, meta, about | {"seed": run.seeds[n]})
        for n, meta in train(config, family, run, (data, shown)).items()
    ]


# --- What was fitted ----------------------------------------------------------------------
class Adapted(NamedTuple):
    """Networks of n tasks, on axis n."""

    policy: Any
    value: Any


@dataclass(frozen=True)
class Macaw:
    """A fitted model; `adapt` makes policies of its tasks."""

    family: Family
    config: MacawConfig
    meta: Meta
    provenance: dict = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Numbers that were trained."""
        return disk.size(self.meta)

    @property
    def unadapted(self) -> Policies:
        """The policy before its inner step, one."""
        spec = self.config.spec(self.family)
        policy = jax.tree.map(jnp.asarray, self.meta.policy)
        return Policies(np.asarray(flat(spec, policy))[None], spec)

    def adapt(
        self, episodes: Episodes, contexts: Float[np.ndarray, "n c"], seed: int = 0
    ) -> tuple[Policies, Adapted]:
        """The policies of n tasks after one inner step on rows of their `episodes`, and what they
        go on learning from.

        Raises:
            BadSetting: a task without episodes or with fewer rows than the inner step takes, or
                episodes of another family.
        """
        by_task.check_family(self.family, episodes)
        cfg, spec = self.config, self.config.spec(self.family)
        data = prepare(cfg, episodes, contexts, cfg.inner_batch)
        meta = jax.tree.map(jnp.asarray, self.meta)

        @jax.jit
        def one(task, key):
            rows = draw(data, task, cfg.inner_batch, cfg.inner_rows, key)
            value = adapt_value(meta, rows)
            policy = adapt_policy(cfg, meta, value, rows)
            return flat(spec, policy), Adapted(policy, value)

        keys = jax.random.split(jax.random.key(seed), len(data.filled))
        found = [one(task, key) for task, key in enumerate(keys)]
        numbers = np.stack([np.asarray(vector) for vector, _ in found])
        return Policies(numbers, spec), jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(each for _, each in found)
        )

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file; an existing file is an error."""
        fitted = Fitted(self.family, self.config, self.meta, self.provenance)
        return disk.save(path, self.config.name, fitted)

    @classmethod
    def load(cls, path: str | Path) -> "Macaw":
        """The model in a file. Raises BadFile: it holds none, or is damaged."""

        def blank(family, cfg):
            return init(cfg, family, jax.random.key(0))

        return cls(*disk.load(path, MacawConfig.name, MacawConfig, blank))


def flat(spec: PolicySpec, policy: Actor) -> Float[Array, " p"]:
    """The flat vector of the plain policy of a network."""
    *hidden, mean = policy.mean.plain.layers
    return spec.flatten(PolicyNet(hidden, mean, None, spec.activations))


# --- Online -------------------------------------------------------------------------------
ONLINE_RATE, ONLINE_BATCH = 1e-5, 256
ONLINE_UPDATES = 100, 200
"""Of the value and of the policy, after each episode."""
PATIENCE = 25
"""Episodes before the first update."""


@dataclass(frozen=True)
class MacawStudent:
    """n adapted policies that go on learning from their own episodes, as the released code does:
    actions are drawn from the policy; after 25 episodes, 100 Adam steps of the value towards
    returns and 200 of the policy on weighted log-likelihoods follow each one."""

    model: Macaw
    nets: Adapted
    adam: Any
    episodes: Episodes
    contexts: Float[np.ndarray, "n c"]

    @classmethod
    def of(cls, model: Macaw, nets: Adapted, contexts: Float[np.ndarray, "n c"]) -> "MacawStudent":
        """Before its first episode."""
        adam = jax.vmap(optax.adam(ONLINE_RATE).init)
        states = adam(nets.policy), adam(nets.value)
        return cls(model, nets, states, Episodes.of(model.family, []), contexts)

    @property
    def policies(self) -> Policies:
        """What it would do now."""
        spec = self.model.config.spec(self.model.family)
        return Policies(np.asarray(jax.vmap(lambda net: flat(spec, net))(self.nets.policy)), spec)

    def explorer(self, seed: int) -> Memoryless:
        """Who collects."""
        return around(self.policies, self.model.config.sigma, seed)

    def learned(self, new: Episodes, seed: int) -> "MacawStudent":
        """What it is after episodes of all its tasks."""
        cfg = self.model.config
        episodes = Episodes.of(new.family, [*self.episodes, *new])
        grown = replace(self, episodes=episodes)
        if len(episodes) < PATIENCE * len(self.contexts):
            return grown
        rows = by_task.transitions(episodes, self.contexts, cfg.discount)
        rows = jax.tree.map(jnp.asarray, _roomy(rows))
        keys = jax.random.split(jax.random.key(seed), len(self.contexts))
        nets, adam = _practice(cfg, self.nets, self.adam, rows, keys)
        return replace(grown, nets=nets, adam=adam)


def around(policies: Policies, sigma: float, seed: int) -> Memoryless:
    """The actor that draws from N(tanh μ, σ²), cut to [−1, 1]; a function of seed and step."""

    def act(obs, t):
        mean = policies.act(obs)
        noise = np.random.default_rng([seed, t]).normal(0.0, sigma, mean.shape)
        return np.clip(mean + noise, -1.0, 1.0).astype(np.float32)

    return Memoryless(act)


def _roomy(rows: TaskRows) -> TaskRows:
    """The rows in arrays of a power of two, so that few programs are compiled."""
    r = rows.obs.shape[1]
    room = 2 ** int(np.ceil(np.log2(r))) - r
    wide = (np.pad(x, [(0, 0), (0, room), *[(0, 0)] * (x.ndim - 2)]) for x in rows[:-1])
    return TaskRows._make([*wide, rows.filled])


@partial(jax.jit, static_argnums=0)
def _practice(cfg: MacawConfig, nets: Adapted, adam, rows: TaskRows, keys):
    """Networks and Adam's states of n tasks after one episode's updates."""
    tx = optax.adam(ONLINE_RATE)

    def one(task, policy, value, adam, key):
        of_policy, of_value = adam

        def improve_value(i, carry):
            net, state = carry
            own = draw(rows, task, ONLINE_BATCH, "anywhere", jax.random.fold_in(key, i))
            grads = jax.grad(value_loss)(net, own, own.earned)
            updates, state = tx.update(grads, state)
            return optax.apply_updates(net, updates), state

        value, of_value = jax.lax.fori_loop(0, ONLINE_UPDATES[0], improve_value, (value, of_value))

        def improve_policy(i, carry):
            net, state = carry
            key_rows = jax.random.fold_in(key, ONLINE_UPDATES[0] + i)
            own = draw(rows, task, ONLINE_BATCH, "anywhere", key_rows)
            grads = jax.grad(outer_policy_loss)(net, own, advantages(value, own), cfg.sigma)
            updates, state = tx.update(grads, state)
            return optax.apply_updates(net, updates), state

        policy, of_policy = jax.lax.fori_loop(
            0, ONLINE_UPDATES[1], improve_policy, (policy, of_policy)
        )
        return Adapted(policy, value), (of_policy, of_value)

    tasks = jnp.arange(len(keys))
    return jax.lax.map(lambda xs: one(*xs), (tasks, nets.policy, nets.value, adam, keys))
