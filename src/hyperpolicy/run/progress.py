"""Progress of long work on standard error: a bar or a live table on a terminal, a line now and then
elsewhere. Nothing is said of work that is done within SOON_S.
"""

import threading
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from rich.table import Column

from hyperpolicy.terminal import Sheet, Terminal

SOON_S = 3.0
"""Seconds after which work that shows nothing says what it is."""
LINES_S = 30.0
"""Seconds between two lines where there is no terminal."""
LOG_COLUMNS = 200
"""One line stays one line in a log."""


class Announced:
    """Within it, `text` is a line on standard error once SOON_S have passed, unless work inside
    shows its progress before."""

    _waiting: ClassVar[list["Announced"]] = []

    def __init__(self, text: str):
        self.text = text

    def __enter__(self) -> "Announced":
        self._timer = threading.Timer(SOON_S, self._say)
        self._timer.daemon = True
        self._timer.start()
        self._waiting.append(self)
        return self

    def __exit__(self, *_) -> None:
        self._timer.cancel()
        self._waiting.remove(self)

    @classmethod
    def end(cls) -> None:
        """There is no need any more to say what is not said yet."""
        for one in cls._waiting:
            one._timer.cancel()

    def _say(self) -> None:
        Terminal(news=True, columns=LOG_COLUMNS).print(self.text)


class _Shown(ABC):
    """What the two kinds of progress share: where it goes, how often, and a first word."""

    def __init__(self, label: str, first: str):
        self.label = label
        self.console = Terminal(news=True, columns=LOG_COLUMNS)
        self.first_word = Announced(f"{label}: {first}")
        self.shown = float("-inf")
        self.every_s = 0.5 if self.console.is_terminal else LINES_S

    def __enter__(self):
        Announced.end()
        self.live = self._live() if self.console.is_terminal else None
        if self.live is not None:
            self.live.start()
        else:
            self.first_word.__enter__()
        self.entered = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        if self.live is not None:
            self.live.stop()
        else:
            self.first_word.__exit__()

    @abstractmethod
    def _live(self) -> Any:
        """Rich's, for a terminal."""

    def _due(self) -> bool:
        """Whether to show something now: after SOON_S, then every `every_s`."""
        now = time.monotonic()
        wait = self.every_s if self.shown > float("-inf") or self.live is not None else SOON_S
        if now - max(self.shown, self.entered) < wait:
            return False
        self.shown = now
        if self.live is None:
            Announced.end()
        return True


class Steps(_Shown):
    """Steps of `total` done, time left, and a note."""

    def __init__(self, label: str, total: int, done: int = 0):
        super().__init__(label, f"{total - done:,} steps to do")
        self.total, self.began = total, done

    def _live(self) -> Any:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        steps = TextColumn("{task.description} {task.completed:,}/{task.total:,} steps")
        columns: list[Any] = [steps, TimeRemainingColumn()]
        if self.console.width >= 100:
            columns.insert(1, BarColumn(bar_width=20))
        if self.console.width >= 60:  # it gives way, by lines of its own
            note = Column(no_wrap=False, overflow="fold")
            columns.append(TextColumn("{task.fields[note]}", table_column=note))
        bar = Progress(*columns, console=self.console)
        self.task = bar.add_task(self.label, total=self.total, completed=self.began, note="")
        return bar

    def update(self, done: int, note: str = "") -> None:
        """So many steps are done."""
        if self.live is not None:
            self.live.update(self.task, completed=done, note=note)
        elif self._due():
            rate = (done - self.began) / (time.monotonic() - self.entered)
            left = minutes((self.total - done) / rate if rate > 0 else float("nan"))
            self.console.print(f"{self.label} {done:,}/{self.total:,} steps, {left} left  {note}")


class FleetProgress(_Shown):
    """Returns, speeds and time left of a fleet in training."""

    def __init__(self, label: str, num_experts: int, num_updates: int):
        """Each of `num_experts` does `num_updates`."""
        super().__init__(label, f"{num_updates:,} updates to do")
        self.n, self.num_updates = num_experts, num_updates
        self.first: tuple[int, int, float] | None = None
        """(updates, steps, time) when learning began here."""
        self.evaluation = "–"

    def _live(self) -> Any:
        from rich.live import Live

        return Live(f"{self.label}: compiling …", console=self.console, refresh_per_second=2)

    def step(self, updates: int, steps: int, returns) -> None:
        """Called after every turn, with each expert's updates and environment steps so far; shows
        something at most every `every_s`."""
        now = time.monotonic()
        if self.first is None and updates > 0:
            self.first = (updates, steps, now)
        if not self._due():
            return
        row = self._row(updates, steps, returns, now)
        if self.live is None:
            self.console.print("  ".join(f"{k} {v}".strip() for k, v in row.items()))
            return
        table = Sheet()
        for name in row:
            table.add_column(name, justify="right")
        table.add_row(*row.values())
        self.live.update(table)

    def evaluated(self, updates: int, returns) -> None:
        """The newest deterministic evaluation."""
        low, middle, high = np.nanmin(returns), np.nanmedian(returns), np.nanmax(returns)
        self.evaluation = f"{low:.1f} / {middle:.1f} / {high:.1f} @ {updates}"

    def _row(self, updates: int, steps: int, returns, now: float) -> dict[str, str]:
        u0, s0, t0 = self.first or (updates, steps, now)
        passed = max(now - t0, 1e-9)
        rate = (updates - u0) / passed
        done = returns[np.isfinite(returns)]
        return {
            "": self.label,
            "updates": f"{updates}/{self.num_updates}",
            "left": minutes((self.num_updates - updates) / rate if rate > 0 else float("nan")),
            "training return": f"{np.median(done):.1f}" if len(done) else "–",
            "evaluation min/median/max": self.evaluation,
            "expert-updates/s": f"{rate * self.n:.0f}",
            "env-steps/s": f"{(steps - s0) * self.n / passed:.0f}",
        }


def minutes(seconds: float) -> str:
    """'3.1 min'; '–' for NaN."""
    return f"{seconds / 60:.1f} min" if np.isfinite(seconds) else "–"
