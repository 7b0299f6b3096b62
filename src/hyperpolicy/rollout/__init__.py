"""Rollouts: the one loop that steps Worlds with Actors, and what it records."""

from hyperpolicy.policies import Actor, Memoryless
from hyperpolicy.rollout.actors import exploring, greedy, uniform, zero
from hyperpolicy.rollout.experience import collect, experience, transitions
from hyperpolicy.rollout.loop import Jobs, Moment, play
from hyperpolicy.rollout.results import (
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
