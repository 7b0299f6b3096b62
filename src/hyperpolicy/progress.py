"""Progress of long work: a live table on a terminal, a line now and then elsewhere."""

import time

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table


class FleetProgress:
    """Returns, speeds and time left of a fleet in training."""

    def __init__(
        self, label: str, num_experts: int, num_updates: int, num_envs: int, every_s: float = 30.0
    ):
        """Each of `num_experts` does `num_updates` in `num_envs` worlds of its own."""
        self.console = Console(stderr=True)
        if not self.console.is_terminal:
            self.console = Console(stderr=True, width=200)  # one line stays one line in a log
        self.label, self.n = label, num_experts
        self.num_updates, self.num_envs = num_updates, num_envs
        self.every_s = 0.5 if self.console.is_terminal else every_s
        self.began = self.shown = time.monotonic()
        self.first: tuple[int, int, float] | None = None
        """(updates, steps, time) when learning began here."""
        self.evaluation = "–"

    def __enter__(self) -> "FleetProgress":
        self.live = None
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=2)
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        if self.live is not None:
            self.live.stop()

    def step(self, updates: int, steps: int, returns) -> None:
        """Called after every step of the worlds; shows something at most every `every_s`."""
        now = time.monotonic()
        if self.first is None and updates > 0:
            self.first = (updates, steps, now)
        if now - self.shown < self.every_s:
            return
        self.shown = now
        row = self._row(updates, steps, returns, now)
        if self.live is None:
            self.console.print("  ".join(f"{k} {v}" for k, v in row.items()), highlight=False)
            return
        table = Table(title=self.label)
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
        left = (self.num_updates - updates) / rate if rate > 0 else float("nan")
        worlds = self.n * self.num_envs
        done = returns[np.isfinite(returns)]
        return {
            "": self.label,
            "updates": f"{updates}/{self.num_updates}",
            "training return": f"{np.median(done):.1f}" if len(done) else "–",
            "evaluation min/median/max": self.evaluation,
            "expert-updates/s": f"{rate * self.n:.0f}",
            "env-steps/s": f"{(steps - s0) * worlds / passed:.0f}",
            "left": f"{left / 60:.1f} min" if np.isfinite(left) else "–",
        }
