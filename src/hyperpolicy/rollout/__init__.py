"""Rollouts: the one loop that steps Worlds with Actors, and what it records."""

from hyperpolicy.policies import Actor, Memoryless
from hyperpolicy.rollout.actors import exploring, greedy, uniform, zero
from hyperpolicy.rollout.loop import Jobs, Moment, play
from hyperpolicy.rollout.recording import Recording, collect, experience, record, transitions
from hyperpolicy.rollout.result import (
    Results,
    Successes,
    Tally,
    Trace,
    paired,
    results,
    results_from,
    returns,
    success_rate,
    successes_from,
    trace,
)

__all__ = [
    "Actor",
    "Jobs",
    "Memoryless",
    "Moment",
    "Recording",
    "Results",
    "Successes",
    "Tally",
    "Trace",
    "collect",
    "experience",
    "exploring",
    "greedy",
    "paired",
    "play",
    "record",
    "results",
    "results_from",
    "returns",
    "success_rate",
    "successes_from",
    "trace",
    "transitions",
    "uniform",
    "zero",
]
