"""Generators that learn from what experts do, not from their weights: every step compares what the
networks written for some training contexts do, and are worth, with their experts' episodes.

    L_a = E[(π̂_c(s) − a*)²]
    L_q = E[(Q̂_c(s, a*) − q*)²]
    L_td = E[(q* − r − γ Q̂_c(s', π̂_c(s')))²], without a gradient through π̂_c(s')
    L = L_a + w_q L_q + w_td L_td

Rezaei-Shoshtari et al. (2023), "Hypernetworks for Zero-shot Transfer in RL", arXiv:2211.15457: the
losses of HyperZero and of all it is compared with. Paper versus released code, and departures:
  D1  γ stands in L_td, as printed; the released code has 1 (`released_target`);
  D2  weights are written once for each context of a step, not for each row: the same loss, for a
      step draws equally many rows of each of its contexts;
  D3  observations are normalized by the training data's moments, values and rewards by the values'
      root mean square, which are folded into what is written; contexts are scaled to [−1, 1]. The
      code normalizes nothing, so that its value loss is a thousand times its action loss;
  D4  q* is the smaller of the expert's twin critics; the code takes the first;
  D5  the step size falls along a cosine; the code's is constant;
  D6  what is kept is the last step, or the best one on training contexts that were held out; the
      code chooses by the test contexts' loss.
A page of its own says what writes the networks.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hyperpolicy.bounds import Count, PartialShare, Rate, Weight, Whole
from hyperpolicy.data.given import Contexts
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import loop
from hyperpolicy.generate.behavior import Rollouts, Rows, draw, rollouts
from hyperpolicy.generate.fitting import FitConfig, Places, Trainer, keep
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson, check_zoo
from hyperpolicy.generate.parts import Codec, Frame, Identity, RowWriter, VaryingContext, Writer
from hyperpolicy.nets.fold import fold_normalizer
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.policy import PolicyNet, PolicySpec, act
from hyperpolicy.types import Key, Scalar
from hyperpolicy.zoo import Zoo

VALIDATIONS = 50
"""How often a fit with held-out contexts looks at them."""


# --- Config -------------------------------------------------------------------------------
@dataclass(frozen=True)
class CloneConfig(FitConfig):
    """What all fits on behavior have in common."""

    hidden: Count = 64
    """Units of the one hidden layer of what is written (published: 256)."""
    embed: Count = 64
    """Numbers of a context's embedding (published: 256)."""
    value: Weight = 0.01
    """w_q; without it and w_td no value network is written."""
    td: Weight = 0.01
    """w_td."""
    discount: PartialShare = 0.99
    """γ of the experts' critics."""
    steps: Count = 20_000
    """Gradient steps (published: 500 epochs of 665 steps for 34 contexts)."""
    batch: Count = 512
    """Rows a step, equally many of each context."""
    contexts: Count = 16
    """Contexts a step at most, drawn anew; where there are fewer, all."""
    rate: Rate = 1e-3
    """Adam step size at the start; a cosine takes it to 0 (published: 1e-4, constant)."""
    episodes: Count = 10
    """Deterministic episodes of each expert."""
    noise: Weight = 0.0
    """Standard normal noise on the scaled context, cut at ± this (released, but off: 0.02)."""
    validation: Whole = 0
    """Training contexts that are held out to choose the step that is kept; 0: the last one."""

    sized: ClassVar[tuple[str, ...]] = ("hidden", "embed")
    """The fields that say which networks are made, beside whether a value is among them."""

    @property
    def values(self) -> bool:
        """Whether a value network is written."""
        return self.value > 0 or self.td > 0

    def spec(self, zoo: Zoo) -> PolicySpec:
        """Of the policies that are written."""
        obs, action = zoo.family.obs_size, zoo.family.action_size
        return PolicySpec(obs, action, (self.hidden,), ("relu",), "deterministic")

    def lesson(self, zoo: Zoo) -> Lesson:
        """Each expert once, and the coordinates in which its context differs from others'."""
        family = check_zoo(zoo)
        given = Contexts(family, zoo.contexts)
        return Lesson(zoo, given, zoo.final_rows, VaryingContext.of(family.context, zoo.contexts))

    @abstractmethod
    def init(self, spec: PolicySpec, d: int, key: Key) -> "Net":
        """Fresh networks that write policies of `spec` for conditions of d numbers."""

    @property
    @abstractmethod
    def part(self) -> type["Cloned"]:
        """The class of the part that a generator keeps."""

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """What says which networks `init` makes."""
        return *((name, getattr(self, name)) for name in self.sized), ("values", self.values)

    def make(self, lesson: Lesson, places: Places, train: Trainer | None = None) -> list[Generator]:
        return self.fitted(lesson, places, train or clone)

    def fitted(self, lesson: Lesson, places: Places, train: Callable) -> list[Generator]:
        """The generators that `train` makes; see `clone`. Raises BadSetting: all training contexts
        are held out; BadZoo: as `rollouts`."""
        if self.validation >= len(lesson.zoo.contexts):
            raise BadSetting(
                f"validation={self.validation} of {len(lesson.zoo.contexts)} training contexts; "
                "leave at least one to train on"
            )
        data = rollouts(lesson, self.episodes, self.discount, self.values)
        config = asdict(self)
        known = {"config": config, "zoo": loop.digest(data)}
        run = loop.FitJob(self.name, places.seeds, self.steps, places.out, known)
        spec = self.spec(lesson.zoo)
        nets = train(self, run, data, spec, None)
        written: dict[int, tuple[Writer, Codec]] = {
            n: cast(
                tuple[Writer, Codec],
                (self.part(net, *data.moments, data.worth, spec, self.sizes), Identity(spec.size)),
            )
            for n, net in nets.items()
        }
        return keep(lesson, places, written, {"config": config}, spec)


