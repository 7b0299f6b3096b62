"""What solves reversed motors without a generator: one expert whose outputs are flipped, told the
signs, or finding them by its own first steps."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hyperpolicy.envs.control.suite import ControlFamily
from hyperpolicy.policies import Actor, Policies
from hyperpolicy.zoo import Zoo

FIRST_STEPS = 20
"""Steps of random actions by which signs are found."""
FOUND = f"one expert, outputs flipped by its own first {FIRST_STEPS} steps"


def has_signs(family) -> bool:
    """Whether motors are reversed in some of a family's contexts."""
    names = family.context.names
    return isinstance(family, ControlFamily) and any(x.split(" of ")[0] == "sign" for x in names)


@dataclass(frozen=True)
class Flipped:
    """The best training expert, of the body nearest to the one asked for, with its outputs flipped
    from its own signs to those of the context."""

    zoo: Zoo

    def generate(self, given, seed: int = 0) -> Policies:
        """One policy for each context."""
        family, contexts = self.zoo.family, np.asarray(given, float)
        assert isinstance(family, ControlFamily)
        body = [i for i, x in enumerate(family.context.names) if x.split(" of ")[0] != "sign"]
        scale = (family.context.high - family.context.low)[body]
        gaps = (contexts[:, None, body] - self.zoo.contexts[None][..., body]) / scale
        near = np.sqrt((gaps**2).sum(axis=-1))
        closest = near <= near.min(axis=1, keepdims=True) + 1e-9
        best = np.where(closest, self.zoo.returns[self.zoo.final_rows], -np.inf).argmax(axis=1)
        turn = family.signs(contexts) * family.signs(self.zoo.contexts[best])
        return self.zoo.finals[best].with_gain(turn)


@dataclass(frozen=True)
class SignFinder(Actor):
    """Moves at random for a few steps, sees which way each joint is pushed, and goes on as one
    expert with its outputs flipped by what it saw. It is told nothing of its context.

    The last numbers of an observation are the velocities of the joints that motors turn.
    """

    expert: Policies
    """One, as it acts where no motor is reversed."""
    column: ClassVar[str] = f"its own first {FIRST_STEPS} steps"

    @classmethod
    def of(cls, zoo: Zoo) -> "SignFinder":
        """By the best training expert of a zoo."""
        family = zoo.family
        assert isinstance(family, ControlFamily)
        best = np.array([int(zoo.returns[zoo.final_rows].argmax())])
        return cls(zoo.finals[best].with_gain(family.signs(zoo.contexts[best])))

    def start(self, n: int, e: int):
        """Steps so far, what was seen of each motor, the last action and velocities."""
        a = self.expert.spec.action
        none = np.zeros((n, e, a))
        return {"t": np.zeros((n, e), int), "push": none, "action": none, "velocity": none}

    def act(self, carry, obs, key):
        a, t = self.expert.spec.action, carry["t"]
        velocity = obs[..., -a:]
        pushed = carry["push"] + carry["action"] * (velocity - carry["velocity"])
        looking = (t < FIRST_STEPS)[..., None]
        rng = np.random.default_rng([*map(int, key)])
        random = rng.choice([-1.0, 1.0], (*obs.shape[:2], a))
        flat = obs.reshape(1, -1, obs.shape[-1]).astype(np.float32)
        plain = self.expert.act(flat).reshape(random.shape)
        signs = np.where(pushed >= 0, 1.0, -1.0)
        action = np.where(looking, random, signs * plain).astype(np.float32)
        kept = np.where(looking, pushed, carry["push"])
        carry = {"t": t + 1, "push": kept, "action": np.where(looking, random, 0.0)}
        return action, carry | {"velocity": velocity}

    def observe(self, carry, step):
        ended = step.terminated | step.truncated
        mask = lambda x: np.where(ended.reshape(ended.shape + (1,) * (x.ndim - 2)), 0, x)  # noqa: E731
        return {name: mask(np.asarray(x)) for name, x in carry.items()}

    def take(self, rows):
        return self
