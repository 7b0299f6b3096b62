"""Decision Transformer and Prompt-DT: a sequence model that says what action follows the last K
steps and, if it is told one, a prompt: a few steps of an expert of the same task.

    a_t = f(prompt, R̂_{t−K+1}, s_{t−K+1}, a_{t−K+1}, …, R̂_t, s_t)      L = E[(a_t − a*_t)²]

Chen et al. 2021, arXiv:2106.01345; Xu et al. 2022, arXiv:2206.13499, whose comparisons are the same
network with parts left out:

    told       returns   method
    prompt     yes       Prompt-DT
    prompt     no        Prompt-MT-BC
    nothing    yes       MT-ORL (a Decision Transformer of all tasks)
    nothing    no        MT-BC; MT-BC-Finetune after `decision_model.finetune` in a test task
    context    yes       a Decision Transformer told the true context; nobody's but ours

This page has the network's lessons; `decision_model.py` fits them, `decider.py` acts.

Paper versus released code: prompts are cut from an episode's end (code; `where="anywhere"` is the
paper's), the loss is of the history's actions alone (code; the paper's text has the prompt's too).
Departures from the code:
  D1  observations are normalized over training tasks only; the code pools test tasks too;
  D2  a batch holds some tasks, drawn anew; the code's holds all 35 or 45;
  D3  padding is masked and nothing else; the code fills it with actions of −10;
  D4  without returns, evaluation feeds 0 as training does; the code feeds the constant target
      (`decider.constant_target`), harmless where that is 0;
  D5  averaged over the last tenth of the steps, weights are what is kept: a single evaluation of
      unaveraged ones swings.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Bounded, Count, Number, PartialShare, Positive, Rate, Size
from hyperpolicy.data import by_task
from hyperpolicy.data.by_task import Trajectories
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.data.prompts import Where
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.generate.behavior import Moments
from hyperpolicy.nets.decision import DecisionNet, Steps
from hyperpolicy.nets.transformer import Dropout
from hyperpolicy.types import Key, Scalar

Told = Literal["prompt", "nothing", "context"]
DECAY, CLIP = 1e-4, 0.25
"""AdamW's decay, and the largest norm of a gradient."""
WARM_UP, AVERAGED = 0.2, 0.1
"""Shares of the steps: over the first the step size rises, over the last weights are averaged."""


# --- Config -------------------------------------------------------------------------------
@dataclass(frozen=True)
class DecisionConfig(Bounded):
    told: Told = "prompt"
    """What it is told of a task."""
    returns: bool = True
    """Whether it is told the return that is still to come."""
    target: Number = 0.0
    """Return it is asked for."""
    scale: Positive = 500.0
    """What returns are divided by."""
    context: Size = 20
    """K, steps it looks back."""
    pieces: Size = 1
    """J, of a prompt."""
    piece_steps: Size = 5
    """H, of each piece; K* = J·H."""
    where: Where = "end"
    """Where pieces are cut."""
    width: Size = 128
    layers: Size = 3
    heads: Size = 1
    dropout: PartialShare = 0.1
    horizon: Size = 1000
    """Time embeddings."""
    tasks: Count = 8
    """Tasks in a batch at most (published: all)."""
    each: Count = 16
    """Sequences of each."""
    steps: Count = 50_000
    """Gradient steps."""
    rate: Rate = 1e-4
    """AdamW's step size after warming up."""
    name: ClassVar[str] = "decision-transformer"

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise BadSetting(f"width={self.width} is no multiple of heads={self.heads}")

    @property
    def fed(self) -> float:
        """The first return-to-go that it is fed, scaled."""
        return self.target / self.scale if self.returns else 0.0


def init(cfg: DecisionConfig, family: Family, key: Key) -> DecisionNet:
    """A fresh network."""
    told = family.context.encoded_size if cfg.told == "context" else 0
    sizes = family.obs_size + told, family.action_size, cfg.horizon
    prompted = cfg.told == "prompt"
    return DecisionNet.init(sizes, cfg.width, cfg.heads, cfg.layers, key, prompted)


