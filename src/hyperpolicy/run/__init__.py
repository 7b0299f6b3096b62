"""One long job: a directory of its own, what it is, snapshots, metrics, progress, interruptions."""

from hyperpolicy.run.directory import alone, hold
from hyperpolicy.run.interrupt import deferred_interrupt
from hyperpolicy.run.job import METRICS, RUN, SNAPSHOT, Job, Output

__all__ = ["METRICS", "RUN", "SNAPSHOT", "Job", "Output", "alone", "deferred_interrupt", "hold"]
