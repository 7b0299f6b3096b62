"""Rollouts: the one loop that steps Worlds with Actors, and what it records."""

from hyperpolicy.policies import Actor, Greedy, Memoryless, exploring, uniform, zero
from hyperpolicy.rollout.loop import Jobs, Moment, play
from hyperpolicy.rollout.recording import collect, experience, record, transitions
from hyperpolicy.rollout.result import (
    Results,
    Trace,
    paired,
    results,
    returns,
    success_rate,
    successes,
    tally,
    trace,
)

__all__ = [
    "Actor",
    "Greedy",
    "Jobs",
    "Memoryless",
    "Moment",
    "Results",
    "Trace",
    "collect",
    "experience",
    "exploring",
    "paired",
    "play",
    "record",
    "results",
    "returns",
    "success_rate",
    "successes",
    "tally",
    "trace",
    "transitions",
    "uniform",
    "zero",
]
