"""Fleets of learners that draw batches from a replay: in every turn each world takes one step, and
each learner does a few updates. Worlds on the host, learners and replay on the devices."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hyperpolicy.data import replay
from hyperpolicy.devices import in_order
from hyperpolicy.envs import Family, Step
from hyperpolicy.errors import BadSetting, BadShape
from hyperpolicy.fleet.plan import Plan, Pool, Work, layout
from hyperpolicy.fleet.rings import Rings
from hyperpolicy.fleet.runner import ACTING, DRAWING, EXPERTS, SAME, Member, Runner, place
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.rl.learner import Config, State
from hyperpolicy.rollout import transitions
from hyperpolicy.types import Batch, Paid

VMAP_BELOW_WIDTH = 128
"""On CPU cores a matrix product of this width fills a core; narrower ones are batched by vmap."""


@dataclass(frozen=True, eq=False)
class OffPolicy(Plan):
    """A learner that draws from a replay, how long it trains, and what it draws besides.

    Raises:
        BadSetting: a learner or a schedule of the other kind.
    """

    cfg: Config
    schedule: Schedule = field(default_factory=Schedule)
    prior: Float[np.ndarray, "n j d"] | None = None
    """Replay rows of others, such as demonstrations, which fill half of each batch."""
    held_out: Float[np.ndarray, "m c"] | None = None
    """The test contexts, m = 0 if there are none: a shared replay, where all learn from all, must
    know them."""

    learns_from = "replay"

    @property
    def critic(self) -> Config:
        """Who judges its policies: the learner itself."""
        return self.cfg

    def holding_out(self, contexts: Float[np.ndarray, "m c"]) -> "OffPolicy":
        """The plan that knows the test contexts."""
        return replace(self, held_out=contexts)

    def check(self, family: Family, contexts: Float[np.ndarray, "n c"]) -> None:
        """Refuse prior rows that do not fit, and a shared replay that would leak.

        Raises:
            BadShape, BadSetting: as `fleet.train`.
        """
        n, d = len(contexts), layout(family).size
        if self.cfg.learner.tasks_in_order(self.cfg):
            raise BadSetting(
                f"{self.cfg.learner.name} is one policy for many tasks; train it by "
                "fleet.train_multi_task"
            )
        if self.prior is not None and (self.prior.shape[0], self.prior.shape[2]) != (n, d):
            raise BadShape(
                f"prior has shape {self.prior.shape}; {n} experts of {family.name} take "
                f"[{n}, j, {d}]"
            )
        if self.schedule.replay == "shared":
            _check_sharing(family, contexts, self.held_out)

    def runner(self, work: Work) -> "OffPolicyRunner":
        """The learners and their worlds, at the beginning."""
        return OffPolicyRunner(self, work)


def _check_sharing(family: Family, contexts, held_out) -> None:
    """Nothing of a test context reaches training: its expert's transitions neither."""
    family.check_relabels("shared replay", contexts)
    if held_out is None:
        raise BadSetting(
            "with a shared replay experts learn from everybody's transitions; say which contexts "
            "are for testing: held_out=split.test, or an array of none"
        )
    if not len(held_out):
        return
    near = family.context.distance(contexts, family.context.check(held_out)).min(axis=1) < 1e-6
    if near.any():
        raise BadSetting(
            f"a shared replay would let training experts learn from {near.sum()} test contexts, "
            f"the first {contexts[near][0].tolist()}; train split.train alone, or replay='own'"
        )


Count = Int[Array, ""] | np.int32


class Clock(NamedTuple):
    """Where the run stands; the same for every member."""

    turn: Count  # turns done before this one
    position: Count  # next row of a ring
    size: Count  # filled rows of a ring
    updates: Count  # gradient updates done
    share: Float[Array, ""] | np.float32  # weight of the newest actor in the average
    random: Bool[Array, ""] | np.bool_  # act at random


class News(NamedTuple):
    """What the worlds have to tell before a turn's updates."""

    rows: Float[Array | np.ndarray, "n e d"]
    """The newest transitions."""
    obs: Float[Array | np.ndarray, "n e o"]
    contexts: Float[Array, "n e c"]
    paid: Paid
    """Leading with [n, e]."""
    clock: Clock


