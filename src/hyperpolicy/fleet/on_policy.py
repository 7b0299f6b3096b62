"""Fleets of learners that learn once from what their worlds just did: in every turn the worlds take
a round of steps. Worlds on the host, learners on the devices.

Where clumsy steps cost more than they bring, as Ant-Dir's do, a critic of actions learns to stand
still; small steps along what paid off in a round lead to a run. What such learners lack, critics of
actions, `judging.py` fits at the end.
"""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperpolicy.fleet.plan import Plan, Work
from hyperpolicy.fleet.runner import EXPERTS, SAME, Member, Runner, place
from hyperpolicy.fleet.schedule import RoundSchedule
from hyperpolicy.rl.learner import Config, State
from hyperpolicy.types import Round


@dataclass(frozen=True)
class OnPolicy(Plan):
    """A learner that learns from rounds, how long it trains, and who judges its policies at the
    end: a learner with critics, of the same hidden layers; None if nobody does.

    Raises:
        BadSetting: a learner or a schedule of the other kind, a judge without critics, or critics
            of other hidden layers.
    """

    cfg: Config
    schedule: RoundSchedule = field(default_factory=RoundSchedule)
    critic: Config | None = None
    """The judge's configuration."""

    learns_from = "rounds"

    def runner(self, work: Work) -> "OnPolicyRunner":
        """The learners and their worlds, at the beginning."""
        return OnPolicyRunner(self, work)


class OnPolicyRunner(Runner):
    """n learners and their worlds."""

    schedule: RoundSchedule

    def __init__(self, plan: OnPolicy, work: Work):
        super().__init__(plan, work)
        self.improve, self.explore = self._compile()
        told = work.view.told(work.family, self.tasks.worlds)
        self.told = np.asarray(told, np.float32)
        self.seen: list[Float[np.ndarray, "n e i"]] = []
        """What the policies saw in the last round."""

    def lesson(self, learner: State) -> Round:
        t, e = self.schedule.round_steps, self.e
        inputs = jnp.zeros((e, self.work.spaces.inputs))
        explore = partial(self.learner.explore, self.cfg)
        _, memo = jax.eval_shape(explore, learner, inputs, jax.random.key(0))
        many = lambda leaf: jnp.zeros((t, *leaf.shape), leaf.dtype)  # noqa: E731
        seen, flags = many(inputs), jnp.zeros((t, e))
        return Round(seen, jax.tree.map(many, memo), flags, seen, flags, flags)

    # --- Turns ----------------------------------------------------------------------------
    def begin(self) -> None:
        self.worlds.reset()
        # episodes shall end at all times, not all at once
        horizon, seeds = self.work.family.horizon_steps, self.tasks.seeds
        early = [np.random.default_rng(s).integers(0, horizon, self.e) for s in seeds]
        self.worlds.elapsed_steps = np.concatenate(early)

    def turn(self, done: int) -> None:
        share = np.float32(self.schedule.share(done))
        updates = np.int32(self.plan.updates(done + 1))
        found = place(self._collect(), self.mesh)
        self.fleet = self.improve(self.fleet, found, share, updates, np.int32(done))

    def _collect(self) -> Round:
        """A round of the worlds' steps; every array leads with axis n."""
        num_steps, shape = self.schedule.round_steps, self.episode_return.shape
        # `update` splits a learner's key; acting folds other numbers into it
        keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 1), num_steps))(
            self.fleet.learner.key
        )
        steps = []
        self.seen = []
        for t in range(num_steps):
            inputs = self._inputs(self.worlds.obs)
            action, memo = self.explore(self.fleet.learner, inputs, keys[:, t])
            step = self.worlds.step(np.asarray(action).reshape(len(self.worlds), -1))
            ended = step.terminated | step.truncated
            flags = (np.reshape(x, shape) for x in (step.reward, step.terminated, ended))
            reward, terminated, over = flags
            memo, after = jax.tree.map(np.asarray, memo), self._inputs(step.next_obs)
            steps.append((inputs, memo, reward, after, terminated, over))
            self.seen.append(inputs)
            self.count(step)
        return Round(
            *jax.tree.map(lambda *x: jnp.asarray(np.stack(x, axis=1), jnp.float32), *steps)
        )

    def _inputs(self, obs: Float[np.ndarray, "w o"]) -> Float[np.ndarray, "n e i"]:
        """What the policies see: observations of the worlds, and what they are told."""
        wide = obs.reshape(*self.told.shape[:2], -1).astype(np.float32)
        return np.concatenate([wide, self.told], axis=-1)

    # --- On the devices -------------------------------------------------------------------
    def _compile(self):
        """Jitted `(improve, explore)` over the fleet."""
        ins = (EXPERTS, EXPERTS, SAME, SAME, SAME)
        improve = partial(jax.shard_map, mesh=self.mesh, in_specs=ins, out_specs=EXPERTS)
        explore = jax.vmap(partial(self.learner.explore, self.cfg))
        return jax.jit(improve(self._improve, check_vma=False)), jax.jit(explore)

    def _improve(self, fleet: Member, found: Round, share, updates, index) -> Member:
        """Every member after a round."""

        def one(member: Member, found: Round) -> Member:
            new, measured = self.learner.update(self.cfg, member.learner, found, index)
            metrics = jnp.stack([measured[name] for name in self.names])
            return self.settle(member, new, metrics, share, updates)

        if jax.default_backend() == "cpu":  # a round's products fill a core by themselves
            return jax.lax.map(lambda pair: one(*pair), (fleet, found))
        return jax.vmap(one)(fleet, found)

    def observations(self) -> list[Float[np.ndarray, "k o"]]:
        o = self.work.family.obs_size
        rounds = np.stack(self.seen, axis=1)
        return [own[..., :o].reshape(-1, o) for own in rounds]