# --- Batches ------------------------------------------------------------------------------
class Data(NamedTuple):
    """What it learns from; observations are normalized, returns scaled."""

    history: Trajectories
    shown: Trajectories
    """Episodes that prompts are cut from."""
    told: Float[Array | np.ndarray, "k c"]
    """The context of each task, encoded; no numbers where it is not told."""


def window(
    data: Trajectories, task: Int[Array, ""], num: int, returns: bool, key: Key
) -> tuple[Steps, Float[Array, "num a"]]:
    """Up to `num` steps of an episode of a task, at the right end, and the actions taken: an
    episode drawn by its length, from a step drawn uniformly. Without `returns` they are 0."""
    key_episode, key_step = jax.random.split(key)
    length = data.length[task]
    episode = jax.random.categorical(key_episode, jnp.log(length.astype(jnp.float32)))
    first = jax.random.randint(key_step, (), 0, length[episode])
    missing = jnp.maximum(first + num - length[episode], 0)
    at = first - missing + jnp.arange(num)
    return _cut(data, task, episode, at, at >= first, returns)


def piece(data: Trajectories, task: Int[Array, ""], num: int, where: Where, key: Key) -> Steps:
    """`num` steps of an episode of a task, of those that have so many."""
    key_episode, key_step = jax.random.split(key)
    length = data.length[task]
    possible = jnp.where(length >= num, 0.0, -jnp.inf)
    episode = jax.random.categorical(key_episode, possible)
    last = length[episode] - num
    first = jnp.maximum(last - 1, 0)
    if where == "anywhere":
        first = jax.random.randint(key_step, (), 0, last + 1)
    elif where == "start":
        first = jnp.zeros_like(last)
    at = first + jnp.arange(num)
    return _cut(data, task, episode, at, at >= 0, True)[0]


def _cut(data: Trajectories, task, episode, at, there, returns: bool):
    t = jnp.maximum(at, 0)
    obs, action, to_go = (x[task, episode, t] for x in (data.obs, data.action, data.to_go))
    to_go = to_go if returns else jnp.zeros_like(to_go)
    return Steps(to_go, obs, action, t, there), action


def join(pieces: Steps) -> Steps:
    """J pieces, on a leading axis, as one prompt."""
    return Steps(*(x.reshape(-1, *x.shape[2:]) for x in pieces))


def draw(cfg: DecisionConfig, data: Data, key: Key):
    """Sequences, prompts and the actions to predict, on one axis: `each` of some tasks."""
    key_tasks, key_rows, key_prompts = jax.random.split(key, 3)
    k = len(data.history.length)
    some = jax.random.permutation(key_tasks, k)[: min(cfg.tasks, k)]
    task = jnp.repeat(some, cfg.each)

    def cut(task, key):
        return window(data.history, task, cfg.context, cfg.returns, key)

    steps, action = jax.vmap(cut)(task, jax.random.split(key_rows, len(task)))
    told = jnp.broadcast_to(data.told[task][:, None], (len(task), cfg.context, data.told.shape[1]))
    steps = steps._replace(obs=jnp.concatenate([steps.obs, told], axis=2))
    if cfg.told != "prompt":
        return steps, None, action

    def show(task, key):
        one = partial(piece, data.shown, task, cfg.piece_steps, cfg.where)
        return join(jax.vmap(one)(jax.random.split(key, cfg.pieces)))

    return steps, jax.vmap(show)(task, jax.random.split(key_prompts, len(task))), action


# --- Loss ---------------------------------------------------------------------------------
def loss(
    net: DecisionNet,
    steps: Steps,
    prompt: Steps | None,
    action: Float[Array, "b l a"],
    drop: Dropout,
) -> Scalar:
    """E[(a_t − a*_t)²] over the steps that are there and the action's numbers."""
    found = jax.vmap(net)(steps, prompt, drop)
    gap = ((found - action) ** 2).mean(axis=2)
    return jnp.sum(gap * steps.there) / jnp.sum(steps.there)


