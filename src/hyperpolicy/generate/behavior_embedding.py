"""AMT-Hyp's behavior embedding: what a demonstration's opening tells about how it succeeds.

AMT-Hyp, ICRA 2025 (manuscript 2814), Section III-A, Eq. 2; trained as Make-An-Agent's released
code does. A demonstration has an opening (60 steps: 20 blocks of a state and three actions) and a
ending (the 3 states from the first success on). With matching rows i of a batch:

    h = φ(opening)    v = ψ(ending)    s_ij = h_iᵀ W v_j    loss = −E log (exp s_ii / Σ_j exp s_ij)

AMT-Hyp conditions its generator on h. The papers print the loss without the exp; we follow the
code. Departures from the released code, marked where they happen:
  D1  the normalizers are part of the embedding (its data processing forgets them, so the published
      embeddings come from inputs unlike the trained ones), and see training rows only;
  D2  W starts as 1/√d times the identity, not uniform in [0, 1);
  D3  other demonstrations of a row's task are no wrong answers (`task_aware_loss`); the code's loss
      is `contrastive_loss`;
  D4  batches are drawn anew at each step, without replacement, and a fit is counted in steps; the
      last one is kept.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Count, Rate, Size, Sizes, Weight
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.generate import loop
from hyperpolicy.generate import normalizer as norm
from hyperpolicy.generate.normalizer import Normalizer
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.types import Key, Scalar


@dataclass(frozen=True)
class BehaviorEmbeddingConfig(Bounded):
    dim: Size = 128
    """d, numbers in h and in v."""
    opening_hidden: Sizes = (1024, 1024)
    """Widths of φ's hidden layers."""
    ending_hidden: Size = 256
    """Width of ψ's hidden layer."""
    rate: Rate = 1e-4
    """AdamW step size at the start of each cosine cycle."""
    weight_decay: Weight = 1e-4
    """AdamW's decoupled decay."""
    batch: Count = 64
    """Demonstrations a step (published: 16)."""
    steps: Count = 5110
    """Gradient steps; 10·(2ⁿ − 1) ends with a cycle (published: 400 epochs)."""
    first_cycle: Count = 10
    """Steps of the first cosine cycle; each later one is twice as long."""


# --- Networks -----------------------------------------------------------------------------
class EndingNet(eqx.Module):
    """ψ: linear → LayerNorm → tanh → linear."""

    first: Linear
    norm: eqx.nn.LayerNorm
    last: Linear

    def __call__(self, x: Float[Array, " s"]) -> Float[Array, " d"]:
        return self.last(jnp.tanh(self.norm(self.first(x))))


class Maps(eqx.Module):
    """What is learned: φ, ψ and W, over normalized inputs."""

    opening: Mlp
    ending: EndingNet
    bilinear: Float[Array, "d d"]

    @classmethod
    def init(cls, config: BehaviorEmbeddingConfig, o: int, s: int, key: Key) -> "Maps":
        """For openings of `o` numbers and endings of `s`."""
        key_opening, key_first, key_last = jax.random.split(key, 3)
        opening = Mlp.init([o, *config.opening_hidden, config.dim], key_opening)
        hidden = config.ending_hidden
        first = Linear.init(s, hidden, key_first)
        last = Linear.init(hidden, config.dim, key_last)
        ending = EndingNet(first, eqx.nn.LayerNorm(hidden), last)
        return cls(opening, ending, jnp.eye(config.dim) * config.dim**-0.5)  # D2


class Embedding(eqx.Module):
    """Trained maps with the normalizers of their inputs (D1), for ONE demonstration."""

    maps: Maps
    opening_normalizer: Normalizer
    ending_normalizer: Normalizer

    def of_opening(self, opening: Float[Array | np.ndarray, " o"]) -> Float[Array, " d"]:
        """h = φ(opening); raises BadShape for another width than the trained ones."""
        _check_width("opening", opening, self.opening_normalizer)
        return self.maps.opening(self.opening_normalizer(jnp.asarray(opening)))

    def of_ending(self, ending: Float[Array | np.ndarray, " s"]) -> Float[Array, " d"]:
        """v = ψ(ending); raises BadShape for another width than the trained ones."""
        _check_width("ending", ending, self.ending_normalizer)
        return self.maps.ending(self.ending_normalizer(jnp.asarray(ending)))


def scores(
    bilinear: Float[Array, "d d"], h: Float[Array, "b d"], v: Float[Array, "b d"]
) -> Float[Array, "b b"]:
    """s_ij = h_iᵀ W v_j: how well opening i goes with ending j."""
    return h @ bilinear @ v.T


# --- Losses -------------------------------------------------------------------------------
def contrastive_loss(score: Float[Array, "b b"], task: Int[Array, " b"]) -> Scalar:
    """−E_i log (exp s_ii / Σ_j exp s_ij), opening → ending: the released code's.

    It does not look at `task`: a batch's other demonstrations of the same task are wrong answers.
    """
    return jnp.mean(jax.nn.logsumexp(score, axis=1) - jnp.diag(score))


