"""The command that writes a file to start from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, subcommand

from hyperpolicy import files
from hyperpolicy.bounds import Place
from hyperpolicy.cli.command import Command, NewFile, refuse
from hyperpolicy.errors import BadSetting

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
FAMILY = '''"""{words}: a cart on a rail that is pushed to a target. Change it into your robot.

    hyperpolicy --import {module}.py families
    hyperpolicy --import {module}.py train {name} --grid even --learner ppo --out runs/{name}
"""

from dataclasses import dataclass

import numpy as np

import hyperpolicy as hp
from hyperpolicy.envs import ContextSpace, Grid, MujocoFamily, line

# The model: MuJoCo's XML as text, or `Path("robot.xml")`. Each motor needs a range.
MODEL = """<mujoco><option timestep="0.01"/><worldbody>
  <camera name="side" pos="0 -3 0.5" xyaxes="1 0 0 0 0 1"/><light pos="0 0 2"/>
  <body name="cart"><joint name="rail" type="slide" axis="1 0 0" damping="1"/>
    <geom type="box" size="0.1 0.05 0.05" mass="1"/></body></worldbody>
  <actuator><motor joint="rail" gear="5" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>"""

# The contexts: where targets may be, and which are for training and for testing.
TARGETS = np.linspace(-1.0, 1.0, 25)[:, None]
TEST = [3, 9, 12, 15, 21]
SPLITS = {{"full": ([i for i in range(25) if i not in TEST], TEST)}}


@dataclass(frozen=True, kw_only=True)
class {cls}(MujocoFamily):
    """Go to a target and stay there. Observation (2): position in m, velocity in m/s."""

    name: str = "{name}"
    context: ContextSpace = line("target", "m", -1.0, 1.0)
    grids: tuple[Grid, ...] = (Grid.of("{name}", "even", TARGETS, SPLITS),)
    obs_size: int = 2
    action_size: int = 1
    outcome_size: int = 1
    horizon_steps: int = 100
    frame_skip: int = 5  # sub-steps of the model's timestep
    dt_s: float = 0.05  # frame_skip times timestep
    qpos_noise: float = 0.1  # of an episode's start
    camera: str = "side"
    mjcf = MODEL

    def observe(self, view):
        """What policies see, [n, 2], from MuJoCo's fields, each [n, …]. Never the context."""
        return np.concatenate([view["qpos"], view["qvel"]], axis=1)

    def outcome(self, before, after):
        """What the reward depends on besides action and context, [n, 1]: the position."""
        return after["qpos"]

    def reward(self, action, outcome, context, xp=np):
        """Of actions [b, a] with outcomes [b, m] under any contexts [b, c], so that a transition
        can be labeled with another target; `xp` is numpy or jax.numpy."""
        gap = xp.abs(outcome[..., 0] - context[..., 0])
        return 1.0 - gap - 0.01 * (action**2).sum(axis=-1)

    def outcome_name(self, outcome):
        """What a policy does, in words."""
        return f"{{outcome[0]:.2f}} m"


hp.envs.register({cls}())
'''
TEST = '''"""{words}: facts fit the model, every coordinate counts, episodes repeat themselves."""

import {module}
import numpy as np

import hyperpolicy as hp
from hyperpolicy.envs.sensitivity import insensitive

FAMILY = hp.family("{name}")


def test_every_coordinate_changes_what_is_paid_or_seen():
    assert insensitive(FAMILY) == []


def test_episodes_repeat_themselves_and_worlds_do_not_mix():
    contexts = FAMILY.grid("even").split("full").test
    still = hp.rollout.uniform(FAMILY)
    first, again = (hp.rollout.returns(still, FAMILY, contexts, episodes=2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all()


def test_the_reward_is_what_the_page_says():
    action, outcome = np.zeros((1, 1)), np.array([[0.25]])
    assert FAMILY.reward(action, outcome, np.array([[0.25]]))[0] == 1.0
    assert {module}.TARGETS.shape == (25, 1)
'''


METHOD = '''"""A method of one's own, as a row beside ours and the trivial ones.

    hyperpolicy score cheetah-vel --method mine.py --out ours.json

Define `generate`, which writes policies, or `act`, which acts; not both.
"""

import numpy as np

import hyperpolicy as hp

NAME = "the expert below"  # of the row
GIVEN = "true context"  # what it gets of the test task
EXPERTS = hp.Zoo.load("zoos/cheetah-vel/specialized-full").only(
    hp.family("cheetah-vel").grid("macaw").split("full").train
)


def generate(contexts, seed):
    """k policies for contexts [k, c]; `seed` is of the noise, where there is some."""
    below = [np.sum(EXPERTS.contexts[:, 0] <= speed) - 1 for speed in contexts[:, 0]]
    return EXPERTS.finals[np.maximum(below, 0)]


# def act(obs, contexts):
#     """Actions [n, a] in [-1, 1] for observations [n, o], row i in context i."""
'''


@dataclass(frozen=True)
class NewFamily(Command):
    """Write a family with comments, and a test, to start from: a cart that goes to a target."""

    name: Positional[str]
    """Of the family: lower-case letters, digits and hyphens, such as my-robot."""
    out: Place = Path()
    """The directory to write into."""

    def run(self, console: Console) -> None:
        if not NAME.fullmatch(self.name):
            raise BadSetting(
                f"{self.name!r} is no family's name; give lower-case letters, digits and hyphens, "
                "such as my-robot"
            )
        from hyperpolicy.envs import FAMILIES

        if self.name in FAMILIES:
            raise BadSetting(f"there is a family {self.name!r} already; choose another name")
        module, words = self.name.replace("-", "_"), self.name.replace("-", " ")
        cls = "".join(map(str.capitalize, self.name.split("-")))
        facts = {"name": self.name, "module": module, "words": words.capitalize(), "cls": cls}
        texts = {f"{module}.py": FAMILY, f"test_{module}.py": TEST}
        paths = [self.out / name for name in texts]
        for path in paths:
            refuse(path)
        self.out.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, texts.values(), strict=True):
            _write(path, text.format(**facts))
            console.print(f"{path}")
        console.print(f"try it: hyperpolicy --import {paths[0]} doctor --contexts {self.name}")


@dataclass(frozen=True)
class NewMethod(Command):
    """Write a method with comments to start from, for `hyperpolicy score --method FILE`."""

    out: Positional[NewFile]
    """The file to write, such as mine.py."""

    def run(self, console: Console) -> None:
        refuse(self.out)
        _write(self.out, METHOD)
        console.print(f"{self.out}")
        console.print(f"try it: hyperpolicy score cheetah-vel --method {self.out} --out ours.json")


def _write(path: Path, text: str) -> None:
    files.write(path, lambda p: p.write_text(text, encoding="utf-8"))


@dataclass(frozen=True)
class New(Command):
    """Write a file to start from."""

    what: Annotated[NewFamily, subcommand("family")] | Annotated[NewMethod, subcommand("method")]

    def run(self, console: Console) -> None:
        self.what.run(console)
