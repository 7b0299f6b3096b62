"""Prompts: a few steps of a policy that does the task, which a method is told instead of its
context (Prompt-DT, Xu et al. 2022, arXiv:2206.13499).

A prompt is J pieces of H steps each, K* = J·H, cut from J episodes of one task. The released code
cuts the *end* of an episode, steps T − H − 1 … T − 2; the paper says pieces are drawn at random.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int

from hyperpolicy.data.by_task import grouped, returns_to_go
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.data.given import Given
from hyperpolicy.envs import Family
from hyperpolicy.errors import BadSetting, BadShape

Where = Literal["end", "anywhere", "start"]
"""Where a piece is cut: as the released code does it, as the paper says, or where an episode
begins, which is all that whoever has just begun to act has."""


@dataclass(frozen=True)
class Prompts(Given):
    """n prompts of l = J·H steps each, each of one of a family's tasks."""

    name: ClassVar[str] = "prompts"
    column: ClassVar[str] = "some expert steps of the test task"
    family: Family
    contexts: Float[np.ndarray, "n c"]
    """The task of each; methods are not told."""
    obs: Float[np.ndarray, "n l o"]
    action: Float[np.ndarray, "n l a"]
    reward: Float[np.ndarray, "n l"]
    to_go: Float[np.ndarray, "n l"]
    """Return-to-go at each step."""
    t: Int[np.ndarray, "n l"]
    """Steps of the episode before each."""

    def __post_init__(self):
        n, l = self.reward.shape
        wanted = (n, l, self.family.obs_size), (n, l, self.family.action_size)
        if (self.obs.shape, self.action.shape) != wanted or l < 1:
            raise BadShape(
                f"prompts with observations {self.obs.shape} and actions {self.action.shape}; {n} "
                f"prompts of {l} steps in {self.family.name} take {list(wanted[0])} and "
                f"{list(wanted[1])}"
            )
        for name in ("obs", "action", "reward", "to_go"):
            if not np.isfinite(getattr(self, name)).all():
                raise BadShape(f"prompts whose {name} holds numbers that are not finite")
        self.family.context.check(self.contexts)

    def __getitem__(self, rows) -> "Prompts":
        """Those at `rows` (an index, a slice or an array); always Prompts."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        parts = self.contexts, self.obs, self.action, self.reward, self.to_go, self.t
        return Prompts(self.family, *(x[rows] for x in parts))

    @property
    def steps(self) -> int:
        """l."""
        return self.reward.shape[1]

    @property
    def rows(self) -> Float[np.ndarray, "n r"]:
        """Observation, action and reward of each step, one step after the other."""
        steps = np.concatenate([self.obs, self.action, self.reward[..., None]], axis=2)
        return steps.reshape(len(self), -1).astype(np.float32)

    @classmethod
    def cut(
        cls,
        episodes: Episodes,
        contexts: Float[np.ndarray, "n c"],
        pieces: int = 1,
        steps: int = 5,
        where: Where = "end",
        seed: int = 0,
        each: int = 1,
    ) -> "Prompts":
        """`each` prompts of each task, task by task: `pieces` pieces of `steps` steps of episodes
        drawn at random, with replacement where there are too few.

        Raises:
            BadSetting: a task without episodes, a piece longer than its episode, numbers that are
                none.
        """
        if pieces < 1 or steps < 1 or each < 1:
            raise BadSetting(
                f"pieces={pieces}, steps={steps}, each={each}; give at least one of each"
            )
        family, rng, found = episodes.family, np.random.default_rng([seed, 1]), []
        contexts = family.context.check(contexts)
        for context, some in zip(contexts, grouped(episodes, contexts), strict=True):
            for _ in range(each):
                chosen = rng.choice(len(some), pieces, replace=pieces > len(some))
                cuts = [_piece(family, context, some[i], steps, where, rng) for i in chosen]
                found.append([np.concatenate(part) for part in zip(*cuts, strict=True)])
        parts = (np.stack(part) for part in zip(*found, strict=True))
        return cls(family, np.repeat(contexts, each, axis=0), *parts)


def _piece(family: Family, context, one: Episode, steps: int, where: Where, rng):
    """Observations, actions, rewards, returns-to-go and times of a piece of an episode."""
    t = len(one.reward)
    if steps > t:
        raise BadSetting(
            f"a prompt takes pieces of {steps} steps, and an episode of "
            f"{family.task_name(context)} has {t}; give fewer steps, or longer episodes"
        )
    first = rng.integers(t - steps + 1)
    if where != "anywhere":
        first = max(0, t - steps - 1) if where == "end" else 0
    at = first + np.arange(steps)
    return one.obs[at], one.action[at], one.reward[at], returns_to_go(one.reward)[at], at
