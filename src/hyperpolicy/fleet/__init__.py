"""Fleets: many learners at once. One loop trains experts from scratch, experts that go on from
given weights, and context-conditioned bases."""

from hyperpolicy.fleet.bases import Base, fold, train_bases
from hyperpolicy.fleet.loop import Trained
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.train import Start, train

__all__ = ["Base", "Schedule", "Start", "Trained", "fold", "train", "train_bases"]
