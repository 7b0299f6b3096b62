"""One member of a fleet on the device: its learner and averaged weights; and the fleet's replay.

Everything here is written for one member; `compile_fleet` maps it over the fleet and shards the
fleet over the devices.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from hyperpolicy.data import replay
from hyperpolicy.devices import in_order
from hyperpolicy.envs import Family
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.view import Pool, View
from hyperpolicy.nets.policy import sample
from hyperpolicy.rl import sac, td_sac
from hyperpolicy.types import Key

EXPERTS, SAME = PartitionSpec("expert"), PartitionSpec()
ACTING, DRAWING = 0, 1  # streams of a member's randomness
VMAP_BELOW_WIDTH = 128
"""On CPU cores a matrix product of this width fills a core; narrower ones are batched by vmap."""


class Member(NamedTuple):
    learner: sac.SacState
    mean: Float[Array, " p"]  # averaged actor weights
    key: Key
    died_at: Int[Array, ""]  # updates done when a number stopped being finite, −1 while alive


Count = Int[Array, ""] | np.int32


class Clock(NamedTuple):
    """Where the run stands; the same for every member."""

    step: Count  # steps of the worlds
    position: Count  # next row of a ring
    size: Count  # filled rows of a ring
    updates: Count  # gradient updates done
    share: Float[Array, ""] | np.float32  # weight of the newest actor in the average
    random: Bool[Array, ""] | np.bool_  # act at random


def act(
    family: Family, view: View, member: Member, obs: Float[Array, "e o"], contexts, clock: Clock
) -> Float[Array, "e a"]:
    """Stochastic actions in the member's worlds, or uniform ones while `clock.random`."""
    key = jax.random.fold_in(jax.random.fold_in(member.key, ACTING), clock.step)
    key_noise, key_random = jax.random.split(key)
    shape = (len(obs), family.action_size)
    seen = view.observe(family, obs, contexts)
    noise = jax.random.normal(key_noise, shape)
    action = jax.vmap(partial(sample, member.learner.actor))(seen, noise)[0]
    blind = jax.random.uniform(key_random, shape, minval=-1.0, maxval=1.0)
    return jnp.where(clock.random, blind, action)


