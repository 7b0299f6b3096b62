"""PEARL as a method: what it draws from, fitted models, what they infer, and online fine-tuning.

The losses are on `pearl.py`; training that collects its own data is on `pearl_online.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy.baselines import disk
from hyperpolicy.baselines.disk import Fitted
from hyperpolicy.baselines.pearl import (
    Context,
    Lesson,
    PearlConfig,
    PearlState,
    Posterior,
    Rows,
    infer,
    init,
    update,
)
from hyperpolicy.data import by_task
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.nets.fold import fold_actor
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Actor, Policies, exploring
from hyperpolicy.provenance import library_versions
from hyperpolicy.run.job import Output
from hyperpolicy.types import Key, Scalar


# --- Batches ------------------------------------------------------------------------------
class Buffers(NamedTuple):
    """The transitions of k tasks, r each at most."""

    obs: Float[Array | np.ndarray, "k r o"]
    action: Float[Array | np.ndarray, "k r a"]
    reward: Float[Array | np.ndarray, "k r"]
    next_obs: Float[Array | np.ndarray, "k r o"]
    terminated: Float[Array | np.ndarray, "k r"]
    filled: Int[Array | np.ndarray, " k"]
    """Rows that are filled."""
    first: Int[Array | np.ndarray, " k"]
    recent: Int[Array | np.ndarray, " k"]
    """z is inferred from so many rows, from the first of them on."""
    place: Int[Array | np.ndarray, " k"]
    """Where the next row is written."""

    @classmethod
    def fixed(cls, episodes: Episodes, contexts: Float[np.ndarray, "k c"]) -> "Buffers":
        """All steps of episodes. Raises BadSetting: a task without episodes, or no rewards."""
        rows = by_task.transitions(episodes, contexts, 1.0)
        own = rows.obs, rows.action, rows.reward, rows.next_obs, rows.terminated
        none = np.zeros_like(rows.filled)
        return cls(*own, rows.filled, none, rows.filled, none)


def draw(cfg: PearlConfig, data: Buffers, tasks: Int[Array, " m"], key: Key) -> Lesson:
    """Context and rows of some tasks, and noise."""
    key_context, key_rows, key_latent, key_action = jax.random.split(key, 4)
    m, here = len(tasks), tasks[:, None]
    at = recent(data, tasks, cfg.context, key_context)
    context = Context(*(jnp.asarray(x)[here, at] for x in data[:3]))
    at = jax.random.randint(key_rows, (m, cfg.batch), 0, data.filled[tasks][:, None])
    latent_noise = jax.random.normal(key_latent, (m, cfg.latent))
    action_noise = jax.random.normal(key_action, (m, cfg.batch, data.action.shape[2]))
    rows = Rows(*(jnp.asarray(x)[here, at] for x in data[:5]))
    return Lesson(context, rows, latent_noise, action_noise)


def recent(data: Buffers, tasks: Int[Array, " m"], num: int, key: Key) -> Int[Array, "m num"]:
    """Places of rows of each task that z may be inferred from, drawn with replacement."""
    most = data.recent[tasks][:, None]
    at = data.first[tasks][:, None] + jax.random.randint(key, (len(tasks), num), 0, most)
    return at % data.obs.shape[1]


def practice(
    cfg: PearlConfig, state: PearlState, data: Buffers, key: Key
) -> tuple[PearlState, dict[str, Scalar]]:
    """The state after one update on tasks drawn now, and what it measured."""
    key_tasks, key_rows = jax.random.split(key)
    k = len(data.filled)
    tasks = jax.random.permutation(key_tasks, k)[: min(cfg.tasks, k)]
    return update(cfg, state, draw(cfg, data, tasks, key_rows))


# --- Offline ------------------------------------------------------------------------------
def fit(
    config: PearlConfig,
    episodes: Episodes,
    contexts: Float[np.ndarray, "k c"],
    seed: int = 0,
    out: str | Path | Output | None = None,
) -> "Pearl":
    """A model of the tasks `contexts`; arguments and errors as `fit_seeds`."""
    return fit_seeds(config, episodes, contexts, (seed,), out)[0]


def fit_seeds(
    config: PearlConfig,
    episodes: Episodes,
    contexts: Float[np.ndarray, "k c"],
    seeds: Sequence[int] = (0,),
    out: str | Path | Output | None = None,
) -> list["Pearl"]:
    """One model for each seed, trained side by side on `episodes` of the tasks `contexts`.

    With `out` a killed fit resumes there. A seed whose numbers stop being finite is left out, with
    a warning.

    Raises:
        BadSetting: a task without episodes, no rewards, or numbers of every seed stopped being
            finite.
    """
    family = episodes.family
    data = jax.tree.map(jnp.asarray, Buffers.fixed(episodes, contexts))
    known = {"config": asdict(config), "data": loop.digest(data), "family": family.record()}
    run = loop.FitJob(config.name, tuple(seeds), config.steps, Output.of(out), known)

    def step(state, key, i, own, data):
        return practice(config, state, data, key)

    fits = loop.learn(run, lambda key: init(config, family, key), step, None, data)
    about = {"versions": library_versions(), "contexts": np.asarray(contexts).tolist()}
    return [
        Pearl(family, config, state, about | {"seed": run.seeds[n]})
        for n, state in fits.living(fits.state).items()
    ]


# --- What was fitted ----------------------------------------------------------------------
@dataclass(frozen=True)
class Pearl:
    """A fitted model; `infer` says what task transitions are of, `policies` what to do in it."""

    family: Family
    config: PearlConfig
    state: PearlState
    provenance: dict = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Numbers that were trained."""
        return disk.size(self.state.nets)

    @property
    def spec(self) -> PolicySpec:
        """Of its policies."""
        return self.config.spec(self.family)

    def prior(self, n: int, seed: int = 0) -> Policies:
        """Policies of n latents drawn from N(0, I)."""
        z = np.random.default_rng([seed, 2]).normal(size=(n, self.config.latent))
        return self.policies(z)

    def infer(
        self,
        episodes: Episodes,
        contexts: Float[np.ndarray, "n c"],
        rows: int = 256,
        seed: int = 0,
    ) -> Posterior:
        """The posterior of each of n tasks, from `rows` transitions of its episodes, or all where
        there are fewer.

        Raises:
            BadSetting: a task without episodes, episodes of another family, or no rows.
        """
        by_task.check_family(self.family, episodes)
        if rows < 1:
            raise BadSetting(f"rows={rows}; give one or more to infer a task from")
        data, rng = Buffers.fixed(episodes, contexts), np.random.default_rng([seed, 3])
        at = [rng.permutation(int(count))[:rows] for count in data.filled]
        found = [
            inferred(self.state.nets.encoder, Context(*(x[i, some] for x in data[:3])))
            for i, some in enumerate(at)
        ]
        return Posterior(*(np.stack(part) for part in zip(*found, strict=True)))

    def policies(self, z: Float[np.ndarray, "n z"]) -> Policies:
        """The policy told each latent."""
        weights = _fold(self.spec, self.state.nets.policy, jnp.asarray(z, jnp.float32))
        return Policies(np.asarray(weights), self.spec)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file; an existing file is an error."""
        fitted = Fitted(self.family, self.config, self.state, self.provenance)
        return disk.save(path, self.config.name, fitted)

    @classmethod
    def load(cls, path: str | Path) -> "Pearl":
        """The model in a file. Raises BadFile: it holds none, or is damaged."""

        def blank(family, cfg):
            return init(cfg, family, jax.random.key(0))

        return cls(*disk.load(path, PearlConfig.name, PearlConfig, blank))


def drawn(posterior: Posterior, seed: int) -> Float[np.ndarray, "n z"]:
    """One latent of each posterior."""
    noise = np.random.default_rng([seed, 4]).normal(size=posterior.mean.shape)
    return (posterior.mean + np.sqrt(posterior.variance) * noise).astype(np.float32)


inferred = jax.jit(infer)


@partial(jax.jit, static_argnums=0)
def _fold(spec: PolicySpec, policy, z: Float[Array, "n z"]) -> Float[Array, "n p"]:
    """The flat vectors of the policies told z."""
    return jax.vmap(lambda z: spec.flatten(fold_actor(policy, z)))(z)


# --- Online -------------------------------------------------------------------------------
ONLINE_UPDATES = 100
"""Of everything, after each episode: ours, for MACAW's comparison does not say."""