class OffPolicyRunner(Runner):
    """n learners, their worlds, and their replay."""

    schedule: Schedule

    def __init__(self, plan: OffPolicy, work: Work):
        super().__init__(plan, work)
        n, d = len(self.tasks.seeds), layout(work.family).size
        self.rings = Rings.of(self.schedule, n)
        none = np.zeros(((0,) if self.rings.shared else (n, 0)) + (d,), np.float32)
        self.ring = self.rings.place(none, self.mesh)
        self.action: np.ndarray = np.zeros((n, self.e, work.spaces.action), np.float32)
        prior = self.tasks.prior
        prior = np.zeros((n, 0, d), np.float32) if prior is None else prior
        pools = jnp.asarray(self.tasks.pools, jnp.float32)
        sizes = jnp.asarray(self.tasks.pool_sizes, jnp.int32)
        self.pool = place(Pool(pools, sizes, jnp.asarray(prior)), self.mesh)
        self.contexts = place(jnp.asarray(self.tasks.worlds, jnp.float32), self.mesh)
        nothing = jnp.zeros((n, self.e))
        self.unsaid = place(Paid(nothing, nothing, nothing), self.mesh)
        self.told_by_order = self.learner.tasks_in_order(self.cfg)
        self.act, self.advance, self.collect, self.rush = self._compile()

    def lesson(self, learner: State) -> Batch:
        i, a, b = self.work.spaces.inputs, self.work.spaces.action, self.schedule.batch
        return Batch(*(jnp.zeros((b, *width)) for width in ((i,), (a,), (), (i,), ())))

    # --- Turns ----------------------------------------------------------------------------
    def begin(self) -> None:
        obs = self.worlds.reset().reshape(len(self.tasks.seeds), self.e, -1)
        self.action = np.asarray(self.act(self.fleet, obs, self.contexts, self._clock(0)))

    def turn(self, done: int) -> None:
        obs = self.worlds.obs
        step = self.worlds.step(self.action.reshape(len(self.worlds), -1))
        rows = transitions(obs, self.action, step, self.worlds.contexts, self.e)
        learning = done >= self.schedule.fill_steps
        if done == self.schedule.fill_steps and self.schedule.first_updates:
            self.fleet = self.rush(self.fleet, self.ring, self.pool, self._clock(done - 1))
        go = self.advance if learning else self.collect
        wide = step.obs.reshape(len(self.tasks.seeds), self.e, -1)
        paid = self._paid(step) if self.learner.notice else self.unsaid
        news = News(rows, wide, self.contexts, paid, self._clock(done))
        self.fleet, self.ring, chosen = go(self.fleet, self.ring, self.pool, news)
        self.action = np.asarray(chosen)
        self.count(step)

    def _paid(self, step: Step) -> Paid:
        shape = len(self.tasks.seeds), self.e

        def told(part):
            return jnp.asarray(part.reshape(shape), jnp.float32)

        ended = step.terminated | step.truncated
        return Paid(told(step.reward), told(step.terminated), told(ended))

    def _clock(self, turn: int) -> Clock:
        schedule, rings = self.schedule, self.rings
        given = self.work.begins.startswith("given")
        return Clock(
            turn=np.int32(turn),
            position=np.int32(turn * rings.block % rings.capacity),
            size=np.int32(rings.filled(turn + 1)),
            updates=np.int32(self._updates(turn)),
            share=np.float32(schedule.share(turn)),
            random=np.bool_(not given and turn < schedule.fill_steps),
        )

    def _updates(self, turn: int) -> int:
        """Updates done when the one that follows so many turns begins."""
        if turn == self.schedule.fill_steps:
            return self.schedule.first_updates
        return self.plan.updates(turn)

    def own_state(self, turns: int) -> Any:
        return self.ring[..., : self.rings.filled(turns), :], self.action

    def restore_own(self, state: Any) -> None:
        rows, self.action = state
        self.ring = self.rings.place(rows, self.mesh)

    def observations(self) -> list[Float[np.ndarray, "k o"]]:
        rows = self.rings.of_learners(self.ring, self.rings.filled(self.schedule.turns))
        return list(rows[:, :, : self.work.family.obs_size])

    # --- On the devices -------------------------------------------------------------------
    def _compile(self):
        """Jitted `(act, advance, collect, rush)` over the fleet.

        `advance` stores the newest transitions, does `updates_per_step` updates and acts;
        `collect` does the same without updates; `rush` does `first_updates`. Where one ring is
        shared, every device holds a copy of it.
        """
        shared, schedule = self.rings.shared, self.schedule

        def act(fleet, obs, contexts, clock):
            return jax.vmap(self._act, (0, 0, 0, None))(fleet, obs, contexts, clock)

        def push(ring, rows, clock):
            if shared:
                return replay.push(ring, rows.reshape(-1, rows.shape[-1]), clock.position)
            return jax.vmap(replay.push, (0, 0, None))(ring, rows, clock.position)

        def heard(fleet, news: News):
            return jax.vmap(self._notice)(fleet, news.paid) if self.learner.notice else fleet

        def then(fleet, news: News):
            return act(fleet, news.obs, news.contexts, news.clock)

        def advance(fleet, ring, pool, news: News):
            ring, fleet = push(ring, news.rows, news.clock), heard(fleet, news)
            fleet = self._learn(fleet, ring, pool, news.clock, schedule.updates_per_step)
            return fleet, ring, then(fleet, news)

        def collect(fleet, ring, pool, news: News):
            fleet = heard(fleet, news)
            return fleet, push(ring, news.rows, news.clock), then(fleet, news)

        def rush(fleet, ring, pool, clock: Clock):
            clock = clock._replace(updates=np.int32(0), share=np.float32(0))
            return self._learn(fleet, ring, pool, clock, schedule.first_updates)

        ring = SAME if shared else EXPERTS
        shard = partial(jax.shard_map, mesh=self.mesh, check_vma=False)
        acting = shard(act, in_specs=(EXPERTS,) * 3 + (SAME,), out_specs=EXPERTS)
        ins = (EXPERTS, ring, EXPERTS, News(ring, EXPERTS, EXPERTS, EXPERTS, SAME))
        at_once = {"in_specs": (EXPERTS, ring, EXPERTS, SAME), "out_specs": EXPERTS}
        both = {"in_specs": ins, "out_specs": (EXPERTS, ring, EXPERTS)}
        return (
            jax.jit(acting),
            jax.jit(shard(advance, **both), donate_argnums=(0, 1), compiler_options=in_order()),
            jax.jit(shard(collect, **both), donate_argnums=(0, 1)),
            jax.jit(shard(rush, **at_once), donate_argnums=0, compiler_options=in_order()),
        )

    def _notice(self, member: Member, paid: Paid) -> Member:
        """One member that knows what its worlds paid."""
        return member._replace(learner=self.learner.notice(self.cfg, member.learner, paid))

    def _act(self, member: Member, obs: Float[Array, "e o"], contexts, clock: Clock):
        """Actions to learn from in one member's worlds, or uniform ones while `clock.random`."""
        key = jax.random.fold_in(jax.random.fold_in(member.key, ACTING), clock.turn)
        key_explore, key_random = jax.random.split(key)
        inputs = self.work.view.observe(self.work.family, obs, contexts)
        action, _ = self.learner.explore(self.cfg, member.learner, inputs, key_explore)
        blind = jax.random.uniform(key_random, action.shape, minval=-1.0, maxval=1.0)
        return jnp.where(clock.random, blind, action)

    def _learn(self, fleet: Member, ring, pool: Pool, clock: Clock, num: int) -> Member:
        """Every member after the `num` updates of one turn; what they measured is their mean."""
        wide = max(self.spec.hidden) >= VMAP_BELOW_WIDTH and jax.default_backend() == "cpu"

        def step(i, carry):
            def draw(member, pool, ring):
                return self._batch(member, ring, pool, clock, i)

            def one(learner, sums, batch):
                new, found = self.learner.update(self.cfg, learner, batch, clock.updates + i)
                return new, sums + jnp.stack([found[name] for name in self.names]) / num

            # Outside of `lax.map`, which would copy every member's ring.
            batches = jax.vmap(draw, (0, 0, None if self.rings.shared else 0))(fleet, pool, ring)
            if wide:
                return jax.lax.map(lambda xs: one(*xs), (*carry, batches))
            return jax.vmap(one)(*carry, batches)

        nothing = jnp.zeros(fleet.metrics.shape)
        learners, sums = jax.lax.fori_loop(0, num, step, (fleet.learner, nothing))
        settle = partial(self.settle, share=clock.share, updates=clock.updates + num)
        return jax.vmap(settle)(fleet, learners, sums)

    def _rows(self, ring, size: Count, key) -> Float[Array, "num d"]:
        """Rows of a ring: of each task equally many, task by task, where the learner wants that."""
        num, k = self.schedule.batch, self.told_by_order
        if not k:
            return replay.draw(ring, size, num, key)
        return replay.draw_stratified(ring, size, num, np.arange(self.e) * k // self.e, key)

    def _batch(self, member: Member, ring, pool: Pool, clock: Clock, i) -> Batch:
        """The batch of update `clock.updates + i`; half of it prior transitions (RLPD, Ball et al.
        2023, arXiv:2302.02948), if there are any."""
        num = self.schedule.batch
        key = jax.random.fold_in(jax.random.fold_in(member.key, DRAWING), clock.updates + i)
        key_rows, key_pool = jax.random.split(key)
        if len(pool.prior):
            key_own, key_prior = jax.random.split(key_rows)
            own = replay.draw(ring, clock.size, num - num // 2, key_own)
            prior = replay.draw(pool.prior, np.int32(len(pool.prior)), num // 2, key_prior)
            rows = jnp.concatenate([own, prior])
        else:
            rows = self._rows(ring, clock.size, key_rows)
        return self.work.view.batch(self.work.family, rows, pool, key_pool)