Net = Any
"""A pytree; called with a condition it gives a PolicyNet and a value network (an Mlp, or None) of
normalized observations."""


# --- Losses -------------------------------------------------------------------------------
Target = Callable[[Any, Any, Any, float], Any]


def discounted_target(reward, next_value, ended, discount: float):
    """r + γ Q̂(s', π̂(s')), and r alone where the task ended."""
    return reward + discount * (1.0 - ended) * next_value


def released_target(reward, next_value, ended, discount: float):
    """r + Q̂(s', π̂(s')): dm_control's discount, which is always 1, as the released code has it."""
    return reward + next_value


def losses(
    net: Net, cfg: CloneConfig, condition: Float[Array, " d"], rows: Rows, target: Target
) -> dict[str, Scalar]:
    """The parts of the loss for the networks written at one condition, on rows of its expert."""
    policy, value = net(condition)
    chosen = jax.vmap(lambda s: act(policy, s))
    found = {"loss/action": jnp.mean((chosen(rows.obs) - rows.action) ** 2)}
    if value is None:
        return found
    q = jax.vmap(lambda s, a: value(jnp.concatenate([s, a]))[0])
    found["loss/value"] = jnp.mean((q(rows.obs, rows.action) - rows.value) ** 2)
    if cfg.td > 0:
        next_action = jax.lax.stop_gradient(chosen(rows.next_obs))
        ahead = target(rows.reward, q(rows.next_obs, next_action), rows.ended, cfg.discount)
        found["loss/td"] = jnp.mean((rows.value - ahead) ** 2)
    return found


def total(cfg: CloneConfig, parts: dict[str, Scalar]) -> Scalar:
    """L_a + w_q L_q + w_td L_td."""
    weights = {"loss/action": 1.0, "loss/value": cfg.value, "loss/td": cfg.td}
    return sum((weights[name] * part for name, part in parts.items()), jnp.zeros(()))


# --- Training -----------------------------------------------------------------------------
class CloneState(NamedTuple):
    net: Net
    adam: optax.OptState
    best: Net
    """Where contexts are held out: the networks that did best on them."""
    lowest: Scalar


