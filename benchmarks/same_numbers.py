"""From equal initial states, do shipped zoos and generators give the same numbers as at an earlier
commit, bit for bit?

    python benchmarks/same_numbers.py COMMIT

Actions, observations, rewards, outcomes and returns of up to six experts of every zoo, and of the
shipped generators. The earlier code runs in a worktree of its own, and lends its initial states.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tyro
from harness import ROOT, WORKERS, console
from rich.table import Table


def main(commit: tyro.conf.Positional[str]) -> None:
    """Play at both commits and print a table.

    Args:
        commit: the earlier one.
    """
    with tempfile.TemporaryDirectory() as place:
        then, record = Path(place) / "then", Path(place) / "record.npz"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(then), commit], check=True)
        try:
            play(then, "make", record)
            lines = play(ROOT, "check", record)
        finally:
            subprocess.run([*git, "remove", "--force", str(then)], check=True)
    table = Table("what", "policies", "equal", "mean return of the first episodes")
    for line in lines:
        table.add_row(*line.split("\t"))
    console.print(table)
    differing = sum(line.split("\t")[2] != "yes" for line in lines)
    print(f"{len(lines)} compared, {differing} differ")
    raise SystemExit(bool(differing))


def play(root: Path, mode: str, record: Path) -> list[str]:
    """What the worker prints when it runs on the code and the zoos below `root`."""
    command = [sys.executable, str(WORKERS / "same_numbers.py"), mode, str(record), str(root)]
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    tyro.cli(main)
