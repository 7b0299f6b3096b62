"""Fleets: many learners at once. One loop trains experts from scratch, experts that go on from
given weights, and context-conditioned bases, for learners of either kind."""

from hyperpolicy.fleet.off_policy import OffPolicy
from hyperpolicy.fleet.on_policy import OnPolicy
from hyperpolicy.fleet.plan import Plan
from hyperpolicy.fleet.schedule import RoundSchedule, Schedule
from hyperpolicy.fleet.start import Base, Start, fold
from hyperpolicy.fleet.training import train, train_bases

PLANS = {"replay": (OffPolicy, Schedule), "rounds": (OnPolicy, RoundSchedule)}
"""What a learner learns from → its plan and schedule."""

__all__ = [
    "PLANS",
    "Base",
    "OffPolicy",
    "OnPolicy",
    "Plan",
    "RoundSchedule",
    "Schedule",
    "Start",
    "fold",
    "train",
    "train_bases",
]
