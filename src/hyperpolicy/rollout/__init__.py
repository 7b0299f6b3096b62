"""Rollouts: the one loop that steps Worlds with Actors, and what it records."""

from hyperpolicy.policies import Actor, Greedy, Memoryless, exploring, uniform, zero
from hyperpolicy.rollout.loop import Jobs, Moment, play
from hyperpolicy.rollout.recording import collect, experience, record, transitions
from hyperpolicy.rollout.result import (
    Results,
    Tally,
    Trace,
    paired,
    results,
    returns,
    success_rate,
    successes,
    trace,
)

__all__ = [
    "Actor",
    "Greedy",
    "Jobs",
    "Memoryless",
    "Moment",
    "Results",
    "Tally",
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
    "trace",
    "transitions",
    "uniform",
    "zero",
]
