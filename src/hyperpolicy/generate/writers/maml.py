"""Second-order MAML on the context-conditioned policy, as HyperZero's paper compares with it.

Finn et al. (2017), arXiv:1703.03400. For each training context c, five full-batch gradient steps of
the cloning loss on support rows, from the shared parameters φ,

    φ_c ← φ_c − α ∇L(φ_c; support_c),   φ ← Adam ∇_φ E_c[L(φ_c; query_c)]

with the gradient through the inner steps. Zero-shot, φ is used as it is; `adapt.finetune` fits
policies to demonstrations. Departures: support and query are half of the batch each, of every
context (the released `k_shot` 10 gives contexts · 10 rows); as many outer steps as `steps` says
(released: 500 against HyperZero's 332,000); with values, L_td uses the adapted parameters.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from hyperpolicy.bounds import Count, Rate, Weight, unused
from hyperpolicy.generate import loop
from hyperpolicy.generate.behavior import Rollouts, draw
from hyperpolicy.generate.cloning import (
    CloneConfig,
    Net,
    Target,
    discounted_target,
    losses,
    total,
)
from hyperpolicy.generate.fitting import Places, Trainer
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.writers.conditioned_clone import ConditionedClone, ConditionedCloneConfig
from hyperpolicy.nets.policy import PolicySpec


@dataclass(frozen=True)
class MamlConfig(ConditionedCloneConfig):
    value: Weight = 0.0
    """w_q (published: none, or 0.01 with value)."""
    td: Weight = 0.0
    """w_td."""
    inner_steps: Count = 5
    """Gradient steps of an adaptation."""
    inner_rate: Rate = 0.01
    """α."""
    steps: Count = 4_000
    """Outer steps."""
    name: ClassVar[str] = "maml"

    @property
    def part(self) -> type["Maml"]:
        return Maml

    def make(self, lesson: Lesson, places: Places, train: Trainer | None = None) -> list[Generator]:
        return self.fitted(lesson, places, train or meta_train)

    def check_unused(self) -> None:
        unused(self, ("noise", "validation"), "here: all contexts train, as they are")


class Maml(ConditionedClone):
    kind: ClassVar[str] = "maml"
    config: ClassVar[type[CloneConfig]] = MamlConfig


def adapted(net: Net, cfg: MamlConfig, condition, rows, target: Target) -> Net:
    """φ_c: the parameters after the inner steps on one context's support rows."""

    def loss(net):
        return total(cfg, losses(net, cfg, condition, rows, target))

    for _ in range(cfg.inner_steps):
        net = jax.tree.map(lambda p, g: p - cfg.inner_rate * g, net, jax.grad(loss)(net))
    return net


def meta_train(
    cfg: MamlConfig,
    run: loop.FitJob,
    data: Rollouts,
    spec: PolicySpec,
    codecs=None,
    target: Target = discounted_target,
) -> dict[int, Net]:
    """The shared parameters of each seed that lived."""
    x, d = data.conditions.shape
    num = min(cfg.contexts, x)
    each = max(1, cfg.batch // (2 * num))
    tx = optax.adam(optax.cosine_decay_schedule(cfg.rate, cfg.steps))

    def init(key):
        net = cfg.init(spec, d, key)
        return net, tx.init(net)

    def outer(net, conditions, support, query):
        def one(condition, support, query):
            own = adapted(net, cfg, condition, support, target)
            return losses(own, cfg, condition, query, target)

        parts = jax.tree.map(jnp.mean, jax.vmap(one)(conditions, support, query))
        return total(cfg, parts), parts

    def step(state, key, i, own, data: Rollouts):
        net, adam = state
        key_contexts, *keys = jax.random.split(key, 3)
        here = jax.random.permutation(key_contexts, x)[:num]
        support, query = (draw(data, here, each, own) for own in keys)
        grad = jax.value_and_grad(outer, has_aux=True)
        (_, parts), grads = grad(net, data.conditions[here], support, query)
        updates, adam = tx.update(grads, adam)
        return (optax.apply_updates(net, updates), adam), parts

    fits = loop.learn(run, init, step, None, data)
    return fits.living(fits.state[0])
