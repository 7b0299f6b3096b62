"""One long job: a directory of its own, what it is, snapshots, metrics, progress, interruptions."""