def symmetric_loss(score: Float[Array, "b b"], task: Int[Array, " b"]) -> Scalar:
    """The mean of `contrastive_loss` opening → ending and ending → opening."""
    return 0.5 * (contrastive_loss(score, task) + contrastive_loss(score.T, task))


def task_aware_loss(score: Float[Array, "b b"], task: Int[Array, " b"]) -> Scalar:
    """−E_i log (exp s_ii / Σ_j exp s_ij), j over i itself and the rows of other tasks (D3)."""
    other = task[:, None] != task[None]
    answers = jnp.where(other | jnp.eye(len(task), dtype=bool), score, -jnp.inf)
    return contrastive_loss(answers, task)


# --- Fit ----------------------------------------------------------------------------------
class Rows(NamedTuple):
    """Openings, endings and the numbers of their tasks, row by row."""

    opening: Float[Array | np.ndarray, "r o"]
    ending: Float[Array | np.ndarray, "r s"]
    task: Int[Array | np.ndarray, " r"]


def fit(
    config: BehaviorEmbeddingConfig,
    rows: Rows,
    seeds: tuple[int, ...] = (0,),
    out: Path | None = None,
    loss: Callable = task_aware_loss,
) -> Embedding:
    """One embedding per seed, from training rows; every leaf leads with axis n.

    `loss` is one of the three above. Raises BadShape: rows that do not match; BadSetting: fewer
    than two tasks, numbers that are not finite, or a batch beyond the rows.
    """
    inputs = _check_rows(config, rows)
    normalizers = [norm.limits(part) for part in inputs]  # D1
    scaled = [jnp.asarray(f(part)) for f, part in zip(normalizers, inputs, strict=True)]
    data = Rows(scaled[0], scaled[1], jnp.asarray(rows.task))
    signature = {"config": asdict(config), "loss": loss.__name__, "rows": loop.digest(data)}
    run = loop.FitJob("behavior embedding", seeds, config.steps, out, signature)
    rate = partial(loop.warm_restarts, config.rate, config.first_cycle)
    tx = optax.adamw(rate, weight_decay=config.weight_decay)

    def init(key):
        maps = Maps.init(config, data.opening.shape[1], data.ending.shape[1], key)
        return maps, tx.init(maps)

    def of_batch(maps, batch):
        h, v = jax.vmap(maps.opening)(batch.opening), jax.vmap(maps.ending)(batch.ending)
        return loss(scores(maps.bilinear, h, v), batch.task)

    def step(state, key, i, own, data):
        maps, adam = state
        rows = jax.random.choice(key, len(data.task), (config.batch,), replace=False)  # D4
        batch = jax.tree.map(lambda part: part[rows], data)
        value, grads = jax.value_and_grad(of_batch)(maps, batch)
        updates, adam = tx.update(grads, adam, maps)
        return (optax.apply_updates(maps, updates), adam), {"loss/contrastive": value}

    maps = loop.learn(run, init, step, None, data).state[0]
    return Embedding(maps, *jax.tree.map(lambda x: jnp.stack([x] * len(seeds)), normalizers))


def retrieval(embedding: Embedding, rows: Rows) -> Scalar:
    """Share of demonstrations whose highest-scoring ending belongs to their own task.

    Give it held-out demonstrations. A segment drawn by chance does so with probability
    Σ_t (rows of task t / rows)², which is 1 / tasks where tasks have equally many.
    """
    h = jax.vmap(embedding.of_opening)(jnp.asarray(rows.opening))
    v = jax.vmap(embedding.of_ending)(jnp.asarray(rows.ending))
    best = jnp.argmax(scores(embedding.maps.bilinear, h, v), axis=1)
    task = jnp.asarray(rows.task)
    return jnp.mean((task[best] == task).astype(jnp.float32))


# --- Checks -------------------------------------------------------------------------------
def _check_width(name: str, x, normalizer: Normalizer) -> None:
    wanted = normalizer.scale.shape
    if x.shape != wanted:
        raise BadShape(f"this embedding takes one {name} of shape {wanted}; got {x.shape}")


def _check_rows(config: BehaviorEmbeddingConfig, rows: Rows) -> list[np.ndarray]:
    """Openings and endings as float32."""
    opening, ending = (np.asarray(x, np.float32) for x in (rows.opening, rows.ending))
    task = np.asarray(rows.task)
    tables = opening.ndim == ending.ndim == 2
    if not (tables and opening.shape[:1] == ending.shape[:1] == task.shape):
        raise BadShape(
            f"openings {opening.shape}, endings {ending.shape} and tasks {task.shape} "
            "do not match; one row each a demonstration is needed: [r, o], [r, s] and [r]"
        )
    for name, part in {"opening": opening, "ending": ending}.items():
        bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if len(bad):
            raise BadSetting(
                f"the {name} of {len(bad)} of {len(part)} demonstrations, such as row {bad[0]}, is "
                "not finite; leave these out"
            )
    if (found := len(np.unique(task))) < 2:
        raise BadSetting(f"got demonstrations of {found} task; telling tasks apart needs two")
    if config.batch > len(task):
        raise BadSetting(
            f"a batch of {config.batch} is drawn without replacement, and there are {len(task)} "
            "demonstrations; lower `batch`"
        )
    return [opening, ending]
