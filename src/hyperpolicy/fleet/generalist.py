"""Policies for many tasks, each one told which task it is for; and the plain policies of single
tasks that are cut out of them."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hyperpolicy import headers
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadContext, BadFile, BadSetting, BadShape
from hyperpolicy.headers import GeneralistHeader, Training
from hyperpolicy.nets import elsewhere
from hyperpolicy.nets.encoders import EncoderConfig, Table
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.multi_task import MultiTaskNet, MultiTaskSpec
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.nets.trunks import Plain, PlainConfig
from hyperpolicy.policies import Actor, Policies
from hyperpolicy.rollout import Results, results
from hyperpolicy.zoo import Zoo


@partial(jax.jit, static_argnums=0)
def _act(spec: MultiTaskSpec, weights: Float[Array, " p"], obs: Float[Array, "n e o"], tasks):
    """Deterministic actions [n,e,a] at the n tasks `tasks`."""
    net = spec.unflatten(weights)
    out = jax.vmap(jax.vmap(net, (0, None)))(obs, tasks)
    return jnp.tanh(out[..., : spec.action])


def as_multi_task(
    spec: PolicySpec, weights: Float[np.ndarray, "n p"], tasks: int
) -> tuple[MultiTaskSpec, Float[np.ndarray, "n q"]]:
    """Policies of [observation, one-hot vector of the task] as policies for many tasks that act
    alike deterministically. Raises BadSetting: other activations than ReLU."""
    if set(spec.activations) != {"relu"}:
        raise BadSetting(f"activations {spec.activations}; a policy for many tasks has 'relu'")
    plain = PlainConfig(spec.hidden)
    wide = MultiTaskSpec(spec.obs - tasks, spec.action, tasks, EncoderConfig("one-hot"), plain)

    def one(row: Float[Array, " p"]) -> Float[Array, " q"]:
        net = spec.unflatten(row)
        log_std = net.mean if net.log_std is None else net.log_std
        both = (net.mean, log_std)
        last = Linear(
            jnp.concatenate([layer.weight for layer in both], axis=1),
            jnp.concatenate([layer.bias for layer in both]),
        )
        encoder = wide.encoder.make(tasks, wide.obs, jax.random.key(0))
        return wide.flatten(MultiTaskNet(encoder, Plain(Mlp([*net.hidden, last]))))

    return wide, np.asarray(jax.vmap(one)(jnp.asarray(weights)))


@dataclass(frozen=True)
class Specialists(Actor):
    """One policy for many tasks, as one actor a task; deterministic."""

    spec: MultiTaskSpec
    weights: Float[Array, " p"]
    tasks: Int[np.ndarray, " n"]

    def act(self, carry, obs, key):
        actions = _act(self.spec, self.weights, np.asarray(obs, np.float32), self.tasks)
        return np.asarray(actions), carry

    def take(self, rows):
        return Specialists(self.spec, self.weights, self.tasks[rows])


@dataclass(frozen=True)
class Generalists:
    """n policies for the same k tasks, one a seed; row i of `weights` is policy i."""

    weights: Float[np.ndarray, "n p"]
    spec: MultiTaskSpec
    family: Family
    contexts: Float[np.ndarray, "k c"]
    """The tasks."""
    seeds: tuple[int, ...]
    goals: Int[np.ndarray, "n k"] | None = None
    """Seeds of the worlds that policy i was trained in, where each task has one."""
    training: Training = Training()
    provenance: dict = field(default_factory=dict)
    """Where they come from, for readers."""

    def __post_init__(self):
        n, k = len(self.seeds), len(self.contexts)
        if self.weights.shape != (n, self.spec.size) or k != self.spec.tasks:
            raise BadShape(
                f"weights {self.weights.shape} of {n} seeds and {k} tasks; a policy for "
                f"{self.spec.tasks} tasks has {self.spec.size} numbers"
            )
        if self.goals is not None and self.goals.shape != (n, k):
            raise BadShape(f"goals {self.goals.shape} of {n} seeds and {k} tasks")

    def __len__(self) -> int:
        return len(self.weights)

    def actor(self, i: int) -> Specialists:
        """Policy i, as k actors: one a task."""
        return Specialists(self.spec, jnp.asarray(self.weights[i]), np.arange(self.spec.tasks))

    def results(self, i: int, episodes: int = 10, seed: int = 0) -> Results:
        """What policy i reaches, [task, episode]; where each task has one goal, all episodes have
        it. Raises BadSetting: fewer than one episode, or no seed."""
        starts = episodes if self.goals is None else np.tile(self.goals[i][:, None], episodes)
        return results(self.actor(i), self.family, self.contexts, starts, seed)

    def fold(self, i: int) -> Policies:
        """Policy i as k plain deterministic policies of observations, one a task. Raises
        BadSetting: a network that is no plain one at any task."""
        plain = self.spec.plain_spec()
        net = self.spec.unflatten(jnp.asarray(self.weights[i]))
        rows = [plain.flatten(self.spec.plain(net, task)) for task in range(self.spec.tasks)]
        return Policies(np.stack(rows), plain)

    def zoo(self, i: int, episodes: int = 10, seed: int = 0) -> Zoo:
        """Policy i as a zoo of its folded policies, with their returns. Raises BadSetting: as
        `fold` and `results`."""
        policies, k = self.fold(i), self.spec.tasks
        found = self.results(i, episodes, seed)
        return Zoo(
            spec=policies.spec,
            family=self.family,
            weights=policies.weights,
            expert=np.arange(k),
            updates=np.full(k, self.training.updates),
            final=np.ones(k, bool),
            returns=found.returns.mean(axis=1).astype(np.float32),
            contexts=self.contexts,
            training=self.training,
            provenance=self.provenance | {"generalist": int(self.seeds[i])},
        )

    def elsewhere(
        self,
        contexts: Float[np.ndarray, "m c"],
        language: Table = None,
        goals: Int[np.ndarray, "n m"] | None = None,
    ) -> "Generalists":
        """The policies at m tasks that they were not trained on, told their sentences `language`
        where they are told sentences (`nets/elsewhere.py`).

        Raises:
            BadContext, BadShape: contexts out of bounds, goals of other seeds or tasks.
            BadSetting: networks that know nothing of other tasks, or sentences are missing.
        """
        spec = elsewhere.specification(self.spec, len(contexts), language)
        nets = (elsewhere.network(spec, self.spec.unflatten(jnp.asarray(w))) for w in self.weights)
        weights = np.stack([np.asarray(spec.flatten(net)) for net in nets])
        contexts = self.family.context.check(contexts)
        rest = self.seeds, goals, self.training, self.provenance
        return Generalists(weights, spec, self.family, contexts, *rest)

    def save(self, path: str | Path) -> Path:
        """Write one file; an existing one is an error."""
        arrays = {"weights": np.asarray(self.weights, np.float32)}
        if self.goals is not None:
            arrays["goals"] = np.asarray(self.goals, np.int64)
        header = GeneralistHeader(
            self.family.record(),
            self.spec.record(),
            tuple(map(tuple, self.contexts.tolist())),
            tuple(int(seed) for seed in self.seeds),
            self.training,
            self.provenance,
        )
        return headers.save_arrays(path, arrays, header)

    @classmethod
    def load(cls, path: str | Path) -> "Generalists":
        """The policies in a file. Raises BadFile: it holds none, is damaged, or its parts do not
        fit each other."""
        arrays, header = headers.load_arrays(path, GeneralistHeader, ("weights",))
        family = read_family(header.family)
        try:
            spec = MultiTaskSpec.of(header.spec)
            contexts = family.context.check(np.array(header.contexts))
            rest = arrays.get("goals"), header.training, header.provenance
            return cls(arrays["weights"], spec, family, contexts, header.seeds, *rest)
        except (BadShape, BadContext, BadFile) as error:
            raise BadFile(f"{path}: {error}") from None