def optimizer(rate, decay: float = DECAY) -> optax.GradientTransformation:
    """AdamW behind a bound on the gradient's norm."""
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adamw(rate, weight_decay=decay))


# --- Training -----------------------------------------------------------------------------
def prepare(
    cfg: DecisionConfig, episodes: Episodes, contexts, shown: Episodes | None
) -> tuple[Data, Moments]:
    """The data as the network sees them, and what observations are normalized by."""
    family = episodes.family
    history = by_task.trajectories(episodes, contexts)
    if shown is not None:
        by_task.check_family(family, shown)
    prompts = history if shown is None else by_task.trajectories(shown, contexts)
    longest = int(np.max(history.length))
    if longest < cfg.context:
        raise BadSetting(
            f"context={cfg.context} steps, and the longest episode has {longest}; give a shorter "
            "context, or longer episodes"
        )
    _check_pieces(cfg, family, contexts, prompts)
    there = np.arange(history.obs.shape[2]) < np.asarray(history.length)[..., None]
    all_obs = np.asarray(history.obs)[there]
    moments = Moments(all_obs.mean(axis=0), 1.0 / (all_obs.std(axis=0) + 1e-6))
    told = family.context.encode(family.context.check(contexts), np)
    told = np.asarray(told if cfg.told == "context" else told[:, :0], np.float32)
    data = Data(seen(cfg, moments, history), seen(cfg, moments, prompts), told)
    return jax.tree.map(jnp.asarray, data), Moments(*map(jnp.asarray, moments))


def seen(cfg: DecisionConfig, moments: Moments, data: Trajectories) -> Trajectories:
    """Episodes as the network sees them: observations normalized, returns scaled."""
    mean, scale = map(np.asarray, moments)
    return data._replace(obs=(data.obs - mean) * scale, to_go=data.to_go / cfg.scale)


def _check_pieces(cfg: DecisionConfig, family: Family, contexts, shown: Trajectories) -> None:
    longest = np.asarray(shown.length).max(axis=1)
    short = np.flatnonzero(longest < cfg.piece_steps)
    if cfg.told == "prompt" and len(short):
        task = family.task_name(family.context.check(contexts)[short[0]])
        raise BadSetting(
            f"a prompt takes pieces of {cfg.piece_steps} steps (piece_steps), and the longest "
            f"episode of {task} has {longest[short[0]]}; give fewer steps, or longer episodes"
        )


def train(
    cfg: DecisionConfig, family: Family, run: loop.FitJob, data: Data
) -> dict[int, DecisionNet]:
    """The networks of each seed that lived, averaged over the last steps."""
    warm = max(1, round(WARM_UP * cfg.steps))
    tx = optimizer(optax.linear_schedule(0.0, cfg.rate, warm))
    averaged_from = round((1.0 - AVERAGED) * cfg.steps)

    def start(key):
        net = init(cfg, family, key)
        return net, net, tx.init(net)

    def step(state, key, i, own, data: Data):
        net, mean, adam = state
        key_rows, key_drop = jax.random.split(key)
        steps, prompt, action = draw(cfg, data, key_rows)
        drop = Dropout(jax.random.split(key_drop, len(action)), cfg.dropout)
        value, grads = jax.value_and_grad(loss)(net, steps, prompt, action, drop)
        updates, adam = tx.update(grads, adam, net)
        net = optax.apply_updates(net, updates)
        share = 1.0 / jnp.maximum(i - averaged_from + 1.0, 1.0)
        mean = optax.incremental_update(net, mean, share)
        return (net, mean, adam), {"loss/action": value, "grad_norm": optax.tree.norm(grads)}

    fits = loop.learn(run, start, step, None, data)
    return fits.living(fits.state[1])