def draw_batch(
    family: Family, view: View, num: int, member: Member, ring, pool: Pool, clock: Clock, i
):
    """The batch of update `clock.updates + i`; half of it prior transitions (RLPD, Ball et al.
    2023, arXiv:2302.02948), if there are any."""
    key = jax.random.fold_in(jax.random.fold_in(member.key, DRAWING), clock.updates + i)
    key_rows, key_pool = jax.random.split(key)
    if len(pool.prior):
        key_own, key_prior = jax.random.split(key_rows)
        own = replay.draw(ring, clock.size, num - num // 2, key_own)
        prior = replay.draw(pool.prior, np.int32(len(pool.prior)), num // 2, key_prior)
        rows = jnp.concatenate([own, prior])
    else:
        rows = replay.draw(ring, clock.size, num, key_rows)
    return view.batch(family, rows, pool, key_pool)


def settle(cfg: sac.SacConfig, spec, old: sac.SacState, member: Member, clock: Clock, num: int):
    """The member after `num` updates: averaged if all is finite, as it was before if not."""
    leaves = jax.tree.leaves(member.learner._replace(key=jnp.zeros(())))
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
    alive = finite & (member.died_at < 0)
    keep = lambda new, before: jnp.where(alive, new, before)  # noqa: E731
    died_at = jnp.where(finite | (member.died_at >= 0), member.died_at, clock.updates + num)
    learner = jax.tree.map(keep, member.learner, old)
    mean = member.mean + clock.share * (spec.flatten(learner.actor) - member.mean)
    return member._replace(learner=learner, mean=keep(mean, member.mean), died_at=died_at)


def compile_fleet(cfg: sac.SacConfig, family: Family, view: View, schedule: Schedule, mesh: Mesh):
    """Jitted `(act, advance, collect)` over the fleet.

    `advance` stores the newest transitions, does `updates_per_step` updates and acts;
    `collect` does the same without updates. Members have a ring each, or one is shared: then
    every device holds a copy of it.
    """
    update = td_sac.update if isinstance(cfg, td_sac.TdSacConfig) else sac.update
    shared = schedule.replay == "shared"
    spec = sac.policy_spec(cfg, family.obs_size + view.extra_inputs(family), family.action_size)
    wide = cfg.width >= VMAP_BELOW_WIDTH and jax.default_backend() == "cpu"

    def for_each(f, *trees):
        if wide:
            return jax.lax.map(lambda xs: f(*xs), trees)
        return jax.vmap(f)(*trees)

    def act_shard(fleet, obs, contexts, clock):
        return jax.vmap(partial(act, family, view), (0, 0, 0, None))(fleet, obs, contexts, clock)

    def push_shard(rings, rows, clock):
        if shared:
            return replay.push(rings, rows.reshape(-1, rows.shape[-1]), clock.position)
        return jax.vmap(replay.push, (0, 0, None))(rings, rows, clock.position)

    def learn_shard(fleet: Member, rings, pool: Pool, clock: Clock):
        num = schedule.updates_per_step
        old = fleet.learner

        def step(i, learners):
            def one(learner, member, pool, ring):
                batch = draw_batch(family, view, schedule.batch, member, ring, pool, clock, i)
                return update(cfg, learner, batch, clock.updates + i)

            if shared:
                return for_each(lambda *own: one(*own, rings), learners, fleet, pool)
            return for_each(one, learners, fleet, pool, rings)

        fleet = fleet._replace(learner=jax.lax.fori_loop(0, num, step, old))
        return jax.vmap(lambda o, m: settle(cfg, spec, o, m, clock, num))(old, fleet)

    def advance_shard(fleet, rings, pool, rows, obs, contexts, clock):
        rings = push_shard(rings, rows, clock)
        fleet = learn_shard(fleet, rings, pool, clock)
        return fleet, rings, act_shard(fleet, obs, contexts, clock)

    def collect_shard(fleet, rings, pool, rows, obs, contexts, clock):
        rings = push_shard(rings, rows, clock)
        return fleet, rings, act_shard(fleet, obs, contexts, clock)

    ring = SAME if shared else EXPERTS
    shard = partial(jax.shard_map, mesh=mesh, check_vma=False)
    acting = shard(act_shard, in_specs=(EXPERTS,) * 3 + (SAME,), out_specs=EXPERTS)
    ins = (EXPERTS, ring, EXPERTS, ring, EXPERTS, EXPERTS, SAME)
    both = {"in_specs": ins, "out_specs": (EXPERTS, ring, EXPERTS)}
    return (
        jax.jit(acting),
        jax.jit(shard(advance_shard, **both), donate_argnums=(0, 1), compiler_options=in_order()),
        jax.jit(shard(collect_shard, **both), donate_argnums=(0, 1)),
    )


def place(tree, mesh: Mesh, spec: PartitionSpec = EXPERTS):
    """The fleet's arrays, each device holding its own experts, or with `SAME` all of them."""
    return jax.device_put(tree, NamedSharding(mesh, spec))


class Rings(NamedTuple):
    """How the replay of n learners lies in memory: a ring each, or one that all share."""

    learners: int
    shared: bool
    block: int
    """Rows that one step of the worlds adds to a ring."""
    capacity: int
    """Rows of a ring."""

    @classmethod
    def of(cls, schedule: Schedule, n: int) -> "Rings":
        shared = schedule.replay == "shared"
        writers = n if shared else 1
        return cls(n, shared, writers * schedule.num_envs, writers * schedule.ring)

    def place(self, rows: Float[np.ndarray, "*n k d"], mesh: Mesh):
        """Rings on the devices whose first rows are `rows`."""
        ring = np.zeros((*rows.shape[:-2], self.capacity, rows.shape[-1]), np.float32)
        ring[..., : rows.shape[-2], :] = rows
        return place(ring, mesh, SAME if self.shared else EXPERTS)

    def of_learners(self, rings, filled: int) -> Float[np.ndarray, "n k d"]:
        """The filled rows, learner by learner."""
        rows = np.asarray(rings)[..., :filled, :]
        if not self.shared:
            return rows
        steps = rows.reshape(-1, self.learners, self.block // self.learners, rows.shape[-1])
        return steps.swapaxes(0, 1).reshape(self.learners, -1, rows.shape[-1])
