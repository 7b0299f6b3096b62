"""The loop: actors with a memory, in worlds that begin their episodes at different times."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest

from hyperpolicy import rollout
from hyperpolicy.envs.locomotion import CheetahVel
from hyperpolicy.errors import BadSetting
from hyperpolicy.rollout.loop import Jobs, at_first_success, never, play_in_turn


@dataclass(frozen=True)
class Remembering(rollout.Actor):
    """Its actions say what it remembers: its policy's number, the steps of the episode before this
    one, the reward of the last of them."""

    action_size: int
    number: np.ndarray

    def start(self, n, e):
        return {"steps": np.zeros((n, e)), "reward": np.zeros((n, e, 1))}

    def act(self, carry, obs, key):
        action = np.zeros((*obs.shape[:2], self.action_size), np.float32)
        action[..., 0] = self.number[:, None] / 10
        action[..., 1] = carry["steps"] / 100
        action[..., 2] = carry["reward"][..., 0] / 10
        return action, carry

    def observe(self, carry, step):
        goes_on = ~(step.terminated | step.truncated)
        reward = np.where(goes_on, step.reward, 0.0)[..., None]
        return {"steps": (carry["steps"] + 1) * goes_on, "reward": reward}

    def take(self, rows):
        return Remembering(self.action_size, self.number[rows])


@dataclass(frozen=True, kw_only=True)
class Fast(CheetahVel):
    """Success is moving faster than `enough`, which worlds reach at different steps or not."""

    horizon_steps: int = 6
    most_worlds: int | None = 12
    enough: float = 0.15

    def success(self, outcome):
        return np.asarray(outcome)[..., 0] > self.enough


def test_a_memory_begins_with_each_job_when_worlds_take_turns():
    family, actor = Fast(), Remembering(6, np.arange(3))
    jobs = Jobs(np.arange(40) % 3, np.full((40, 1), 1.0), np.arange(40))
    last, begun = {}, set()
    for number, moment in enumerate(play_in_turn(actor, family, jobs, at_first_success(family))):
        for place in np.flatnonzero(moment.alive):
            job, t = moment.job[place], moment.t[place]
            who, steps, reward = moment.action[place, 0, :3]
            assert np.isclose(who, jobs.policy[job] / 10) and np.isclose(steps, t / 100)
            assert np.isclose(reward, last[job] / 10 if t else 0.0)
            last[job] = moment.step.reward[place]
            if t == 0:
                begun.add(number)
    assert sorted(last) == list(range(40)) and len(begun) > 2, begun


def test_a_memory_sees_where_each_world_begins_its_next_episode(falling_ant):
    worlds = falling_ant.worlds(np.zeros((4, 1)), seed=0)
    actor, begins = Remembering(8, np.arange(2)), []
    for moment in islice(rollout.play(actor, worlds, 2, never), 40):
        np.testing.assert_allclose(moment.action[..., 1].ravel(), moment.t / 100, rtol=1e-6)
        begins.append(moment.t == 0)
    begins = np.array(begins)
    assert begins.sum() > 4 and (begins.any(axis=1) & ~begins.all(axis=1)).any()


def test_turns_ask_for_actors_whose_policies_can_be_told_apart():
    family = Fast()
    contexts, starts = np.full((2, 1), 1.0), np.arange(8).reshape(2, 4)
    jobs = Jobs(np.arange(2), contexts, np.arange(2))
    with pytest.raises(BadSetting, match="Memoryless acts for all policies at once"):
        list(play_in_turn(rollout.uniform(family), family, jobs, at_first_success(family)))
    assert rollout.successes(rollout.uniform(family), family, contexts, starts)
    with pytest.raises(BadSetting, match="cheetah-vel knows returns and no success"):
        rollout.success_rate(rollout.zero(CheetahVel()), CheetahVel(), contexts)
