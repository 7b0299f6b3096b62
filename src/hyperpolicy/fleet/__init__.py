"""Fleets: many learners at once. One loop trains experts from scratch, experts that go on from
given weights, and context-conditioned bases; another trains bases and experts by PPO."""

from hyperpolicy.fleet.bases import Base, fold, train_bases
from hyperpolicy.fleet.loop import Trained
from hyperpolicy.fleet.on_policy import train_base, train_on_policy
from hyperpolicy.fleet.rounds import RoundSchedule
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.train import Start, train

__all__ = [
    "Base",
    "RoundSchedule",
    "Schedule",
    "Start",
    "Trained",
    "fold",
    "train",
    "train_base",
    "train_bases",
    "train_on_policy",
]
