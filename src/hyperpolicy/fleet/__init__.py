"""Fleets: many learners at once. One loop trains experts from scratch, experts that go on from
given weights, and context-conditioned bases."""

from hyperpolicy.fleet.loop import Trained
from hyperpolicy.fleet.schedule import Schedule
from hyperpolicy.fleet.train import Base, Start, fold, train, train_bases

__all__ = ["Base", "Schedule", "Start", "Trained", "fold", "train", "train_bases"]
