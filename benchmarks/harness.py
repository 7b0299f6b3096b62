"""Side-by-side measuring: every case in a process of its own, repeats interleaved, one record.

A *worker* is a script that gets one JSON argument, measures, and prints one JSON object as its
last line: `per_s` (what the question counts, per second) and whatever else it wants on record.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from hyperpolicy import files
from hyperpolicy.devices import num_cores

ROOT = Path(__file__).resolve().parents[1]
WORKERS = ROOT / "benchmarks/workers"
LOAD_BEFORE = os.getloadavg()[0]
QUIET_LOAD = 0.3
"""Average number of busy cores above which a machine is not quiet."""
progress, console = Console(stderr=True), Console(width=100)


class Case(NamedTuple):
    """One thing to measure."""

    worker: str
    """A script in `workers/`."""
    settings: dict
    """What it is called with, beside the seed."""
    python: str = sys.executable


class Result(NamedTuple):
    """What the repeats of a case said."""

    median: float
    low: float
    high: float
    runs: list[dict]
    """Every answer of the worker, in order of the seeds 0, 1, …"""


class WorkerFailed(Exception):
    """A worker ended badly or answered something that is not a measurement."""


def measure(cases: Mapping[str, Case], repeats: int) -> dict[str, Result]:
    """Every case's result. Repeat r runs all cases once, with seed r; then comes repeat r + 1."""
    warn_if_busy()
    runs = {name: [] for name in cases}
    for seed in range(repeats):
        for name, case in cases.items():
            answer = call(case, seed)
            runs[name].append(answer)
            line = f"{seed + 1}/{repeats}  {name}  {answer['per_s']:,.0f}/s"
            progress.print(line, highlight=False)
    return {name: summarize(answers) for name, answers in runs.items()}


def call(case: Case, seed: int) -> dict:
    """One answer of the case's worker.

    Raises:
        WorkerFailed: with the end of what the worker wrote.
    """
    settings = json.dumps(case.settings | {"seed": seed})
    command = [case.python, str(WORKERS / case.worker), settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        end = done.stderr[-3000:]
        raise WorkerFailed(f"{case.worker} {settings} ended with {done.returncode}:\n{end}")
    return answer_in(done.stdout)


def answer_in(text: str) -> dict:
    """The JSON object in the last line of `text`.

    Raises:
        WorkerFailed: there is none, or it does not hold `per_s`.
    """
    try:
        answer = json.loads(text.strip().splitlines()[-1])
        answer["per_s"] = float(answer["per_s"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise WorkerFailed(f"not a measurement ({error!r}): {text[-500:]!r}") from None
    return answer


def summarize(runs: list[dict]) -> Result:
    rates = [run["per_s"] for run in runs]
    return Result(statistics.median(rates), min(rates), max(rates), runs)


def warn_if_busy() -> None:
    if LOAD_BEFORE > QUIET_LOAD:
        progress.print(
            f"[yellow]This machine is busy (load {LOAD_BEFORE:.2f}): the numbers will not hold. "
            "Stop other work and run again."
        )


def save(
    name: str, question: str, results: Mapping[str, Result], repeats: int, **about: str
) -> Path:
    """Write `results/<name>.json`, with what else is said `about` it; an older record of the same
    question is replaced."""
    found = {case: result._asdict() for case, result in results.items()}
    return save_record(name, record(name, question, {"seeds": list(range(repeats))} | about, found))


def record(name: str, question: str, about: Mapping, results: Mapping) -> dict:
    """A record of what was measured: `about` says how, in its own words."""
    return {
        "question": " ".join(question.split()),
        "command": f"python benchmarks/{name}.py",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", ".", ":!results")),
        "machine": machine(),
        "versions": {k: version(k) for k in ("gymnasium", "jax", "jaxlib", "mujoco", "numpy")},
        **about,
        "results": results,
    }


def save_record(name: str, found: dict) -> Path:
    """Write `results/<name>.json`; an older record of the same question is replaced."""
    return files.save_json(ROOT / "results" / f"{name}.json", found, overwrite=True)


def machine() -> dict:
    """The class of this machine: what a reader needs to compare, nothing that names it."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        lines = info.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": num_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": round(LOAD_BEFORE, 2),
    }


def spread(result: Result) -> str:
    """Median, and the lowest and highest repeat."""
    return f"{result.median:,.0f} ({result.low:,.0f}–{result.high:,.0f})"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