def clone(
    cfg: CloneConfig,
    run: loop.FitJob,
    data: Rollouts,
    spec: PolicySpec,
    codecs=None,
    target: Target = discounted_target,
) -> dict[int, Net]:
    """The networks of each seed that lived, trained on all contexts but those held out."""
    x, d = data.conditions.shape
    tx = optax.adam(optax.cosine_decay_schedule(cfg.rate, cfg.steps))
    num = min(cfg.contexts, x - cfg.validation)
    each = max(1, cfg.batch // num)
    period = max(1, cfg.steps // VALIDATIONS)

    def init(key):
        net = cfg.init(spec, d, key)
        return CloneState(net, tx.init(net), net, jnp.float32(jnp.inf))

    def loss(net, conditions, rows):
        parts = jax.vmap(lambda c, own: losses(net, cfg, c, own, target))(conditions, rows)
        parts = jax.tree.map(jnp.mean, parts)
        return total(cfg, parts), parts

    def step(state: CloneState, key, i, order, data: Rollouts):
        key_contexts, key_rows, key_noise = jax.random.split(key, 3)
        here = jax.random.permutation(key_contexts, order[cfg.validation :])[:num]
        drawn = draw(data, here, each, key_rows)
        noise = jnp.clip(jax.random.normal(key_noise, (num, d)), -cfg.noise, cfg.noise)
        conditions = data.conditions[here] + noise
        (_, parts), grads = jax.value_and_grad(loss, has_aux=True)(state.net, conditions, drawn)
        updates, adam = tx.update(grads, state.adam)
        state = state._replace(net=optax.apply_updates(state.net, updates), adam=adam)
        if cfg.validation:
            look = lambda s: _validated(s, loss, data, order[: cfg.validation])  # noqa: E731
            state = jax.lax.cond((i + 1) % period == 0, look, lambda s: s, state)
        return state, parts

    orders = jnp.stack([_order(seed, x) for seed in run.seeds])
    fits = loop.learn(run, init, step, orders, data)
    return fits.living(fits.state.best if cfg.validation else fits.state.net)


def _order(seed: int, x: int) -> Int[np.ndarray, " x"]:
    """The contexts in an order of the seed; the first are held out."""
    return np.random.default_rng(seed).permutation(x)


def _validated(state: CloneState, loss, data: Rollouts, held: Int[Array, " v"]) -> CloneState:
    """The state that remembers its networks where they did better on held-out contexts than any
    before; judged by L_a on every eighth row."""
    rows = jax.tree.map(lambda leaf: leaf[held, ::8], data.rows)
    now = loss(state.net, data.conditions[held], rows)[1]["loss/action"]
    better = now < state.lowest
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), state.net, state.best)
    return state._replace(best=best, lowest=jnp.minimum(now, state.lowest))


# --- What is kept -------------------------------------------------------------------------
class Cloned(RowWriter):
    """Networks that write a policy, and may write its value, for a condition."""

    net: Net
    mean: Float[Array | np.ndarray, " o"]
    scale: Float[Array | np.ndarray, " o"]
    worth: Float[Array | np.ndarray, ""]
    """What values are divided by in training."""
    spec: PolicySpec = eqx.field(static=True)
    sizes: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def __call__(self, condition: Float[Array, " d"], key: Key) -> Float[Array, " p"]:
        policy, _ = self.net(condition)
        moments = jnp.asarray(self.mean), jnp.asarray(self.scale)
        return self.spec.flatten(fold_normalizer(policy, *moments))

    config: ClassVar[type[CloneConfig]]
    """Whose `init` makes its networks."""

    def settings(self) -> dict:
        """The sizes that `init` makes networks by."""
        return dict(self.sizes)

    @classmethod
    def blank(cls, settings: dict, frame: Frame):
        sizes = {name: settings[name] for name in cls.config.sized}
        weight = 1.0 if settings["values"] else 0.0
        cfg = cls.config(**sizes, value=weight, td=weight)
        net = cfg.init(frame.spec, frame.condition, jax.random.key(0))
        none = jnp.zeros(frame.spec.obs)
        return cls(net, none, none, jnp.ones(()), frame.spec, cfg.sizes)

    def value(self, condition: Float[Array, " d"]) -> Mlp:
        """Q̂ of (obs, action), as observations come. Raises BadSetting: none is written."""
        _, value = self.net(condition)
        if value is None:
            raise BadSetting("this generator was fitted without values (value=0, td=0)")
        (first, last), o = value.layers, len(self.mean)
        weight = first.weight.at[:o].multiply(jnp.asarray(self.scale)[:, None])
        bias = first.bias - jnp.asarray(self.mean) @ weight[:o]
        worth = jnp.asarray(self.worth)
        return Mlp([Linear(weight, bias), Linear(last.weight * worth, last.bias * worth)])


def q(
    generator: Generator,
    contexts,
    obs: Float[np.ndarray, "n s o"],
    action: Float[np.ndarray, "n s a"],
) -> Float[np.ndarray, "n s"]:
    """Q̂_c(s, a) of a generator that writes values, for s observations and actions at each context.
    Raises BadSetting: it writes none; BadContext: as `Generator.generate`."""
    writer = generator.model.writer
    if not isinstance(writer, Cloned):
        raise BadSetting(f"a {generator.kind} generator writes no values; hyperzero does")
    conditions = generator.model.reader.read(generator.accept(contexts))

    def one(condition, obs, action):
        value = writer.value(condition)
        return jax.vmap(value)(jnp.concatenate([obs, action], axis=1))[:, 0]

    return np.asarray(jax.vmap(one)(jnp.asarray(conditions, jnp.float32), obs, action))


def policy_of(layers: Sequence[Linear]) -> PolicyNet:
    """A deterministic policy with one hidden layer."""
    first, second = layers
    return PolicyNet([first], second, None, ("relu",))
