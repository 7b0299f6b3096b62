"""Tasks on a pool, each tried again where its worker is lost, until all are done."""

import time
from collections.abc import Sequence

from hyperpolicy.cluster.pools import Pool
from hyperpolicy.cluster.task import REFUSED, Outcome, Task, last_line
from hyperpolicy.errors import WorkerDied
from hyperpolicy.terminal import Terminal

POLL_S, NEWS_S = 1.0, 30.0
TRIES = 4


def complete(pool: Pool, tasks: Sequence[Task], tries: int = TRIES) -> None:
    """Run all tasks to their end. One whose worker is lost, or that is killed, is run again, up to
    `tries` times in all: it goes on from its snapshot.

    Raises:
        WorkerDied: a task failed for good, with what it said last; the others were ended, and the
            same command goes on with all of them.
    """
    news = Terminal(news=True)
    running = {i: (pool.submit(task), 1) for i, task in enumerate(tasks)}
    said = time.monotonic()
    while running:
        time.sleep(POLL_S)
        for i, (handle, tried) in list(running.items()):
            outcome = pool.outcome(handle)
            if outcome is None:
                continue
            if outcome.code == 0:
                del running[i]
                news.print(f"{tasks[i].name}: done, {len(running)} left")
                continue
            _give_up(tasks[i], outcome, tried, tries)
            news.print(f"{tasks[i].name}: lost ({outcome.said or outcome.code}); again")
            running[i] = pool.submit(tasks[i]), tried + 1
        if time.monotonic() - said > NEWS_S:
            said = time.monotonic()
            for i in running:
                news.print(f"{tasks[i].name}: {last_line(tasks[i].log) or 'waits'}")


def _give_up(task: Task, outcome: Outcome, tried: int, tries: int) -> None:
    """Raise WorkerDied where another try is no use."""
    if outcome.code == REFUSED:
        raise WorkerDied(f"{task.name}: {outcome.said}; all it said: {task.log}")
    if tried >= tries:
        raise WorkerDied(
            f"{task.name} ended {tried} times ({outcome.said or outcome.code}); what it said: "
            f"{task.log}"
        )