@dataclass(frozen=True)
class PearlStudent:
    """n copies of a model, one a test task, that go on learning from their own episodes: each plays
    an episode by a latent drawn from its posterior, adds it to what it infers and learns from, and
    makes 100 updates on its task alone."""

    model: Pearl
    states: Any
    """On axis n."""
    posterior: Posterior
    episodes: Episodes
    contexts: Float[np.ndarray, "n c"]

    @classmethod
    def of(
        cls, model: Pearl, posterior: Posterior, contexts: Float[np.ndarray, "n c"]
    ) -> "PearlStudent":
        """Before its first episode."""
        n = len(contexts)
        states = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * n), model.state)
        return cls(model, states, posterior, Episodes.of(model.family, []), contexts)

    @property
    def policies(self) -> Policies:
        """What it would do now: the policies of the posteriors' means."""
        return self._told(np.asarray(self.posterior.mean))

    def _told(self, z) -> Policies:
        spec = self.model.spec
        each = jax.vmap(lambda net, z: spec.flatten(fold_actor(net, z)))
        weights = jax.jit(each)(self.states.nets.policy, jnp.asarray(z, jnp.float32))
        return Policies(np.asarray(weights), spec)

    def explorer(self, seed: int) -> Actor:
        """Who collects."""
        return exploring(self._told(drawn(self.posterior, seed)), seed)

    def learned(self, new: Episodes, seed: int) -> "PearlStudent":
        """What it is after episodes of all its tasks."""
        cfg = self.model.config
        episodes = Episodes.of(new.family, [*self.episodes, *new])
        data = Buffers.fixed(episodes, self.contexts)
        data = jax.tree.map(jnp.asarray, roomy(data))
        keys = jax.random.split(jax.random.key(seed), len(self.contexts))
        states, posterior = _study(cfg, self.states, data, keys)
        posterior = Posterior(*map(np.asarray, posterior))
        return replace(self, states=states, posterior=posterior, episodes=episodes)


def roomy(data: Buffers) -> Buffers:
    """The rows in arrays of a power of two, so that few programs are compiled."""
    r = data.obs.shape[1]
    room = 2 ** int(np.ceil(np.log2(r))) - r
    wide = (np.pad(x, [(0, 0), (0, room), *[(0, 0)] * (x.ndim - 2)]) for x in data[:5])
    return Buffers._make([*wide, *data[5:]])


@partial(jax.jit, static_argnums=0)
def _study(cfg: PearlConfig, states, data: Buffers, keys):
    """States of n tasks after one episode's updates, and their posteriors from 256 rows."""

    def one(task, state, key):
        def step(i, state):
            lesson = draw(cfg, data, task[None], jax.random.fold_in(key, i))
            return update(cfg, state, lesson)[0]

        state = jax.lax.fori_loop(0, ONLINE_UPDATES, step, state)
        at = recent(data, task[None], 256, jax.random.fold_in(key, ONLINE_UPDATES))[0]
        return state, infer(state.nets.encoder, Context(*(x[task, at] for x in data[:3])))

    tasks = jnp.arange(len(keys))
    return jax.lax.map(lambda xs: one(*xs), (tasks, states, keys))
