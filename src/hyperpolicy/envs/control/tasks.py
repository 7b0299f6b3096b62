"""The control suite's tasks as families: the sixteen of the Contextual Control Suite, those with
an exact target speed, and those with reversed motors."""

from dataclasses import replace

import numpy as np

from hyperpolicy.envs.context import ContextSpace, Grid
from hyperpolicy.envs.control import grids
from hyperpolicy.envs.control.finger import FINGER_LENGTHS, FINGER_SPEEDS, Finger
from hyperpolicy.envs.control.legged import (
    CHEETAH_LENGTHS,
    CHEETAH_MOTORS,
    CHEETAH_SPEEDS,
    WALKER_LENGTH,
    WALKER_LENGTHS,
    WALKER_MOTORS,
    WALKER_SPEEDS,
    Cheetah,
    CheetahMorph,
    Hopper,
    Walker,
)
from hyperpolicy.envs.control.poles import Cartpole, Pendulum
from hyperpolicy.envs.control.quadruped import Escape, Quadruped
from hyperpolicy.envs.control.reward import Component
from hyperpolicy.envs.control.suite import (
    TOUCHING,
    ControlFamily,
    margin,
    sign_of,
    speed,
)
from hyperpolicy.envs.control.targets import FINGERTIP, Fish, Reacher


def with_usual(family: ControlFamily, **usual: float) -> ControlFamily:
    """The family whose coordinates have other usual values."""
    found = (replace(x, default=usual.get(x.name, x.default)) for x in family.context.coordinates)
    return replace(family, context=ContextSpace(tuple(found)))


def with_grids(family: ControlFamily, speeds, lengths, few) -> ControlFamily:
    """The family with the published grids of speeds and of lengths, whose target speed is 1, and
    ours of both; `few` are speeds and lengths of the last."""
    name, space = family.name, family.context
    slow = with_usual(family, speed=1.0).context
    both = grids.of(name, space, "speed-length", speed=few[0], length=few[1])
    found = (
        grids.of(name, space, "speed", speed=speeds),
        grids.of(name, slow, "length", length=lengths),
        both,
    )
    return replace(family, grids=found)


def exact(family: ControlFamily) -> ControlFamily:
    """The family whose reward is highest at the target speed, and 0.1 at rest."""
    name = f"{family.name}-exact"
    grids_ = tuple(replace(grid, family=name) for grid in family.grids)
    parts = tuple(
        replace(one, value_at_margin=0.1) if one.directed else one for one in family.components
    )
    return replace(family, name=name, grids=grids_, components=parts, exact=True)


def with_signs(family: ControlFamily, motors: list[str], **usual: float) -> ControlFamily:
    """The family whose contexts are one sign for each motor; a grid of 40 patterns, 20 of them to
    train on and 20 to test."""
    name = f"{family.name}-signs"
    body = with_usual(family, **usual).context.coordinates
    space = ContextSpace((*body, *map(sign_of, motors)))
    rng = np.random.default_rng(0)
    patterns = rng.permutation(2 ** len(motors))[:40]
    signs = 1.0 - 2.0 * ((patterns[:, None] >> np.arange(len(motors))) & 1)
    points = np.concatenate([np.tile(space.usual[: len(body)], (40, 1)), signs], axis=1)
    splits = {"twenty": (list(range(20)), list(range(20, 40)))}
    return replace(
        family, name=name, context=space, grids=(Grid.of(name, "signs", points, splits),)
    )


def morph_grid(name: str, space: ContextSpace) -> Grid:
    """The Actuator Inversion Benchmark's contexts: a factor on the legs' length and a sign. Twenty
    to train on, of factors 0.8 to 1.2; twenty between these ends, twenty beyond them, down to 0.4
    and up to 1.6.

    Each twenty are evenly spaced among fifty factors with both signs, as the released code takes
    its test contexts; its training contexts may be drawn.
    """
    ends = np.linspace(0.4, 0.796, 25), np.linspace(1.204, 1.6, 25)
    factors = np.linspace(0.8, 1.2, 50), np.linspace(0.804, 1.196, 50), np.concatenate(ends)
    evenly = np.linspace(0, 99, 20).astype(int)
    pairs = [np.stack(np.meshgrid(x, [-1.0, 1.0], indexing="ij"), axis=-1) for x in factors]
    points = np.concatenate([x.round(4).reshape(-1, 2)[evenly] for x in pairs])
    train, between, beyond = np.arange(60).reshape(3, 20).tolist()
    splits = {"between": (train, between), "beyond": (train, beyond)}
    return Grid.of(name, "morph", points, splits)


SPEEDS_OF = {
    "cheetah": (np.array([-10.0, -8, -6, -4, -2, 2, 4, 6, 8, 10]), grids.between(0.3, 0.7, 0.05)),
    "walker": (np.array([-5.0, -4, -3, -2, -1, 1, 2, 3, 4, 5]), grids.between(0.1, 0.5, 0.05)),
    "finger": (np.array([-15.0, -12, -9, -6, -3, 3, 6, 9, 12, 15]), grids.between(0.1, 0.4, 0.05)),
}
"""Speeds and lengths of the grids of both."""

CHEETAH_RUN = with_grids(Cheetah(), CHEETAH_SPEEDS, CHEETAH_LENGTHS, SPEEDS_OF["cheetah"])
WALKER_WALK = with_grids(Walker(), WALKER_SPEEDS, WALKER_LENGTHS, SPEEDS_OF["walker"])
FINGER_SPIN = with_grids(Finger(), FINGER_SPEEDS, FINGER_LENGTHS, SPEEDS_OF["finger"])
_TALL = (WALKER_LENGTH, *TOUCHING)
_STAND = (
    *Hopper().components[:1],
    Component("control", "quadratic", 0.1, 1.0, coordinate="control"),
)

SUITE: tuple[ControlFamily, ...] = (
    CHEETAH_RUN,
    WALKER_WALK,
    FINGER_SPIN,
    Cartpole(name="cartpole-balance", hanging=False),
    Cartpole(),
    Fish(),
    Hopper(
        name="hopper-stand",
        context=ContextSpace((margin("control", "", 1.0), *TOUCHING)),
        components=_STAND,
    ),
    Hopper(),
    Pendulum(),
    Quadruped(),
    with_usual(Quadruped(name="quadruped-run", half_size=100.0), speed=5.0),
    Escape(),
    Reacher(),
    Reacher(
        name="reacher-hard",
        target=0.015,
        components=(
            Component(
                "finger_to_target", margin=0.5, high=0.015 + FINGERTIP, coordinate="distance"
            ),
        ),
    ),
    Walker(name="walker-stand", context=ContextSpace(_TALL), components=()),
    Walker(name="walker-run", context=ContextSpace((speed(10.0, 0.05, 4.0), *_TALL))),
)
"""The Contextual Control Suite's sixteen."""

_MOVING = [one for one in SUITE if any(part.directed for part in one.components)]
_MORPH = CheetahMorph()

FAMILIES: tuple[ControlFamily, ...] = (
    *SUITE,
    *map(exact, _MOVING),
    with_signs(CHEETAH_RUN, CHEETAH_MOTORS, speed=10.0),
    with_signs(WALKER_WALK, WALKER_MOTORS, speed=1.0),
    replace(_MORPH, grids=(morph_grid(_MORPH.name, _MORPH.context),)),
)
"""All of them, by name: `<domain>-<task>`."""
