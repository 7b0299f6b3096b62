"""A process that steps some of the worlds: `python -m hyperpolicy.envs.metaworld.worker`.

It is told what to do by lines of JSON on its standard input, answers each with a line, and ends
when that input does, so with its parent. Simulations it has made are kept for the next worlds.

    {"open": {"path", "n", "tasks", "reward_version", "frozen"}}    hold these worlds, row → task
    {"hold": {"tasks"}}     put some of them on other tasks
    "step"                  one step of the marked ones
    "reset"                 the marked ones begin their episodes
"""

import json
import os
import sys

import numpy as np

from hyperpolicy.envs.engine import quiet_engine
from hyperpolicy.envs.metaworld.arm import Arm, silent
from hyperpolicy.envs.metaworld.block import Block, attach

OK = "ok"
MOST_IDLE = 2
"""Simulations kept that nobody steps, for each that is; one is some 24 MB. The tasks used last
stay."""


class Crew:
    """The arms of some rows of a block."""

    def __init__(self) -> None:
        self.idle: dict[tuple, list[Arm]] = {}
        """By task and kind, the last one used last."""
        self.arms: dict[int, tuple[tuple, Arm]] = {}
        self.block: Block
        self.kind: tuple
        """Of all arms, beside the task: the reward's version, and whether they are frozen."""

    def do(self, command) -> None:
        """Do what a command says."""
        if command == "step":
            self.step()
        elif command == "reset":
            self.reset()
        elif "hold" in command:
            self.hold(**command["hold"])
        else:
            self.open(**command["open"])

    def open(self, path: str, n: int, tasks, reward_version: str, frozen: bool) -> None:
        """Hold the rows of the block in `path` that `tasks` names, and no others."""
        self._let_go(list(self.arms))
        self.block, self.kind = attach(path, n), (reward_version, frozen)
        self.hold(tasks)

    def hold(self, tasks: dict[str, str]) -> None:
        """Put rows on other tasks."""
        self._let_go([int(row) for row in tasks if int(row) in self.arms])
        for row, task in tasks.items():
            key = (task, *self.kind)
            self.arms[int(row)] = key, self.idle[key].pop() if self.idle.get(key) else Arm(*key)
        # one task's arms follow one another, so that its code stays warm
        self.arms = dict(sorted(self.arms.items(), key=lambda item: (item[1][0], item[0])))

    def _let_go(self, rows: list[int]) -> None:
        """Keep the arms of some rows for others, but not too many."""
        most, kept = MOST_IDLE * len(self.arms), 0
        for row in rows:
            key, arm = self.arms.pop(row)
            self.idle[key] = [*self.idle.pop(key, []), arm]
        for key in reversed(list(self.idle)):
            self.idle[key] = self.idle[key][: most - kept]
            kept += len(self.idle[key])

    def reset(self) -> None:
        """Begin the marked worlds' episodes."""
        block = self.block
        for row, (_, arm) in self.arms.items():
            if block.marked[row]:
                block.obs[row] = arm.reset(int(block.seed[row]), int(block.episode[row]))

    def step(self) -> None:
        """One step of the marked worlds."""
        block = self.block
        marked = block.marked.tolist()
        rows = [row for row in self.arms if marked[row]]
        if not rows:
            return
        with silent():
            steps = [self.arms[row][1].advance(block.action[row]) for row in rows]
        obs = np.array([step.obs for step in steps])
        outcome = np.array([(step.reward, step.success) for step in steps])
        block.broken[rows] = ~(np.isfinite(obs).all(axis=1) & np.isfinite(outcome[:, 0]))
        block.obs[rows], block.outcome[rows] = obs, outcome


def serve(lines, answer) -> None:
    """Answer commands until there are no more."""
    crew = Crew()
    for line in lines:
        command = json.loads(line)
        crew.do(command)
        answer(OK)


def main() -> None:
    reply = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    with quiet_engine():
        serve(sys.stdin, lambda text: print(text, file=reply))


if __name__ == "__main__":
    main()
